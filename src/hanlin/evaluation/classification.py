"""Judging classifiers: the metrics of labels and of probabilities, and where the model errs."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hanlin.data.classify_records import ClassifyRecord
from hanlin.errors import InputError, nearest
from hanlin.evaluation.judged import Judged
from hanlin.metrics import classification, multilabel
from hanlin.metrics.indicators import MultiLabel
from hanlin.metrics.labels import Classification, averages
from hanlin.metrics.units import Units, mean
from hanlin.models.transformer import Transformer
from hanlin.tasks.classifier import THRESHOLD, Classifier
from hanlin.tokenizers import Tokenizer

Floats = NDArray[np.float64]
GLANCED = ("accuracy", "subset_accuracy", "f1_macro", "ece")
"""Metrics that are told while training."""
_LEAST = 1e-300


@dataclass(frozen=True)
class Mistake:
    """A text that the model found its right label unlikely for."""

    text: str
    right: str
    said: str
    probability: float
    """Of the right label; of several labels, of all its answers being right."""
    loss: float
    """-log of that."""


@dataclass(frozen=True)
class Found:
    """What the report of a classifier shows beside its metrics."""

    labels: tuple[str, ...]
    table: Classification | MultiLabel
    worst: tuple[Mistake, ...]
    """The likeliest mistakes first: those of the highest loss."""


def measure(
    model: Classifier,
    records: Sequence[ClassifyRecord],
    *,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Judged:
    """Every metric of the model's labels and probabilities.

    progress: called with the number of texts done. Raises `InputError` for a label that the model
    does not know.
    """
    begin = time.perf_counter()
    texts = [inputs_of(record) for record in records]
    scores = model.probabilities(texts, progress=progress)
    seconds = time.perf_counter() - begin
    return of_scores(
        scores, records, name=model.name, labels=model.labels, multiple=model.multiple, seed=seed,
        seconds=seconds,
    )  # fmt: skip


def inputs_of(record: ClassifyRecord) -> str | tuple[str, str]:
    """What a classifier reads of a record."""
    return record.text if record.text_pair is None else (record.text, record.text_pair)


def numbered(
    records: Sequence[ClassifyRecord], labels: Sequence[str], *, name: str
) -> list[list[int]]:
    """The labels of each record by their number. Raises `InputError` for one that is not there."""
    number = {label: at for at, label in enumerate(labels)}
    unknown = sorted({one for record in records for one in record.labels if one not in number})
    if unknown:
        shown = ", ".join(labels[:20]) + (" ..." if len(labels) > 20 else "")
        raise InputError(
            f"The data have the label {unknown[0]!r}, which {name} does not know."
            f"{nearest(unknown[0], list(labels))} It knows: {shown}. Give data with these labels."
        )
    return [[number[one] for one in record.labels] for record in records]


def of_scores(
    scores: Floats,
    records: Sequence[ClassifyRecord],
    *,
    name: str,
    labels: Sequence[str],
    multiple: bool,
    seed: int = 0,
    seconds: float = 0.0,
    training_seconds: float | None = None,
) -> Judged:
    """The same of probabilities [N, L] that are there already."""
    right = numbered(records, labels, name=name)
    if not multiple and (wrong := [r for r in records if not isinstance(r.label, str)]):
        raise InputError(
            f"{name} gives a text one label, and the data have lists of them, such as "
            f"{list(wrong[0].labels)}. Give data with one label a text."
        )
    table: Classification | MultiLabel
    units: dict[str, Units] = {}
    if multiple:
        own = np.zeros(scores.shape, dtype=bool)
        for row, those in enumerate(right):
            own[row, those] = True
        said = scores >= THRESHOLD
        table = multilabel(own, said, scores=scores, names=labels, seed=seed)
        hits = (said == own).all(1)
        each = np.where(own, scores, 1 - scores)
        losses = -np.log(np.maximum(each, _LEAST)).sum(1)
        spoken = [[labels[i] for i in np.flatnonzero(row).tolist()] for row in said]
    else:
        places = np.array([those[0] for those in right])
        table = classification(places, scores=scores, names=labels, seed=seed)
        hits = scores.argmax(1) == places
        units["f1_macro"] = _macro_f1(places, scores.argmax(1), len(labels))
        losses = -np.log(np.maximum(scores[np.arange(len(places)), places], _LEAST))
        spoken = [[labels[i]] for i in scores.argmax(1).tolist()]
    return Judged(
        name=name,
        metrics=table.metrics,
        units={next(iter(table.metrics)): mean(hits)} | units,
        predictions=[
            {
                "label": those if multiple else those[0],
                "scores": dict(zip(labels, row.tolist(), strict=True)),
            }
            for those, row in zip(spoken, scores, strict=True)
        ],
        details=Found(tuple(labels), table, _worst(records, spoken, hits, losses)),
        seconds=seconds,
        training_seconds=training_seconds,
    )


def _macro_f1(right: NDArray[np.int64], said: NDArray[np.int64], labels: int) -> Units:
    """What macro F1 is computed from: of each label whether it was hit, is there, was said."""
    counts = np.zeros((len(right), 3, labels))
    rows = np.arange(len(right))
    counts[rows, 0, right] = right == said
    counts[rows, 1, right] = 1
    counts[rows, 2, said] = 1

    def function(sums: Floats) -> Floats:
        parts = sums.reshape(len(sums), 3, labels).transpose(1, 0, 2)
        return averages(*parts, absent=False)["f1_macro"]

    return Units(counts.reshape(len(right), 3 * labels), function, f"labels:{labels}")


def _worst(
    records: Sequence[ClassifyRecord],
    spoken: Sequence[Sequence[str]],
    hits: NDArray[np.bool_],
    losses: Floats,
    *,
    most: int = 30,
) -> tuple[Mistake, ...]:
    order = sorted(np.flatnonzero(~hits).tolist(), key=lambda i: -losses[i])
    return tuple(
        Mistake(
            text=" ⏐ ".join(filter(None, (records[i].text, records[i].text_pair))),
            right=", ".join(records[i].labels) or "–",
            said=", ".join(spoken[i]) or "–",
            probability=float(np.exp(-losses[i])),
            loss=float(losses[i]),
        )
        for i in order[:most]
    )


def glance(
    network: Transformer, tokenizer: Tokenizer, objective: Any, records: Sequence[ClassifyRecord]
) -> dict[str, float]:
    """What is told while training: accuracy, macro F1 and calibration error."""
    metrics = measure(Classifier(network, tokenizer, name="model"), records).metrics
    return {name: metrics[name].value for name in GLANCED if name in metrics}
