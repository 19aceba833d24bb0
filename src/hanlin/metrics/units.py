"""What a corpus metric is computed from: numbers of each example, and a function of their sums.

BLEU is a function of counts of n-grams, F1 of counts of hits and misses, a mean of a sum and a
number. Kept as units, a metric has a value, a bootstrap interval, and a paired test beside another
model's units, all from the same few numbers.

Shapes: U units (examples), S statistics of a unit.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from hanlin.errors import InputError
from hanlin.metrics.bootstrap import RESAMPLES, Floats, Function, interval_of_sums, ratio
from hanlin.metrics.score import Score, signature


@dataclass(frozen=True)
class Units:
    """The statistics of every example, and how a value comes from their sums."""

    statistics: Floats
    """[U, S]"""
    function: Function
    """Sums [M, S] to values [M]."""
    about: str = ""
    """How it was computed, the first part of the signature."""

    def __post_init__(self) -> None:
        if self.statistics.ndim != 2 or len(self.statistics) == 0:
            raise InputError("There is nothing to score. Give at least one example.")

    @property
    def value(self) -> float:
        """The function of the sums over all units."""
        return float(self.function(self.statistics.sum(0)[None])[0])

    def score(self, *, seed: int = 0) -> Score:
        """The value with its 95 % interval (BCa); without one where there are too few units."""
        found = interval_of_sums(self.statistics, self.function, seed=seed)
        return scored(self.value, found, n=len(self.statistics), about=self.about, seed=seed)


def mean(values: ArrayLike, *, about: str = "") -> Units:
    """The mean of one number an example [U]. Raises `InputError` where there are none."""
    flat = np.asarray(values, dtype=np.float64).reshape(-1)
    return Units(np.stack([flat, np.ones(len(flat))], axis=1), ratio, about)


def scored(
    value: float,
    interval: tuple[float, float] | None,
    *,
    n: int,
    about: str = "",
    seed: int = 0,
    way: str = "bca",
) -> Score:
    """A score whose signature ends with the number of examples and how the interval was made."""
    method = "none" if interval is None else f"{way}({RESAMPLES},seed={seed})"
    low, high = interval or (None, None)
    tail = signature(n=n, interval=method)
    return Score(value, low, high, f"{about}|{tail}" if about else tail)


def ranked(value: float, influence: Floats, *, about: str = "") -> Units:
    """A metric of ranks as the mean of what each example adds [U], to first order: for comparing
    two models, as `score_of_ranks` is for one."""
    return mean(value + influence, about=f"{about}|by:influence")


def score_of_ranks(
    value: float, influence: Floats, *, lowest: float = 0.0, about: str = "", seed: int = 0
) -> Score:
    """The score of a metric of ranks from `lowest` to 1, from the influence of each example [U].

    To rank every resample anew would cost a sort each; resampling the influence function gives the
    same interval to first order (Efron and Tibshirani 1993, chapter 22).
    """
    found = interval_of_sums(mean(value + influence).statistics, ratio, seed=seed)
    if found is not None:
        found = max(found[0], lowest), min(found[1], 1.0)
    way = "bca-of-influence"
    return scored(value, found, n=len(influence), about=about, seed=seed, way=way)
