"""Sequence to sequence: write one text given another (Sutskever et al. 2014; Vaswani et al. 2017).

Pairs of like length come together (see `Loader`), so that little is padded.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch import Tensor

from hanlin.data.batch import Batch
from hanlin.data.examples import Ids
from hanlin.data.framing import Frame
from hanlin.data.pairs import Pairs
from hanlin.data.tokens import TokenArray
from hanlin.errors import ConfigError
from hanlin.models.transformer import Transformer
from hanlin.tokenizers import Tokenizer
from hanlin.training.objectives.pairing import PairExample, collate_pairs, pair_loss


@dataclass(frozen=True, kw_only=True)
class Seq2Seq:
    """Write a text given another."""

    name: ClassVar[str] = "seq2seq"
    shapes: ClassVar[tuple[str, ...]] = ("encoder-decoder",)

    smoothing: float = 0.0
    """Label smoothing: share of each target's weight that is spread over the vocabulary (0.1 in the
    original Transformer). The training loss that is told is the smoothed one; validation is not
    smoothed."""
    target_length: int | None = None
    """Most tokens of a target; as batch.length when not given."""

    def __post_init__(self) -> None:
        if not 0 <= self.smoothing < 1:
            raise ConfigError(
                f"objective.smoothing is {self.smoothing}; it must be from 0 to below 1."
            )
        if self.target_length is not None and self.target_length < 2:
            raise ConfigError(
                f"objective.target_length is {self.target_length}; it must be at least 2."
            )

    def examples(
        self,
        source: Pairs,
        *,
        tokenizer: Tokenizer,
        length: int,
        seed: int,
        validation: bool = False,
    ) -> "PairExamples":
        """Pairs with sources of at most `length` tokens; what is longer loses its end. Nothing is
        drawn, so `seed` and `validation` change nothing."""
        return PairExamples(
            source,
            frame=Frame.of(tokenizer),
            length=length,
            target_length=self.target_length or length,
        )

    def collate(self, examples: Sequence[PairExample]) -> Batch:
        """Sources and targets side by side, padded on the right."""
        return collate_pairs(examples)

    def loss(self, model: Transformer, batch: Batch) -> Tensor:
        """The sum of -log p(target token) over the targets, smoothed; a scalar."""
        return pair_loss(model, batch, smoothing=self.smoothing if model.training else 0.0)


class PairExamples:
    """Pairs with the special tokens of their tokenizer around them, cut to length."""

    def __init__(self, pairs: Pairs, *, frame: Frame, length: int, target_length: int) -> None:
        self._pairs = pairs
        self._frame = frame
        self._rooms = length - frame.size, target_length - frame.size
        if min(self._rooms) < 1:
            raise ConfigError(
                f"A text of {min(length, target_length)} tokens has no room between its "
                f"{frame.size} special tokens. Raise batch.length."
            )
        sizes = [np.diff(side.ends, prepend=0) - 1 for side in (pairs.sources, pairs.targets)]
        over = [size > room for size, room in zip(sizes, self._rooms, strict=True)]
        self.truncated = int((over[0] | over[1]).sum())
        """Pairs of which a side was cut off."""
        self.lengths: Ids = sum(
            (np.minimum(size, room) for size, room in zip(sizes, self._rooms, strict=True)),
            start=np.full(len(pairs), 2 * frame.size),
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """How many pairs were cut, where some were."""
        if not self.truncated:
            return ()
        source, target = (room + self._frame.size for room in self._rooms)
        return (
            f"{self.truncated} of {len(self)} pairs are longer than {source} or {target} tokens "
            "and lose their end.",
        )

    def __len__(self) -> int:
        return len(self._pairs)

    def example(self, index: int, epoch: int) -> PairExample:
        """Pair `index`, the same in every epoch."""
        return PairExample(
            self._side(self._pairs.sources, index, self._rooms[0]),
            self._side(self._pairs.targets, index, self._rooms[1]),
        )

    def _side(self, texts: TokenArray, index: int, room: int) -> Ids:
        start, stop = texts.document_bounds(index)
        return self._frame.around(texts.read(start, min(stop - 1, start + room)))
