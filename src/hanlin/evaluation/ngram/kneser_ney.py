"""Interpolated modified Kneser-Ney: the n-gram model that others are measured against.

Chen and Goodman 1999, section 3. With c an n-gram's count, t its context's, and a discount D that
depends on c (1, 2, 3 or more):

    p(w | context) = (c - D(c)) / t + share(context) * p(w | context without its first symbol)

where share is what the discounts took. At the highest order c is how often the n-gram occurs, below
it in how many different contexts. The recursion ends at the uniform distribution over the V
symbols, so that every symbol has a probability and they sum to one.
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
class Smoothed:
    """One level ready for lookup."""

    keys: NDArray[np.int64]
    counts: NDArray[np.int32]
    """Of each n-gram: occurrences at the highest order, contexts below."""
    size: int
    """V."""
    discounts: NDArray[np.float64]
    """What is taken off counts of 0, 1, 2, and 3 or more [4]."""
    totals: NDArray[np.float64]
    """Sum of the counts that continue each context."""
    shares: NDArray[np.float64]
    """What each context leaves to the shorter one; 1 where nothing continues it."""

    @classmethod
    def of(
        cls,
        level: Level,
        counts: NDArray[np.int32],
        *,
        size: int,
        contexts: int | None,
        taken: NDArray[np.float64] | None,
    ) -> "Smoothed":
        """contexts: how many there are; None for the one of order 1. taken: discounts, if known."""
        if contexts is None:
            contexts = 1
            counts = counts.copy()
            counts[size] = 0  # a document's beginning is not predicted
        context = _contexts(level.keys, size, contexts)
        taken = discounts(counts) if taken is None else taken
        totals = np.bincount(context, counts, minlength=contexts).astype(np.float64)
        lost = np.bincount(context, taken[np.minimum(counts, 3)], minlength=contexts)
        shares = np.divide(lost, totals, out=np.ones(contexts), where=totals > 0)
        return cls(level.keys, counts, size, taken, totals, shares)

    def kept(self, ids: NDArray[np.integer]) -> NDArray[np.float64]:
        """The discounted count of each n-gram; 0 where it is unknown (-1)."""
        counts = np.where(ids >= 0, self.counts[ids], 0)
        return counts - self.discounts[np.minimum(counts, 3)]

    def kinds(self) -> NDArray[np.float64]:
        """How many n-grams of count 1, of 2, and of 3 or more continue each context [3, C]."""
        context = _contexts(self.keys, self.size, len(self.totals))
        return np.stack(
            [
                np.bincount(context, chosen, minlength=len(self.totals))
                for chosen in (self.counts == 1, self.counts == 2, self.counts >= 3)
            ]
        )


def _contexts(keys: NDArray[np.int64], size: int, count: int) -> NDArray[np.int64]:
    """The context of each n-gram; of order 1 there is one, which every symbol continues."""
    return keys // size if count > 1 else np.zeros(len(keys), dtype=np.int64)


class KneserNey:
    """A model of order n over V symbols; V itself stands before a document (see `counts`)."""

    def __init__(
        self,
        levels: Sequence[Level],
        *,
        size: int,
        discounts: Sequence[NDArray[np.float64]] | None = None,
    ) -> None:
        """discounts: of each order [4]; None: as `discounts` estimates them."""
        self.size = size
        self.levels = list(levels)
        below = [level.continuations for level in self.levels[:-1]]
        self.smoothed = [
            self._smooth(n, counts, None if discounts is None else discounts[n])
            for n, counts in enumerate([*below, self.levels[-1].counts])
        ]

    @classmethod
    def train(
        cls,
        symbols: NDArray[np.integer],
        *,
        size: int,
        order: int,
        discounts: Sequence[NDArray[np.float64]] | None = None,
    ) -> "KneserNey":
        """Count and smooth symbols [N]."""
        return cls(count(symbols, size=size, order=order), size=size, discounts=discounts)

    def lowered(self, order: int) -> "KneserNey":
        """The model of a lower order, of the same text."""
        return self if order == self.order else KneserNey(self.levels[:order], size=self.size)

    @property
    def order(self) -> int:
        """Symbols an n-gram has at most."""
        return len(self.levels)

    @property
    def discounts(self) -> list[NDArray[np.float64]]:
        """Of each order [4]."""
        return [smoothed.discounts for smoothed in self.smoothed]

    def log_probabilities(self, symbols: NDArray[np.integer]) -> NDArray[np.float64]:
        """Natural logarithm of each symbol's probability given those before it, float64 [N].

        0 at the marks that begin documents, which are not predicted.
        """
        p = np.full(len(symbols), 1 / self.size)
        for smoothed, (ids, contexts) in zip(self.smoothed, self.walk(symbols), strict=True):
            p = self._mixed(smoothed, ids, contexts, p, symbols)
        logs: NDArray[np.float64] = np.log(p)
        return logs

    def each_order(self, symbols: NDArray[np.integer]) -> list[NDArray[np.float64]]:
        """What the models of orders 1 to n, trained on the same text, give: as
        `log_probabilities`."""
        found = []
        p = np.full(len(symbols), 1 / self.size)
        for n, (ids, contexts) in enumerate(self.walk(symbols)):
            top = self._smooth(n, self.levels[n].counts, None)
            found.append(np.log(self._mixed(top, ids, contexts, p, symbols)))
            p = self._mixed(self.smoothed[n], ids, contexts, p, symbols)
        return found

    def distribution(self, context: Sequence[int]) -> NDArray[np.float64]:
        """The probability of every symbol after `context`, float64 [V]."""
        p = np.full(self.size, 1 / self.size)
        for n, smoothed in enumerate(self.smoothed[: len(context) + 1]):
            found = self._context(context[len(context) - n :])
            if found is None:
                break  # nor was a longer one seen
            first, last = np.searchsorted(
                smoothed.keys, [found * self.size, (found + 1) * self.size]
            )
            if smoothed.totals[found] > 0:
                p *= smoothed.shares[found]
                symbols = smoothed.keys[first:last] - found * self.size
                p[symbols] += smoothed.kept(np.arange(first, last)) / smoothed.totals[found]
        return p

    def walk(
        self, symbols: NDArray[np.integer]
    ) -> Iterator[tuple[NDArray[np.int32], NDArray[np.int32]]]:
        """Order by order: the ids of the n-grams that end at each place, and of their contexts."""
        ids = symbols.astype(np.int32)
        yield ids, np.zeros(len(ids), dtype=np.int32)
        for level in self.levels[1:]:
            contexts = shifted(ids)
            ids = level.find(contexts, symbols, self.size)
            yield ids, contexts

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

    def _smooth(
        self, n: int, counts: NDArray[np.int32], taken: NDArray[np.float64] | None
    ) -> Smoothed:
        contexts = len(self.levels[n - 1].keys) if n else None
        return Smoothed.of(self.levels[n], counts, size=self.size, contexts=contexts, taken=taken)

    def _mixed(
        self,
        smoothed: Smoothed,
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
        return p
