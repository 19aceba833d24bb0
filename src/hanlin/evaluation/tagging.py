"""Judging taggers: entities that are found whole (Tjong Kim Sang and De Meulder 2003), or words."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hanlin.data.conll import TaggedText, marks_entities
from hanlin.evaluation.judged import Judged, refuse_kind
from hanlin.metrics import Score, classification, tagging
from hanlin.metrics.bootstrap import Function, divided, ratio
from hanlin.metrics.labels import LabelScore
from hanlin.metrics.tags import entities
from hanlin.metrics.units import Units
from hanlin.models.transformer import Transformer
from hanlin.tasks.model import Model
from hanlin.tasks.tagger import Tagger
from hanlin.tokenizers import Tokenizer

Tags = Sequence[Sequence[str]]
GLANCED = ("f1", "precision", "recall", "accuracy", "f1_macro")
"""Metrics that are told while training."""


@dataclass(frozen=True)
class Misread:
    """A text with tags that are wrong."""

    text: str
    wrong: int
    """Words."""
    shown: str
    """Each wrong word with the right tag and the one that was given."""


@dataclass(frozen=True)
class Found:
    """What the report of a tagger shows beside its metrics."""

    labels: tuple[LabelScore, ...]
    """Of each type of entity, or each tag."""
    worst: tuple[Misread, ...]
    """The most wrong words first."""


def measure(
    model: Model,
    records: Sequence[TaggedText],
    *,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Judged:
    """F1, precision and recall of entities and the accuracy of tags; of tags that call single words
    (parts of speech) their accuracy and F1.

    progress: called with the number of windows done. Raises `InputError` for a model that is no
    tagger.
    """
    usable(model, records)
    assert isinstance(model, Tagger)
    begin = time.perf_counter()
    said = [[word.tag for word in words] for words in model.tag(records, progress=progress)]
    seconds = time.perf_counter() - begin
    right = [list(record.tags) for record in records]
    every = {tag for tags in (*right, *said) for tag in tags}
    accuracy = _accuracy(right, said)
    metrics: dict[str, Score]
    units = {"accuracy": accuracy}
    if marks_entities(tuple(every)) and every != {"O"}:
        table = tagging(right, said, seed=seed)
        metrics = {name: table.metrics[name] for name in ("f1", *table.metrics)}
        units = {**_entity_units(right, said), **units}
        labels = table.types
    else:
        found = classification(_flat(right), _flat(said), seed=seed)
        metrics = found.metrics | {"accuracy": accuracy.score(seed=seed)}
        labels = found.labels
    return Judged(
        name=model.name,
        metrics=metrics,
        units=units,
        predictions=said,
        details=Found(labels, _worst(records, said)),
        seconds=seconds,
    )


def usable(model: Model, records: Sequence[TaggedText], **settings: Any) -> list[bool]:
    """All of them: longer texts are read in windows. Raises `InputError` for another model."""
    remedy = "Give a tagger (`hanlin train` makes one with the objective tag)."
    refuse_kind(model, Tagger, lacks="gives words no tags", remedy=remedy)
    return [True] * len(records)


def _flat(tags: Tags) -> list[str]:
    return [tag for those in tags for tag in those]


def _accuracy(right: Tags, said: Tags) -> Units:
    """Of words, drawn again by texts."""
    hits = [
        sum(mine == theirs for mine, theirs in zip(own, those, strict=True))
        for own, those in zip(said, right, strict=True)
    ]
    sizes = [len(those) for those in right]
    return Units(np.stack([hits, sizes], axis=1).astype(np.float64), ratio, "unit:tokens")


def _entity_units(right: Tags, said: Tags) -> dict[str, Units]:
    """F1, precision and recall of entities: in each text those that are right, that are there, that
    were given."""
    pairs = [
        (set(entities(those)), set(entities(own))) for own, those in zip(said, right, strict=True)
    ]
    counts = np.array(
        [(len(there & given), len(there), len(given)) for there, given in pairs], dtype=np.float64
    )
    functions: dict[str, Function] = {
        "f1": lambda sums: divided(2 * sums[:, 0], sums[:, 1] + sums[:, 2]),
        "precision": lambda sums: divided(sums[:, 0], sums[:, 2]),
        "recall": lambda sums: divided(sums[:, 0], sums[:, 1]),
    }
    return {name: Units(counts, of, "tags:conlleval") for name, of in functions.items()}


def _worst(records: Sequence[TaggedText], said: Tags, *, most: int = 20) -> tuple[Misread, ...]:
    found = []
    for record, tags in zip(records, said, strict=True):
        wrong = [
            f"{word} ({right} → {given})"
            for word, right, given in zip(record.words, record.tags, tags, strict=True)
            if right != given
        ]
        if wrong:
            found.append(Misread(record.text, len(wrong), ", ".join(wrong)))
    return tuple(sorted(found, key=lambda one: -one.wrong)[:most])


def glance(
    network: Transformer, tokenizer: Tokenizer, objective: Any, records: Sequence[TaggedText]
) -> dict[str, float]:
    """What is told while training."""
    metrics = measure(Tagger(network, tokenizer, name="model"), records).metrics
    return {name: metrics[name].value for name in GLANCED if name in metrics}
