"""Whether probabilities deserve their name: AUC, Brier score, log loss, calibration error.

The expected calibration error is that of Guo et al. 2017, "On Calibration of Modern Neural
Networks": of the most probable label, in 15 bins of equal width, closed on the right. AUC is of the
positive of two labels, or the mean over labels of one against the rest. The Brier score is, as in
scikit-learn, that of the positive of two labels (0 to 1) and otherwise summed over labels (0 to 2).

Shapes: N rows, K labels.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hanlin.errors import InputError
from hanlin.metrics.bootstrap import Floats
from hanlin.metrics.curves import roc_area
from hanlin.metrics.score import Score
from hanlin.metrics.units import Units, mean, ranked, score_of_ranks

BINS = 15
_SUM_ERROR = 1e-3
"""How far the probabilities of a row may be from 1 together: those of half precision are."""
_EDGES = np.linspace(0.0, 1.0, BINS + 1)


@dataclass(frozen=True)
class Bin:
    """One bar of the reliability diagram: rows whose most probable label is about as probable."""

    low: float
    high: float
    count: int
    confidence: float
    """The mean probability of the most probable label; 0 in an empty bin."""
    accuracy: float
    """How often it was right."""


def probability_scores(
    labels: NDArray[np.int64], probabilities: Floats, *, positive: int | None = None, seed: int = 0
) -> tuple[dict[str, Score], tuple[Bin, ...]]:
    """ "auc", "brier", "log_loss" and "ece" of places [N] and probabilities [N, K], and the bins.

    `positive` is the place of the positive label of two. There is no AUC where no label has rows
    both of its own and of others.
    """
    metrics: dict[str, Score] = {}
    area, about = _mean_area(labels, probabilities, positive)
    if area is not None:
        metrics["auc"] = score_of_ranks(*area, about=about, seed=seed)
    units, bins = _of_rows(labels, probabilities, positive)
    return metrics | {name: of.score(seed=seed) for name, of in units.items()}, bins


def probability_units(
    labels: NDArray[np.int64], probabilities: Floats, *, positive: int | None = None
) -> dict[str, Units]:
    """What the metrics of `probability_scores` are computed from; the AUC to first order."""
    area, about = _mean_area(labels, probabilities, positive)
    ranks = {} if area is None else {"auc": ranked(*area, about=about)}
    return ranks | _of_rows(labels, probabilities, positive)[0]


def _of_rows(
    labels: NDArray[np.int64], probabilities: Floats, positive: int | None
) -> tuple[dict[str, Units], tuple[Bin, ...]]:
    """Brier score, log loss and calibration error as units, and the bins."""
    rows = np.arange(len(labels))
    if positive is not None:
        error = (probabilities[:, positive] - (labels == positive)) ** 2
    else:
        error = (probabilities**2).sum(axis=1) - 2 * probabilities[rows, labels] + 1
    least = np.finfo(np.float64).eps
    nats = -np.log(np.clip(probabilities[rows, labels], least, 1.0))
    calibration, bins = _calibration(labels, probabilities)
    scale = "0-1" if positive is not None else "0-2"
    return {
        "brier": mean(error, about=f"scale:{scale}"),
        "log_loss": mean(nats, about="unit:nats"),
        "ece": calibration,
    }, bins


def checked_probabilities(
    scores: ArrayLike, *, rows: int, labels: int, positive: int | None
) -> Floats:
    """Scores as probabilities [N, K]; [N] are of the positive of two labels.

    Raises `InputError` where the shape does not fit or a row is not a distribution.
    """
    given = np.asarray(scores, dtype=np.float64)
    if given.ndim == 1 and positive is not None:
        columns = (given, 1 - given) if positive == 0 else (1 - given, given)
        given = np.stack(columns, axis=1)
    if given.shape != (rows, labels):
        raise InputError(
            f"The scores have shape {list(given.shape)}, and there are {rows} rows and {labels} "
            "labels. Give a probability for each label of each row, and names for labels that no "
            "row has."
        )
    inside = (given >= 0) & (given <= 1)
    if not inside.all():
        raise InputError("A score is not between 0 and 1. Give probabilities (softmax of logits).")
    off = np.abs(given.sum(axis=1) - 1)
    if (off > _SUM_ERROR).any():
        worst = int(off.argmax())
        raise InputError(
            f"The probabilities of row {worst + 1} sum to {given[worst].sum():.4g}, not 1. Give "
            "probabilities (softmax of logits), or use multilabel for several labels a row."
        )
    return given


def _mean_area(
    labels: NDArray[np.int64], probabilities: Floats, positive: int | None
) -> tuple[tuple[float, Floats] | None, str]:
    """The area and its influence, where there is one, and which it is."""
    about = "auc:binary" if positive is not None else "auc:ovr-macro"
    which = [positive] if positive is not None else range(probabilities.shape[1])
    areas = [
        roc_area(right, probabilities[:, label])
        for label in which
        if (right := labels == label).any() and not right.all()
    ]
    if not areas:
        return None, about
    influence: Floats = np.mean([influence for _, influence in areas], axis=0)
    return (float(np.mean([area for area, _ in areas])), influence), about


def _calibration(labels: NDArray[np.int64], probabilities: Floats) -> tuple[Units, tuple[Bin, ...]]:
    """The calibration error as units (count, confidence and hits of each bin), and the bins."""
    confidence = probabilities.max(axis=1)
    hit = probabilities.argmax(axis=1) == labels
    place = np.clip(np.searchsorted(_EDGES, confidence, side="left") - 1, 0, BINS - 1)
    statistics = np.zeros((len(labels), 3, BINS))
    rows = np.arange(len(labels))
    for part, values in enumerate((1.0, confidence, hit)):
        statistics[rows, part, place] = values
    counts, confidences, hits = statistics.sum(axis=0)
    filled = np.maximum(counts, 1)
    bins = tuple(
        Bin(float(low), float(high), int(count), float(mean_confidence), float(accuracy))
        for low, high, count, mean_confidence, accuracy in zip(
            _EDGES[:-1], _EDGES[1:], counts, confidences / filled, hits / filled, strict=True
        )
    )
    about = f"bins:{BINS}|label:top"
    return Units(statistics.reshape(len(labels), 3 * BINS), _expected_error, about), bins


def _expected_error(sums: Floats) -> Floats:
    """Sums [M, 3 * bins] to the expected calibration error [M]."""
    counts, confidences, hits = sums.reshape(len(sums), 3, BINS).transpose(1, 0, 2)
    error: Floats = np.abs(hits - confidences).sum(axis=1) / counts.sum(axis=1)
    return error
