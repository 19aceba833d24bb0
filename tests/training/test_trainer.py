"""The loop: the loss and gradient of a step, when things are due, and what changes nothing."""

import math
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_runs import ALONE, FAMILIES, Recorder, tiny_trainer, weights

from hanlin.training.config import OptimizerSettings
from hanlin.training.durations import Duration
from hanlin.training.place import Place, rate
from hanlin.training.schedules import Schedule, Warmup
from hanlin.training.trainer import Trainer, noise_seed

NEVER = Duration(steps=10**6)


def run(trainer: Trainer) -> dict[str, torch.Tensor]:
    """The weights after the run."""
    trainer.run()
    return weights(trainer.model)


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("objective", FAMILIES)
def test_a_step_is_that_of_a_plain_loop_over_the_whole_batch(
    objective: str, tmp_path: Path
) -> None:
    """Loss, norm and weights of three steps against twelve lines of torch in float64."""
    trainer = tiny_trainer(
        tmp_path, objective=objective, duration=Duration(steps=3), micro=1, dropout=0.0,
        optimizer=OptimizerSettings(name="sgd", lr=0.1, momentum=0.0, clip=0.7),
        schedule=Schedule(name="constant", warmup=Warmup(share=0.0)), watchers=[seen := Recorder()],
        evaluate_every=NEVER,
    )  # fmt: skip
    model = tiny_trainer(tmp_path / "x", objective=objective, dropout=0.0).model.double()
    whole = tiny_trainer(tmp_path / "y", objective=objective, micro=None).loader
    task = trainer.loss._loss
    trainer.run()
    parameters = dict(model.named_parameters())
    for n, record in enumerate(seen.steps):
        [batch] = whole.step(n)
        model.zero_grad()
        loss = task(model, batch) / batch.target_tokens
        loss.backward()
        grads = {name: p.grad for name, p in parameters.items() if p.grad is not None}
        norm = math.sqrt(sum(float((g**2).sum()) for g in grads.values()))
        assert record.loss == pytest.approx(loss.item(), rel=1e-5)
        assert record.grad_norm == pytest.approx(norm, rel=1e-4)
        assert record.targets == batch.target_tokens
        with torch.no_grad():
            for name, g in grads.items():
                parameters[name] -= 0.1 * g * min(1.0, 0.7 / norm)
    for name, p in trainer.model.named_parameters():
        assert torch.allclose(p.double(), parameters[name], atol=2e-6, rtol=1e-4), name


def test_the_same_run_twice_is_the_same_bits(tmp_path: Path) -> None:
    assert same(run(tiny_trainer(tmp_path / "1")), run(tiny_trainer(tmp_path / "2")))
    assert not same(run(tiny_trainer(tmp_path / "3")), run(tiny_trainer(tmp_path / "4", seed=1)))


def test_nothing_drawn_elsewhere_changes_a_run(tmp_path: Path) -> None:
    """Dropout is a function of step and micro-batch, not of a generator's history."""
    plain = run(tiny_trainer(tmp_path / "plain"))
    noise = Recorder(at_step=lambda record: (torch.rand(7), random.random(), None)[-1])
    assert same(plain, run(tiny_trainer(tmp_path / "noisy", watchers=[noise])))


def test_a_run_leaves_the_callers_generator_alone(tmp_path: Path) -> None:
    trainer = tiny_trainer(tmp_path)
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    trainer.run()
    assert torch.equal(torch.rand(1), expected)


def test_dropout_differs_by_step_micro_batch_and_process() -> None:
    seeds = {noise_seed(0, n, m, r) for n in range(20) for m in range(5) for r in range(4)}
    assert len(seeds) == 400
    assert all(0 <= seed < 2**63 for seed in seeds)


@pytest.mark.parametrize(
    "duration",
    [Duration(steps=11), Duration(tokens=1000), Duration(epochs=1.7)],
    ids=["steps", "tokens", "epochs"],
)
@pytest.mark.parametrize("objective", ["causal-lm", "masked-lm", "denoising"])
def test_stopped_anywhere_it_goes_on_to_the_same_bits(
    duration: Duration, objective: str, tmp_path: Path
) -> None:
    plan: dict[str, Any] = {"duration": duration, "objective": objective}
    whole = tiny_trainer(tmp_path / "whole", **plan)
    expected = run(whole)
    at = random.randrange(1, whole.place.step)
    print("stopped at", at)
    folder = tmp_path / "broken"
    stop = Recorder(at_step=ask(at))
    assert not tiny_trainer(folder, **plan, watchers=[stop]).run().finished
    assert same(expected, run(tiny_trainer(folder, **plan, resume=True, seed=0)))


def ask(step: int) -> Callable[[Any], None]:
    def terminate(record: Any) -> None:
        if record.step == step:
            os.kill(os.getpid(), signal.SIGTERM)

    return terminate


def test_a_signal_between_micro_batches_makes_the_step_anew(tmp_path: Path) -> None:
    """The half step leaves no gradient behind; going on in the same process shows it."""
    expected = run(tiny_trainer(tmp_path / "whole", micro=1))
    calls = 0

    def loss(task: Any, model: Any, batch: Any) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == 4 * 4 + 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return task.loss(model, batch)  # type: ignore[no-any-return]

    broken = tiny_trainer(tmp_path / "broken", micro=1, loss=loss, evaluate_every=NEVER)
    assert broken.run().steps == 4
    assert all(p.grad is None for p in broken.model.parameters())
    again = tiny_trainer(tmp_path / "broken", micro=1, resume=True)
    assert same(expected, run(again))


def test_it_saves_before_it_looks(tmp_path: Path) -> None:
    """Should the look fail, the run goes on from the very step, and looks first."""
    trainer = tiny_trainer(tmp_path)

    def fail(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("no memory")

    trainer.validation.look = fail  # type: ignore[union-attr,method-assign]
    with pytest.raises(RuntimeError, match="no memory"):
        trainer.run()
    seen = Recorder()
    again = tiny_trainer(tmp_path, resume=True, watchers=[seen])
    assert again.place.step == 5
    again.run()
    assert [record.step for record in seen.evaluations] == [5, 10, 12]


def test_a_look_before_the_first_step_changes_nothing_else(tmp_path: Path) -> None:
    without = run(tiny_trainer(tmp_path / "without"))
    seen = Recorder()
    trainer = tiny_trainer(tmp_path / "with", evaluate_start=True, watchers=[seen])
    assert trainer.validation is not None
    before = trainer.validation.look(trainer.loss.eval(), ALONE, everything=True)["loss"]
    assert same(run(trainer), without)
    assert [record.step for record in seen.evaluations] == [0, 5, 10, 12]
    assert seen.evaluations[0].loss == before > seen.evaluations[-1].loss
    assert not seen.evaluations[0].best
    assert seen.evaluations[1].best


def test_no_checkpoint_is_looked_for_where_the_first_look_was_the_best(tmp_path: Path) -> None:
    same_run: dict[str, Any] = {
        "evaluate_start": True,
        "keep": 1,
        "optimizer": OptimizerSettings(name="sgd", lr=3.0, clip=None),
    }
    tiny_trainer(tmp_path, watchers=[seen := Recorder()], **same_run).run()
    assert min(seen.evaluations, key=lambda record: record.loss).step == 0
    best = min(seen.evaluations[1:], key=lambda record: record.loss)
    kept = {path.name for path in (tmp_path / "checkpoints").glob("step-*")}
    assert kept == {f"step-{step:08}" for step in {best.step, 12}}
    # One that goes on does not look at the beginning again.
    tiny_trainer(tmp_path, resume=True, watchers=[more := Recorder()], **same_run).run()
    assert not more.evaluations


def test_time_ends_a_run_and_the_schedule_follows(tmp_path: Path) -> None:
    seen = Recorder(at_step=lambda record: time.sleep(0.01))
    trainer = tiny_trainer(
        tmp_path, duration=Duration(seconds=1.0), watchers=[seen], save_every=Duration(seconds=0.4),
        schedule=Schedule(name="linear", warmup=Warmup(duration=Duration(steps=2))),
        evaluate_every=None,
    )  # fmt: skip
    result = trainer.run()
    assert result.finished
    assert result.seconds >= 1.0
    last = seen.steps[-1]
    assert last.progress == 1.0
    assert last.lr < 0.2 * max(record.lr for record in seen.steps)
    # Saves, looks and watchers are not training time.
    assert last.seconds == pytest.approx(sum(seconds for _, seconds in times(seen)), rel=0.3)


def times(seen: Recorder) -> list[tuple[Any, float]]:
    """Seconds of each step, by its own speed."""
    tokens = [0, *(record.tokens for record in seen.steps)]
    return [
        (record, (record.tokens - before) / record.tokens_per_second)
        for before, record in zip(tokens, seen.steps, strict=False)
    ]


def test_records_tell_what_was_done(tmp_path: Path) -> None:
    seen = Recorder()
    trainer = tiny_trainer(tmp_path, watchers=[seen])
    result = trainer.run()
    assert [record.step for record in seen.steps] == list(range(1, 13))
    assert seen.steps[-1].tokens == result.tokens == 12 * 4 * 24
    assert seen.steps[-1].progress == 1.0
    assert seen.steps[5].epoch == pytest.approx(6 / trainer.loader.steps_per_epoch)
    assert result.train_loss == pytest.approx(seen.steps[-1].loss)
    for record in seen.steps:  # at the pace so far
        share = record.step / 12
        assert record.eta_seconds == pytest.approx(record.seconds * (1 - share) / share)
    assert seen.saves == [4, 5, 8, 10, 12]
    assert [record.step for record in seen.evaluations] == [5, 10, 12]
    for record in seen.evaluations:
        assert record.perplexity == pytest.approx(math.exp(record.loss))


AMOUNT = st.floats(0.01, 1e4)


@given(st.lists(st.floats(0, 50), min_size=2, max_size=40), AMOUNT)
def test_what_comes_every_so_often_comes_once_for_each(steps: list[float], every: float) -> None:
    """However far each step goes, a multiple of the time is passed once."""
    duration, place, passed = Duration(seconds=every), Place(), 0
    for seconds in steps:
        after = Place(seconds=place.seconds + seconds)
        passed += after.passed(duration, place)
        place = after
    assert passed <= math.floor(place.seconds / every)
    assert (passed > 0) == (place.seconds >= every)


@given(st.integers(2, 400), st.integers(1, 100), st.sampled_from(["steps", "tokens", "epochs"]))
def test_a_warm_up_in_other_units_ends_where_it_says(total: int, warm: int, unit: str) -> None:
    """Steps, tokens and epochs go on at an even pace: then the unit makes no difference."""
    warm = min(warm, total - 1)
    pace = {"steps": 1, "tokens": 512, "epochs": 1 / 8}

    def place(step: int) -> Place:
        return Place(step=step, tokens=512 * step, epoch=step / 8, seconds=0.25 * step)

    told = Warmup(duration=Duration(**{unit: warm * pace[unit]}))
    own = Warmup(duration=Duration(steps=warm))
    by_unit = rate(Schedule(name="linear", warmup=told), Duration(steps=total))
    by_step = rate(Schedule(name="linear", warmup=own), Duration(steps=total))
    by_time = rate(Schedule(name="linear", warmup=own), Duration(seconds=0.25 * total))
    for step in range(total):
        expected = by_step(place(step), place(step + 1))
        assert by_unit(place(step), place(step + 1)) == pytest.approx(expected, abs=1e-9)
        assert by_time(place(step), place(step + 1)) == pytest.approx(expected, abs=1e-9)
        assert 0 < expected <= 1
