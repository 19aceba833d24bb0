"""A thinned curve is small, keeps every extreme, and depends on its points alone."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hanlin.reports.thinning import Curve, thin

values = st.lists(st.floats(-1e9, 1e9), max_size=400)


def numbered(ys: list[float]) -> list[tuple[float, float]]:
    return [(float(i), y) for i, y in enumerate(ys)]


@given(values)
def test_few_points_are_kept_as_they_are(ys: list[float]) -> None:
    assert thin(numbered(ys)).extremes() == numbered(ys)
    assert thin(numbered(ys)).means() == numbered(ys)


@given(values, st.sampled_from([2, 4, 8, 16]))
def test_many_points_keep_order_and_extremes(ys: list[float], stretches: int) -> None:
    curve = thin(numbered(ys), stretches=stretches)
    kept = curve.extremes()
    assert len(kept) <= 2 * stretches
    assert len(curve.means()) <= stretches
    assert kept == sorted(kept)
    assert set(kept) <= set(numbered(ys))
    if ys:
        assert min(y for _, y in kept) == min(ys)
        assert max(y for _, y in kept) == max(ys)
        # The means weigh alike but for the last: their weighted mean is the mean of all.
        assert curve.count == len(ys)


def test_means_are_those_of_equal_stretches() -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    rng = random.Random(seed)
    ys = [rng.gauss(0, 1) for _ in range(1000)]
    curve = thin(numbered(ys), stretches=64)
    size = 16  # 1000 points in at most 64 stretches: 16 each, in 63
    expected = [
        (sum(range(i, min(i + size, 1000))) / len(ys[i : i + size]),
         sum(ys[i : i + size]) / len(ys[i : i + size]))
        for i in range(0, 1000, size)
    ]  # fmt: skip
    for (x, y), (x_expected, y_expected) in zip(curve.means(), expected, strict=True):
        assert x == pytest.approx(x_expected)
        assert y == pytest.approx(y_expected)


@given(values)
def test_a_smoothed_constant_is_that_constant(ys: list[float]) -> None:
    curve = thin(((x, 3.5) for x, _ in numbered(ys)), stretches=32)
    assert all(y == pytest.approx(3.5) for _, y in curve.smooth())


def test_a_smoothed_line_does_not_lag() -> None:
    curve = thin((float(i), 2.0 * i) for i in range(512))
    for x, y in curve.smooth(0.1)[:450]:
        assert y == pytest.approx(2 * x)


def test_a_smoothed_curve_ends_in_the_mean_of_what_came_last() -> None:
    curve = thin((float(i), float(i % 2)) for i in range(512))
    assert curve.smooth(0.1)[-1][1] == pytest.approx(0.5, abs=0.02)


def test_what_is_no_number_is_set_aside() -> None:
    curve = thin([(1, 1.0), (2, math.nan), (3, math.inf), (4, 2.0)])
    assert curve.extremes() == [(1, 1.0), (4, 2.0)]
    assert [x for x, _ in curve.odd] == [2, 3]
    assert curve.last == 2.0


def test_endless_trouble_is_counted_not_kept() -> None:
    curve = thin((float(i), math.nan) for i in range(10_000))
    assert curve.odd_count == 10_000
    assert len(curve.odd) < 1000


def test_an_odd_number_of_stretches_is_refused() -> None:
    with pytest.raises(ValueError, match="even"):
        Curve(3)
