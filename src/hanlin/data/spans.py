"""From the scores of a question's windows to the answers: spans of characters, best first.

A span's score is its begin score plus its end score, the better one where two windows hold it; the
score of no answer is that of the first token, in the window where it is lowest (Devlin et al. 2019,
section 4.3).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hanlin.data.reading_windows import Window

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Answer:
    """What a text answers to a question."""

    text: str
    """Empty where the text does not answer it."""
    start: int | None
    """Its first character in the text; None of no answer."""
    end: int | None
    """The character after its last."""
    score: float
    """Its probability among all spans of the text (and no answer, where the model knows it)."""
    margin: float
    """By how much its score (a sum of two logits) is above that of no answer."""


def best_answers(
    context: str,
    spans: NDArray[np.int64],
    windows: Sequence[Window],
    scores: Sequence[Floats],
    *,
    n: int,
    max_answer: int,
    with_none: bool,
) -> list[Answer]:
    """The `n` best spans of a context, from the scores of its windows.

    spans: [T, 2], the characters of the context's tokens; scores: of every window [its tokens, 2].
    with_none: whether no answer has a share in the probabilities.
    """
    size = len(spans)
    none = min(float(own[0].sum()) for own in scores)
    # band[s, k]: the score of the span of tokens s .. s + k.
    band = np.full((size, min(max_answer, size)), -np.inf)
    for window, own in zip(windows, scores, strict=True):
        inside = own[window.first : window.first + window.stop - window.start]
        for k in range(min(band.shape[1], len(inside))):
            both = inside[: len(inside) - k, 0] + inside[k:, 1]
            part = band[window.start : window.stop - k, k]
            np.maximum(part, both, out=part)
    shown = spans[:, 1] > spans[:, 0] if size else np.zeros(0, dtype=bool)
    band[~shown] = -np.inf
    for k in range(band.shape[1]):
        band[: size - k, k][~shown[k:]] = -np.inf
    flat = band.ravel()
    known = np.flatnonzero(np.isfinite(flat))
    if not len(known):
        return [Answer("", None, None, 1.0, -np.inf)]
    every = np.append(flat[known], none) if with_none else flat[known]
    highest = every.max()
    total = highest + np.log(np.exp(every - highest).sum())
    # Byte-level tokens may share a character, so that several spans are one: take some to spare.
    enough = min(len(known), 4 * n + 16)
    top = known[np.argpartition(-flat[known], enough - 1)[:enough]]
    found: dict[tuple[int, int], Answer] = {}
    for at in top[np.lexsort((top, -flat[top]))].tolist():
        first, further = divmod(at, band.shape[1])
        start, end = int(spans[first, 0]), int(spans[first + further, 1])
        score = float(flat[at])
        found.setdefault(
            (start, end),
            Answer(context[start:end], start, end, float(np.exp(score - total)), score - none),
        )
    return list(found.values())[:n]


def best_threshold(
    margins: Sequence[float], right: Sequence[float], none: Sequence[float]
) -> float:
    """The margin from which on answers are best given, by what is gained over all questions.

    margins: of each question's best answer; right: what giving it gains (its F1); none: what giving
    no answer gains (1 where the question has none). Halfway between two margins; the lowest of
    several that are as good.
    """
    order = np.argsort(np.asarray(margins))
    sorted_margins = np.asarray(margins, dtype=np.float64)[order]
    gained = np.asarray(right, dtype=np.float64)[order]
    held = np.asarray(none, dtype=np.float64)[order]
    # With the i lowest margins unanswered.
    totals = np.concatenate([[0], np.cumsum(held)]) + np.append(np.cumsum(gained[::-1])[::-1], 0)
    # A threshold cannot part equal margins.
    apart = np.concatenate([[True], np.diff(sorted_margins) > 0, [True]])
    best = int(np.argmax(np.where(apart, totals, -np.inf)))
    if best == 0:
        return float(sorted_margins[0] - 1)
    if best == len(order):
        return float(sorted_margins[-1] + 1)
    return float((sorted_margins[best - 1] + sorted_margins[best]) / 2)
