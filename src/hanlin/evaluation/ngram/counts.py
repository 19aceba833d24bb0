"""Counting every n-gram of a text, up to an order, as sorted arrays.

An n-gram is named by the n-gram of one symbol less that it continues, its *context*, and its last
symbol: key = context * V + symbol. Keys are sorted and unique, an n-gram's id is its place among
them, and so the id of the n-gram that ends at each place of a text follows from the id of the
(n-1)-gram that ends one place before it, for the whole text at once:

    id[n][i] = find(keys[n], id[n-1][i-1] * V + symbol[i])

``V`` symbols, 0 to V-1; V itself stands before each document: n-grams may begin with it, it is
never predicted, and nothing reaches across it.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int32]
"""N-gram ids, one a place of a text; -1 where that n-gram is unknown or would cross a border."""

_PIECE = 1 << 24
"""Places sorted at a time: 0.6 GB while they are."""


@dataclass(frozen=True)
class Level:
    """All n-grams of one order."""

    keys: NDArray[np.int64]
    """Sorted, unique: context * V + symbol."""
    counts: NDArray[np.int32]
    """How often each occurs."""
    continuations: NDArray[np.int32]
    """How many different symbols come before it; where a document begins with it, how often it
    occurs. Empty at the highest order."""

    def find(self, contexts: Ids, symbols: NDArray[np.integer], size: int) -> Ids:
        """The id of each n-gram: its context's id (-1: unknown) and its last symbol."""
        known = (contexts >= 0) & (symbols < size)
        keys = np.where(known, contexts.astype(np.int64) * size + symbols, -1)
        places = np.searchsorted(self.keys, keys)
        places[places == len(self.keys)] = 0
        if len(self.keys):
            known &= self.keys[places] == keys
        else:
            known[:] = False
        return np.where(known, places, -1).astype(np.int32)


def shifted(ids: Ids) -> Ids:
    """The id of the n-gram that ends one place earlier."""
    moved = np.empty_like(ids)
    moved[:1], moved[1:] = -1, ids[:-1]
    return moved


def count(symbols: NDArray[np.integer], *, size: int, order: int) -> list[Level]:
    """Count the n-grams of orders 1 to `order` in symbols [N], where `size` is V.

    A text too short for the highest orders gives fewer.
    """
    ids = symbols.astype(np.int32)
    occurrences = np.bincount(ids, minlength=size + 1).astype(np.int32)
    level = Level(np.arange(size + 1, dtype=np.int64), occurrences, _EMPTY)
    levels = []
    for _ in range(2, order + 1):
        longer, ids, before = _extended(level, ids, symbols, size)
        if not len(longer.keys):
            break
        levels.append(Level(level.keys, level.counts, before))
        level = longer
    return [*levels, level]


_EMPTY = np.zeros(0, dtype=np.int32)


def _extended(
    level: Level, ids: Ids, symbols: NDArray[np.integer], size: int
) -> tuple[Level, Ids, NDArray[np.int32]]:
    """The level one order above `level`, its ids at every place, and `level`'s continuations."""
    contexts = shifted(ids)
    longer = np.full(len(ids), -1, dtype=np.int32)
    keys, counts = [np.zeros(0, dtype=np.int64)], [_EMPTY]
    before = np.zeros(len(level.keys), dtype=np.int32)
    known = 0
    for first, last in _pieces(level.counts):
        places = np.flatnonzero((contexts >= first) & (contexts < last) & (symbols < size))
        key = contexts[places].astype(np.int64) * size + symbols[places]
        order = np.argsort(key)
        key, places = key[order], places[order]
        new = np.ones(len(key), dtype=np.bool_)
        new[1:] = key[1:] != key[:-1]
        longer[places] = known + np.cumsum(new, dtype=np.int32) - 1
        starts = np.flatnonzero(new)
        keys.append(key[starts])
        counts.append(np.diff(starts, append=len(key)).astype(np.int32))
        known += len(starts)
        # Each n-gram of the longer order is one symbol before the shorter that ends there.
        before += np.bincount(ids[places[starts]], minlength=len(before)).astype(np.int32)
    alone = before == 0  # nothing stands before it: a document begins with it
    before[alone] = level.counts[alone]
    return Level(np.concatenate(keys), np.concatenate(counts), _EMPTY), longer, before


def _pieces(counts: NDArray[np.int32]) -> list[tuple[int, int]]:
    """Ranges of context ids that together occur some `_PIECE` times each."""
    total = np.cumsum(counts, dtype=np.int64)
    goals = np.arange(_PIECE, int(total[-1]) + _PIECE, _PIECE)
    borders = [0, *(int(b) + 1 for b in np.searchsorted(total, goals[:-1])), len(counts)]
    return [(a, b) for a, b in pairwise(borders) if b > a]
