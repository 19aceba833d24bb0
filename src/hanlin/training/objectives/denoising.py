"""Denoising: write a document that reads as it did before it was damaged (Lewis et al. 2020, BART).

Sentences change places, then spans of words, their lengths Poisson, become one mask token each; a
span of length 0 puts a mask where nothing is missing.
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
from hanlin.data.sentences import Sentences
from hanlin.data.shards import end_token
from hanlin.data.texts import Cut, Texts
from hanlin.data.words import Chinese, Words
from hanlin.errors import ConfigError
from hanlin.models.transformer import Transformer
from hanlin.tokenizers import Tokenizer
from hanlin.training.objectives.masked import check_mask
from hanlin.training.objectives.pairing import PairExample, collate_pairs, pair_loss


@dataclass(frozen=True, kw_only=True)
class Denoising:
    """Repair damaged documents."""

    name: ClassVar[str] = "denoising"
    shapes: ClassVar[tuple[str, ...]] = ("encoder-decoder",)

    rate: float = 0.3
    """Share of the words that is hidden; 0 for none."""
    mean_span: float = 3.0
    """Mean length of a hidden span, in words."""
    permute: bool = True
    """Whether the sentences change places."""
    chinese: Chinese = "characters"
    """Words of Chinese: every token for one, or cut by a segmenter (rjieba, of the extra
    `data`)."""
    cut: Cut = "documents"
    """Texts are single documents (long ones in pieces) or windows over all of them."""

    def __post_init__(self) -> None:
        if not 0 <= self.rate < 1 or self.mean_span <= 0:
            raise ConfigError(
                f"objective.rate is {self.rate} and objective.mean_span {self.mean_span}; the rate "
                "must be from 0 to 1 and the mean span above 0."
            )
        if self.rate == 0 and not self.permute:
            raise ConfigError("With rate 0 and permute off nothing is damaged. Turn one on.")

    def examples(
        self,
        source: TokenSource,
        *,
        tokenizer: Tokenizer,
        length: int,
        seed: int,
        validation: bool = False,
    ) -> "DenoisingExamples":
        """Documents of at most `length` tokens; with `validation` windows begin at the same places
        in every epoch."""
        return DenoisingExamples(
            self, source, tokenizer=tokenizer, length=length, seed=seed, validation=validation
        )

    def collate(self, examples: Sequence[PairExample]) -> Batch:
        """Inputs and targets side by side, padded on the right."""
        return collate_pairs(examples)

    def loss(self, model: Transformer, batch: Batch) -> Tensor:
        """The sum of -log p(target token) over the targets; a scalar."""
        return pair_loss(model, batch)


class DenoisingExamples:
    """Documents, damaged and whole."""

    notes = ()

    def __init__(
        self,
        options: Denoising,
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
        self._mask_id = check_mask(tokenizer) if options.rate else -1
        self._words = Words(tokenizer, chinese=options.chinese)
        self._sentences = Sentences(tokenizer)
        self._room = length - self._frame.size
        self._texts = Texts(
            source,
            self._room,
            cut=options.cut,
            seed=None if validation else seed,
            end=end_token(tokenizer),
        )
        self.lengths = self._texts.lengths

    def __len__(self) -> int:
        return len(self._texts)

    def example(self, index: int, epoch: int) -> PairExample:
        """Document `index` with the damage of an epoch."""
        ids = self._texts.example(index, epoch)
        draw = rng(self._seed, epoch, index)
        damaged = permuted(ids, self._sentences.starts(ids), draw) if self._options.permute else ids
        if self._options.rate and len(damaged):
            damaged = infilled(
                damaged,
                self._words.number(damaged),
                rate=self._options.rate,
                mean_span=self._options.mean_span,
                mask_id=self._mask_id,
                draw=draw,
            )
        # An inserted mask must not make the input longer than what a model takes.
        damaged = damaged[: self._room]
        return PairExample(self._frame.around(damaged), self._frame.around(ids))


def permuted(ids: Ids, starts: Ids, draw: np.random.Generator) -> Ids:
    """`ids` with the pieces that begin at `starts` in another order."""
    pieces = np.split(ids, starts[1:])
    return np.concatenate([pieces[i] for i in draw.permutation(len(pieces))])


def infilled(
    ids: Ids,
    words: Ids,
    *,
    rate: float,
    mean_span: float,
    mask_id: int,
    draw: np.random.Generator,
) -> Ids:
    """`ids` with spans of words replaced by one mask each.

    words: [T] the number of each token's word, from 0. Spans are drawn until they make up `rate` of
    the words; the last is shortened to fit. Those of length 0 are inserted anywhere.
    """
    count = int(words[-1]) + 1
    wanted = int(count * rate + draw.random())
    if not wanted:
        return ids
    lengths = draw.poisson(mean_span, size=0)
    while lengths.sum() < wanted:
        lengths = np.append(lengths, draw.poisson(mean_span, size=16))
    lengths = lengths[: int(np.searchsorted(np.cumsum(lengths), wanted)) + 1]
    lengths[-1] -= lengths.sum() - wanted
    inserted = int((lengths == 0).sum())
    # In another order: the shortened one must not always be the last.
    spans = draw.permutation(lengths[lengths > 0])
    # Spans and the words that stay are one sequence, in which every arrangement is as likely.
    places = draw.choice(len(spans) + count - wanted, len(spans), replace=False)
    places.sort()
    first = places - np.arange(len(spans)) + np.cumsum(spans) - spans
    role = np.zeros(count, dtype=np.int64)
    role[np.repeat(first, spans) + _within(spans)] = 1
    role[first] = 2
    hidden, begins = role[words] > 0, role[words] == 2
    begins[1:] &= words[1:] != words[:-1]
    out = np.where(begins, mask_id, ids)[~hidden | begins]
    return np.insert(out, draw.integers(0, len(out) + 1, inserted), mask_id)


def _within(sizes: Ids) -> Ids:
    """0, 1, ... for each of the sizes, one after the other."""
    return np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
