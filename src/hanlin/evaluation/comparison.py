"""Two models on the same examples: is one better, or were the examples kind to it?

What both find easy or hard cancels in a paired test, so that it tells more apart than the intervals
of the two beside each other do (`hanlin.metrics.comparison`).
"""

from collections.abc import Mapping, Sequence

from hanlin.evaluation.judged import Judged
from hanlin.metrics import Score
from hanlin.metrics.comparison import Comparison, compare_units

LOWER_IS_BETTER = frozenset({"ter", "log_loss", "brier", "ece"})
"""Metrics of tasks of which less is better."""


def compared(
    one: Judged, other: Judged, names: Sequence[str], *, seed: int = 0
) -> Mapping[str, Comparison]:
    """Of every metric named that both have example by example: by how much `one` is above `other`.

    Raises `InputError` where the two are not of the same examples.
    """
    return {
        name: compare_units(other.units[name], one.units[name], name, seed=seed)
        for name in names
        if name in one.units and name in other.units
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


def strongest(judges: Sequence[Judged], metric: str) -> Judged:
    """The judge with the best value of a metric; of equals the last."""
    sign = -1 if metric in LOWER_IS_BETTER else 1
    return max(reversed(judges), key=lambda judge: sign * judge.metrics[metric].value)
