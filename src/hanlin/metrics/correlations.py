"""How well one list of numbers follows another: the coefficients of Pearson and Spearman.

Both are from -1 to 1.

Shapes: N pairs.
"""

import numpy as np
from numpy.typing import ArrayLike

from hanlin.errors import InputError
from hanlin.metrics.bootstrap import Floats, divided
from hanlin.metrics.score import Score
from hanlin.metrics.units import Units, ranked, score_of_ranks


def pearson(x: ArrayLike, y: ArrayLike, *, seed: int = 0) -> Score:
    """Pearson's coefficient of two lists of numbers [N].

    Raises `InputError` for lists that do not fit, and where all numbers of one are equal.
    """
    first, second = (standardised(numbers) for numbers in _checked(x, y))
    ones = np.ones(len(first))
    columns = [ones, first, second, first**2, second**2, first * second]
    return Units(np.stack(columns, axis=1), _of_sums, "coefficient:pearson").score(seed=seed)


def spearman(x: ArrayLike, y: ArrayLike, *, seed: int = 0) -> Score:
    """Spearman's coefficient, Pearson's of the ranks; equal numbers share their mean rank.

    Raises as `pearson` does.
    """
    value, influence = rank_correlation(*_checked(x, y))
    about = "coefficient:spearman"
    return score_of_ranks(value, influence, lowest=-1.0, about=about, seed=seed)


def spearman_units(x: ArrayLike, y: ArrayLike) -> Units:
    """What `spearman` is computed from, to first order."""
    return ranked(*rank_correlation(*_checked(x, y)), about="coefficient:spearman")


def rank_correlation(x: Floats, y: Floats) -> tuple[float, Floats]:
    """Spearman's coefficient and its influence function [N]: what a pair adds itself, and by moving
    the ranks of the others."""
    shares = [_share_below(numbers) for numbers in (x, y)]
    first, second = (standardised(share) for share in shares)
    value = float((first * second).mean())
    influence = first * second - value / 2 * (first**2 + second**2)
    for numbers, share, own, other in (
        (x, shares[0], first, second),
        (y, shares[1], second, first),
    ):
        influence += _mean_above(numbers, (other - value * own) / share.std())
    return value, influence


def standardised(numbers: Floats) -> Floats:
    """Numbers with mean 0 and variance 1."""
    off: Floats = numbers - numbers.mean()
    off /= off.std()
    return off


def _share_below(numbers: Floats) -> Floats:
    """The share of numbers below each; equal ones count half."""
    ordered = np.sort(numbers)
    left = np.searchsorted(ordered, numbers, side="left")
    right = np.searchsorted(ordered, numbers, side="right")
    share: Floats = (left + right) / (2 * len(numbers))
    return share


def _mean_above(numbers: Floats, weights: Floats) -> Floats:
    """For each number, the weights of greater ones and half of equal ones, over N."""
    order = np.argsort(numbers, kind="stable")
    ordered = numbers[order]
    up_to = np.append(0.0, weights[order].cumsum())
    left = up_to[np.searchsorted(ordered, numbers, side="left")]
    right = up_to[np.searchsorted(ordered, numbers, side="right")]
    above: Floats = (up_to[-1] - (left + right) / 2) / len(numbers)
    return above


def _of_sums(sums: Floats) -> Floats:
    """Pearson's coefficient [M] of [N, x, y, xx, yy, xy]."""
    n, x, y, xx, yy, xy = sums.T
    bottom = np.sqrt(np.maximum(n * xx - x**2, 0) * np.maximum(n * yy - y**2, 0))
    return divided(n * xy - x * y, bottom, otherwise=np.nan)


def _checked(x: ArrayLike, y: ArrayLike) -> tuple[Floats, Floats]:
    first, second = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if first.shape != second.shape or first.ndim != 1:
        raise InputError(
            f"Numbers of shapes {list(first.shape)} and {list(second.shape)} are not pairs. Give "
            "two flat lists of one length."
        )
    if len(first) < 2:
        raise InputError(f"There are {len(first)} pairs. A correlation needs at least two.")
    for numbers in (first, second):
        if not np.isfinite(numbers).all():
            raise InputError("A number is infinite or none. Leave its pair out.")
        if (numbers == numbers[0]).all():
            raise InputError("All numbers of a list are equal, and nothing can follow them.")
    return first, second
