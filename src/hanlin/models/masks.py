"""Which token sees which: causal, padded, sliding, documents side by side, T5's distance bias.

One object per pass. A pass either reads whole padded sequences (training, scoring, encoding) or
extends rows of a cache. In a cache rows have lengths of their own; rows of one length are attended
to in one call, rows of different lengths one by one, so that a row's numbers never depend on its
neighbours.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from hanlin.models.cache import Cache, Group

Bias = Callable[[Tensor, Tensor], Tensor]
"""Additive scores [1, H, T, S] from query positions [T] and key positions [S]."""


@dataclass
class Span:
    """The tokens of one pass [B, T]: where they stand and what they may see."""

    positions: Tensor | slice
    """Position of each token: [B, T], or a slice where every row has the same."""
    tokens: int
    causal: bool
    window: int | None
    """Width of sliding layers (see ModelConfig.sliding_window)."""
    device: torch.device
    dtype: torch.dtype
    padding: Tensor | None = None
    """True where a token is real [B, T]; None when all are."""
    segments: Tensor | None = None
    """The document each token belongs to [B, T]: tokens see their own; None when all are one."""
    bias: Bias | None = None
    cache: Cache | None = None
    rows: Sequence[int] = ()
    """The cache's rows that this pass extends."""
    groups: list[Group] = field(default_factory=list)
    last_token: bool = False
    """Whether only the last token's final state is asked for."""
    memory: Tensor | None = None
    """An encoder's output [B, S, D], when not in the cache."""
    memory_mask: Tensor | None = None
    """True where the source is real [B, 1, 1, S]; None when all of it is."""
    _masks: dict[tuple[int, bool], tuple[Tensor | None, bool]] = field(default_factory=dict)
    _added: dict[tuple[bool, torch.dtype], Tensor | None] = field(default_factory=dict)

    @property
    def one_token_each(self) -> bool:
        """Whether the pass adds one token to every row of a cache, in order."""
        return (
            self.cache is not None
            and self.tokens == 1
            and list(self.rows) == list(range(self.cache.rows))
        )

    def mask(self, start: int, *, sliding: bool) -> tuple[Tensor | None, bool]:
        """The mask for queries from column `start` on, and whether plain causality says it all."""
        key = (start, sliding)
        if key not in self._masks:
            self._masks[key] = self._build(start, sliding=sliding)
        return self._masks[key]

    def added(self, *, sliding: bool, dtype: torch.dtype) -> Tensor | None:
        """The mask of a pass without cache as numbers to add to scores, [1 or B, 1 or H, T, T].

        None where plain causality, or nothing, says it all. The distance bias keeps its own type.
        """
        key = (sliding, dtype)
        if key not in self._added:
            mask, _ = self.mask(0, sliding=sliding)
            if mask is not None and mask.dtype == torch.bool:
                mask = torch.zeros_like(mask, dtype=dtype).masked_fill_(~mask, float("-inf"))
            self._added[key] = mask if mask is None or mask.dim() == 4 else mask[None, None]
        return self._added[key]

    def memory_added(self, dtype: torch.dtype) -> Tensor | None:
        """The source's mask as numbers to add to scores, [B, 1, 1, S]."""
        if self.memory_mask is None:
            return None
        mask = self.memory_mask
        return torch.zeros_like(mask, dtype=dtype).masked_fill_(~mask, float("-inf"))

    def _build(self, start: int, *, sliding: bool) -> tuple[Tensor | None, bool]:
        T, S = self.tokens, start + self.tokens
        query = torch.arange(start, S, device=self.device)
        key = torch.arange(S, device=self.device)
        window = self.window if sliding else None
        narrow = window is not None and (window if self.causal else window // 2) < S
        plain = self.padding is None and self.segments is None
        plain = plain and not narrow and self.bias is None
        if plain and (not self.causal or T == 1):
            return None, False
        if plain and start == 0:
            return None, True
        distance = query.unsqueeze(1) - key.unsqueeze(0)
        allowed = distance >= 0 if self.causal else torch.ones_like(distance, dtype=torch.bool)
        if narrow:
            assert window is not None
            allowed &= distance < window if self.causal else distance.abs() <= window // 2
        if self.segments is not None:
            assert start == 0
            allowed = allowed & (self.segments[:, :, None] == self.segments[:, None, :])
        if self.padding is not None:
            assert start == 0
            # A padded query may see itself alone: a row with nothing to see would be NaN.
            allowed = allowed & self.padding[:, None, :] | (distance == 0)
        if allowed.dim() == 3:
            allowed = allowed.unsqueeze(1)
        if self.bias is None:
            return allowed, False
        return self.bias(query, key).masked_fill(~allowed, float("-inf")), False
