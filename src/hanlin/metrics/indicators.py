"""How well several labels a row are predicted: rows wholly right, F1, average precision.

Labels and predictions are indicators: 1 where a row has a label. Where there is nothing to divide
by, precision, recall and F1 are 0, as in scikit-learn.

Shapes: N rows, K labels, M sums.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from hanlin.errors import InputError
from hanlin.metrics.bootstrap import Floats, intervals_of_sums
from hanlin.metrics.curves import Flags, average_precision
from hanlin.metrics.labels import LabelScore, averages, label_table
from hanlin.metrics.score import Score
from hanlin.metrics.units import Units, mean, ranked, score_of_ranks, scored


@dataclass(frozen=True)
class MultiLabel:
    """What there is to say of several predicted labels a row."""

    metrics: dict[str, Score]
    """"subset_accuracy", "precision_macro", "recall_macro", "f1_macro", the same with "_micro" and
    "_weighted", and with scores "average_precision" (the mean over labels)."""
    labels: tuple[LabelScore, ...]
    """The table, in the order of the columns."""


def multilabel(
    labels: ArrayLike,
    predictions: ArrayLike | None = None,
    *,
    scores: ArrayLike | None = None,
    names: Sequence[str] | None = None,
    seed: int = 0,
) -> MultiLabel:
    """Every metric of indicators [N, K], each with its interval.

    `scores` [N, K] put rows in an order, label by label; without `predictions` a label is predicted
    where its score is at least 0.5. A label that no row has is left out of the average precision.
    Raises `InputError` for shapes that do not fit and values other than 0 and 1.
    """
    true = _indicators(labels, "labels")
    rows, size = true.shape
    ranks = None
    if scores is not None:
        ranks = np.asarray(scores, dtype=np.float64)
        if ranks.shape != true.shape or np.isnan(ranks).any():
            raise InputError(
                f"The scores have shape {list(ranks.shape)} and the labels {list(true.shape)}. "
                "Give a number for each label of each row."
            )
    if predictions is not None:
        guessed = _indicators(predictions, "predictions")
    elif ranks is not None:
        guessed = ranks >= 0.5
    else:
        raise InputError("There are neither predictions nor scores. Give one of them.")
    if guessed.shape != true.shape:
        raise InputError(
            f"The predictions have shape {list(guessed.shape)} and the labels {list(true.shape)}. "
            "Give a row for each row and a column for each label."
        )
    shown = tuple(names) if names is not None else tuple(map(str, range(size)))
    if len(shown) != size:
        raise InputError(f"There are {len(shown)} names and {size} columns. Give a name for each.")

    whole = mean((true == guessed).all(axis=1), about=f"labels:{size}")
    metrics = {"subset_accuracy": whole.score(seed=seed)}
    flat = _counts(true, guessed)

    def functions(sums: Floats) -> dict[str, Floats]:
        return _averages(sums, size)

    intervals = intervals_of_sums(flat, functions, seed=seed)
    for name, value in functions(flat.sum(axis=0)[None]).items():
        about = f"labels:{size}"
        metrics[name] = scored(float(value[0]), intervals[name], n=rows, about=about, seed=seed)
    if ranks is not None and true.any():
        mean_precision, influence, which = _precision(true, ranks)
        metrics["average_precision"] = score_of_ranks(
            mean_precision, influence, about=which, seed=seed
        )
    return MultiLabel(metrics, label_table(shown, *flat.sum(axis=0).reshape(3, size)))


def indicator_units(true: Flags, guessed: Flags, scores: Floats) -> dict[str, Units]:
    """What every metric of `multilabel` is computed from; the average precision to first order."""
    size = true.shape[1]
    flat, about = _counts(true, guessed), f"labels:{size}"

    def of(name: str) -> Units:
        return Units(flat, lambda sums: _averages(sums, size)[name], about)

    units = {"subset_accuracy": mean((true == guessed).all(axis=1), about=about)}
    units |= {name: of(name) for name in _averages(flat[:1], size)}
    if true.any():
        value, influence, which = _precision(true, scores)
        units["average_precision"] = ranked(value, influence, about=which)
    return units


def _counts(true: Flags, guessed: Flags) -> Floats:
    """Statistics [N, 3 * K] of each row: hits, labels it has, labels predicted."""
    counts = np.stack([true & guessed, true, guessed], axis=1).astype(np.float64)
    return counts.reshape(len(true), -1)


def _averages(sums: Floats, size: int) -> dict[str, Floats]:
    return averages(*sums.reshape(len(sums), 3, size).transpose(1, 0, 2), absent=True)


def _precision(true: Flags, ranks: Floats) -> tuple[float, Floats, str]:
    """The mean average precision over labels that a row has, and its influence [N]."""
    found = [average_precision(true[:, k], ranks[:, k]) for k in np.flatnonzero(true.any(0))]
    influence: Floats = np.mean([influence for _, influence in found], axis=0)
    value = float(np.mean([value for value, _ in found]))
    return value, influence, f"labels:{len(found)}|mean:macro"


def _indicators(given: ArrayLike, what: str) -> Flags:
    found = np.asarray(given)
    if found.ndim != 2 or 0 in found.shape:
        raise InputError(
            f"The {what} have shape {list(found.shape)}. Give indicators: a row an example, a "
            "column a label, 1 where the example has it."
        )
    if not np.isin(found, (0, 1)).all():
        raise InputError(f"The {what} hold other values than 0 and 1. Give indicators.")
    return found.astype(bool)
