"""Whether one model is better than another on the same examples, or only luckier: paired tests.

Of a metric of sums, the examples are drawn again for both models alike, which gives the interval
of the difference (Koehn 2004), and approximate randomisation exchanges the models' answers to an
example at random, which gives the chance of a difference this large where there is none (Riezler
and Maxwell 2005). Of right and wrong answers McNemar's test is exact.

Shapes: U examples, S statistics of one, R resamples.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hanlin.errors import ConfigError, InputError
from hanlin.metrics.bootstrap import (
    Floats,
    Function,
    dealt,
    drawn_counts,
    interval_of_sums,
    ratio,
)
from hanlin.metrics.labels import LABEL_METRICS, label_units
from hanlin.metrics.score import Score
from hanlin.metrics.summaries import is_variant, rouge_units
from hanlin.metrics.translations import bleu_units, chrf_units, ter_units
from hanlin.metrics.units import Units, mean, scored

Test = Literal["randomisation", "bootstrap", "mcnemar"]
SWAPS = 10_000
"""Exchanges and draws of a test; no p-value is below 1 / (SWAPS + 1)."""
_AT_ONCE = 4_000_000
_UNDECIDED = "McNemar's test is of answers that are right or wrong. Use the test randomisation."

_OF_TEXTS: dict[str, Callable[..., Units]] = {
    "bleu": bleu_units,
    "chrf": chrf_units,
    "ter": ter_units,
}


@dataclass(frozen=True)
class Comparison:
    """Two models on the same examples."""

    metric: str
    a: Score
    b: Score
    difference: Score
    """b - a, with its interval: what is gained by going from a to b."""
    p_value: float
    """The chance of a difference at least this large, either way, where the models are alike."""
    test: Test

    def to_dict(self) -> dict[str, Any]:
        """The fields, for JSON."""
        return {
            "metric": self.metric,
            "a": self.a.to_dict(),
            "b": self.b.to_dict(),
            "difference": self.difference.to_dict(),
            "p_value": self.p_value,
            "test": self.test,
        }


def compare(
    a: Sequence[Any] | NDArray[Any],
    b: Sequence[Any] | NDArray[Any],
    metric: str,
    *,
    references: Sequence[Any] | None = None,
    test: Test | None = None,
    seed: int = 0,
    **settings: Any,
) -> Comparison:
    """Compare two models' answers to the same examples by one metric.

    With `references`, a and b are predictions: texts for "bleu", "chrf", "ter" and ROUGE's variants
    (`settings` are theirs), labels for "accuracy", "mcc" and the other metrics of `classification`
    that need no probabilities. Without, they are a value an example, and the mean is compared. The
    test is McNemar's where each example is right or wrong, and else approximate randomisation;
    "bootstrap" is the paired bootstrap's. Raises `InputError` for lists that do not
    fit and `ConfigError` for a test or setting that does not suit the metric.
    """
    if references is None:
        if metric in _OF_TEXTS or is_variant(metric):
            raise InputError(f"{metric} compares texts with references. Give references=.")
        if settings:
            raise ConfigError(f"{', '.join(settings)} means nothing to values. Leave it out.")
        first, second = _of_values(a), _of_values(b)
    elif metric in _OF_TEXTS:
        units = _OF_TEXTS[metric]
        first, second = (units(list(texts), references, **settings) for texts in (a, b))
    elif is_variant(metric):
        first, second = (
            rouge_units(list(texts), references, variants=(metric,), **settings)[metric]
            for texts in (a, b)
        )
    elif metric in LABEL_METRICS:
        first, second = label_units(references, (a, b), metric, **settings)
    else:
        raise ConfigError(
            f"There is no metric {metric!r} of predictions and references. Use bleu, chrf, ter, "
            f"rouge1 to rougeLsum, {', '.join(LABEL_METRICS)}, or give values without references."
        )
    return compare_units(first, second, metric, test=test, seed=seed)


def compare_units(
    a: Units, b: Units, metric: str, *, test: Test | None = None, seed: int = 0
) -> Comparison:
    """Compare two models by what a metric is computed from; see `compare`."""
    if len(a.statistics) != len(b.statistics):
        raise InputError(
            f"There are {len(a.statistics)} and {len(b.statistics)} examples. Compare two models "
            "on the same ones, in the same order."
        )
    if a.statistics.shape != b.statistics.shape:
        raise InputError(
            f"{metric} is counted in {a.statistics.shape[1]} and {b.statistics.shape[1]} numbers "
            "an example. Count both models' over the same labels."
        )
    decided = all(map(_right_or_wrong, (a, b)))
    test = test or ("mcnemar" if decided else "randomisation")
    both = np.concatenate([a.statistics, b.statistics], axis=1)
    width = a.statistics.shape[1]

    def gain(sums: Floats) -> Floats:
        return b.function(sums[:, width:]) - a.function(sums[:, :width])

    match test:
        case "mcnemar":
            if not decided:
                raise ConfigError(_UNDECIDED)
            p_value = mcnemar(a.statistics[:, 0], b.statistics[:, 0])
        case "randomisation":
            p_value = _by_exchange(a, b, seed=seed)
        case "bootstrap":
            p_value = _by_drawing(both, gain, seed=seed)
        case _:
            raise ConfigError(
                f"There is no test {test!r}. Use randomisation, bootstrap or mcnemar."
            )
    interval = interval_of_sums(both, gain, seed=seed)
    difference = scored(b.value - a.value, interval, n=len(both), about=b.about, seed=seed)
    return Comparison(metric, a.score(seed=seed), b.score(seed=seed), difference, p_value, test)


def _right_or_wrong(units: Units) -> bool:
    """Whether every example is one answer, and that right (1) or wrong (0)."""
    if units.function is not ratio:
        return False
    values, sizes = units.statistics.T
    return bool((sizes == 1).all() and np.isin(values, (0, 1)).all())


def mcnemar(a: ArrayLike, b: ArrayLike) -> float:
    """The exact two-sided p-value of McNemar's test, of what is right (1) and wrong (0) [U] of two
    models: a sign test of the examples on which they differ.

    Raises `ConfigError` for other values.
    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if not np.isin(np.concatenate([first, second]), (0.0, 1.0)).all():
        raise ConfigError(_UNDECIDED)
    gained, lost = int((second > first).sum()), int((second < first).sum())
    either, fewer = gained + lost, min(gained, lost)
    logs = [
        math.lgamma(either + 1) - math.lgamma(i + 1) - math.lgamma(either - i + 1)
        for i in range(fewer + 1)
    ]
    tail = math.fsum(math.exp(log - either * math.log(2)) for log in logs)
    return min(1.0, 2 * tail)


def _by_exchange(a: Units, b: Units, *, seed: int) -> float:
    rng = np.random.default_rng(seed)
    width = a.statistics.shape[1]
    both = dealt(np.concatenate([a.statistics, b.statistics], axis=1), rng)
    first, second = both[:, :width], both[:, width:]
    real = abs(b.value - a.value)
    rows = max(1, _AT_ONCE // len(both))
    extreme = 0
    for start in range(0, SWAPS, rows):
        size = min(rows, SWAPS - start)
        swapped = rng.integers(0, 2, size=(size, len(both)), dtype=np.uint8).astype(np.float64)
        moved = swapped @ (second - first)
        mine, theirs = first.sum(axis=0) + moved, second.sum(axis=0) - moved
        apart = np.abs(b.function(theirs) - a.function(mine))
        extreme += int((apart >= real - _rounding(real)).sum())
    return (extreme + 1) / (SWAPS + 1)


def _by_drawing(both: Floats, gain: Function, *, seed: int) -> float:
    """Koehn's test, two-sided: how often draws are as far from the difference as it is from 0."""
    rng = np.random.default_rng(seed)
    units = dealt(both, rng)
    real = float(gain(units.sum(axis=0)[None])[0])
    extreme = sum(
        int((np.abs(gain(counts @ units) - real) >= abs(real) - _rounding(real)).sum())
        for counts in drawn_counts(len(units), resamples=SWAPS, rng=rng)
    )
    return (extreme + 1) / (SWAPS + 1)


def _rounding(value: float) -> float:
    """What sums in another order may differ by; an equal difference counts as as large."""
    return 1e-9 * (1 + abs(value))


def _of_values(values: Sequence[Any] | NDArray[Any]) -> Units:
    numbers = np.asarray(values)
    if numbers.dtype.kind not in "biuf" or numbers.ndim != 1:
        raise InputError(
            "Without references, give a number an example, or True and False. Texts and labels "
            "are compared with references=."
        )
    return mean(numbers)
