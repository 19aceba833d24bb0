"""Averaged weights: a plain average in float64, exact when a run goes on, evaluated and kept."""

from pathlib import Path

import pytest
import torch
from tiny_runs import Recorder, tiny_trainer, weights

from hanlin.training.averaging import Average
from hanlin.training.durations import Duration
from hanlin.training.events import StepRecord
from hanlin.training.optimizer_settings import OptimizerSettings
from hanlin.training.optimizers import AVERAGE
from hanlin.training.trainer import Trainer

DECAY = 0.8


def averaged(trainer: Trainer) -> Trainer:
    trainer.average = Average(trainer.optimizer, decay=DECAY)
    return trainer


def kept(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {
        name: trainer.optimizer.state[p][AVERAGE].clone()
        for name, p in trainer.model.named_parameters()
    }


@pytest.mark.parametrize("name", ["adamw", "sgd", "muon"])
def test_the_average_is_that_of_a_plain_loop(name: str, tmp_path: Path) -> None:
    seen: list[dict[str, torch.Tensor]] = []
    recorder = Recorder(lambda record: seen.append(weights(trainer.model)))
    trainer = averaged(
        tiny_trainer(tmp_path, optimizer=OptimizerSettings(name=name), watchers=[recorder])  # type: ignore[arg-type]
    )
    trainer.run()
    assert len(seen) == 12
    found = weights(trainer.model)
    for key in found:
        expected = seen[0][key].double()
        for step, at in enumerate(seen[1:], start=1):
            decay = min(DECAY, (1 + step) / (10 + step))
            expected = decay * expected + (1 - decay) * at[key].double()
        torch.testing.assert_close(found[key].double(), expected, rtol=1e-5, atol=1e-7)
        assert not torch.equal(found[key], seen[-1][key])


def test_a_run_that_goes_on_averages_on_bit_for_bit(tmp_path: Path) -> None:
    whole = averaged(tiny_trainer(tmp_path / "whole"))
    whole.run()

    def breaks(record: StepRecord) -> None:
        if record.step == 6:
            raise RuntimeError("broken off")

    with pytest.raises(RuntimeError, match="broken off"):
        averaged(tiny_trainer(tmp_path / "broken", watchers=[Recorder(breaks)])).run()
    again = averaged(tiny_trainer(tmp_path / "broken", resume=True))
    before = kept(again)
    assert any(not torch.equal(before[n], p) for n, p in again.model.named_parameters())
    again.run()
    for name, parameter in whole.model.named_parameters():
        assert torch.equal(parameter, dict(again.model.named_parameters())[name]), name


def test_evaluations_see_the_average_and_training_does_not(tmp_path: Path) -> None:
    plain, with_average = Recorder(), Recorder()
    tiny_trainer(tmp_path / "plain", watchers=[plain]).run()
    averaged(tiny_trainer(tmp_path / "average", watchers=[with_average])).run()
    assert [s.loss for s in plain.steps] == [s.loss for s in with_average.steps]
    assert [e.step for e in plain.evaluations] == [e.step for e in with_average.evaluations]
    assert all(
        one.loss != other.loss
        for one, other in zip(plain.evaluations, with_average.evaluations, strict=True)
    )


def test_the_model_has_its_own_weights_again_after_a_look(tmp_path: Path) -> None:
    trainer = averaged(tiny_trainer(tmp_path, duration=Duration(steps=3), evaluate_every=None))
    trainer.run()
    average = Average(trainer.optimizer, decay=DECAY)
    with torch.no_grad():
        for parameter in trainer.model.parameters():
            parameter.add_(1.0)
    own, mean = weights(trainer.model), kept(trainer)
    with average.applied():
        assert all(torch.equal(p, mean[n]) for n, p in trainer.model.named_parameters())
    assert all(torch.equal(p, own[n]) for n, p in trainer.model.named_parameters())
    assert all(torch.equal(p, mean[n]) for n, p in kept(trainer).items())
