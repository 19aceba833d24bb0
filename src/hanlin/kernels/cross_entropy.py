"""The loss of a vocabulary head, a few rows at a time: the logits are never held whole.

Logits of N targets over V tokens take N * V numbers, and their gradient as many again: more than
everything else in a step together, where the vocabulary is large. Here the products, the softmax
and the gradients of states and weight are made for one chunk of rows before the next is begun
(Wijmans et al. 2024, "Cut Your Losses in Large-Vocabulary Language Models"; Hsu et al. 2024, Liger
Kernel). The gradients exist when the loss does, so `backward` only scales them.

The plain twin is `F.cross_entropy(hidden @ weight.T + bias, targets, reduction="sum")`.

Legend: ``N`` rows, ``D`` hidden size, ``V`` vocabulary.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_IGNORE = -100
_LOGITS, _FEWEST = 1 << 23, 256
"""Logits of a chunk when its rows are not given (16 MB in bfloat16), and the fewest rows: with less
of them, adding up the weight's gradient costs more than the products."""
_CACHED = 1 << 18
"""Numbers exponentiated at a time: 1 MB in float32."""


def cross_entropy_sum(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    bias: Tensor | None = None,
    softcap: float | None = None,
    chunk: int | None = None,
    compiled: bool = False,
) -> Tensor:
    """Return the sum of -log softmax(hidden @ weight.T + bias)[target], a float32 scalar.

    hidden: [N, D]; weight: [V, D]; targets: [N] int64, rows with -100 are left out before anything
    is computed; bias: [V]; softcap: logits become cap * tanh(logits / cap). chunk: rows at a time;
    compiled: a compiler makes one pass of the softmax (not of capped logits). Under autocast the
    products are in its type; exponentials and sums are float32 always (float64 for float64). The
    same inputs give the same bits. Differentiable once.
    """
    type_ = hidden.device.type
    dtype = hidden.dtype
    if torch.is_autocast_enabled(type_) and dtype != torch.float64:
        dtype = torch.get_autocast_dtype(type_)
    if chunk is None:
        chunk = max(_FEWEST, _LOGITS // weight.shape[0])
    wanted = torch.is_grad_enabled() and any(
        t is not None and t.requires_grad for t in (hidden, weight, bias)
    )
    loss: Tensor = _CrossEntropy.apply(  # type: ignore[no-untyped-call]
        hidden, weight, bias, targets, softcap, chunk, dtype, wanted, compiled
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
        compiled: bool,
    ) -> Tensor:
        needs = [wanted and need for need in ctx.needs_input_grad[:3]]
        with torch.autocast(hidden.device.type, enabled=False):
            softmax = _compiled_softmax if compiled and softcap is None else _softmax
            loss, grads = _chunks(
                hidden, weight, bias, targets, softcap, chunk, dtype, needs, softmax
            )
        ctx.grads = grads
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.grads is None:
            raise RuntimeError("The loss was differentiated before. Compute it anew.")
        grads, ctx.grads = ctx.grads, None
        return *(None if g is None else g.mul_(grad) for g in grads), *(None,) * 6


def _chunks(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    softcap: float | None,
    chunk: int,
    dtype: torch.dtype,
    needs: list[bool],
    softmax: "_Softmax",
) -> tuple[Tensor, list[Tensor | None]]:
    """The loss, and the gradients of hidden, weight and bias where needed."""
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    kept = (targets != _IGNORE).nonzero().squeeze(1)
    some = len(kept) < len(targets)
    rows, asked = (hidden[kept], targets[kept]) if some else (hidden, targets)
    rows, narrow = rows.to(dtype), weight.to(dtype)
    wide_bias = None if bias is None else bias.to(wide)
    d_rows = torch.empty_like(rows, dtype=hidden.dtype) if needs[0] else None
    d_weight: Tensor | None = None
    d_bias = torch.zeros_like(wide_bias) if needs[2] and wide_bias is not None else None
    total = torch.zeros((), dtype=wide, device=hidden.device)
    logits = torch.empty(min(chunk, len(rows)), len(weight), dtype=dtype, device=hidden.device)
    for start in range(0, len(rows), chunk):
        part, target = rows[start : start + chunk], asked[start : start + chunk]
        scores = torch.mm(part, narrow.t(), out=logits[: len(part)])
        loss, shares, ones = softmax(scores, target, wide_bias, softcap, keep=any(needs))
        total += loss
        if not any(needs):
            continue
        # The probabilities are exps / sums, but for the slope of the cap; the products divide by
        # the sums, D numbers a row instead of V, and the targets' ones are taken away as rows.
        exps = scores
        if d_rows is not None:
            mixed = torch.mm(exps, narrow).to(wide).mul_(shares)
            d_rows[start : start + chunk] = mixed.sub_(weight[target].to(wide).mul_(ones))
        part = part.to(wide)
        if needs[1]:
            made = torch.mm(exps.t(), (part * shares).to(dtype))
            d_weight = made.to(wide) if d_weight is None else d_weight.add_(made)
            d_weight.index_add_(0, target, part * ones, alpha=-1)
        if d_bias is not None:
            d_bias += torch.mv(exps.t(), shares.squeeze(1).to(dtype))
            d_bias.index_add_(0, target, ones.squeeze(1), alpha=-1)
    d_hidden = d_rows
    if some and d_rows is not None:
        d_hidden = torch.zeros_like(hidden).index_copy_(0, kept, d_rows)
    if needs[1]:
        d_weight = torch.zeros_like(weight) if d_weight is None else d_weight.to(weight.dtype)
    if d_bias is not None and bias is not None:
        d_bias = d_bias.to(bias.dtype)
    return total, [d_hidden, d_weight, d_bias]


_Softmax = Callable[..., tuple[Tensor, Tensor, Tensor]]


def _softmax(
    scores: Tensor,
    target: Tensor,
    bias: Tensor | None,
    softcap: float | None,
    *,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """The loss of a chunk [n, V], 1 / the sum of each row [n, 1], and what its target takes [n, 1].

    With `keep` the exponentials take the place of `scores`. A few rows at a time, which stay in a
    processor's cache: there they take a third of the time of PyTorch's softmax.
    """
    n, V = scores.shape
    wide = torch.float64 if scores.dtype == torch.float64 else torch.float32
    shares = torch.empty(n, 1, dtype=wide, device=scores.device)
    ones = torch.ones_like(shares)
    loss = torch.zeros((), dtype=wide, device=scores.device)
    step = max(1, _CACHED // V) if scores.device.type == "cpu" else n
    for start in range(0, n, step):
        piece = slice(start, start + step)
        x = scores[piece].to(wide, copy=True)
        right = target[piece, None]
        if bias is not None:
            x += bias
        slope = None
        if softcap is not None:
            x.div_(softcap).tanh_()
            slope = 1 - x.square()
            x.mul_(softcap)
        top = x.amax(1, keepdim=True)
        of_target = x.gather(1, right)
        x.sub_(top).exp_()
        sums = x.sum(1, keepdim=True)
        loss += (sums.log() + top - of_target).sum()
        if not keep:
            continue
        torch.reciprocal(sums, out=shares[piece])
        if slope is not None:
            x.mul_(slope)
            ones[piece] = slope.gather(1, right)
        scores[piece] = x
    return loss, shares, ones


def _compiled_softmax(
    scores: Tensor,
    target: Tensor,
    bias: Tensor | None,
    softcap: float | None,
    *,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """`_softmax` in one pass, of logits that are not capped."""
    loss, shares, exps = _one_pass()(scores, target[:, None], bias)
    if keep:
        scores.copy_(exps)
    return loss, shares, torch.ones_like(shares)


@cache
def _one_pass() -> Callable[..., tuple[Tensor, Tensor, Tensor]]:
    def exponentials(
        scores: Tensor, right: Tensor, bias: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        x = scores.to(torch.float64 if scores.dtype == torch.float64 else torch.float32)
        if bias is not None:
            x = x + bias
        top = x.amax(1, keepdim=True)
        exps = (x - top).exp()
        sums = exps.sum(1, keepdim=True)
        loss = (sums.log() + top - x.gather(1, right)).sum()
        return loss, sums.reciprocal(), exps.to(scores.dtype)

    return torch.compile(exponentials)
