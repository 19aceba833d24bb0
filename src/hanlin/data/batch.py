"""The tensors of one step, as every objective makes them and every model reads them.

``B`` sequences, ``T`` tokens read, ``U`` tokens a decoder reads (encoder-decoders only).
"""

from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor

IGNORE = -100
"""Stands in `Batch.targets` where nothing is asked."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """One micro-batch; the count of its targets travels with it, so that loss can be a global mean.

    The loss of a step is the sum over its targets, of all micro-batches and all ranks, divided by
    their global number.
    """

    ids: Tensor
    """[B, T] int64: what the decoder (or the encoder) reads."""
    targets: Tensor
    """[B, T] int64, for an encoder-decoder [B, U]: the right token at each place, or `IGNORE`; of
    a classifier the right label [B], of a tagger one for each token [B, T], of an extractor where
    the span begins and ends [B, 2]."""
    decoder_ids: Tensor | None = None
    """[B, U] int64, encoder-decoders only: the text to write, which a loss shifts behind the
    model's start token (`Transformer.shift`)."""
    mask: Tensor | None = None
    """[B, T] bool: True at real tokens; None when all are."""
    decoder_mask: Tensor | None = None
    """[B, U] bool: True at real tokens; None when all are."""
    segments: Tensor | None = None
    """[B, T] int32: the document each token belongs to; attention stays within equal numbers. None
    where documents may see each other."""
    token_types: Tensor | None = None
    """[B, T] int64: which of two texts each token belongs to, for models that tell them apart; None
    where there is one text."""
    scores: Tensor | None = None
    """Targets that are numbers and not ids, float32: [B, labels] of texts with several labels, 1 at
    those they have; what else a loss compares with."""
    weights: Tensor | None = None
    """How much each target counts, float32, of the shape of `targets` (or of `scores`); None: all
    the same."""
    target_tokens: int
    """How many targets are asked for: what the loss is summed over."""
    target_bytes: int = 0
    """UTF-8 bytes these targets stand for; 0 where that has no meaning (masked tokens)."""

    @property
    def tokens(self) -> int:
        """Tokens read, padding included: what throughput counts."""
        return self.ids.numel() + (0 if self.decoder_ids is None else self.decoder_ids.numel())

    def to(self, device: torch.device | str) -> Self:
        """The same batch on another device."""
        moved: dict[str, Any] = {
            name: value.to(device, non_blocking=True)
            for name, value in vars(self).items()
            if isinstance(value, Tensor)
        }
        return replace(self, **moved)
