"""Causal language modelling: predict each token from those before it (Radford et al. 2019).

Windows over the whole text; a window of T + 1 tokens gives T inputs and T targets.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from hanlin.data.batch import IGNORE, Batch
from hanlin.data.examples import Ids, TokenSource
from hanlin.data.shards import token_bytes
from hanlin.data.windows import Windows
from hanlin.models.transformer import Transformer
from hanlin.tokenizers import Tokenizer
from hanlin.training.objectives.loss import vocabulary_loss
from hanlin.training.objectives.rows import documents, stacked


@dataclass(frozen=True)
class CausalExample:
    """One window: what is read, and what comes next."""

    ids: Ids
    """[T]."""
    targets: Ids
    """[T]; `IGNORE` where a document that must not be seen begins."""
    segments: Ids | None
    """[T]."""
    bytes: int
    """UTF-8 bytes the targets stand for."""


class CausalExamples:
    """Windows of a text as inputs and next tokens."""

    lengths = None
    notes = ()

    def __init__(self, windows: Windows, bytes_of: Ids) -> None:
        """`bytes_of` [V]: UTF-8 bytes of each token."""
        self._windows = windows
        self._bytes_of = bytes_of

    def __len__(self) -> int:
        return len(self._windows)

    def example(self, index: int, epoch: int) -> CausalExample:
        """Window `index` of an epoch."""
        window = self._windows.example(index, epoch)
        ids, targets = window.ids[:-1], window.ids[1:]
        size = int(self._bytes_of[targets].sum())
        if window.segments is None:
            return CausalExample(ids, targets, None, size)
        crosses = window.segments[1:] != window.segments[:-1]
        size -= int(self._bytes_of[targets[crosses]].sum())
        targets = np.where(crosses, IGNORE, targets)
        return CausalExample(ids, targets, window.segments[:-1], size)


@dataclass(frozen=True, kw_only=True)
class CausalLM:
    """Predict the next token."""

    name: ClassVar[str] = "causal-lm"
    shapes: ClassVar[tuple[str, ...]] = ("decoder",)

    respect_documents: bool = False
    """Whether documents of one window are kept from seeing each other: attention stays within each,
    its positions start from 0, and its first token is no target."""

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
        return CausalExamples(windows, token_bytes(tokenizer))

    def collate(self, examples: Sequence[CausalExample]) -> Batch:
        """The examples side by side; shorter ones are filled up on the right, where causal
        attention keeps the filling out of sight."""
        targets = stacked([e.targets for e in examples], IGNORE)
        return Batch(
            ids=torch.from_numpy(stacked([e.ids for e in examples], 0)),
            targets=torch.from_numpy(targets),
            segments=documents([e.segments for e in examples]),
            target_tokens=int((targets != IGNORE).sum()),
            target_bytes=sum(e.bytes for e in examples),
        )

    def loss(self, model: Transformer, batch: Batch) -> Tensor:
        """The sum of -log p(next token) over the targets; a scalar."""
        hidden = model.hidden(batch.ids, segments=batch.segments)
        return vocabulary_loss(model, hidden, batch.targets)
