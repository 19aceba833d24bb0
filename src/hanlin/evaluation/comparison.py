"""Two models on the same examples: is one better, or were the examples kind to it?

What both find easy or hard cancels in a paired test, so that it tells more apart than the intervals
of the two beside each other do (`hanlin.metrics.comparison`).
"""

from collections.abc import Mapping

from hanlin.evaluation.judged import Judged
from hanlin.metrics import Score
from hanlin.metrics.comparison import Comparison, compare_units

LOWER_IS_BETTER = frozenset({"ter", "log_loss", "brier", "ece", "loss", "perplexity"})
"""Metrics of which less is better."""


def compared(one: Judged, other: Judged, *, seed: int = 0) -> Mapping[str, Comparison]:
    """Of every metric that both have example by example: by how much `one` is above `other`.

    Raises `InputError` where the two are not of the same examples.
    """
    return {
        name: compare_units(other.units[name], units, name, seed=seed)
        for name, units in one.units.items()
        if name in other.units
    }


def standing(name: str, found: Score) -> int | None:
    """1 where the first is better, -1 where it is worse, 0 where nothing tells them apart; None
    where there are too few examples for an interval."""
    if found.low is None or found.high is None:
        return None
    sign = -1 if name in LOWER_IS_BETTER else 1
    if found.low > 0:
        return sign
    return -sign if found.high < 0 else 0
