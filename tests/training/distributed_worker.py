"""What each process of `test_distributed_run` does, all of it under one torchrun."""

import json
import os
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
from objective_cases import CASES, Case
from tiny_runs import Recorder, tiny_trainer

from hanlin.data.loader import Loader
from hanlin.training.config import OptimizerSettings
from hanlin.training.distributed import (
    Kind,
    LossOf,
    World,
    gather_model,
    gathering,
    join,
    spread,
    whole,
)
from hanlin.training.durations import Duration

OPTIMISERS: dict[str, dict[str, Any]] = {
    # A larger eps: with the usual one a gradient of nearly nothing decides by its sign.
    "adamw": {"eps": 1e-3},
    "sgd": {"lr": 0.1},
    "muon": {"eps": 1e-3, "newton_schulz": "fp32"},
}
STEADY = OptimizerSettings(eps=1e-3)


def gradients(case: Case, world: World, *, micro: int | None) -> dict[str, torch.Tensor]:
    """The gradient of the mean loss over one step's targets, as a step of training has it."""
    model = case.model()
    examples = case.examples()
    loader = Loader(examples, case.objective.collate, sequences=8, micro=micro, seed=0,
                    rank=world.rank, world=world.size)  # fmt: skip
    loss = spread(LossOf(model, case.objective.loss), world, bf16=False)
    batches = loader.step(1)
    [targets] = world.sum([sum(batch.target_tokens for batch in batches)])
    for index, batch in enumerate(batches):
        with gathering(loss, last=index == len(batches) - 1):
            (loss(batch) * world.size / targets).backward()
    return {
        name: torch.zeros(p.shape) if p.grad is None else whole(p.grad).clone()
        for name, p in model.named_parameters()
    }


def main(folder: Path) -> None:
    """Train in several ways and leave weights and gradients in `folder`."""
    ddp = join("none", device="cpu")
    assert (ddp.kind, ddp.size) == ("ddp", 2)
    assert ddp.sum([1.0, ddp.rank]) == [2.0, 1.0]
    told: dict[str, Any] = {}
    kinds: tuple[Kind, ...] = ("ddp", "fsdp")
    for kind in kinds:
        world = World(kind, ddp.rank, ddp.size, ddp.device)
        for name, case in CASES.items():
            found = gradients(case, world, micro=2)
            if world.first:
                torch.save(found, folder / f"gradients {kind} {name}.pt")
        for name, options in OPTIMISERS.items():
            watcher = Recorder()
            settings = OptimizerSettings(name=name, **options)  # type: ignore[arg-type]
            trainer = tiny_trainer(folder / kind / name, world=world, dropout=0.0,
                                   optimizer=settings, watchers=[watcher])  # fmt: skip
            trainer.run()
            keep(trainer, world, folder / f"{kind} {name}.pt")
            told[f"{kind} {name}"] = {
                "losses": [r.loss for r in watcher.steps],
                "norms": [r.grad_norm for r in watcher.steps],
                "validation": [[r.loss, r.targets] for r in watcher.evaluations],
            }
        # Checkpointed blocks, bfloat16 and dropout only have to work.
        trainer = tiny_trainer(folder / kind / "other", world=world, bf16=True)
        trainer.model.checkpointing = True
        trainer.run()
        # Half the way was done alone, by the test: go on with two.
        trainer = tiny_trainer(
            folder / f"alone then {kind}", world=world, dropout=0.0, resume=True, optimizer=STEADY
        )
        assert trainer.place.step == 6
        trainer.run()
        keep(trainer, world, folder / f"alone then {kind}.pt")
        # And half the way with two, for the test to go on alone; only one process hears the signal.
        stop = Recorder(at_step=stop_at_six)
        trainer = tiny_trainer(
            folder / f"{kind} then alone", world=world, dropout=0.0, optimizer=STEADY,
            watchers=[stop],
        )  # fmt: skip
        result = trainer.run()
        assert result.steps == 6
        assert not result.finished
    by_two_clocks(folder, ddp)
    if ddp.first:
        (folder / "told.json").write_text(json.dumps(told))
    ddp.leave()


def by_two_clocks(folder: Path, world: World) -> None:
    """What is due, the rate and the end follow from time, and one process's goes faster."""
    speed, real = (1.0 if world.first else 1.7), time.monotonic
    clock = SimpleNamespace(monotonic=lambda: speed * real())
    with patch("hanlin.training.trainer.time", clock):
        trainer = tiny_trainer(
            folder / "clocks", world=world, duration=Duration(seconds=1.5),
            save_every=Duration(seconds=0.2), evaluate_every=Duration(seconds=0.3),
        )  # fmt: skip
        trainer.run()
    torch.save(trainer.model.state_dict(), folder / f"clock {world.rank}.pt")


def keep(trainer: Any, world: World, path: Path) -> None:
    """Save the whole model's weights."""
    model = gather_model(trainer.model, world)
    if world.first:
        torch.save(model.state_dict(), path)


def stop_at_six(record: Any) -> None:
    """A watcher of the first process asks it to leave."""
    if record.step == 6:
        os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
