"""The learning rate over a run: continuous, rising through the warm-up, ending at the floor."""

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hanlin.config import read_config, to_plain
from hanlin.errors import ConfigError
from hanlin.training.durations import Duration
from hanlin.training.schedules import Schedule, Warmup

quick = settings(max_examples=60, deadline=None)

SHARES = st.floats(0.001, 0.7)
FLOORS = st.none() | st.floats(0, 1)


def wsd(warmup: float, decay: float | None, floor: float | None, shape: Any) -> Schedule:
    decay = None if decay is None else min(decay, 1 - warmup)
    if decay is None and warmup > 0.8:
        decay = 1 - warmup
    return Schedule(
        name="warmup-stable-decay",
        warmup=Warmup(share=warmup),
        floor=floor,
        decay=decay,
        decay_shape=shape,
    )


SHAPES = st.sampled_from([None, "sqrt", "linear"])
SCHEDULES = st.one_of(
    st.builds(wsd, SHARES, st.none() | st.floats(0.01, 0.9), FLOORS, SHAPES),
    st.builds(
        lambda name, warmup, floor: Schedule(
            name=name,
            warmup=Warmup(share=warmup),
            floor=None if name in ("constant", "inverse-sqrt") else floor,
        ),
        st.sampled_from(["constant", "linear", "cosine", "inverse-sqrt"]),
        SHARES,
        FLOORS,
    ),
)


def warmup_of(schedule: Schedule) -> float:
    assert schedule.warmup.share is not None
    return schedule.warmup.share


@quick
@given(SCHEDULES, st.floats(0, 1))
def test_the_factor_is_a_share_of_the_highest(schedule: Schedule, progress: float) -> None:
    assert 0 <= schedule.factor(progress, warmup=warmup_of(schedule)) <= 1


@quick
@given(SCHEDULES)
def test_it_rises_through_the_warm_up_and_falls_after(schedule: Schedule) -> None:
    warmup = warmup_of(schedule)
    rising = [schedule.factor(warmup * i / 50, warmup=warmup) for i in range(51)]
    falling = [schedule.factor(warmup + (1 - warmup) * i / 50, warmup=warmup) for i in range(51)]
    assert rising == sorted(rising)
    assert rising[0] == 0
    assert rising[-1] == pytest.approx(1.0)
    assert all(a >= b - 1e-12 for a, b in pairwise(falling))


@quick
@given(SCHEDULES)
def test_it_ends_at_its_floor(schedule: Schedule) -> None:
    last = schedule.factor(1.0, warmup=warmup_of(schedule))
    expected = {
        "constant": 1.0,
        "inverse-sqrt": math.sqrt(warmup_of(schedule)),
        "cosine": 0.1,
        "linear": 0.0,
        "warmup-stable-decay": 0.0,
    }[schedule.name]
    assert last == pytest.approx(expected if schedule.floor is None else schedule.floor)


@quick
@given(SCHEDULES, st.floats(0, 1))
def test_it_has_no_jump(schedule: Schedule, progress: float) -> None:
    warmup = warmup_of(schedule)
    here = schedule.factor(progress, warmup=warmup)
    there = schedule.factor(min(1.0, progress + 1e-9), warmup=warmup)
    # 1 - sqrt falls with no bound on its slope at the start of the decay.
    assert there == pytest.approx(here, abs=1e-3)


@quick
@given(SHARES, st.floats(0, 1), st.integers(1, 99))
def test_cosine_and_linear_are_those_of_torch(floor_share: float, floor: float, step: int) -> None:
    start = round(floor_share * 100)
    weight = torch.nn.Parameter(torch.zeros(()))

    def torch_factor(make: Any) -> float:
        optimizer = torch.optim.SGD([weight], lr=1.0)
        scheduler = make(optimizer)
        for _ in range(step):
            optimizer.step()
            scheduler.step()
        return float(optimizer.param_groups[0]["lr"])

    progress, warmup = (start + step * (100 - start) / 100) / 100, start / 100
    for name, make in (
        ("cosine", lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 100, eta_min=floor)),
        ("linear", lambda o: torch.optim.lr_scheduler.LinearLR(o, 1.0, max(floor, 1e-9), 100)),
    ):
        mine = Schedule(name=name, warmup=Warmup(share=warmup), floor=floor)
        assert mine.factor(progress, warmup=warmup) == pytest.approx(torch_factor(make), abs=1e-6)


def test_the_inverse_square_root_is_that_of_the_paper() -> None:
    """Vaswani et al. 2017: min(step ** -0.5, step * warmup ** -1.5), here relative to its peak."""
    schedule = Schedule(name="inverse-sqrt", warmup=Warmup(duration=Duration(steps=4000)))
    for step in (1, 100, 3999, 4000, 4001, 20_000, 100_000):
        paper = min(step**-0.5, step * 4000**-1.5) / 4000**-0.5
        assert schedule.at(Duration(steps=100_000), step=step) == pytest.approx(paper)


def test_the_decay_of_warmup_stable_decay() -> None:
    schedule = Schedule(name="warmup-stable-decay", warmup=Warmup(share=0.1), decay=0.25)
    assert schedule.factor(0.75, warmup=0.1) == 1.0
    assert schedule.factor(0.75 + 0.25 / 4, warmup=0.1) == pytest.approx(1 - math.sqrt(0.25))
    linear = Schedule(
        name="warmup-stable-decay", warmup=Warmup(share=0.1), decay=0.25, decay_shape="linear"
    )
    assert linear.factor(0.75 + 0.25 / 4, warmup=0.1) == pytest.approx(0.75)


# Over a run


@quick
@given(SCHEDULES, st.integers(1, 1000), st.floats(0, 1))
def test_the_unit_of_the_run_changes_nothing(
    schedule: Schedule, total: int, progress: float
) -> None:
    expected = schedule.factor(progress, warmup=warmup_of(schedule))
    for run, now in (
        (Duration(steps=total), {"step": total * progress}),
        (Duration(tokens=total), {"tokens": total * progress}),
        (Duration(seconds=float(total)), {"seconds": total * progress}),
        (Duration(steps=10**9, epochs=2.0), {"step": 1, "epochs": 2 * progress}),
    ):
        assert schedule.at(run, **now) == pytest.approx(expected, abs=2e-3)  # type: ignore[arg-type]


@quick
@given(st.sampled_from(["linear", "cosine"]), st.floats(0.1, 10.0), st.integers(1, 99))
def test_a_warm_up_in_another_unit_than_the_run(name: Any, speed: float, warm: int) -> None:
    """At a steady pace it is the same as a warm-up by the share that it takes."""
    total = 100 / speed
    schedule = Schedule(name=name, warmup=Warmup(duration=Duration(steps=warm)))
    same = Schedule(name=name, warmup=Warmup(share=warm / 100))
    for step in (0.5, 1.5, warm - 0.5, warm, warm + 0.5, 99.5):
        run = Duration(seconds=total)
        mine = schedule.at(run, step=step, seconds=step / speed)
        assert mine == pytest.approx(same.factor(step / 100, warmup=warm / 100), abs=1e-9)


def test_no_step_of_a_run_is_made_with_a_rate_of_zero() -> None:
    schedule = Schedule(name="linear", warmup=Warmup(share=0.1))
    factors = [schedule.at(Duration(steps=20), step=n + 0.5) for n in range(20)]
    assert min(factors) > 0
    assert schedule.at(Duration(seconds=1.0), step=0.5, seconds=0.0) == 0.0


# As written


@pytest.mark.parametrize(
    ("written", "warmup"),
    [
        ("100 steps", Warmup(duration=Duration(steps=100))),
        ("2M tokens", Warmup(duration=Duration(tokens=2_000_000))),
        ("5%", Warmup(share=0.05)),
        (0.05, Warmup(share=0.05)),
        (0, Warmup(share=0.0)),
        ({"steps": 100, "minutes": 1}, Warmup(duration=Duration(steps=100, seconds=60.0))),
    ],
)
def test_warm_ups_as_people_write_them(written: Any, warmup: Warmup) -> None:
    schedule = read_config({"name": "cosine", "warmup": written}, into=Schedule)
    assert schedule == Schedule(name="cosine", warmup=warmup)
    assert read_config(to_plain(schedule), into=Schedule) == schedule


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({"warmup": 100}, "write a duration such as 100 steps"),
        ({"warmup": -0.1}, "no share of the run"),
        ({"warmup": "x%"}, "not a share"),
        ({"warmup": "100 stps"}, "Did you mean 'steps'"),
        ({"warmup": True}, "warmup is True; it must be a mapping"),
        ({"name": "cosin"}, "Did you mean 'cosine'"),
        ({"floor": 2}, "floor is 2"),
        ({"name": "constant", "floor": 0.1}, "floor has no effect"),
        ({"name": "inverse-sqrt", "floor": 0.1}, "floor has no effect"),
        ({"name": "inverse-sqrt", "warmup": 0}, "Give it one"),
        ({"name": "cosine", "decay": 0.1}, "decay has no effect"),
        ({"name": "linear", "decay_shape": "sqrt"}, "decay_shape has no effect"),
        ({"name": "warmup-stable-decay", "decay": 0}, "decay is 0"),
        ({"name": "warmup-stable-decay", "decay": 0.8, "warmup": 0.3}, "longer than the run"),
    ],
)
def test_schedules_that_cannot_be(written: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_config(written, into=Schedule)
