"""The guard leaves out steps that are not numbers or jump, and stops when they go on."""

import math
import random
from pathlib import Path

import pytest
import torch
from tiny_runs import Recorder, tiny_trainer, weights

from hanlin.errors import HanlinError
from hanlin.training.config import GuardSettings
from hanlin.training.durations import Duration
from hanlin.training.guard import Guard


def settled(spike: float | None = 6.0, patience: int = 3, window: int = 50) -> Guard:
    """A guard that has seen a steady loss of about 3."""
    guard = Guard(GuardSettings(spike=spike, patience=patience, window=window))
    draw = random.Random(0)
    for _ in range(60):
        assert guard.check(3 + draw.gauss(0, 0.05), 1.0) == ""
    return guard


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_a_number_is_always_left_out(bad: float) -> None:
    guard = Guard(GuardSettings(spike=None))
    assert "loss" in guard.check(bad, 1.0)
    assert "gradient" in guard.check(1.0, bad)
    assert guard.skipped == guard.row == 2
    assert guard.check(1.0, 1.0) == ""
    assert (guard.skipped, guard.row) == (2, 0)


def test_a_spike_is_left_out_and_does_not_move_what_is_usual() -> None:
    guard = settled(patience=100)
    for _ in range(20):
        assert "deviations above" in guard.check(6.0, 1.0)
    assert guard.check(3.0, 1.0) == ""


def test_falling_and_slowly_changing_losses_pass() -> None:
    guard = Guard(GuardSettings(spike=6.0))
    draw = random.Random(1)
    for step in range(500):
        assert guard.check(10 * math.exp(-step / 100) + abs(draw.gauss(0, 0.03)), 1.0) == ""


def test_a_loss_of_nearly_nothing_may_wobble() -> None:
    guard = Guard(GuardSettings(spike=6.0))
    for _ in range(100):
        guard.check(0.001, 1.0)
    assert guard.check(0.2, 1.0) == ""


def test_without_spikes_only_numbers_are_judged() -> None:
    assert settled(spike=None).check(1e9, 1.0) == ""


def test_it_is_exhausted_by_steps_in_a_row_only() -> None:
    guard = settled(patience=3)
    for value in (math.nan, math.nan, 3.0, math.nan, math.nan):
        guard.check(value, 1.0)
        assert not guard.exhausted
    guard.check(math.nan, 1.0)
    assert guard.exhausted


def test_its_state_makes_the_same_judgements() -> None:
    one = settled()
    other = Guard(one.settings)
    other.restore(one.state())
    draw = random.Random(2)
    values = [3 + draw.expovariate(1) for _ in range(200)]
    assert [one.check(v, 1.0) for v in values] == [other.check(v, 1.0) for v in values]
    assert one.state() == other.state()


class Planted:
    """A loss that is spoilt in some steps."""

    def __init__(self, spoil: dict[int, float], micro: int = 2) -> None:
        self.spoil, self.micro, self.calls = spoil, micro, 0

    def __call__(self, task, model, batch):  # type: ignore[no-untyped-def]
        loss = task.loss(model, batch)
        if model.training:
            step = self.calls // self.micro + 1
            self.calls += 1
            return loss * self.spoil.get(step, 1.0)
        return loss


def test_a_planted_nan_changes_nothing_but_the_count(tmp_path: Path) -> None:
    """The run with a spoilt step 5 is the run that never made step 5's update."""
    watcher = Recorder()
    kept: dict[int, dict[str, torch.Tensor]] = {}
    trainer = tiny_trainer(tmp_path, loss=Planted({5: math.nan}), watchers=[watcher])
    watcher.at_step = lambda record: kept.update({record.step: weights(trainer.model)})
    result = trainer.run()
    assert result.steps == 12
    assert [r.step for r in watcher.steps if r.skipped] == [5]
    assert "nan" in watcher.steps[4].reason
    assert all(torch.equal(kept[5][name], kept[4][name]) for name in kept[4])
    assert any(not torch.equal(kept[6][name], kept[5][name]) for name in kept[5])
    assert math.isfinite(result.train_loss)
    assert all(p.isfinite().all() for p in trainer.model.parameters())


def test_a_planted_spike_is_left_out(tmp_path: Path) -> None:
    watcher = Recorder()
    trainer = tiny_trainer(
        tmp_path,
        duration=Duration(steps=30),
        guard=GuardSettings(spike=6.0, window=20),
        loss=Planted({25: 4.0}),
        watchers=[watcher],
        save_every=Duration(steps=100),
        evaluate_every=Duration(steps=100),
    )
    trainer.run()
    assert [r.step for r in watcher.steps if r.skipped] == [25]
    assert "deviations above" in watcher.steps[24].reason


def test_it_stops_with_a_checkpoint_when_spoilt_steps_go_on(tmp_path: Path) -> None:
    watcher = Recorder()
    kept = {}
    spoil = dict.fromkeys(range(6, 13), math.inf)
    trainer = tiny_trainer(
        tmp_path, loss=Planted(spoil), watchers=[watcher], guard=GuardSettings(patience=3)
    )
    watcher.at_step = lambda record: kept.update({record.step: weights(trainer.model)})
    with pytest.raises(HanlinError, match=r"step 8: 3 steps in a row .*optimizer\.lr"):
        trainer.run()
    assert watcher.saves[-1] == 8
    again = tiny_trainer(tmp_path, resume=True)
    assert again.place.step == 8
    assert again.guard.skipped == 3
    assert all(torch.equal(p, kept[5][name]) for name, p in again.model.named_parameters())
