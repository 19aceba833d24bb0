"""Judging embeddings: does a text's nearest neighbour belong to it, and are alike texts near?

Where the records say how alike two texts are, the rank correlation of that with their cosine
(Spearman, as sentence-transformers reports it); else retrieval: every anchor is to find its own
positive among all different positives.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hanlin.evaluation.judged import Judged, refuse_kind
from hanlin.metrics import Score, spearman
from hanlin.metrics.correlations import spearman_units
from hanlin.metrics.units import Units, mean
from hanlin.models.pooling import Pooling
from hanlin.models.transformer import Transformer
from hanlin.tasks.encoder import Encoder
from hanlin.tasks.model import Model
from hanlin.tokenizers import Tokenizer
from hanlin.training.objectives.embed import EmbedRecord

Floats = NDArray[np.float64]
RECALLS = (1, 5, 10)
_ROWS = 512
"""Anchors whose cosines with all positives are held at a time."""


def measure(
    model: Model,
    records: Sequence[EmbedRecord],
    *,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Judged:
    """Spearman where the records have scores; else recall at 1, 5, 10 and mean reciprocal rank.

    progress: called with the number of texts done. Raises `InputError` for a model without vectors.
    """
    usable(model, records)
    assert isinstance(model, Encoder)
    begin = time.perf_counter()
    texts = list(dict.fromkeys(t for r in records for t in (r.anchor, r.positive)))
    place = {text: at for at, text in enumerate(texts)}
    vectors = model.embed(texts, progress=progress).astype(np.float64)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    seconds = time.perf_counter() - begin
    anchors = np.array([place[record.anchor] for record in records])
    positives = np.array([place[record.positive] for record in records])
    units: dict[str, Units] = {}
    metrics: dict[str, Score] = {}
    said: list[Any]
    if all(record.score is not None for record in records):
        cosines = (vectors[anchors] * vectors[positives]).sum(1)
        alike = [record.score or 0.0 for record in records]
        metrics["spearman"] = spearman(cosines, alike, seed=seed)
        units["spearman"] = spearman_units(cosines, alike)
        said = cosines.tolist()
    else:
        ranks = _ranks(vectors, anchors, positives)
        about = f"among:{len(np.unique(positives))}"
        units = {f"recall@{k}": mean(ranks <= k, about=about) for k in RECALLS}
        units["mrr"] = mean(1 / ranks, about=about)
        metrics = {name: of.score(seed=seed) for name, of in units.items()}
        said = ranks.tolist()
    return Judged(name=model.name, metrics=metrics, units=units, predictions=said, seconds=seconds)


def usable(model: Model, records: Sequence[EmbedRecord], **settings: Any) -> list[bool]:
    """All of them: longer texts are cut. Raises `InputError` for a model without vectors."""
    refuse_kind(model, Encoder, lacks="gives no vectors", remedy="Give an encoder.")
    return [True] * len(records)


def _ranks(vectors: Floats, anchors: NDArray[Any], positives: NDArray[Any]) -> NDArray[np.int64]:
    """At which place each anchor finds its positive, from 1; of equals the last place."""
    candidates, own = np.unique(positives, return_inverse=True)
    right: dict[int, set[int]] = {}
    for anchor, at in zip(anchors.tolist(), own.tolist(), strict=True):
        right.setdefault(anchor, set()).add(at)
    found = np.empty(len(anchors), dtype=np.int64)
    for first in range(0, len(anchors), _ROWS):
        some = anchors[first : first + _ROWS]
        cosines = vectors[some] @ vectors[candidates].T
        for row, anchor in enumerate(some.tolist()):
            mine = own[first + row]
            # Its other positives are no mistakes, and a text is no answer to itself.
            others = list(right[anchor] - {mine})
            line = cosines[row].copy()
            line[others] = -np.inf
            line[(candidates == anchor) & (np.arange(len(candidates)) != mine)] = -np.inf
            found[first + row] = int((line >= cosines[row, mine]).sum())
    return found


def glance(
    network: Transformer, tokenizer: Tokenizer, objective: Any, records: Sequence[EmbedRecord]
) -> dict[str, float]:
    """What is told while training: every metric."""
    pooling: Pooling = objective.pooler()
    model = Encoder(network, tokenizer, name="model", pooling=pooling)
    metrics = measure(model, records).metrics
    return {name: score.value for name, score in metrics.items()}
