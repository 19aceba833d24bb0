"""Batches by step number: the loader has no state, so resuming needs nothing but the number.

Examples are read in the endless concatenation of one pseudo-random permutation per epoch; step n
takes `sequences` of them from place n * sequences on, or, where a step is to have so many tokens,
what `grouping.TokenSteps` cuts for it. Every rank computes the same order and takes a part of each
step, so the union over ranks is the same at any world size.
"""

import math
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from hanlin.data.batch import Batch
from hanlin.data.examples import Examples, Ids
from hanlin.data.grouping import TokenSteps, like_beside_like, padded, sides
from hanlin.data.order import Permutation
from hanlin.errors import ConfigError, InputError

_BLOCK = 64
"""Steps among whose examples like is put beside like, where lengths differ: 64 steps of 64 leave
8 % of padding on translations, and sorting them takes under a millisecond."""

Order = tuple[Ids, Ids]
"""Index and epoch of each example."""


class Loader:
    """Turns examples into the micro-batches of each step."""

    def __init__(
        self,
        examples: Examples,
        collate: Callable[[Sequence[Any]], Batch],
        *,
        sequences: int = 1,
        tokens: int | None = None,
        micro: int | None = None,
        seed: int,
        rank: int = 0,
        world: int = 1,
        shuffle: bool = True,
    ) -> None:
        """Read `sequences` examples a step over all ranks, at most `micro` at once on each; or with
        `tokens` as many as have so many tokens, padding included.

        All ranks have the same number of micro-batches in a step. Raises `ConfigError` where the
        sequences cannot be dealt out so, and `InputError` where there are no examples.
        """
        if len(examples) == 0:
            raise InputError("There are no examples to read. Give more text.")
        if sequences < 1 or (micro is not None and micro < 1):
            raise ConfigError("batch.sequences and batch.micro must be at least 1. Raise them.")
        if not 0 <= rank < world:
            raise ConfigError(f"rank is {rank}; it must be from 0 to {world - 1}.")
        self._by_tokens: TokenSteps | None = None
        if tokens is not None:
            if micro is not None or sequences != 1:
                raise ConfigError(
                    "A step of so many tokens is not cut into micro-batches. Lower batch.tokens, "
                    "or give batch.sequences and batch.micro instead of it."
                )
            if examples.lengths is None:
                raise ConfigError(
                    "These examples are all of one length. Give batch.sequences, not batch.tokens."
                )
            self._by_tokens = TokenSteps(examples.lengths, tokens)
            sequences = world
        most = -(-sequences // world)
        self._parts = 1 if micro is None else -(-most // micro)
        if sequences // world < self._parts:
            raise ConfigError(
                f"{sequences} sequences a step cannot be dealt out to {world} ranks in "
                f"{self._parts} micro-batches each. Make batch.sequences a multiple of {world}."
            )
        self.examples = examples
        self.collate = collate
        self.sequences = sequences
        self._seed = seed
        self._rank, self._world = rank, world
        self._shuffle = shuffle
        self._last_block: tuple[int, Order] | None = None

    @property
    def steps_per_epoch(self) -> float:
        """How many steps read every example once."""
        if self._by_tokens is not None:
            return self._by_tokens.steps
        return len(self.examples) / self.sequences

    def epoch_at(self, step: int) -> float:
        """How many epochs have been read before `step`."""
        return step / self.steps_per_epoch

    @property
    def notes(self) -> tuple[str, ...]:
        """What whoever starts a run should know, a sentence each."""
        lengths = self.examples.lengths
        if lengths is None:
            return self.examples.notes
        if self._by_tokens is not None:
            share = self._by_tokens.padding()
        else:
            share = self._padding(sides(lengths))
        return (*self.examples.notes, f"About {share:.1%} of the tokens read will be padding.")

    def _padding(self, lengths_NS: Ids) -> float:
        real = places = 0
        for step in range(min(_BLOCK, math.ceil(self.steps_per_epoch))):
            parts = np.array_split(lengths_NS[self._order(step)[0]], self._parts * self._world)
            real += sum(int(part.sum()) for part in parts)
            places += sum(padded(part) for part in parts)
        return 1 - real / places

    def step(self, number: int) -> list[Batch]:
        """The micro-batches of step `number` (from 0) for this rank.

        Raises `ConfigError` where steps of so many tokens have fewer sequences than ranks.
        """
        if self._by_tokens is not None and self._by_tokens.fewest < self._world:
            raise ConfigError(
                f"A step of so many tokens can have {self._by_tokens.fewest} sequences, and there "
                f"are {self._world} processes. Raise batch.tokens."
            )
        index, epoch = self._order(number)
        mine = self._mine(len(index))
        return [
            self._batch(rows, epochs)
            for rows, epochs in zip(
                np.array_split(index[mine], self._parts),
                np.array_split(epoch[mine], self._parts),
                strict=True,
            )
        ]

    def _mine(self, rows: int) -> slice:
        """This rank's part of the rows of a step."""
        rank, world = self._rank, self._world
        return slice(rank * rows // world, (rank + 1) * rows // world)

    def once(self) -> Iterator[Batch]:
        """Each example of epoch 0 once over all ranks, in order, unshuffled: for validation.

        In the order of their lengths where a step has so many tokens. The last batch may be
        smaller, and a rank may have one batch less than another.
        """
        if self._by_tokens is not None:
            for rows in self._by_tokens.plain()[self._rank :: self._world]:
                yield self._batch(rows, np.zeros_like(rows))
            return
        mine = self._mine(self.sequences)
        most = max(1, -(-(mine.stop - mine.start) // self._parts))
        indices = np.arange(self._rank, len(self.examples), self._world)
        for at in range(0, len(indices), most):
            rows = indices[at : at + most]
            yield self._batch(rows, np.zeros_like(rows))

    def prefetch(
        self, start: int, stop: int | None = None, *, ahead: int = 2
    ) -> Generator[tuple[int, list[Batch]], None, None]:
        """Steps from `start` on (to `stop`, excluded), the next `ahead` made on another thread.

        An error in making a batch is raised here. The thread ends with the iterator; close() it, or
        let it go, to stop early.
        """
        pool = ThreadPoolExecutor(1, thread_name_prefix="hanlin-loader")
        waiting: deque[tuple[int, Future[list[Batch]]]] = deque()
        upcoming = start
        try:
            while True:
                while len(waiting) <= ahead and (stop is None or upcoming < stop):
                    waiting.append((upcoming, pool.submit(self.step, upcoming)))
                    upcoming += 1
                if not waiting:
                    return
                number, batches = waiting.popleft()
                yield number, batches.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _batch(self, index: Ids, epoch: Ids) -> Batch:
        pairs = zip(index.tolist(), epoch.tolist(), strict=True)
        return self.collate([self.examples.example(i, e) for i, e in pairs])

    def _order(self, step: int) -> Order:
        if self._by_tokens is not None:
            rows, number = self._by_tokens.step(step, seed=self._seed)
            return rows, np.full_like(rows, number)
        lengths = self.examples.lengths
        if lengths is None or not self._shuffle:
            return self._at(step * self.sequences, self.sequences)
        block, row = divmod(step, _BLOCK)
        kept = self._last_block
        if kept is None or kept[0] != block:
            size = _BLOCK * self.sequences
            index, epoch = self._at(block * size, size)
            by_length = like_beside_like(sides(lengths[index]))
            kept = (block, (index[by_length], epoch[by_length]))
            self._last_block = kept
        index, epoch = kept[1]
        turn = int(Permutation(_BLOCK, seed=self._seed, epoch=block).at(np.array(row)))
        mine = slice(turn * self.sequences, (turn + 1) * self.sequences)
        return index[mine], epoch[mine]

    def _at(self, first: int, count: int) -> Order:
        """Index and epoch of `count` examples from place `first` of the endless order."""
        size = len(self.examples)
        epoch, index = np.divmod(np.arange(first, first + count, dtype=np.int64), size)
        if self._shuffle:
            for e in range(int(epoch[0]), int(epoch[-1]) + 1):
                here = epoch == e
                index[here] = Permutation(size, seed=self._seed, epoch=e).at(index[here])
        return index, epoch
