"""A linear layer with adapters: what is learnt beside a weight that stays as it is.

LoRA (Hu et al. 2021): W x + s B A x, with A [rank, in] and B [out, rank]; s is alpha / rank, or
alpha / sqrt(rank) (Kalajdzievski 2023). DoRA (Liu et al. 2024): the rows of W + s B A are brought
to lengths that are learnt. A matrix of ours may hold the rows of several of transformers' (query,
key, value; gate, up): each has a product of its own, as PEFT would give it.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hanlin.kernels.linear import linear
from hanlin.models.layers import Linear, narrow_type


class Part(nn.Module):
    """The low-rank change of some rows of a weight."""

    def __init__(
        self,
        down: Tensor,
        up: Tensor,
        *,
        start: int,
        alpha: float,
        rank_stabilised: bool,
        magnitude: Tensor | None = None,
    ) -> None:
        """down: A [rank, in]; up: B [n, rank], the change of the rows from `start` on; magnitude:
        DoRA's lengths of the rows [n]."""
        super().__init__()
        self.down = nn.Parameter(down)
        self.up = nn.Parameter(up)
        self.magnitude = None if magnitude is None else nn.Parameter(magnitude)
        self.start, self.stop = start, start + up.shape[0]
        self.alpha, self.rank_stabilised = alpha, rank_stabilised

    @property
    def rank(self) -> int:
        """Width of the product."""
        return int(self.down.shape[0])

    @property
    def scale(self) -> float:
        """What the product is multiplied by."""
        return self.alpha / (math.sqrt(self.rank) if self.rank_stabilised else self.rank)

    def rows(self, weight: Tensor) -> Tensor:
        """These rows of a weight [out, in], changed, before any length is learnt: [n, in]."""
        with torch.autocast(weight.device.type, enabled=False):
            product = self.up.to(weight.dtype) @ self.down.to(weight.dtype)
            return weight[self.start : self.stop] + self.scale * product

    def lengths(self, weight: Tensor) -> Tensor:
        """What DoRA multiplies each of these rows by [n]; no gradient goes through the norm."""
        assert self.magnitude is not None
        with torch.no_grad():
            norms = torch.linalg.vector_norm(self.rows(weight.detach()), dim=1)
        lengths: Tensor = self.magnitude / norms
        return lengths


class Change(nn.Module):
    """What one adapter changes in one linear layer."""

    def __init__(self, parts: Sequence[Part], *, dropout: float) -> None:
        super().__init__()
        ordered: list[Part] = sorted(parts, key=lambda part: part.start)
        self.parts = nn.ModuleList(ordered)
        self.dropout = nn.Dropout(dropout)

    @property
    def each(self) -> list[Part]:
        """The parts, in the order of their rows."""
        return [part for part in self.parts if isinstance(part, Part)]

    def forward(self, x: Tensor, y: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """y [..., out], which the layer made of x [..., in] without this, changed."""
        parts, dropped = self.each, self.dropout(x)
        downs: list[Tensor] = [part.down for part in parts]
        down = downs[0] if len(downs) == 1 else torch.cat(downs)
        narrow = torch.split(_product(dropped, down), [part.rank for part in parts], -1)
        # What each part adds to its rows, all of them added at once: the gradient of a slice of y
        # would be a tensor of zeros as large as y.
        added, end = [], 0
        for part, inner in zip(parts, narrow, strict=True):
            rows = slice(part.start, part.stop)
            if part.start > end:
                added.append(y.new_zeros(*y.shape[:-1], part.start - end))
            changed = _product(inner * part.scale, part.up)
            if part.magnitude is not None:
                lengths = part.lengths(weight)
                if dropped is not x:
                    plain = _product(dropped, weight[rows])
                else:
                    plain = y[..., rows] if bias is None else y[..., rows] - bias[rows]
                gap = (lengths - 1).to(y.dtype)
                changed = gap * plain + lengths.to(y.dtype) * changed
            added.append(changed)
            end = part.stop
        if end < y.shape[-1]:
            added.append(y.new_zeros(*y.shape[:-1], y.shape[-1] - end))
        return y + (added[0] if len(added) == 1 else torch.cat(added, -1))

    @torch.no_grad()
    def merged(self, weight: Tensor) -> Tensor:
        """The weight [out, in] that does the same alone, a new tensor of its type."""
        wide = weight.to(torch.promote_types(weight.dtype, torch.float32), copy=True)
        before = wide.clone()
        for part in self.each:
            rows = part.rows(before)
            if part.magnitude is not None:
                rows = rows * part.lengths(before).unsqueeze(1)
            wide[part.start : part.stop] = rows
        return wide.to(weight.dtype)


class LoraLinear(Linear):
    """A linear layer with adapters by name, of which one or none is in use."""

    def __init__(self, plain: Linear) -> None:
        super().__init__(
            plain.in_features, plain.out_features, bias=plain.bias is not None, device="meta"
        )
        self.weight, self.bias = plain.weight, plain.bias
        self.training = plain.training
        self.changes = nn.ModuleDict()
        self.active: str | None = None

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        if self.active is None or self.active not in self.changes:
            return y
        return self.changes[self.active](x, y, self.weight, self.bias)  # type: ignore[no-any-return]

    def change(self, name: str) -> Change | None:
        """What the adapter `name` changes here."""
        if name not in self.changes:
            return None
        change = self.changes[name]
        assert isinstance(change, Change)
        return change

    def plain(self) -> Linear:
        """A layer without adapters that computes the same, for as long as nothing is learnt."""
        layer = Linear(
            self.in_features, self.out_features, bias=self.bias is not None, device="meta"
        )
        layer.weight, layer.bias = self.weight, self.bias
        layer.training = self.training
        change = None if self.active is None else self.change(self.active)
        if change is not None:
            layer.weight = nn.Parameter(change.merged(self.weight))
        return layer


def _product(x: Tensor, weight: Tensor) -> Tensor:
    dtype = narrow_type(x)
    if dtype is None:
        return F.linear(x, weight.to(x.dtype))
    return linear(x, weight, None, dtype)
