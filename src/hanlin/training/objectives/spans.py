"""Span corruption: write out the spans that sentinels stand for (Raffel et al. 2020, T5).

Inputs "Thank you <extra_id_0> me to your party <extra_id_1> week", targets "<extra_id_0> for
inviting <extra_id_1> last". Lengths and spans are drawn as T5's own preprocessing draws them
(`random_spans_noise_mask`): the text begins with a span that is kept and ends with one that is not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch import Tensor

from hanlin.data.batch import Batch
from hanlin.data.examples import Ids, TokenSource
from hanlin.data.framing import Frame
from hanlin.data.order import rng
from hanlin.data.shards import end_token
from hanlin.data.texts import Cut, Texts
from hanlin.data.words import Flags
from hanlin.errors import ConfigError
from hanlin.models.transformer import Transformer
from hanlin.tokenizers import Tokenizer
from hanlin.training.objectives.pairing import PairExample, collate_pairs, pair_loss


@dataclass(frozen=True, kw_only=True)
class SpanCorruption:
    """Write out hidden spans."""

    name: ClassVar[str] = "span-corruption"
    shapes: ClassVar[tuple[str, ...]] = ("encoder-decoder",)

    density: float = 0.15
    """Share of the tokens that is hidden."""
    mean_span: float = 3.0
    """Mean length of a hidden span, in tokens."""
    cut: Cut = "windows"
    """Texts are windows over all documents, as in T5, or single documents."""

    def __post_init__(self) -> None:
        if not 0 < self.density < 1 or self.mean_span < 1:
            raise ConfigError(
                f"objective.density is {self.density} and objective.mean_span {self.mean_span}; "
                "the density must be between 0 and 1 and the mean span at least 1."
            )

    def examples(
        self,
        source: TokenSource,
        *,
        tokenizer: Tokenizer,
        length: int,
        seed: int,
        validation: bool = False,
    ) -> "SpanExamples":
        """Texts as long as fills inputs of `length` tokens; with `validation` cut at the same
        places in every epoch.

        Raises `ConfigError` where the tokenizer has too few sentinels.
        """
        return SpanExamples(
            self, source, tokenizer=tokenizer, length=length, seed=seed, validation=validation
        )

    def collate(self, examples: Sequence[PairExample]) -> Batch:
        """Inputs and targets side by side, padded on the right."""
        return collate_pairs(examples)

    def loss(self, model: Transformer, batch: Batch) -> Tensor:
        """The sum of -log p(target token) over the targets; a scalar."""
        return pair_loss(model, batch)


class SpanExamples:
    """Texts with spans hidden."""

    notes = ()

    def __init__(
        self,
        options: SpanCorruption,
        source: TokenSource,
        *,
        tokenizer: Tokenizer,
        length: int,
        seed: int,
        validation: bool,
    ) -> None:
        self._options = options
        self._seed = seed
        self._frame = Frame.of(tokenizer)
        room = text_length(length, options, extra=self._frame.size)
        self._sentinels = sentinels(tokenizer)
        spans = span_counts(room, density=options.density, mean_span=options.mean_span)[1]
        if spans > len(self._sentinels):
            raise ConfigError(
                f"Inputs of {length} tokens hide {spans} spans, and the tokenizer has "
                f"{len(self._sentinels)} sentinels <extra_id_0>, <extra_id_1> ... Train one with "
                "as many as special tokens, or set a shorter batch.length."
            )
        self._texts = Texts(
            source,
            room,
            cut=options.cut,
            seed=None if validation else seed,
            end=end_token(tokenizer),
        )
        self.lengths = self._texts.lengths

    def __len__(self) -> int:
        return len(self._texts)

    def example(self, index: int, epoch: int) -> PairExample:
        """Text `index` with the spans of an epoch."""
        ids = self._texts.example(index, epoch)
        hidden = noise_mask(
            len(ids),
            density=self._options.density,
            mean_span=self._options.mean_span,
            draw=rng(self._seed, epoch, index),
        )
        return PairExample(
            self._frame.around(with_sentinels(ids, hidden, self._sentinels)),
            self._frame.around(with_sentinels(ids, ~hidden, self._sentinels)),
        )


def sentinels(tokenizer: Tokenizer) -> Ids:
    """The ids of <extra_id_0>, <extra_id_1> ... as far as the tokenizer has them."""
    found: list[int] = []
    while (token_id := tokenizer.id(f"<extra_id_{len(found)}>")) is not None:
        found.append(token_id)
    return np.array(found, dtype=np.int64)


def span_counts(length: int, *, density: float, mean_span: float) -> tuple[int, int]:
    """How many tokens of a text are hidden, and in how many spans."""
    hidden = min(max(round(length * density), 1), length - 1)
    spans = max(round(hidden / mean_span), 1)
    return hidden, min(spans, hidden, length - hidden)


def text_length(length: int, options: SpanCorruption, *, extra: int) -> int:
    """The longest text whose inputs, with `extra` tokens around them, have at most `length`.

    T5's `random_spans_helper`: 512 inputs take 568 tokens of text.
    """
    size = 2
    while True:
        hidden, spans = span_counts(size + 1, density=options.density, mean_span=options.mean_span)
        if size + 1 - hidden + spans + extra > length:
            break
        size += 1
    if size == 2:
        raise ConfigError(f"batch.length is {length}, too short to hide a span. Raise it.")
    return size


def noise_mask(
    length: int, *, density: float, mean_span: float, draw: np.random.Generator
) -> Flags:
    """Which tokens of a text are hidden [length]; T5's `random_spans_noise_mask`."""
    size = max(length, 2)
    hidden, spans = span_counts(size, density=density, mean_span=mean_span)
    widths = np.empty(2 * spans, dtype=np.int64)
    widths[0::2] = _segments(size - hidden, spans, draw)
    widths[1::2] = _segments(hidden, spans, draw)
    mask: Flags = np.repeat(np.arange(2 * spans) % 2 == 1, widths)
    return mask[:length]


def _segments(items: int, count: int, draw: np.random.Generator) -> Ids:
    """`items` cut into `count` parts of at least one; every way to cut is equally likely."""
    cuts = np.sort(draw.choice(items - 1, count - 1, replace=False)) + 1
    widths: Ids = np.diff(cuts, prepend=0, append=items)
    return widths


def with_sentinels(ids: Ids, hidden: Flags, sentinels: Ids) -> Ids:
    """`ids` with each hidden span replaced by one sentinel, in their order."""
    begins = hidden & ~np.concatenate([[False], hidden[:-1]])
    number = np.cumsum(begins) - 1
    marked = np.where(begins, sentinels[number], ids)
    kept: Ids = marked[~hidden | begins]
    return kept
