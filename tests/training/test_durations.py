"""How long a run lasts, as people write it, and how much of it is over."""

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hanlin.config import read_config, to_plain
from hanlin.errors import ConfigError
from hanlin.training.config import CheckpointSettings
from hanlin.training.durations import Duration

quick = settings(max_examples=60, deadline=None)


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("2000 steps", Duration(steps=2000)),
        ("1 step", Duration(steps=1)),
        ("2,000 steps", Duration(steps=2000)),
        ("2_000 Steps", Duration(steps=2000)),
        ("1e3 steps", Duration(steps=1000)),
        ("2k steps", Duration(steps=2000)),
        ("3 epochs", Duration(epochs=3.0)),
        (".5 epochs", Duration(epochs=0.5)),
        ("1.5 epoch", Duration(epochs=1.5)),
        ("50M tokens", Duration(tokens=50_000_000)),
        ("50m tokens", Duration(tokens=50_000_000)),
        ("1.5B tokens", Duration(tokens=1_500_000_000)),
        ("10 minutes", Duration(seconds=600.0)),
        ("10min", Duration(seconds=600.0)),
        ("10 min", Duration(seconds=600.0)),
        ("1 hour", Duration(seconds=3600.0)),
        ("1.5h", Duration(seconds=5400.0)),
        ("90 seconds", Duration(seconds=90.0)),
        ("90s", Duration(seconds=90.0)),
        (" 2 days ", Duration(seconds=172_800.0)),
    ],
)
def test_as_people_write_it(text: str, duration: Duration) -> None:
    assert Duration.parse(text) == duration


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a duration"),
        ("steps", "not a duration"),
        ("10", "of what"),
        ("10m", "minutes or millions"),
        ("10 parsecs", "no unit"),
        ("10 stesp", "Did you mean 'steps'"),
        ("-1 steps", "not a duration"),
        ("0 steps", "above zero"),
        ("1.5 steps", "not a whole number"),
        ("ten steps", "not a duration"),
        ("1 steps 2", "not a duration"),
        ("nan epochs", "not a duration"),
        ("1e999 epochs", "not a duration"),
    ],
)
def test_what_is_no_duration(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Duration.parse(text)


def read(every: Any) -> Duration:
    return read_config({"every": every}, into=CheckpointSettings).every


def test_several_units_at_once() -> None:
    expected = Duration(steps=2000, seconds=600.0)
    assert read({"steps": 2000, "minutes": 10}) == expected
    assert read({"step": "2k", "min": 10}) == expected
    assert str(expected) == "2000 steps or 10 minutes"


@pytest.mark.parametrize(
    ("every", "message"),
    [
        ({"minutes": 10, "hours": 1}, "given twice"),
        ({"stepps": 3}, "no unit of duration. Did you mean 'steps'"),
        ({}, "no amount"),
        ({"steps": True}, "not a number"),
        ({"steps": [3]}, "not a number"),
        (10, "10 of what"),
        (True, "it must be a mapping"),
        ([3], "it must be a mapping"),
    ],
)
def test_mappings_that_are_none(every: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read(every)


AMOUNT = st.floats(1e-3, 1e12)
DURATIONS = st.builds(
    lambda steps, epochs, tokens, seconds, first: Duration(
        steps=steps,
        epochs=epochs,
        tokens=tokens,
        seconds=first if (steps, epochs, tokens) == (None,) * 3 else seconds,
    ),
    st.none() | st.integers(1, 10**12),
    st.none() | AMOUNT,
    st.none() | st.integers(1, 10**15),
    st.none() | AMOUNT,
    AMOUNT,
)


@quick
@example(Duration(tokens=1_014_425_010))
@given(DURATIONS)
def test_what_is_written_reads_back(duration: Duration) -> None:
    assert read(to_plain(duration)) == duration


@quick
@given(DURATIONS, st.floats(0, 3))
def test_progress_is_that_of_the_first_to_end(duration: Duration, times: float) -> None:
    names = {"steps": "step"}
    amounts = duration.amounts
    assert duration.progress() == 0
    for name, amount in amounts.items():
        done = {names.get(name, name): amount * times}
        assert duration.progress(**done) == pytest.approx(min(1.0, times))
    everything = {names.get(name, name): amount for name, amount in amounts.items()}
    assert duration.progress(**everything) == 1.0


def test_progress_never_falls() -> None:
    duration = Duration(steps=10, seconds=5.0)
    seen = [duration.progress(step=n, seconds=0.1 * n * n) for n in range(12)]
    assert seen == sorted(seen)
    assert seen[7] == pytest.approx(4.9 / 5)  # time overtook the steps
    assert seen[8:] == [1.0] * 4
