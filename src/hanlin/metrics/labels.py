"""How well labels are predicted: accuracy, precision, recall, F1, MCC, a table and the confusions.

Everything that depends on the labels alone is a function of the confusion matrix, so its bootstrap
draws the cells of that matrix (a multinomial) and costs the same for any number of rows. Where
there is nothing to divide by (a label nobody predicted), precision, recall and F1 are 0, as in
scikit-learn. What depends on probabilities is in `hanlin.metrics.probabilities`.

Shapes: N rows, K labels, M sums.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hanlin.errors import InputError, nearest
from hanlin.metrics.bootstrap import Floats, divided, intervals_of_sums
from hanlin.metrics.examples import same_length
from hanlin.metrics.probabilities import Bin, checked_probabilities, probability_scores
from hanlin.metrics.score import Score
from hanlin.metrics.units import Units, mean, scored

Places = NDArray[np.int64]

_AVERAGES = ("macro", "micro", "weighted")
LABEL_METRICS = (
    "accuracy",
    *(f"{part}_{over}" for over in _AVERAGES for part in ("precision", "recall", "f1")),
    "mcc",
)
"""The metrics that need labels alone, of any number of them."""
POSITIVE = frozenset(
    "positive pos true yes 1 spam 正面 积极 正向 好评 是 真 垃圾 垃圾邮件 垃圾短信".split()
)
"""Names of labels that are known to be the positive one of two."""


@dataclass(frozen=True)
class LabelScore:
    """One row of the table: how well one label is found."""

    name: str
    precision: float
    recall: float
    f1: float
    support: int
    """Rows that have this label."""
    predicted: int
    """Rows for which it was predicted."""


@dataclass(frozen=True)
class Classification:
    """What there is to say of predicted labels."""

    metrics: dict[str, Score]
    """"accuracy", "precision_macro", "recall_macro", "f1_macro", the same with "_micro" and
    "_weighted", "mcc"; of two labels "precision", "recall" and "f1" of the positive one; with
    probabilities "auc", "brier", "ece", "log_loss"."""
    labels: tuple[LabelScore, ...]
    """The table, in the order of the names."""
    confusion: NDArray[np.int64]
    """[K, K]: rows of the true label (first axis) for which a label was predicted (second)."""
    bins: tuple[Bin, ...]
    """The reliability diagram; empty without probabilities."""

    @property
    def names(self) -> tuple[str, ...]:
        """The labels' names."""
        return tuple(label.name for label in self.labels)


def classification(
    labels: Sequence[Hashable] | NDArray[Any],
    predictions: Sequence[Hashable] | NDArray[Any] | None = None,
    *,
    scores: ArrayLike | None = None,
    names: Sequence[str] | None = None,
    positive: str | None = None,
    seed: int = 0,
) -> Classification:
    """Every metric of single labels [N], each with its interval.

    Labels and predictions are names, or places in `names` where it is given; without `names` they
    are sorted. `scores` are probabilities [N, K] in the order of the names, or [N] of the positive
    of two labels; without `predictions` the most probable label is predicted. `positive` names one
    of two labels, by default the one that is among `POSITIVE`, else the last. A column of a label
    that no row has is left out of the AUC. Raises `InputError` for lists that do not fit, unknown
    labels and scores that are no probabilities.
    """
    true, predicted, shown = _places(labels, predictions, names)
    size = len(shown)
    at = positive_of(shown, positive)
    probabilities = None
    if scores is not None:
        probabilities = checked_probabilities(scores, rows=len(true), labels=size, positive=at)
    if predicted is None:
        if probabilities is None:
            raise InputError("There are neither predictions nor scores. Give one of them.")
        predicted = probabilities.argmax(axis=1).astype(np.int64)
    confusion = np.bincount(true * size + predicted, minlength=size * size).reshape(size, size)
    metrics = _from_confusion(confusion, shown, at, seed=seed)
    bins: tuple[Bin, ...] = ()
    if probabilities is not None:
        further, bins = probability_scores(true, probabilities, positive=at, seed=seed)
        metrics |= further
    cells = confusion.astype(np.float64)
    table = label_table(shown, cells.diagonal(), cells.sum(axis=1), cells.sum(axis=0))
    return Classification(metrics, table, confusion, bins)


def label_table(
    names: Sequence[str], hits: Floats, support: Floats, predicted: Floats
) -> tuple[LabelScore, ...]:
    """The table of how well each label is found, from its counts [K]."""
    precision, recall = divided(hits, predicted), divided(hits, support)
    f1 = divided(2 * hits, support + predicted)
    return tuple(
        LabelScore(name, float(p), float(r), float(f), int(s), int(q))
        for name, p, r, f, s, q in zip(
            names, precision, recall, f1, support, predicted, strict=True
        )
    )


def averages(
    hits: Floats, support: Floats, predicted: Floats, *, absent: bool
) -> dict[str, Floats]:
    """Precision, recall and F1 [M] of counts [M, K]: the mean over labels, over rows, and over
    labels by their support. `absent` counts labels that are neither true nor predicted as 0 in the
    mean over labels, as scikit-learn does for indicators."""
    parts = {
        "precision": (hits, predicted),
        "recall": (hits, support),
        "f1": (2 * hits, support + predicted),
    }
    rows = support.sum(axis=1)
    there = np.ones(support.shape, bool) if absent else (support + predicted) > 0
    counted = np.maximum(there.sum(axis=1), 1)
    found: dict[str, Floats] = {}
    for name, (part, whole) in parts.items():
        of_label = divided(part, whole)
        found[f"{name}_macro"] = of_label.sum(axis=1) / counted
        found[f"{name}_micro"] = divided(part.sum(axis=1), whole.sum(axis=1))
        found[f"{name}_weighted"] = divided((of_label * support).sum(axis=1), rows)
    return found


def label_units(
    labels: Sequence[Hashable] | NDArray[Any],
    guesses: Sequence[Sequence[Hashable] | NDArray[Any]],
    metric: str,
) -> list[Units]:
    """What one of `LABEL_METRICS` is computed from, for each list of predictions."""
    true = _listed(labels, "labels")
    lists = [_listed(guessed, "predictions") for guessed in guesses]
    for guessed in lists:
        same_length(guessed, true, "labels")
    place = {label: at for at, label in enumerate({*true, *(one for of in lists for one in of)})}
    size = len(place)
    at = [place[label] for label in true]
    return [
        place_units(np.array(at), np.array([place[label] for label in guessed]), size=size)[metric]
        for guessed in lists
    ]


def place_units(
    true: Places, predicted: Places, *, size: int, positive: int | None = None
) -> dict[str, Units]:
    """What every metric of places [U] among `size` labels is computed from; of two, with the place
    of the positive one, its precision, recall and F1 too."""
    cells = _cells(true, predicted, size)
    names = _functions(cells[:1], size, positive)

    def of(name: str) -> Units:
        return Units(cells, lambda sums: _functions(sums, size, positive)[name], f"labels:{size}")

    return {name: of(name) for name in names} | {
        "accuracy": mean(true == predicted, about=f"labels:{size}")
    }


def _cells(true: Places, predicted: Places, size: int) -> Floats:
    """Statistics [U, 3 * K] of pairs of labels: hit, has it, was predicted, of each label."""
    cells = np.zeros((len(true), 3, size))
    at = np.arange(len(true))
    cells[at, 0, true] = true == predicted
    cells[at, 1, true] = 1
    cells[at, 2, predicted] = 1
    return cells.reshape(len(true), 3 * size)


def _functions(sums: Floats, size: int, positive: int | None) -> dict[str, Floats]:
    """Every metric [M] of sums [M, 3 * K] of `_cells`."""
    hits, support, predicted = sums.reshape(len(sums), 3, size).transpose(1, 0, 2)
    found = {"accuracy": hits.sum(axis=1) / support.sum(axis=1)}
    if positive is not None:
        own, theirs, ours = hits[:, positive], support[:, positive], predicted[:, positive]
        found["precision"] = divided(own, ours)
        found["recall"] = divided(own, theirs)
        found["f1"] = divided(2 * own, theirs + ours)
    found |= averages(hits, support, predicted, absent=False)
    found["mcc"] = _correlation(hits, support, predicted)
    return found


def _from_confusion(
    confusion: NDArray[np.int64], names: Sequence[str], positive: int | None, *, seed: int
) -> dict[str, Score]:
    size = len(names)
    true, predicted = np.nonzero(confusion)
    times = confusion[true, predicted]
    cells = _cells(true, predicted, size)

    def functions(sums: Floats) -> dict[str, Floats]:
        return _functions(sums, size, positive)

    intervals = intervals_of_sums(cells, functions, repeats=times, seed=seed)
    rows = int(times.sum())
    scores = {}
    for name, value in functions((times @ cells)[None]).items():
        about = f"labels:{size}"
        if positive is not None and name in ("precision", "recall", "f1"):
            about = f"positive:{names[positive]}"
        scores[name] = scored(float(value[0]), intervals[name], n=rows, about=about, seed=seed)
    return scores


def _correlation(hits: Floats, support: Floats, predicted: Floats) -> Floats:
    """Matthews' correlation [M], for any number of labels (Gorodkin 2004); 0 where one label is all
    there is."""
    rows = support.sum(axis=1)
    top = hits.sum(axis=1) * rows - (support * predicted).sum(axis=1)
    of_true = rows**2 - (support**2).sum(axis=1)
    of_predicted = rows**2 - (predicted**2).sum(axis=1)
    bottom = np.sqrt(of_true * of_predicted)
    return divided(top, bottom)


def _places(
    labels: Any, predictions: Any, names: Sequence[str] | None
) -> tuple[Places, Places | None, tuple[str, ...]]:
    """Labels and predictions as places among the names, and the names."""
    true = _listed(labels, "labels")
    guessed = None if predictions is None else _listed(predictions, "predictions")
    same_length(true if guessed is None else guessed, true, "labels")
    if names is None:
        known = sorted({*true, *(guessed or [])}, key=lambda label: (str(type(label)), label))
        shown = tuple(map(str, known))
        place = {label: number for number, label in enumerate(known)}
    else:
        shown = tuple(names)
        place = {name: number for number, name in enumerate(shown)}
        if len(place) < len(shown):
            raise InputError(
                "A name stands twice among the names. Give every label one of its own."
            )
    columns = [
        None if given is None else np.array([_place(one, place, shown) for one in given], np.int64)
        for given in (true, guessed)
    ]
    assert columns[0] is not None
    return columns[0], columns[1], shown


def _place(label: Any, place: dict[Any, int], names: tuple[str, ...]) -> int:
    if label in place:
        return place[label]
    if isinstance(label, int) and 0 <= label < len(names):
        return label
    raise InputError(
        f"The label {label!r} is not among the names.{nearest(str(label), list(names))} "
        f"There are: {', '.join(names[:10])}{', ...' if len(names) > 10 else ''}."
    )


def _listed(given: Any, what: str) -> list[Any]:
    if isinstance(given, np.ndarray):
        if given.ndim != 1:
            raise InputError(
                f"The {what} have shape {list(given.shape)}. Give one label a row; several labels "
                "a row are for multilabel."
            )
        return list(given.tolist())
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise InputError(f"The {what} are {type(given).__name__}, not a list. Give one a row.")
    return [one.item() if isinstance(one, np.generic) else one for one in given]


def positive_of(names: Sequence[str], name: str | None = None) -> int | None:
    """The place of the positive label of two: the one named, else the one that is known to be
    (`POSITIVE`), else the last. None of more labels. Raises `InputError` for a name that is none.
    """
    if len(names) != 2:
        if name is not None:
            raise InputError(
                f"positive is {name!r}, and there are {len(names)} labels. It is for two; leave "
                "it out."
            )
        return None
    if name is None:
        known = [place for place, one in enumerate(names) if one.strip().lower() in POSITIVE]
        return known[0] if len(known) == 1 else 1
    if name not in names:
        raise InputError(
            f"positive is {name!r}, which is none of the labels {', '.join(names)}. Name one."
        )
    return list(names).index(name)
