"""Interpolated modified Kneser-Ney: the n-gram model that others are measured against.

Chen and Goodman 1999, section 3. With c an n-gram's count, t its context's, and a discount D that
depends on c (1, 2, 3 or more):

    p(w | context) = (c - D(c)) / t + share(context) * p(w | context without its first symbol)

where share is what the discounts took. At the highest order c is how often the n-gram occurs, below
it in how many different contexts. The recursion ends at the uniform distribution over the V symbols,
so that every symbol has a probability and they sum to one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hanlin.evaluation.ngram.counts import Level, count, shifted

_FALLBACK = (0.5, 1.0, 1.5)
"""Discounts where counts of counts do not say: too few n-grams, or none seen once."""


def discounts(counts: NDArray[np.int32]) -> NDArray[np.float64]:
    """What is taken off counts of 0, 1, 2, and 3 or more: float64 [4], the first 0.

    Each is estimated from how many n-grams have counts 1 to 4; where that gives nothing or nonsense
    (below zero, or more than the count itself), `_FALLBACK` stands in.
    """
    once, twice, thrice, four = (int((counts == c).sum()) for c in (1, 2, 3, 4))
    if min(once, twice) == 0:
        return np.array([0.0, *_FALLBACK])
    y = once / (once + 2 * twice)
    estimates = [1 - 2 * y * twice / once, 2 - 3 * y * thrice / twice]
    estimates.append(3 - 4 * y * four / thrice if thrice else 0.0)
    taken = [
        estimate if 0 < estimate < limit else fallback
        for limit, (estimate, fallback) in enumerate(
            zip(estimates, _FALLBACK, strict=True), start=1
        )
    ]
    return np.array([0.0, *taken])


@dataclass(frozen=True)
class _Smoothed:
    """One level ready for lookup."""

    level: Level
    counts: NDArray[np.int32]
    """Of each n-gram: occurrences at the highest order, contexts below."""
    totals: NDArray[np.float64]
    """Sum of the counts that continue each context."""
    shares: NDArray[np.float64]
    """What each context leaves to the shorter one; 1 where nothing continues it."""
    discounts: NDArray[np.float64]

    @classmethod
    def of(
        cls, level: Level, counts: NDArray[np.int32], *, contexts: int, size: int
    ) -> "_Smoothed":
        taken = discounts(counts)
        context = level.keys // size if contexts > 1 else np.zeros(len(counts), dtype=np.int64)
        totals = np.bincount(context, counts, minlength=contexts)
        lost = np.bincount(context, taken[np.minimum(counts, 3)], minlength=contexts)
        shares = np.divide(lost, totals, out=np.ones(contexts), where=totals > 0)
        return cls(level, counts, totals, shares, taken)

    def kept(self, ids: NDArray[np.integer]) -> NDArray[np.float64]:
        """The discounted count of each n-gram; 0 where it is unknown (-1)."""
        counts = np.where(ids >= 0, self.counts[ids], 0)
        return counts - self.discounts[np.minimum(counts, 3)]  # type: ignore[no-any-return]


class KneserNey:
    """A model of order n over V symbols; V itself stands before a document (see `counts`)."""

    def __init__(self, levels: Sequence[Level], *, size: int) -> None:
        self.size = size
        self.levels = list(levels)
        self._below = [
            self._smoothed(n, level.continuations) for n, level in enumerate(self.levels[:-1])
        ]
        self._top = self._smoothed(self.order - 1, self.levels[-1].counts)

    @classmethod
    def train(cls, symbols: NDArray[np.integer], *, size: int, order: int) -> "KneserNey":
        """Count and smooth symbols [N]."""
        return cls(count(symbols, size=size, order=order), size=size)

    @property
    def order(self) -> int:
        """Symbols an n-gram has at most."""
        return len(self.levels)

    def log_probabilities(self, symbols: NDArray[np.integer]) -> NDArray[np.float64]:
        """Natural logarithm of each symbol's probability given those before it, float64 [N].

        0 at the marks that begin documents, which are not predicted.
        """
        for p in self._by_order(symbols, self._top):
            probability = p
        return np.log(probability)

    def each_order(self, symbols: NDArray[np.integer]) -> list[NDArray[np.float64]]:
        """What the models of orders 1 to n, trained on the same text, give: as
        `log_probabilities`."""
        found = []
        below: NDArray[np.float64] = np.ones(0)
        for n, (ids, contexts) in enumerate(self._walk(symbols)):
            lower = np.full(len(symbols), 1 / self.size) if n == 0 else below
            top = self._top if n == self.order - 1 else self._smoothed(n, self.levels[n].counts)
            found.append(np.log(self._mixed(top, ids, contexts, lower, symbols)))
            if n < self.order - 1:
                below = self._mixed(self._below[n], ids, contexts, lower, symbols)
        return found

    def distribution(self, context: Sequence[int]) -> NDArray[np.float64]:
        """The probability of every symbol after `context`, float64 [V]."""
        p = np.full(self.size, 1 / self.size)
        for n in range(self.order):
            if n > len(context):
                break
            found = self._context(context[len(context) - n :])
            if found is None:
                break
            smoothed = self._top if n == self.order - 1 else self._below[n]
            keys = smoothed.level.keys
            if n == 0:
                first, last = 0, self.size
            else:
                first, last = np.searchsorted(keys, [found * self.size, (found + 1) * self.size])
            if smoothed.totals[found] == 0:
                continue
            p *= smoothed.shares[found]
            ids = np.arange(first, last)
            p[keys[first:last] % self.size if n else ids] += (
                smoothed.kept(ids) / smoothed.totals[found]
            )
        return p

    def _context(self, symbols: Sequence[int]) -> int | None:
        """The id of the n-gram `symbols`, 0 if there are none; None if it was never seen."""
        if not symbols:
            return 0
        found = symbols[0]
        for level, symbol in zip(self.levels[1:], symbols[1:], strict=False):
            [found] = level.find(np.array([found], np.int32), np.array([symbol]), self.size)
            if found < 0:
                return None
        return int(found)

    def _smoothed(self, n: int, counts: NDArray[np.int32]) -> _Smoothed:
        if n == 0:
            counts = counts.copy()
            counts[self.size] = 0  # a document's beginning is not predicted
            return _Smoothed.of(self.levels[0], counts, contexts=1, size=self.size)
        contexts = len(self.levels[n - 1].keys)
        return _Smoothed.of(self.levels[n], counts, contexts=contexts, size=self.size)

    def _walk(
        self, symbols: NDArray[np.integer]
    ) -> Iterator[tuple[NDArray[np.int32], NDArray[np.int32]]]:
        """Order by order: the ids of the n-grams that end at each place, and of their contexts."""
        ids = symbols.astype(np.int32)
        yield ids, np.zeros(len(ids), dtype=np.int32)
        for level in self.levels[1:]:
            contexts = shifted(ids)
            ids = level.find(contexts, symbols, self.size)
            yield ids, contexts

    def _by_order(
        self, symbols: NDArray[np.integer], top: _Smoothed
    ) -> Iterator[NDArray[np.float64]]:
        p = np.full(len(symbols), 1 / self.size)
        for smoothed, (ids, contexts) in zip(
            [*self._below, top], self._walk(symbols), strict=True
        ):
            p = self._mixed(smoothed, ids, contexts, p, symbols)
            yield p

    def _mixed(
        self,
        smoothed: _Smoothed,
        ids: NDArray[np.int32],
        contexts: NDArray[np.int32],
        lower: NDArray[np.float64],
        symbols: NDArray[np.integer],
    ) -> NDArray[np.float64]:
        """p(w | context), given p(w | shorter context)."""
        totals = np.where(contexts >= 0, smoothed.totals[contexts], 0.0)
        own = np.divide(smoothed.kept(ids), totals, out=np.zeros(len(ids)), where=totals > 0)
        share = np.where(contexts >= 0, smoothed.shares[contexts], 1.0)
        p = own + share * lower
        p[symbols == self.size] = 1.0
        return p  # type: ignore[no-any-return]
