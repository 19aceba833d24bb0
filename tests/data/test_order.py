"""Orders: every number once, others for other keys, any place without the ones before."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from hanlin.data.order import Permutation, rng
from hanlin.errors import ConfigError


@settings(deadline=None)
@given(
    size=st.integers(1, 3000),
    seed=st.integers(0, 2**63 - 1),
    epoch=st.integers(0, 2**40),
)
def test_a_permutation_holds_every_number_once(size: int, seed: int, epoch: int) -> None:
    order = Permutation(size, seed=seed, epoch=epoch).at(np.arange(size))
    assert sorted(order.tolist()) == list(range(size))


@settings(deadline=None)
@given(size=st.integers(1, 2**61), places=st.lists(st.integers(0, 2**61 - 1), min_size=1))
def test_places_are_read_one_by_one_as_all_together(size: int, places: list[int]) -> None:
    permutation = Permutation(size, seed=3, epoch=1)
    wanted = np.array(places) % size
    together = permutation.at(wanted)
    assert together.tolist() == [int(permutation.at(np.array(place))) for place in wanted]
    assert ((together >= 0) & (together < size)).all()
    assert len(set(together.tolist())) == len(set(wanted.tolist()))


def test_a_seed_and_an_epoch_give_an_order_of_their_own() -> None:
    orders = [
        tuple(Permutation(1000, seed=seed, epoch=epoch).at(np.arange(1000)).tolist())
        for seed in range(5)
        for epoch in range(5)
    ]
    assert len(set(orders)) == 25
    matches = [np.mean(np.array(a) == np.array(b)) for a in orders for b in orders if a is not b]
    assert np.mean(matches) == pytest.approx(1 / 1000, abs=3e-4)


@pytest.mark.parametrize("size", [5, 24, 1000])
def test_every_number_stands_everywhere_equally_often(size: int) -> None:
    rounds = 2000
    seen = np.stack(
        [
            Permutation(size, seed=11, epoch=epoch).at(np.array([0, size // 2, size - 1]))
            for epoch in range(rounds)
        ]
    )
    for column in seen.T:
        counts = np.bincount(column * min(size, 50) // size, minlength=min(size, 50))
        assert chisquare(counts).pvalue > 1e-3


def test_neighbours_do_not_stay_together() -> None:
    order = Permutation(10_000, seed=0, epoch=0).at(np.arange(10_000))
    ranks = np.corrcoef(order[:-1], order[1:])[0, 1]
    assert abs(ranks) < 0.04
    assert np.mean(np.abs(np.diff(order)) == 1) < 1e-3


def test_a_generator_depends_on_each_of_its_arguments_and_nothing_else() -> None:
    keys = [(0, 0, 0, 0), (1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)]
    drawn = [rng(s, e, i, purpose=p).random(4).tolist() for s, e, i, p in keys]
    assert drawn == [rng(s, e, i, purpose=p).random(4).tolist() for s, e, i, p in keys]
    assert len({tuple(row) for row in drawn}) == len(keys)


def test_what_cannot_be_ordered_is_refused() -> None:
    with pytest.raises(ConfigError, match="0 examples"):
        Permutation(0, seed=0, epoch=0)
    with pytest.raises(ConfigError, match="seed"):
        rng(-1, 0, 0)
