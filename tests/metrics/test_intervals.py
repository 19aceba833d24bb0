"""Intervals of ratios: against scipy, and by how often they hold the truth."""

import numpy as np
import pytest

from hanlin.errors import ConfigError
from hanlin.metrics import interval_of_ratio
from hanlin.metrics.bootstrap import FEWEST


def documents(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Costs and sizes of documents whose true ratio is 0.6."""
    sizes = rng.integers(50, 5000, count).astype(float)
    return 0.6 * sizes * rng.gamma(4.0, 0.25, count), sizes


@pytest.mark.parametrize(("seed", "count"), [(1, 12), (2, 60), (3, 400)])
def test_the_interval_is_scipys_bca(seed, count):
    stats = pytest.importorskip("scipy.stats")
    costs, sizes = documents(np.random.default_rng(seed), count)
    want = stats.bootstrap(
        (costs, sizes),
        lambda a, b, axis=-1: a.sum(axis) / b.sum(axis),
        paired=True,
        vectorized=True,
        n_resamples=20_000,
        method="BCa",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    got = interval_of_ratio(costs, sizes, resamples=20_000)
    assert got is not None
    width = want.high - want.low
    assert got == pytest.approx((want.low, want.high), abs=0.06 * width)


def test_it_holds_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    held = 0
    for trial in range(400):
        costs, sizes = documents(rng, 40)
        found = interval_of_ratio(costs, sizes, resamples=500, seed=trial)
        assert found is not None
        held += found[0] <= 0.6 <= found[1]
    assert 0.90 <= held / 400 <= 0.98


def test_a_seed_repeats_it_and_units_do_not_change_it():
    costs, sizes = documents(np.random.default_rng(5), 50)
    once = interval_of_ratio(costs, sizes, seed=3)
    assert once == interval_of_ratio(costs, sizes, seed=3)
    assert once != interval_of_ratio(costs, sizes, seed=4)
    assert once is not None
    doubled = interval_of_ratio(2 * costs, sizes, seed=3)
    assert doubled == pytest.approx([2 * end for end in once])


def test_of_very_many_documents_it_is_the_normal_one():
    """Dealt into groups; the delta method is exact in the limit."""
    costs, sizes = documents(np.random.default_rng(6), 30_000)
    found = interval_of_ratio(costs, sizes)
    assert found is not None
    ratio = costs.sum() / sizes.sum()
    error = np.sqrt(((costs - ratio * sizes) ** 2).sum()) / sizes.sum()
    assert found == pytest.approx((ratio - 1.96 * error, ratio + 1.96 * error), abs=0.2 * error)


def test_of_few_documents_there_is_none():
    costs, sizes = documents(np.random.default_rng(7), FEWEST)
    assert interval_of_ratio(costs, sizes) is not None
    assert interval_of_ratio(costs[1:], sizes[1:]) is None
    empty = np.zeros(20)
    assert interval_of_ratio([*costs[1:], *empty], [*sizes[1:], *empty]) is None
    assert interval_of_ratio([], []) is None


def test_documents_that_are_all_alike_leave_no_doubt():
    assert interval_of_ratio(np.full(20, 3.0), np.full(20, 2.0)) == pytest.approx((1.5, 1.5))


@pytest.mark.parametrize(
    ("costs", "sizes", "settings", "named"),
    [
        ([1.0, 2.0], [1.0], {}, "one length"),
        ([1.0], [-1.0], {}, "negative"),
        ([1.0], [1.0], {"confidence": 1.0}, "confidence"),
        ([1.0], [1.0], {"resamples": 0}, "resamples"),
    ],
)
def test_what_makes_no_sense_is_refused(costs, sizes, settings, named):
    with pytest.raises(ConfigError, match=named):
        interval_of_ratio(costs, sizes, **settings)
