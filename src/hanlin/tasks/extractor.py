"""Extractors: a trained model is a function from a question and a text to the answer in the text.

A long text is read in windows that overlap, and the best span of all of them is the answer (see
`hanlin.data.spans`).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from hanlin.data.reading_windows import Pieces, Window, ask, pieces_of
from hanlin.data.spans import Answer, best_answers
from hanlin.errors import ConfigError, InputError
from hanlin.models.transformer import Transformer
from hanlin.tasks.model import Model, texts_of
from hanlin.tokenizers import Tokenizer
from hanlin.tokenizers.pair_frame import PairFrame
from hanlin.training.objectives.extract import MAX_ANSWER, STRIDE
from hanlin.training.span_scores import window_length, window_scores

__all__ = ["Answer", "Extractor"]


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
        length: int | None = None,
    ) -> None:
        """stride, max_answer: tokens that windows share, and of the longest answer. unanswerable:
        whether the model learnt that a text may not answer; then an answer is given where its
        margin is at least `threshold`. length: tokens of the longest window that the model has
        learnt from, where it cannot read longer ones."""
        super().__init__(network, tokenizer, name=name)
        self.stride, self.max_answer = stride, max_answer
        self.unanswerable, self.threshold = unanswerable, threshold
        self._length = window_length(network, tokenizer, length)
        self._frame = PairFrame.of(tokenizer)

    @classmethod
    def trained(
        cls, network: Transformer, tokenizer: Tokenizer, *, name: str, task: Mapping[str, Any]
    ) -> "Extractor":
        """As the task in the model's hanlin.json says; where that says nothing, as by default."""
        settings = ("stride", "max_answer", "unanswerable", "threshold", "length")
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
        scores = window_scores(
            self.network,
            asked,
            pad=self.network.config.pad_id or self.tokenizer.pad_id or 0,
            batch_tokens=self.batch_tokens,
            progress=progress,
        )
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
