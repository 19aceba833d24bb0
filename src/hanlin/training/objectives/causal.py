"""Causal language modelling: predict each token from those before it (Radford et al. 2019).

Windows over the whole text; a window of T + 1 tokens gives T inputs and T targets. With `fim` some
documents come with their middle last (see `data.middle`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch import Tensor

from hanlin.data.batch import IGNORE, Batch
from hanlin.data.examples import Ids, TokenSource
from hanlin.data.middle import Marks, middles_last
from hanlin.data.order import rng
from hanlin.data.shards import token_bytes
from hanlin.data.windows import Windows
from hanlin.errors import ConfigError
from hanlin.models.transformer import Transformer
from hanlin.tokenizers import Tokenizer
from hanlin.training.objectives.next_token import (
    NextTokens,
    collate_next_tokens,
    next_token_loss,
)


class CausalExamples:
    """Windows of a text as inputs and next tokens."""

    lengths = None
    notes = ()

    def __init__(
        self,
        windows: Windows,
        bytes_of: Ids,
        *,
        reorder: Callable[[Ids, int, int], Ids] | None = None,
    ) -> None:
        """`bytes_of` [V]: UTF-8 bytes of each token. `reorder` takes a window's ids, its number and
        the epoch, and gives as many ids back."""
        self._windows = windows
        self._bytes_of = bytes_of
        self._reorder = reorder

    def __len__(self) -> int:
        return len(self._windows)

    def example(self, index: int, epoch: int) -> NextTokens:
        """Window `index` of an epoch."""
        window = self._windows.example(index, epoch)
        whole = window.ids if self._reorder is None else self._reorder(window.ids, index, epoch)
        ids, targets = whole[:-1], whole[1:]
        size = int(self._bytes_of[targets].sum())
        if window.segments is None:
            return NextTokens(ids, targets, None, size)
        crosses = window.segments[1:] != window.segments[:-1]
        size -= int(self._bytes_of[targets[crosses]].sum())
        targets = np.where(crosses, IGNORE, targets)
        return NextTokens(ids, targets, window.segments[:-1], size)


@dataclass(frozen=True)
class _Middles:
    """Middles last, by the window's number and the epoch alone; can be sent to a worker."""

    tokenizer: Tokenizer
    marks: Marks
    rate: float
    seed: int

    def __call__(self, ids: Ids, index: int, epoch: int) -> Ids:
        draws = rng(self.seed, epoch, index)
        return middles_last(ids, self.tokenizer, self.marks, rate=self.rate, rng=draws)


@dataclass(frozen=True, kw_only=True)
class CausalLM:
    """Predict the next token."""

    name: ClassVar[str] = "causal-lm"
    shapes: ClassVar[tuple[str, ...]] = ("decoder",)

    respect_documents: bool = False
    """Whether documents of one window are kept from seeing each other: attention stays within each,
    its positions start from 0, and its first token is no target."""
    fim: float = 0.0
    """The share of documents in training whose middle comes last, so that the model learns to fill
    it in; validation reads every text as it is."""

    def __post_init__(self) -> None:
        if not 0 <= self.fim <= 1:
            raise ConfigError(f"fim is {self.fim}; it must be from 0 to 1.")
        if self.fim and self.respect_documents:
            raise ConfigError(
                "fim moves the parts of documents, and respect_documents needs them where they "
                "were. Leave one of them out."
            )

    def examples(
        self,
        source: TokenSource,
        *,
        tokenizer: Tokenizer,
        length: int,
        seed: int,
        validation: bool = False,
    ) -> CausalExamples:
        """Windows of `length` inputs; with `validation` the same in every epoch, every token after
        the first a target once."""
        windows = Windows(
            source,
            length + 1,
            seed=None if validation else seed,
            overlap=1,
            respect_documents=self.respect_documents,
        )
        reorder = None
        if self.fim and not validation:
            reorder = _Middles(tokenizer, Marks.of(tokenizer), self.fim, seed)
        return CausalExamples(windows, token_bytes(tokenizer), reorder=reorder)

    def collate(self, examples: Sequence[NextTokens]) -> Batch:
        """The examples side by side; shorter ones are filled up on the right, where causal
        attention keeps the filling out of sight."""
        return collate_next_tokens(examples)

    def loss(self, model: Transformer, batch: Batch) -> Tensor:
        """The sum of -log p(next token) over the targets; a scalar."""
        return next_token_loss(model, batch)
