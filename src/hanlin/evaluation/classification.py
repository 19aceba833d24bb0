"""Judging classifiers: the metrics of labels and of probabilities, and where the model errs."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hanlin.data.classify_records import ClassifyRecord
from hanlin.errors import InputError, nearest
from hanlin.evaluation.judged import Judged, refuse_kind
from hanlin.metrics import classification, multilabel
from hanlin.metrics.indicators import MultiLabel, indicator_units
from hanlin.metrics.labels import Classification, place_units, positive_of
from hanlin.metrics.probabilities import probability_units
from hanlin.models.transformer import Transformer
from hanlin.tasks.classifier import THRESHOLD, Classifier
from hanlin.tasks.model import Model
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
    positive: str | None
    """The positive one, where there are two."""
    table: Classification | MultiLabel
    worst: tuple[Mistake, ...]
    """The likeliest mistakes first: those of the highest loss."""


def measure(
    model: Model,
    records: Sequence[ClassifyRecord],
    *,
    among: Sequence[str] | None = None,
    positive: str | None = None,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Judged:
    """Every metric of the model's labels and probabilities.

    among: labels that are counted, the model's and others' that it is compared with (None: its
    own). positive: the positive one of two (None: see `metrics.labels.positive_of`). progress:
    called with the number of texts done. Raises `InputError` for a model that is no classifier, and
    for a label that it does not know.
    """
    usable(model, records)
    assert isinstance(model, Classifier)
    begin = time.perf_counter()
    texts = [inputs_of(record) for record in records]
    scores = model.probabilities(texts, progress=progress)
    seconds = time.perf_counter() - begin
    return of_scores(
        scores, records, name=model.name, labels=model.labels, multiple=model.multiple,
        among=among, positive=positive, seed=seed, seconds=seconds,
    )  # fmt: skip


def usable(model: Model, records: Sequence[ClassifyRecord], **settings: Any) -> list[bool]:
    """All of them: longer texts are cut. Raises as `measure` does."""
    remedy = "Give a classifier (`hanlin train` makes one with the objective classify)."
    refuse_kind(model, Classifier, lacks="gives texts no labels", remedy=remedy)
    assert isinstance(model, Classifier)
    numbered(records, model.labels, name=model.name)
    if not model.multiple:
        _refuse_several(records, model.name)
    return [True] * len(records)


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


def _refuse_several(records: Sequence[ClassifyRecord], name: str) -> None:
    if wrong := [record for record in records if not isinstance(record.label, str)]:
        raise InputError(
            f"{name} gives a text one label, and the data have lists of them, such as "
            f"{list(wrong[0].labels)}. Give data with one label a text."
        )


def of_scores(
    scores: Floats,
    records: Sequence[ClassifyRecord],
    *,
    name: str,
    labels: Sequence[str],
    multiple: bool,
    among: Sequence[str] | None = None,
    positive: str | None = None,
    seed: int = 0,
    seconds: float = 0.0,
    training_seconds: float | None = None,
) -> Judged:
    """The same of probabilities [N, L] that are there already."""
    numbered(records, labels, name=name)  # a label that the model does not know is an error
    names = list(among or labels)
    right = numbered(records, names, name=name)
    wide = np.zeros((len(scores), len(names)))
    wide[:, [names.index(label) for label in labels]] = scores
    table: Classification | MultiLabel
    if multiple:
        own = np.zeros(wide.shape, dtype=bool)
        for row, those in enumerate(right):
            own[row, those] = True
        said = wide >= THRESHOLD
        table = multilabel(own, said, scores=wide, names=names, seed=seed)
        units = indicator_units(own, said, wide)
        hits = (said == own).all(1)
        each = np.where(own, wide, 1 - wide)
        losses = -np.log(np.maximum(each, _LEAST)).sum(1)
        spoken = [[names[i] for i in np.flatnonzero(row).tolist()] for row in said]
        place = None
    else:
        _refuse_several(records, name)
        places, best = np.array([those[0] for those in right]), wide.argmax(1)
        place = positive_of(names, positive)
        chosen = None if place is None else names[place]
        table = classification(places, scores=wide, names=names, positive=chosen, seed=seed)
        units = place_units(places, best, size=len(names), positive=place)
        units |= probability_units(places, wide, positive=place)
        hits = best == places
        losses = -np.log(np.maximum(wide[np.arange(len(places)), places], _LEAST))
        spoken = [[names[i]] for i in best.tolist()]
    return Judged(
        name=name,
        metrics=table.metrics,
        units={metric: units[metric] for metric in table.metrics},
        predictions=[
            {
                "label": those if multiple else those[0],
                "scores": dict(zip(labels, row.tolist(), strict=True)),
            }
            for those, row in zip(spoken, scores, strict=True)
        ],
        details=Found(
            tuple(names),
            None if place is None else names[place],
            table,
            _worst(records, spoken, hits, losses),
        ),
        seconds=seconds,
        training_seconds=training_seconds,
    )


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
