"""Extractors: a trained model is a function from a question and a text to the answer in the text.

A long text is read in windows that overlap. A span's score is its begin score plus its end score,
the better one where two windows hold it; the score of no answer is that of the first token, in the
window where it is lowest (Devlin et al. 2019, section 4.3).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from hanlin.data.reading_windows import PairFrame, Pieces, Window, ask, pieces_of
from hanlin.errors import ConfigError, InputError
from hanlin.models.transformer import Transformer
from hanlin.tasks.batches import batches
from hanlin.tasks.model import Model, texts_of
from hanlin.tokenizers import Tokenizer
from hanlin.training.objectives.extract import MAX_ANSWER, STRIDE

LENGTH = 384
"""Tokens of a window at most, the question included (Devlin et al. 2019 take as many)."""

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


class Extractor(Model):
    """Answers questions from texts; call it."""

    kind = "an extractor"
    can: ClassVar[tuple[str, ...]] = ("be called with a question and a text", "best")
    batch_tokens = 4096
    """Tokens read at a time, padding counted; changes no result beyond rounding."""

    def __init__(
        self,
        network: Transformer,
        tokenizer: Tokenizer,
        *,
        name: str,
        stride: int = STRIDE,
        max_answer: int = MAX_ANSWER,
        unanswerable: bool = False,
        threshold: float = 0.0,
    ) -> None:
        """stride, max_answer: tokens that windows share, and of the longest answer. unanswerable:
        whether the model learnt that a text may not answer; then an answer is given where its
        margin is at least `threshold`."""
        super().__init__(network, tokenizer, name=name)
        self.stride, self.max_answer = stride, max_answer
        self.unanswerable, self.threshold = unanswerable, threshold
        self._frame = PairFrame.of(tokenizer)

    @classmethod
    def trained(
        cls, network: Transformer, tokenizer: Tokenizer, *, name: str, task: Mapping[str, Any]
    ) -> "Extractor":
        """As the task in the model's hanlin.json says; where that says nothing, as by default."""
        settings = ("stride", "max_answer", "unanswerable", "threshold")
        known = {key: task[key] for key in settings if task.get(key) is not None}
        return cls(network, tokenizer, name=name, **known)

    def __call__(
        self,
        question: str | Sequence[str],
        context: str | Sequence[str],
        *,
        max_answer: int | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> Any:  # a str is a Sequence[str] to type checkers, so overloads cannot tell them apart
        """The `Answer` of a text to a question, or the list of them of several pairs.

        max_answer: tokens of the longest answer. progress: called with the number of windows done.
        Raises `InputError` for what is not text, for an empty question, and where there are not as
        many texts as questions.
        """
        found = self.best(question, context, n=1, max_answer=max_answer, progress=progress)
        answers = [self._decided(several[0]) for several in found]
        return answers[0] if isinstance(question, str) else answers

    def best(
        self,
        question: str | Sequence[str],
        context: str | Sequence[str],
        *,
        n: int = 5,
        max_answer: int | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> list[list[Answer]]:
        """Of every pair the `n` likeliest spans, best first; whether the text answers at all is
        left open. One list a pair; for a text without words an answer that is none."""
        questions, contexts = texts_of(question, what="question"), texts_of(context)
        if len(questions) != len(contexts):
            raise InputError(
                f"There are {len(questions)} questions and {len(contexts)} texts. Give one text "
                "for each question."
            )
        if n < 1:
            raise ConfigError(f"n is {n}; it must be at least 1.")
        longest = self.max_answer if max_answer is None else max_answer
        if longest < 1:
            raise ConfigError(f"max_answer is {longest}; it must be at least 1.")
        known: dict[str, Pieces] = {}
        for text in contexts:
            if text not in known:
                known[text] = pieces_of(text, self.tokenizer)
        asked = [
            self._windows(q, known[c], number)
            for number, (q, c) in enumerate(zip(questions, contexts, strict=True), 1)
        ]
        scores = self._scores(asked, progress)
        return [
            best_answers(
                text,
                known[text].spans,
                windows,
                own,
                n=n,
                max_answer=longest,
                with_none=self.unanswerable,
            )
            for text, windows, own in zip(contexts, asked, scores, strict=True)
        ]

    def _decided(self, answer: Answer) -> Answer:
        if not self.unanswerable or answer.margin >= self.threshold:
            return answer
        none = answer.score * float(np.exp(-answer.margin)) if answer.text else answer.score
        return Answer("", None, None, none, answer.margin)

    def _windows(self, question: str, context: Pieces, number: int) -> list[Window]:
        ids = pieces_of(question.strip(), self.tokenizer).ids
        if not len(ids):
            raise InputError(f"Question number {number} is empty. Ask something.")
        return ask(ids, context.ids, self._frame, length=self._length, stride=self.stride)

    def _scores(
        self, asked: Sequence[Sequence[Window]], progress: Callable[[int], None] | None
    ) -> list[list[Floats]]:
        """Begin and end scores [T, 2] of every window."""
        windows = [window for several in asked for window in several]
        typed = self.network.config.token_types > 1
        pad = self.network.config.pad_id or self.tokenizer.pad_id or 0
        found: list[Floats] = [np.zeros((0, 2))] * len(windows)
        sequences = [window.ids.tolist() for window in windows]
        with torch.inference_mode():
            for batch in batches(sequences, pad=pad, max_tokens=self.batch_tokens):
                types = torch.zeros_like(batch.ids) if typed else None
                if types is not None:
                    for row, i in enumerate(batch.order):
                        types[row, : len(windows[i].types)] = torch.from_numpy(windows[i].types)
                logits = self.network(batch.ids, batch.mask, token_types=types).logits
                for row, i in enumerate(batch.order):
                    found[i] = logits[row, : len(windows[i].ids)].double().numpy()
                if progress is not None:
                    progress(len(batch.order))
        given = iter(found)
        return [[next(given) for _ in several] for several in asked]

    @property
    def _length(self) -> int:
        config = self.network.config
        limits = [self.tokenizer.max_length, LENGTH]
        if config.position not in ("relative", "none"):
            limits.append(config.max_context)
        return min(limit for limit in limits if limit)


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
