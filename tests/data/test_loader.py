"""The loader: a pure function of the step, the same order for any number of ranks."""

import math
import threading
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hanlin.data.examples import Ids
from hanlin.data.loader import Loader
from hanlin.errors import ConfigError, InputError
from loader_cases import Numbers, collate, rows


def lengths_of(size: int) -> Ids:
    return np.random.default_rng(0).integers(1, 200, size)


@settings(max_examples=15, deadline=None)
@given(
    size=st.integers(1, 90),
    sequences=st.integers(4, 24),
    micro=st.sampled_from([None, 2, 4]),
    grouped=st.booleans(),
    shuffle=st.booleans(),
    data=st.data(),
)
def test_any_step_in_any_order_at_any_world_size(
    size: int,
    sequences: int,
    micro: int | None,
    grouped: bool,
    shuffle: bool,
    data: st.DataObject,
) -> None:
    examples = Numbers(size, lengths_of(size) if grouped else None)

    def step(number: int, world: int) -> list[tuple[int, int]]:
        parts = [
            Loader(
                examples,
                collate,
                sequences=sequences,
                micro=micro,
                seed=5,
                rank=rank,
                world=world,
                shuffle=shuffle,
            ).step(number)
            for rank in range(world)
        ]
        assert len({len(part) for part in parts}) == 1, "ranks differ in micro-batches"
        for part in parts:
            assert all(0 < len(b.ids) <= (micro or sequences) for b in part)
        return [row for part in parts for row in rows(part)]

    numbers = data.draw(st.lists(st.integers(0, 150), min_size=1, max_size=4))
    whole = Loader(examples, collate, sequences=sequences, micro=micro, seed=5, shuffle=shuffle)
    for number in numbers:
        alone = rows(whole.step(number))
        assert len(alone) == sequences
        for world in (1, 2, 3, 4):
            most = math.ceil(sequences / world)
            if sequences // world < math.ceil(most / (micro or sequences)):
                continue
            assert step(number, world) == alone


@pytest.mark.parametrize("grouped", [False, True])
def test_every_epoch_reads_every_example_once(grouped: bool) -> None:
    # 64 steps of 10, so that blocks of like lengths and epochs end together.
    size = 160
    loader = Loader(
        Numbers(size, lengths_of(size) if grouped else None), collate, sequences=10, seed=1
    )
    read = Counter(row for n in range(64) for row in rows(loader.step(n)))
    assert read == Counter((i, e) for e in range(4) for i in range(size))
    assert loader.steps_per_epoch == 16
    assert loader.epoch_at(24) == 1.5
    if not grouped:
        orders = [[i for i, e in rows(loader.step(n))] for n in (0, 16, 32)]
        assert len({tuple(order) for order in orders}) == 3


def test_like_lengths_come_together_and_long_and_short_batches_mix() -> None:
    size = 20_000
    lengths = np.random.default_rng(7).geometric(1 / 30, size)

    def waste(grouped: bool) -> tuple[float, list[float]]:
        loader = Loader(Numbers(size, lengths if grouped else None), collate, sequences=32, seed=2)
        read = [lengths[[i for i, _ in rows(loader.step(n))]] for n in range(128)]
        full = sum(int(part.max()) * len(part) for part in read)
        return 1 - sum(int(part.sum()) for part in read) / full, [float(p.mean()) for p in read]

    plain, _ = waste(False)
    grouped, means = waste(True)
    print(f"padding: {plain:.3f} as they come, {grouped:.3f} like beside like")
    assert grouped < 0.1 < 0.7 < plain
    assert abs(np.corrcoef(means, np.arange(len(means)))[0, 1]) < 0.3


@pytest.mark.parametrize("world", [1, 3])
def test_once_reads_each_example_once_in_order(world: int) -> None:
    read = []
    for rank in range(world):
        loader = Loader(Numbers(23), collate, sequences=6, micro=2, seed=0, rank=rank, world=world)
        batches = list(loader.once())
        assert all(len(batch.ids) <= 2 for batch in batches)
        read += rows(batches)
    assert sorted(read) == [(i, 0) for i in range(23)]


def test_prefetch_gives_the_same_steps_and_its_thread_ends() -> None:
    loader = Loader(Numbers(50), collate, sequences=8, seed=9)
    before = threading.active_count()
    got = [(n, rows(batches)) for n, batches in loader.prefetch(3, 9)]
    assert got == [(n, rows(loader.step(n))) for n in range(3, 9)]
    assert threading.active_count() == before
    endless = loader.prefetch(0)
    assert next(endless)[0] == 0
    endless.close()
    assert threading.active_count() == before


def test_an_error_in_a_batch_reaches_the_reader_and_ends_the_thread() -> None:
    class Broken(Numbers):
        def example(self, index: int, epoch: int) -> tuple[int, int]:
            raise InputError("broken")

    before = threading.active_count()
    with pytest.raises(InputError, match="broken"):
        next(Loader(Broken(5), collate, sequences=2, seed=0).prefetch(0))
    assert threading.active_count() == before


def test_no_more_than_the_wanted_steps_wait_in_memory() -> None:
    made: list[int] = []

    class Counting(Numbers):
        def example(self, index: int, epoch: int) -> tuple[int, int]:
            made.append(index)
            return index, epoch

    iterator = Loader(Counting(50), collate, sequences=1, seed=0).prefetch(0, ahead=2)
    next(iterator)
    iterator.close()
    assert len(made) <= 4


def test_what_cannot_be_dealt_out_is_refused() -> None:
    with pytest.raises(InputError, match="no examples"):
        Loader(Numbers(0), collate, sequences=4, seed=0)
    with pytest.raises(ConfigError, match="multiple of 4"):
        Loader(Numbers(9), collate, sequences=5, micro=1, seed=0, world=4)
    with pytest.raises(ConfigError, match="rank"):
        Loader(Numbers(9), collate, sequences=4, seed=0, rank=2, world=2)
    with pytest.raises(ConfigError, match="at least 1"):
        Loader(Numbers(9), collate, sequences=4, micro=0, seed=0)
