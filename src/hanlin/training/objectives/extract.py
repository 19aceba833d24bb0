"""Span extraction: where in a text a question is answered (Devlin et al. 2019, section 4.2).

Two outputs a token: how well an answer begins there, how well it ends there. A text longer than a
model reads comes in windows that overlap, each an example of its own; where a window does not hold
the answer, or the text has none, both point at the first token (section 4.3).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from hanlin.data.batch import Batch
from hanlin.data.examples import Ids
from hanlin.data.reading_windows import Pieces, Window, ask, pieces_of
from hanlin.data.squad import Question, columns_of, read_questions
from hanlin.errors import ConfigError
from hanlin.models.config import ModelConfig
from hanlin.models.heading import with_head
from hanlin.models.transformer import Transformer
from hanlin.tokenizers import Tokenizer
from hanlin.tokenizers.pair_frame import PairFrame
from hanlin.training.objectives.rows import real, stacked

if TYPE_CHECKING:
    from hanlin.training.sections import DataSettings

STRIDE = 128
"""Tokens of the text that two windows share (Devlin et al.'s doc_stride)."""
MAX_ANSWER = 48
"""Tokens of the longest answer that is given: of CMRC 2018's answers, in characters, 98 in 100 are
shorter; of SQuAD's all but a few."""


@dataclass(frozen=True)
class SpanExample:
    """A question with one window of its text."""

    ids: Ids
    """[T]."""
    types: Ids
    """[T]: which of the two each token belongs to."""
    target: tuple[int, int]
    """Where the answer begins and ends (the token itself); (0, 0) where the window has none."""


@dataclass(frozen=True, kw_only=True)
class Extract:
    """Find the answer of a question in a text."""

    name: ClassVar[str] = "extract"
    shapes: ClassVar[tuple[str, ...]] = ("encoder",)
    records: ClassVar[bool] = True

    stride: int = STRIDE
    """Tokens of a long text that two windows share."""
    max_answer: int = MAX_ANSWER
    """Tokens of the longest answer that the trained model gives."""

    def __post_init__(self) -> None:
        if self.stride < 0:
            raise ConfigError(f"objective.stride is {self.stride}; it must not be negative.")
        if self.max_answer < 1:
            raise ConfigError(f"objective.max_answer is {self.max_answer}; it must be at least 1.")

    def read(
        self, sources: Sequence[str], data: "DataSettings", *, tell: Callable[[str], None]
    ) -> list[Question]:
        """Questions of SQuAD's or CMRC's JSON, or of tables."""
        return read_questions(sources, columns=data.columns, skip_bad=data.skip_bad, tell=tell)

    def columns(self, sources: Sequence[str], data: "DataSettings") -> dict[str, str]:
        """Which column plays which part; what the data section says, completed."""
        return columns_of(sources, columns=data.columns)

    def adapt(self, config: ModelConfig, records: Sequence[Question]) -> ModelConfig:
        """The model with a head of two outputs a token."""
        return config if config.head == "extract" else with_head(config, "extract")

    def remember(self, records: Sequence[Question]) -> dict[str, Any]:
        """How the trained model reads, and whether it may say that there is no answer."""
        return {
            "stride": self.stride,
            "max_answer": self.max_answer,
            "unanswerable": any(not record.answers for record in records),
        }

    def examples(
        self,
        source: Sequence[Question],
        *,
        tokenizer: Tokenizer,
        length: int,
        seed: int,
        validation: bool = False,
    ) -> "SpanExamples":
        """Windows of at most `length` tokens. Nothing is drawn, so `seed` changes nothing."""
        return SpanExamples(self, source, tokenizer=tokenizer, length=length)

    def collate(self, examples: Sequence[SpanExample]) -> Batch:
        """Windows side by side, padded on the right."""
        return Batch(
            ids=torch.from_numpy(stacked([e.ids for e in examples], 0)),
            mask=real([e.ids for e in examples]),
            token_types=torch.from_numpy(stacked([e.types for e in examples], 0)),
            targets=torch.tensor([e.target for e in examples]),
            target_tokens=len(examples),
        )

    def loss(self, model: Transformer, batch: Batch) -> Tensor:
        """The sum over windows of the mean of -log p(begin) and -log p(end); a scalar.

        The probabilities are over the tokens of the window, padding left out.
        """
        types = batch.token_types if model.config.token_types > 1 else None
        logits = model(batch.ids, batch.mask, token_types=types).logits.float()
        if batch.mask is not None:
            logits = logits.masked_fill(~batch.mask.bool().unsqueeze(-1), float("-inf"))
        # [B, T, 2] as [B, 2, T] against targets [B, 2].
        both = logits.transpose(1, 2).flatten(0, 1)
        return F.cross_entropy(both, batch.targets.flatten(), reduction="sum") / 2


class SpanExamples:
    """Questions with the windows of their texts."""

    def __init__(
        self, options: Extract, source: Sequence[Question], *, tokenizer: Tokenizer, length: int
    ) -> None:
        frame = PairFrame.of(tokenizer)
        contexts: dict[str, Pieces] = {}
        self._examples: list[SpanExample] = []
        self._long = self._outside = 0
        self._questions = len(source)
        for record in source:
            if record.context not in contexts:
                contexts[record.context] = pieces_of(record.context, tokenizer)
            context = contexts[record.context]
            question = pieces_of(record.question.strip(), tokenizer).ids
            windows = ask(question, context.ids, frame, length=length, stride=options.stride)
            answer = record.target
            place = None if answer is None else tokens_of(context, answer.start, answer.end)
            self._long += len(windows) > 1
            targets = [_within(window, place) for window in windows]
            self._outside += place is None and answer is not None
            self._examples += [
                SpanExample(window.ids, window.types, target)
                for window, target in zip(windows, targets, strict=True)
            ]
        self.lengths: Ids = np.array([len(e.ids) for e in self._examples], dtype=np.int64)
        self._length = length

    @property
    def notes(self) -> tuple[str, ...]:
        """How many texts were cut into windows, and answers that no token covers."""
        told = []
        if self._long:
            told.append(
                f"{self._long} of {self._questions} questions and their texts are longer than "
                f"{self._length} tokens and come in windows: {len(self)} in all."
            )
        if self._outside:
            told.append(
                f"{self._outside} answers are covered by no token and are learnt as if there were "
                "none."
            )
        return tuple(told)

    def __len__(self) -> int:
        return len(self._examples)

    def example(self, index: int, epoch: int) -> SpanExample:
        """Window `index`, the same in every epoch."""
        return self._examples[index]


def tokens_of(pieces: Pieces, start: int | None, end: int | None) -> tuple[int, int] | None:
    """The first and the last token that cover characters of [start, end); None where none does."""
    if start is None or end is None:
        return None
    begin, stop = pieces.spans.T
    covering = np.flatnonzero((begin < end) & (stop > start) & (stop > begin))
    return (int(covering[0]), int(covering[-1])) if len(covering) else None


def _within(window: Window, place: tuple[int, int] | None) -> tuple[int, int]:
    """Where the answer stands in a window's ids; (0, 0) where it does not wholly stand there."""
    if place is None or place[0] < window.start or place[1] >= window.stop:
        return 0, 0
    shift = window.first - window.start
    return place[0] + shift, place[1] + shift
