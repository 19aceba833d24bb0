"""Steps of so many tokens: a pure function of the step's number, with little padding."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hanlin.data.examples import Ids
from hanlin.data.grouping import TokenSteps, like_beside_like, padded
from hanlin.data.loader import Loader
from hanlin.errors import ConfigError
from loader_cases import Numbers, collate, rows


def translations(size: int, seed: int = 0) -> Ids:
    """Lengths of two sides that go with each other, as a text's and its translation's do."""
    generator = np.random.default_rng(seed)
    source = generator.geometric(1 / 14, size) + 3
    return np.stack([source, np.maximum(2, source + generator.integers(-4, 7, size))], 1)


@settings(max_examples=30, deadline=None)
@given(size=st.integers(1, 120), tokens=st.integers(20, 900), seed=st.integers(0, 99))
def test_every_epoch_reads_every_example_once(size: int, tokens: int, seed: int) -> None:
    loader = Loader(Numbers(size, translations(size, seed)), collate, tokens=tokens, seed=seed)
    steps = loader.steps_per_epoch
    read = Counter(row for n in range(3 * int(steps)) for row in rows(loader.step(n)))
    assert read == Counter((i, e) for e in range(3) for i in range(size))
    assert loader.epoch_at(2 * int(steps)) == 2


@settings(max_examples=20, deadline=None)
@given(size=st.integers(30, 120), numbers=st.lists(st.integers(0, 99), min_size=1, max_size=4))
def test_a_step_depends_on_its_number_alone_at_any_world_size(
    size: int, numbers: list[int]
) -> None:
    lengths = translations(size)
    whole = Loader(Numbers(len(lengths), lengths), collate, tokens=400, seed=5)
    fewest = int(min(len(rows) for rows in TokenSteps(lengths, 400).plain()))
    for number in numbers:
        alone = rows(whole.step(number))
        for world in (1, 2, 3):
            if world > fewest:
                small = Loader(
                    Numbers(len(lengths), lengths), collate, tokens=400, seed=5, world=world
                )
                with pytest.raises(ConfigError, match=r"Raise batch\.tokens"):
                    small.step(number)
                continue
            parts = [
                Loader(
                    Numbers(len(lengths), lengths),
                    collate,
                    tokens=400,
                    seed=5,
                    rank=rank,
                    world=world,
                ).step(number)
                for rank in range(world)
            ]
            assert all(len(part) == 1 and len(part[0].ids) for part in parts)
            assert [row for part in parts for row in rows(part)] == alone


def test_no_step_is_larger_than_asked_and_padding_is_small() -> None:
    lengths = translations(20_000)
    steps = TokenSteps(lengths, 4096)
    sizes = [padded(lengths[taken]) for taken in steps.plain()]
    assert max(sizes) <= 4096 * 1.25  # a short last step joins the one before it
    assert sum(size <= 4096 for size in sizes) >= len(sizes) - 1
    assert np.mean(sizes) > 0.9 * 4096
    assert steps.padding() < 0.05
    shuffled = [padded(lengths[steps.step(n, seed=1)[0]]) for n in range(steps.steps)]
    assert sorted(shuffled) == sorted(sizes)
    assert abs(np.corrcoef(shuffled[:-1], np.arange(len(shuffled) - 1))[0, 1]) < 0.3
    loader = Loader(Numbers(len(lengths), lengths), collate, tokens=4096, seed=1)
    assert loader.notes == (f"About {steps.padding():.1%} of the tokens read will be padding.",)


def test_equal_lengths_come_together_anew_in_every_epoch() -> None:
    lengths = np.full((64, 2), 5)
    loader = Loader(Numbers(len(lengths), lengths), collate, tokens=80, seed=0)
    first, second = (
        {frozenset(i for i, _ in rows(loader.step(n))) for n in range(8 * e, 8 * e + 8)}
        for e in (0, 1)
    )
    assert first != second


def test_both_sides_are_in_order() -> None:
    lengths = translations(5_000, seed=3)
    ordered = lengths[like_beside_like(lengths)]
    assert (np.diff(ordered[:, 1]) >= 0).all()
    same = np.diff(ordered[:, 1]) == 0
    ups = np.diff(ordered[:, 0])[same & (ordered[1:, 1] % 2 == 0)]
    downs = np.diff(ordered[:, 0])[same & (ordered[1:, 1] % 2 == 1)]
    assert (ups >= 0).all()
    assert (downs <= 0).all()


@pytest.mark.parametrize("world", [1, 2])
def test_once_reads_each_example_once(world: int) -> None:
    lengths = translations(90)
    read = []
    for rank in range(world):
        loader = Loader(
            Numbers(len(lengths), lengths), collate, tokens=2000, seed=0, rank=rank, world=world
        )
        read += rows(list(loader.once()))
    assert sorted(read) == [(i, 0) for i in range(90)]


def test_what_does_not_go_together_is_refused() -> None:
    with pytest.raises(ConfigError, match="micro-batches"):
        Loader(Numbers(9, translations(9)), collate, tokens=100, micro=2, seed=0)
    with pytest.raises(ConfigError, match="one length"):
        Loader(Numbers(9), collate, tokens=100, seed=0)
