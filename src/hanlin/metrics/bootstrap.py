"""The bootstrap: how much a number would change with other texts of the same kind.

A corpus metric is a ratio of sums over documents (nats over tokens, bits over bytes). Documents are
drawn again with replacement, and the spread of the ratio is its uncertainty: Efron and Tibshirani
1993, chapter 14 (BCa: bias-corrected and accelerated). It says what other documents would
change, not what another seed of the training would.
"""

from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hanlin.errors import ConfigError

RESAMPLES = 2000
FEWEST = 8
"""Of fewer units no interval is computed: resampling five documents says little about a sixth."""
_MOST = 10_000
"""More units than this are first dealt into so many groups, which changes the interval by less than
its own error and bounds the work."""
_AT_ONCE = 4_000_000
"""Drawn units held at a time."""


def interval_of_ratio(
    numerators: ArrayLike,
    denominators: ArrayLike,
    *,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[float, float] | None:
    """The BCa interval of sum(numerators) / sum(denominators), resampled together [units].

    None where there are fewer than `FEWEST` units. Raises `ConfigError` where the two differ in
    length, a denominator is negative, or confidence is not between 0 and 1.
    """
    top = np.asarray(numerators, dtype=np.float64)
    bottom = np.asarray(denominators, dtype=np.float64)
    if top.shape != bottom.shape or top.ndim != 1:
        raise ConfigError(
            f"{top.shape} numerators and {bottom.shape} denominators are not one a unit. "
            "Give two flat lists of one length."
        )
    if (bottom < 0).any():
        raise ConfigError("A denominator is negative. Give counts or sizes.")
    if not 0 < confidence < 1:
        raise ConfigError(f"confidence is {confidence}; it must be between 0 and 1.")
    if resamples < 1:
        raise ConfigError(f"resamples is {resamples}; it must be at least 1.")
    used = bottom > 0  # a unit without a denominator (an empty document) weighs nothing
    top, bottom = top[used], bottom[used]
    if len(top) < FEWEST:
        return None
    rng = np.random.default_rng(seed)
    if len(top) > _MOST:
        group = rng.permutation(len(top)) % _MOST
        top = np.bincount(group, top).astype(np.float64)
        bottom = np.bincount(group, bottom).astype(np.float64)
    estimate = float(top.sum() / bottom.sum())
    drawn = _resampled(top, bottom, resamples, rng)
    levels = _levels(estimate, drawn, top, bottom, confidence)
    low, high = np.quantile(drawn, levels)
    return float(low), float(high)


def _resampled(
    top: NDArray[np.float64], bottom: NDArray[np.float64], resamples: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    units = len(top)
    rows = max(1, _AT_ONCE // units)
    parts = []
    for start in range(0, resamples, rows):
        taken = rng.integers(units, size=(min(rows, resamples - start), units), dtype=np.int32)
        parts.append(top[taken].sum(1) / bottom[taken].sum(1))
    return np.concatenate(parts)


def _levels(
    estimate: float,
    drawn: NDArray[np.float64],
    top: NDArray[np.float64],
    bottom: NDArray[np.float64],
    confidence: float,
) -> list[float]:
    """The quantiles of the drawn ratios that BCa reads the interval at."""
    normal = NormalDist()
    tail = (1 - confidence) / 2
    below = float(np.mean(drawn < estimate) + np.mean(drawn == estimate) / 2)
    if not 0 < below < 1:
        return [tail, 1 - tail]  # every draw on one side: nothing to correct with
    bias = normal.inv_cdf(below)
    without = (top.sum() - top) / (bottom.sum() - bottom)
    off = without.mean() - without
    spread = float((off**2).sum()) ** 1.5
    skew = float((off**3).sum()) / (6 * spread) if spread > 0 else 0.0
    levels = []
    for level in (tail, 1 - tail):
        z = bias + normal.inv_cdf(level)
        levels.append(normal.cdf(bias + z / (1 - skew * z)))
    return levels
