"""What each process of `test_distributed_run` does, all of it under one torchrun."""

import json
import sys
from pathlib import Path

import torch
from tiny_runs import Recorder, tiny_trainer

from hanlin.training.config import OptimizerSettings
from hanlin.training.distributed import World, gather_model, join
from hanlin.training.durations import Duration


def main(folder: Path) -> None:
    """Train in several ways and leave the weights in `folder`."""
    ddp = join("none", device="cpu")
    assert (ddp.kind, ddp.size) == ("ddp", 2)
    assert ddp.sum([1.0, ddp.rank]) == [2.0, 1.0]
    told = {}
    for kind in ("ddp", "fsdp"):
        world = World(kind, ddp.rank, ddp.size, ddp.device)  # type: ignore[arg-type]
        for name, changes in json.loads((folder / "cases.json").read_text()).items():
            changes = dict(changes)
            if "optimizer" in changes:
                changes["optimizer"] = OptimizerSettings(name=changes["optimizer"])
            watcher = Recorder()
            trainer = tiny_trainer(folder / kind / name, world=world, watchers=[watcher],
                                   dropout=0.0, **changes)  # fmt: skip
            trainer.run()
            model = gather_model(trainer.model, world)
            if world.first:
                told[f"{kind}-{name}"] = {
                    "losses": [r.loss for r in watcher.steps],
                    "norms": [r.grad_norm for r in watcher.steps],
                    "validation": [r.loss for r in watcher.evaluations],
                    "targets": [r.targets for r in watcher.evaluations],
                }
                torch.save(model.state_dict(), folder / f"{kind}-{name}.pt")
        # Half the way alone was done by the test: go on with two.
        trainer = tiny_trainer(folder / f"to-{kind}", world=world, dropout=0.0, resume=True,
                               duration=Duration(steps=12))  # fmt: skip
        assert trainer.place.step == 6
        trainer.run()
        model = gather_model(trainer.model, world)
        if world.first:
            torch.save(model.state_dict(), folder / f"to-{kind}.pt")
        # And half the way with two, for the test to go on alone.
        trainer = tiny_trainer(folder / f"from-{kind}", world=world, dropout=0.0,
                               duration=Duration(steps=12),
                               watchers=[Recorder(at_step=_stop_at_six)])  # fmt: skip
        result = trainer.run()
        assert result.steps == 6
        assert not result.finished
    if ddp.first:
        (folder / "told.json").write_text(json.dumps(told))
    ddp.leave()


def _stop_at_six(record: object) -> None:
    import os
    import signal

    if record.step == 6:  # type: ignore[attr-defined]
        os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
