"""How well entities are found in tagged tokens: precision, recall and F1 of whole spans.

An entity is right where its first token, its last and its type are (Tjong Kim Sang and Buchholz
2000). Tags are read as the conlleval script reads them, which makes the best of those that break
their scheme; with a `scheme`, only entities that keep to it count. Both are as in seqeval.

Shapes: N sentences, K types of entities.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from hanlin.errors import ConfigError, InputError
from hanlin.metrics.bootstrap import Floats, intervals_of_sums, ratio
from hanlin.metrics.examples import same_length
from hanlin.metrics.labels import LabelScore, averages, label_table
from hanlin.metrics.score import Score
from hanlin.metrics.units import Units, scored

Scheme = Literal["IOB2", "BIOES"]
Entity = tuple[str, int, int]
"""Type, first token, last token."""

# M of Chinese segmentation, L and U of BILOU are other letters for the same places.
_PLACES = {"B": "B", "I": "I", "E": "E", "S": "S", "M": "I", "L": "E", "U": "S"}
_MICRO = {"precision_micro": "precision", "recall_micro": "recall", "f1_micro": "f1"}


@dataclass(frozen=True)
class Tagging:
    """What there is to say of predicted tags."""

    metrics: dict[str, Score]
    """Of entities "precision", "recall" and "f1" of all together, the same with "_macro" (the mean
    over types) and "_weighted" (by how many there are); "accuracy" of tokens."""
    types: tuple[LabelScore, ...]
    """The table, by name of the type."""


def tagging(
    labels: Sequence[Sequence[str]],
    predictions: Sequence[Sequence[str]],
    *,
    scheme: Scheme | None = None,
    seed: int = 0,
) -> Tagging:
    """Every metric of the tags of sentences [N], each with its interval over sentences.

    Tags are "O" and "B-TYPE", "I-TYPE", "E-TYPE", "S-TYPE" (or M for I, L for E, U for S). Without
    a `scheme` they are read as conlleval reads them; "IOB2" and "BIOES" are strict. Raises
    `InputError` for lists that do not fit and what is no tag (of the scheme).
    """
    if scheme not in (None, "IOB2", "BIOES"):
        raise ConfigError(
            f"scheme is {scheme!r}. Use IOB2 or BIOES, or leave it out to read tags leniently."
        )
    same_length(predictions, labels, "labels")
    pairs, hits, sizes = [], [], []
    for number, (true, guessed) in enumerate(zip(labels, predictions, strict=True), 1):
        if len(true) != len(guessed):
            raise InputError(
                f"Sentence {number} has {len(true)} labels and {len(guessed)} predictions. Give "
                "a tag for each token."
            )
        pairs.append((set(entities(true, scheme=scheme)), set(entities(guessed, scheme=scheme))))
        hits.append(sum(one == other for one, other in zip(true, guessed, strict=True)))
        sizes.append(len(true))
    names = sorted({name for both in pairs for found in both for name, _, _ in found})
    if not names:
        raise InputError("There is no entity among the labels or the predictions.")
    counts = np.zeros((len(pairs), 3, len(names)))
    place = {name: at for at, name in enumerate(names)}
    for row, (true_ones, guessed_ones) in zip(counts, pairs, strict=True):
        for part, found in enumerate((true_ones & guessed_ones, true_ones, guessed_ones)):
            for name, _, _ in found:
                row[part, place[name]] += 1
    about = f"tags:{scheme or 'conlleval'}|types:{len(names)}"
    metrics = _entity_scores(counts, about, seed=seed)
    tokens = Units(np.stack([hits, sizes], axis=1).astype(np.float64), ratio, "unit:tokens")
    metrics["accuracy"] = tokens.score(seed=seed)
    return Tagging(metrics, label_table(names, *counts.sum(axis=0)))


def entities(tags: Sequence[str], *, scheme: Scheme | None = None) -> list[Entity]:
    """The entities of one sentence's tags, from left to right; see `tagging`."""
    split = [_split(tag, scheme) for tag in tags]
    return list(conlleval(split) if scheme is None else _strict(split, closed=scheme == "BIOES"))


def conlleval(tags: Iterable[tuple[str, str]]) -> Iterator[Entity]:
    """The entities of places (`place_of`) and types, as conlleval reads them: a token begins one,
    goes on with the one before it, or is outside."""
    begun: int | None = None
    before, kind_before = "O", ""
    for at, (place, kind) in enumerate([*tags, ("O", "")]):
        goes_on = place in ("I", "E") and before in ("B", "I") and kind == kind_before
        if not goes_on:
            if begun is not None:
                yield kind_before, begun, at - 1
            begun = None if place == "O" else at
        before, kind_before = place, kind


def _strict(tags: list[tuple[str, str]], *, closed: bool) -> Iterator[Entity]:
    """Entities that begin with B (or S alone), go on with I of their type and, where `closed`, end
    with E."""
    at = 0
    while at < len(tags):
        place, kind = tags[at]
        begun, at = at, at + 1
        if place == "S":
            yield kind, begun, begun
        if place != "B":
            continue
        while at < len(tags) and tags[at] == ("I", kind):
            at += 1
        if closed and at < len(tags) and tags[at] == ("E", kind):
            at += 1
            yield kind, begun, at - 1
        elif not closed:
            yield kind, begun, at - 1


def place_of(tag: str) -> tuple[str, str]:
    """The place of a tag (B, I, E, S, O) and its type, empty where it has none. Raises
    `InputError` for what is no tag."""
    if tag == "O":
        return "O", ""
    place = _PLACES.get(tag[:1], "")
    if not place or tag[1:2] not in ("", "-"):
        raise InputError(f"{tag!r} is no tag. Give O, or B-, I-, E- or S- and a type.")
    return place, tag[2:]


def _split(tag: str, scheme: Scheme | None) -> tuple[str, str]:
    """`place_of` a tag of the scheme; a type that is not told is "_"."""
    place, kind = place_of(tag)
    if place == "O":
        return place, kind
    if scheme == "IOB2" and place in ("E", "S"):
        raise InputError(f"{tag!r} is no tag of IOB2. Set scheme='BIOES', or leave it out.")
    return place, kind or "_"


def _entity_scores(counts: Floats, about: str, *, seed: int) -> dict[str, Score]:
    rows, parts, types = counts.shape
    flat = counts.reshape(rows, parts * types)

    def functions(sums: Floats) -> dict[str, Floats]:
        found = averages(*sums.reshape(len(sums), parts, types).transpose(1, 0, 2), absent=False)
        return {_MICRO.get(name, name): found[name] for name in sorted(found, key=_order)}

    intervals = intervals_of_sums(flat, functions, seed=seed)
    return {
        name: scored(float(value[0]), intervals[name], n=rows, about=about, seed=seed)
        for name, value in functions(flat.sum(axis=0)[None]).items()
    }


def _order(name: str) -> bool:
    return name not in _MICRO
