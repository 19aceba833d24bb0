"""Checkpoints are there whole or not at all, and those that were there stay when a save fails."""

import errno
import json
import os
import random
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import Recorder, tiny_trainer, weights

import hanlin
import hanlin.training.checkpoints as checkpoints_module
from hanlin.errors import FormatError, HanlinError
from hanlin.models import load
from hanlin.training.checkpoints import STATE, Checkpoint, restore
from hanlin.training.config import OptimizerSettings
from hanlin.training.durations import Duration
from hanlin.training.trainer import Trainer

NEVER = Duration(steps=1000)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def steps_of(trainer: Trainer) -> list[int]:
    return [checkpoint.step for checkpoint in trainer.checkpoints.whole()]


@pytest.fixture
def trained(tmp_path: Path) -> Trainer:
    """A run of 8 steps with checkpoints of the steps 4 and 8."""
    trainer = tiny_trainer(tmp_path, duration=Duration(steps=8), evaluate_every=NEVER)
    trainer.run()
    assert steps_of(trainer) == [4, 8]
    return trainer


def test_a_checkpoint_is_a_model_that_can_be_loaded(trained: Trainer) -> None:
    place = trained.checkpoints.place(8)
    model = load(place)
    assert all(torch.equal(p, weights(trained.model)[n]) for n, p in model.named_parameters())
    lm = hanlin.load(place)
    assert lm.generate("The", max_new_tokens=3, seed=0)[0].text  # type: ignore[attr-defined]


def test_what_is_restored_is_what_was_saved(trained: Trainer, tmp_path: Path) -> None:
    for name in ("adamw", "sgd", "muon"):
        settings = OptimizerSettings(name=name)  # type: ignore[arg-type]
        folder = tmp_path / name
        one = tiny_trainer(folder, duration=Duration(steps=4), optimizer=settings)
        one.run()
        other = tiny_trainer(folder, optimizer=settings, resume=True, seed=9)
        assert other.place == one.place
        before, after = weights(one.model), weights(other.model)
        assert all(torch.equal(before[name], after[name]) for name in before)
        for p, q in zip(one.model.parameters(), other.model.parameters(), strict=True):
            kept, back = one.optimizer.state[p], other.optimizer.state[q]
            assert list(kept) == list(back)
            for key, value in kept.items():
                assert value.dtype == back[key].dtype
                assert torch.equal(value, back[key])


@pytest.mark.parametrize("harm", ["truncate", "no state", "no weights", "empty state"])
def test_a_checkpoint_that_is_not_whole_is_passed_over(harm: str, trained: Trainer) -> None:
    place = trained.checkpoints.place(8)
    if harm == "truncate":
        with (place / "optimizer.safetensors").open("r+b") as file:
            file.truncate(file.seek(0, os.SEEK_END) - 1)
    elif harm == "no state":
        (place / STATE).unlink()
    elif harm == "no weights":
        (place / "model.safetensors").unlink()
    else:
        (place / STATE).write_text("")
    assert steps_of(trained) == [4]


def test_what_a_killed_process_left_half_written_is_cleared(trained: Trainer) -> None:
    half = trained.checkpoints.directory / ".step-00000009.partial"
    half.mkdir()
    (half / "model.safetensors").write_bytes(b"half")
    assert steps_of(trained) == [4, 8]
    trained.checkpoints.clear(None)
    assert not half.exists()
    assert steps_of(trained) == [4, 8]


@pytest.mark.parametrize(
    ("keep", "every", "best", "left"),
    [
        (1, None, None, [9]),
        (2, None, None, [8, 9]),
        (2, None, 3, [3, 8, 9]),
        (1, 4, None, [4, 8, 9]),
        (20, None, None, list(range(1, 10))),
    ],
)
def test_the_policy_says_which_stay(
    keep: int, every: int | None, best: int | None, left: list[int], tmp_path: Path
) -> None:
    trainer = tiny_trainer(tmp_path)
    kept = trainer.checkpoints
    kept.keep, kept.keep_every = keep, every
    for step in range(1, 10):
        place = kept.place(step)
        place.mkdir(parents=True)
        (place / STATE).write_text(json.dumps({"files": {}}))
    kept.clear(best)
    assert steps_of(trainer) == left


def test_the_best_by_validation_loss_stays(tmp_path: Path) -> None:
    watcher = Recorder()
    trainer = tiny_trainer(
        tmp_path,
        optimizer=OptimizerSettings(name="sgd", lr=0.5),
        evaluate_every=Duration(steps=2),
        save_every=Duration(steps=2),
        watchers=[watcher],
        keep=1,
    )
    trainer.validation.look = spoilt(trainer.validation.look, start=3)  # type: ignore[union-attr,method-assign]
    trainer.run()
    assert [r.step for r in watcher.evaluations if r.best][-1] == 4
    assert steps_of(trainer) == [4, 12]


def spoilt(look: Callable[..., dict[str, float]], start: int) -> Callable[..., dict[str, float]]:
    """A look at the validation part that finds it worse from some call on."""
    calls = 0

    def worse(*args: Any, **kwargs: Any) -> dict[str, float]:
        nonlocal calls
        calls += 1
        found = look(*args, **kwargs)
        return found | {"loss": found["loss"] + (10 * calls if calls >= start else -calls)}

    return worse


def test_a_full_disk_loses_nothing_that_was_there(trained: Trainer, tmp_path: Path) -> None:
    """The system lets no file grow beyond a random size, from nothing to the largest there is."""
    seed = random.randrange(10**6)
    print("seed", seed)
    draw = random.Random(seed)
    folder = trained.checkpoints.directory
    before = contents(folder)
    largest = max(len(data) for data in before.values())
    trainer = tiny_trainer(tmp_path, resume=True, evaluate_every=NEVER)
    trainer.place = trainer._next(0, 0.0)
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    for size in [0, *(draw.randrange(largest) for _ in range(8)), largest - 1]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            with pytest.raises(HanlinError, match=r"Could not save .* space.*--resume"):
                trainer._save(evaluation_due=False)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        assert contents(folder) == before
        assert steps_of(trainer) == [4, 8]
    trainer._save(evaluation_due=False)
    assert 9 in steps_of(trainer)


def test_a_disk_that_fills_up_between_two_calls_loses_nothing(
    trained: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = trained.checkpoints.directory
    before = contents(folder)
    trainer = tiny_trainer(tmp_path, resume=True, evaluate_every=NEVER)
    trainer.place = trainer._next(0, 0.0)
    failed = 0
    for call in range(1, 100):
        calls = 0

        def full(function: Callable[..., Any], *, at: int = call) -> Callable[..., Any]:
            def wrapped(*args: Any, **kwargs: Any) -> Any:
                nonlocal calls
                calls += 1
                if calls == at:
                    raise OSError(errno.ENOSPC, "No space left on device")
                return function(*args, **kwargs)

            return wrapped

        with monkeypatch.context() as patch:
            for name in ("sync", "save_file", "write_files", "_finish"):
                patch.setattr(checkpoints_module, name, full(getattr(checkpoints_module, name)))
            patch.setattr(Path, "rename", full(Path.rename))
            try:
                trainer._save(evaluation_due=False)
            except HanlinError:
                failed += 1
            else:
                break
        # The last thing that can fail is making sure of the name of what is there already.
        now = contents(folder)
        assert {n: b for n, b in now.items() if not n.startswith("step-00000009")} == before
    assert failed > 8
    assert steps_of(trainer)[-1] == 9


def test_a_run_goes_on_after_a_full_disk_as_if_nothing_had_been(tmp_path: Path) -> None:
    whole = tiny_trainer(tmp_path / "whole")
    whole.run()
    broken = tiny_trainer(tmp_path / "broken")
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]

    def fill(record: Any) -> None:
        if record.step == 9:
            resource.setrlimit(resource.RLIMIT_FSIZE, (5000, hard))

    broken.watchers = [Recorder(at_step=fill)]
    try:
        with pytest.raises(HanlinError, match="--resume"):
            broken.run()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    again = tiny_trainer(tmp_path / "broken", resume=True)
    assert again.place.step == 8
    again.run()
    one, other = weights(whole.model), weights(again.model)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_another_optimisers_state_is_refused(trained: Trainer, tmp_path: Path) -> None:
    other = tiny_trainer(tmp_path / "x", optimizer=OptimizerSettings(name="sgd"))
    newest: Checkpoint = trained.checkpoints.whole()[-1]
    with pytest.raises(FormatError, match="another optimiser"):
        restore(newest, other.model, other.optimizer)
