"""The bootstrap: how much a number would change with other texts of the same kind.

A corpus metric is a function of sums over units: nats over tokens, n-grams that match, the cells of
a confusion matrix. Units are drawn again with replacement, and the spread of the function is its
uncertainty: Efron and Tibshirani 1993, chapter 14 (BCa: bias-corrected and accelerated). It says
what other texts would change, not what another seed of the training would.

Only how often each unit was drawn matters to the sums, so a resample is a row of counts and all of
them are one product: counts [R, U] @ statistics [U, S].

Shapes: U units, S statistics of a unit, R resamples.
"""

from collections.abc import Callable, Iterator, Mapping
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hanlin.errors import ConfigError

Floats = NDArray[np.float64]
Function = Callable[[Floats], Floats]
"""Sums [M, S] to the value of each row [M]."""
Functions = Callable[[Floats], Mapping[str, Floats]]
"""Sums [M, S] to several values of each row [M], by name."""

RESAMPLES = 2000
FEWEST = 8
"""Of fewer units no interval is computed: resampling five documents says little about a sixth."""
_MOST = 10_000
"""More units than this are first dealt into so many groups, which changes the interval by less than
its own error and bounds the work."""
_FEWEST_GROUPS = 1000
_STATISTICS = 4_000_000
"""Statistics held at most, before units with many of them are dealt into fewer groups."""
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
    """The BCa interval of sum(numerators) / sum(denominators), resampled together [U].

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
    used = bottom > 0  # a unit without a denominator (an empty document) weighs nothing
    statistics = np.stack([top[used], bottom[used]], axis=1)
    return interval_of_sums(
        statistics, ratio, confidence=confidence, resamples=resamples, seed=seed
    )


def ratio(sums: Floats) -> Floats:
    """The first sum over the second, no number where that is 0: sums [M, 2] to [M]."""
    return divided(sums[:, 0], sums[:, 1], otherwise=np.nan)


def divided(top: Floats, bottom: Floats, *, otherwise: ArrayLike = 0.0) -> Floats:
    """The quotients, and `otherwise` where there is nothing above 0 to divide by."""
    quotients: Floats = np.broadcast_to(otherwise, np.broadcast(top, bottom).shape).astype(float)
    np.divide(top, bottom, out=quotients, where=bottom > 0)
    return quotients


def interval_of_sums(
    statistics: ArrayLike,
    function: Function,
    *,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[float, float] | None:
    """The BCa interval of one `function` of the sums of `statistics`; see `intervals_of_sums`."""
    return intervals_of_sums(
        statistics,
        lambda sums: {"": function(sums)},
        confidence=confidence,
        resamples=resamples,
        seed=seed,
    )[""]


def intervals_of_sums(
    statistics: ArrayLike,
    functions: Functions,
    *,
    repeats: ArrayLike | None = None,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, tuple[float, float] | None]:
    """The BCa intervals of functions of the sums of `statistics` [U, S] over its units.

    `repeats` [U] says how often each row occurs, where equal units were counted. Resamples for
    which a function is not a number (a correlation of equal values) are left out. An interval is
    widened to hold the estimate, which the resamples of a biased metric can all lie beside. None
    where there are fewer than `FEWEST` units or half of the resamples are no numbers. Raises
    `ConfigError` for a confidence that is not between 0 and 1 and for no resamples.
    """
    if not 0 < confidence < 1:
        raise ConfigError(f"confidence is {confidence}; it must be between 0 and 1.")
    if resamples < 1:
        raise ConfigError(f"resamples is {resamples}; it must be at least 1.")
    units = np.asarray(statistics, dtype=np.float64)
    times = None if repeats is None else np.asarray(repeats, dtype=np.int64)
    rng = np.random.default_rng(seed)
    few = (len(units) if times is None else int(times.sum())) < FEWEST
    if times is None and not few:
        units = dealt(units, rng)
    total = units.sum(0) if times is None else times @ units
    estimates = functions(total[None])
    if few:
        return dict.fromkeys(estimates)
    drawn: dict[str, list[Floats]] = {name: [] for name in estimates}
    for counts in drawn_counts(len(units), times=times, resamples=resamples, rng=rng):
        for name, values in functions(counts @ units).items():
            drawn[name].append(values)
    without = functions(total - units)
    found: dict[str, tuple[float, float] | None] = {}
    for name, estimate in estimates.items():
        values = np.concatenate(drawn[name])
        of_all = float(estimate[0])
        found[name] = _bca(of_all, values, without[name], times, confidence)
    return found


def dealt(units: Floats, rng: np.random.Generator) -> Floats:
    """Units [U, S], or where they are too many their sums in groups dealt at random."""
    most = max(_FEWEST_GROUPS, min(_MOST, _STATISTICS // max(1, units.shape[1])))
    if len(units) <= most:
        return units
    order = rng.permutation(len(units)) % most
    sums = np.empty((most, units.shape[1]))
    for column in range(units.shape[1]):
        sums[:, column] = np.bincount(order, units[:, column], minlength=most)
    return sums


def drawn_counts(
    units: int,
    *,
    times: NDArray[np.int64] | None = None,
    resamples: int = RESAMPLES,
    rng: np.random.Generator,
) -> Iterator[Floats]:
    """Yield how often each of `units` was drawn, for some resamples at a time [., U]."""
    rows = max(1, _AT_ONCE // max(1, units))
    for start in range(0, resamples, rows):
        size = min(rows, resamples - start)
        if times is not None:
            total = int(times.sum())
            yield rng.multinomial(total, times / total, size=size).astype(np.float64)
            continue
        taken = rng.integers(units, size=(size, units), dtype=np.int32).astype(np.int64)
        taken += np.arange(size)[:, None] * units
        counts = np.bincount(taken.ravel(), minlength=size * units)
        yield counts.reshape(size, units).astype(np.float64)


def _bca(
    estimate: float,
    values: Floats,
    without: Floats,
    times: NDArray[np.int64] | None,
    confidence: float,
) -> tuple[float, float] | None:
    """The interval from resampled values [R] and, `without` one unit each, values [U]."""
    numbers = values[~np.isnan(values)]
    if np.isnan(estimate) or len(numbers) * 2 < len(values):
        return None
    low, high = np.quantile(numbers, _levels(estimate, numbers, without, times, confidence))
    return min(float(low), estimate), max(float(high), estimate)


def _levels(
    estimate: float,
    values: Floats,
    without: Floats,
    times: NDArray[np.int64] | None,
    confidence: float,
) -> list[float]:
    """The quantiles of the resampled values that BCa reads the interval at."""
    normal = NormalDist()
    tail = (1 - confidence) / 2
    below = float(np.mean(values < estimate) + np.mean(values == estimate) / 2)
    if not 0 < below < 1:
        return [tail, 1 - tail]  # every draw on one side: nothing to correct with
    bias = normal.inv_cdf(below)
    weight = np.ones(len(without)) if times is None else times.astype(np.float64)
    weight, without = weight[~np.isnan(without)], without[~np.isnan(without)]
    if len(without) == 0:
        return [tail, 1 - tail]
    off = np.average(without, weights=weight) - without
    spread = float((weight * off**2).sum()) ** 1.5
    skew = float((weight * off**3).sum()) / (6 * spread) if spread > 0 else 0.0
    levels = []
    for level in (tail, 1 - tail):
        z = bias + normal.inv_cdf(level)
        levels.append(normal.cdf(bias + z / (1 - skew * z)))
    return levels
