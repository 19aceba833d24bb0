"""Areas under curves: how well scores put the rows that are right before those that are not.

Both are functions of the ranks. Beside the value stands its influence function, what each row adds
to it, from which the interval is drawn (`hanlin.metrics.units.score_of_ranks`). Rows of equal
scores count half (ROC) or are taken together (average precision), as in scikit-learn.

Shapes: N rows.
"""

import numpy as np
from numpy.typing import NDArray

from hanlin.metrics.bootstrap import Floats

Flags = NDArray[np.bool_]


def roc_area(right: Flags, scores: Floats) -> tuple[float, Floats]:
    """The area under the ROC curve and its influence [N]: the chance that a right row has a higher
    score than another (Hanley and McNeil 1982). There must be rows of both kinds."""
    others, those = np.sort(scores[~right]), np.sort(scores[right])
    beaten = _below(others, scores[right]) / len(others)
    beating = 1 - _below(those, scores[~right]) / len(those)
    area = float(beaten.mean())
    influence = np.empty(len(scores))
    influence[right] = (beaten - area) * len(scores) / len(those)
    influence[~right] = (beating - area) * len(scores) / len(others)
    return area, influence


def average_precision(right: Flags, scores: Floats) -> tuple[float, Floats]:
    """The mean over right rows of the precision among all rows of at least their score, and its
    influence [N]. There must be a right row."""
    rows, order = len(scores), np.argsort(scores, kind="stable")
    ordered = scores[order]
    first = np.searchsorted(ordered, ordered, side="left")
    last = np.searchsorted(ordered, ordered, side="right")
    hits = right[order].astype(np.float64)
    # Rows and right rows of at least each score.
    above = rows - first
    right_above = np.append(hits[::-1].cumsum()[::-1], 0.0)[first]
    precision = right_above / above
    value = float((hits * precision).sum() / hits.sum())
    # A row more moves the precision at every score up to its own.
    moved = np.append(0.0, (hits / above).cumsum())[last]
    lost = np.append(0.0, (hits * precision / above).cumsum())[last]
    influence = np.empty(rows)
    of_row = hits * (precision - value) + hits * moved - lost
    influence[order] = of_row * rows / hits.sum()
    return value, influence


def _below(others: Floats, scores: Floats) -> Floats:
    """How many of the sorted others are below each score; equal ones count half."""
    left = np.searchsorted(others, scores, side="left")
    right = np.searchsorted(others, scores, side="right")
    both: Floats = (left + right) / 2
    return both
