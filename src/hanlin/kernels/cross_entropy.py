"""The loss of a vocabulary head, a few rows at a time: the logits are never held whole.

Logits of N targets over V tokens take N * V numbers, and their gradient as many again: more than
everything else in a step together, where the vocabulary is large. Here the products, the softmax
and the gradients of states and weight are made for one chunk of rows before the next is begun
(Wijmans et al. 2024, "Cut Your Losses in Large-Vocabulary Language Models"; Hsu et al. 2024, Liger
Kernel). The gradients exist when the loss does, so `backward` only scales them.

The plain twin is `F.cross_entropy(hidden @ weight.T + bias, targets, reduction="sum")`.

Legend: ``N`` rows, ``D`` hidden size, ``V`` vocabulary.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_IGNORE = -100
_LOGITS = 1 << 22
"""Logits of a chunk when its rows are not given: 16 MB in float32."""


def cross_entropy_sum(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    bias: Tensor | None = None,
    softcap: float | None = None,
    chunk: int | None = None,
) -> Tensor:
    """Return the sum of -log softmax(hidden @ weight.T + bias)[target], a float32 scalar.

    hidden: [N, D]; weight: [V, D]; targets: [N] int64, rows with -100 are left out before anything
    is computed; bias: [V]; softcap: logits become cap * tanh(logits / cap). chunk: rows at a time.
    Under autocast the products are in its type; exponentials and sums are float32 always (float64
    for float64). The same inputs give the same bits. Differentiable once.
    """
    type_ = hidden.device.type
    dtype = hidden.dtype
    if torch.is_autocast_enabled(type_) and dtype != torch.float64:
        dtype = torch.get_autocast_dtype(type_)
    if chunk is None:
        chunk = max(64, _LOGITS // weight.shape[0])
    wanted = torch.is_grad_enabled() and any(
        t is not None and t.requires_grad for t in (hidden, weight, bias)
    )
    loss: Tensor = _CrossEntropy.apply(  # type: ignore[no-untyped-call]
        hidden, weight, bias, targets, softcap, chunk, dtype, wanted
    )
    return loss


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        softcap: float | None,
        chunk: int,
        dtype: torch.dtype,
        wanted: bool,
    ) -> Tensor:
        needs = [wanted and need for need in ctx.needs_input_grad[:3]]
        with torch.autocast(hidden.device.type, enabled=False):
            loss, grads = _chunks(hidden, weight, bias, targets, softcap, chunk, dtype, needs)
        ctx.grads = grads
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.grads is None:
            raise RuntimeError("The loss was differentiated before. Compute it anew.")
        grads, ctx.grads = ctx.grads, None
        return *(None if g is None else g.mul_(grad) for g in grads), *(None,) * 5


def _chunks(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    softcap: float | None,
    chunk: int,
    dtype: torch.dtype,
    needs: list[bool],
) -> tuple[Tensor, list[Tensor | None]]:
    """The loss, and the gradients of hidden, weight and bias where needed."""
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    kept = (targets != _IGNORE).nonzero().squeeze(1)
    some = len(kept) < len(targets)
    rows, asked = (hidden[kept], targets[kept]) if some else (hidden, targets)
    rows, weight_ = rows.to(dtype), weight.to(dtype)
    bias_ = None if bias is None else bias.to(wide)
    d_rows = torch.empty_like(rows, dtype=hidden.dtype) if needs[0] else None
    d_weight = torch.zeros_like(weight, dtype=wide) if needs[1] else None
    d_bias = torch.zeros_like(bias_) if needs[2] and bias_ is not None else None
    total = torch.zeros((), dtype=wide, device=hidden.device)
    for start in range(0, len(rows), chunk):
        part, target = rows[start : start + chunk], asked[start : start + chunk, None]
        logits = (part @ weight_.T).to(wide)
        if bias_ is not None:
            logits += bias_
        if softcap is not None:
            logits.div_(softcap).tanh_().mul_(softcap)
        right = logits.gather(1, target)
        top = logits.amax(1, keepdim=True)
        slope = 1 - (logits / softcap) ** 2 if softcap is not None and any(needs) else None
        exp = logits.sub_(top).exp_()
        sums = exp.sum(1, keepdim=True)
        total += (sums.log() + top - right).sum()
        if not any(needs):
            continue
        d_logits = exp.div_(sums)
        d_logits.scatter_add_(1, target, torch.full_like(right, -1.0))
        if slope is not None:
            d_logits *= slope
        if d_bias is not None:
            d_bias += d_logits.sum(0)
        d_logits = d_logits.to(dtype)
        if d_rows is not None:
            d_rows[start : start + chunk] = d_logits @ weight_
        if d_weight is not None:
            d_weight += d_logits.T @ part
    d_hidden = d_rows
    if some and d_rows is not None:
        d_hidden = torch.zeros_like(hidden).index_copy_(0, kept, d_rows)
    if d_weight is not None:
        d_weight = d_weight.to(weight.dtype)
    if d_bias is not None and bias is not None:
        d_bias = d_bias.to(bias.dtype)
    return total, [d_hidden, d_weight, d_bias]
