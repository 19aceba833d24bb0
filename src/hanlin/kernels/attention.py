"""Attention for training in bfloat16 on a CPU: PyTorch's way forward, plain products back.

The plain twin is `F.scaled_dot_product_attention`. Forward, its fused kernel is the fastest there
is. Its gradient is not: on a processor that multiplies bfloat16 in tiles, three plain products over
a block of queries that fits the cache take a third to a half of its time. The weights of the block
are computed again, so that nothing of size [T, S] is kept between the passes; a causal block stops
at its last query, so that half of a long text's pairs are never looked at.

Legend: ``B`` sequences, ``T`` queries, ``S`` keys, ``H`` query heads, ``K`` key heads, ``C``
channels of a head; ``P`` = H + 2K projections; ``R`` = H / K queries share a key.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

_PAIRS = 1 << 21
"""Weights of a block: 4 MB in bfloat16."""
_QUERIES = (64, 256)
"""The fewest and the most queries of a block."""
_TOGETHER = 1 << 20
"""Weights of the sequences that are done at once, where they are short."""

Rotation = tuple[Tensor, Tensor]
"""Cosine and signed sine, broadcast over [B, T, heads, rotated channels]."""
_How = tuple[int, int, float, bool]
"""H, K, the scale, and whether attention is causal."""


def attend_packed(
    qkv_BTPC: Tensor,
    *,
    heads: int,
    kv_heads: int,
    scale: float,
    mask: Tensor | None,
    causal: bool,
    rotation: Rotation | None,
) -> Tensor:
    """Self-attention [B, T, H, C] over H + 2K projections of each token, not yet rotated.

    mask: added to the scores, [1 or B, 1 or H, T, T]; None: nothing is. causal: no query sees a
    later key; a mask, where there is one, says so too. Differentiable once, in the mask as well.
    """
    if torch.compiler.is_compiling() and not (mask is not None and mask.requires_grad):
        parts = list(torch.split(qkv_BTPC, [heads, kv_heads, kv_heads], 2))
        if rotation is not None:
            parts[:2] = [_turned(part, *rotation) for part in parts[:2]]
        q, k, v = (part.transpose(1, 2).contiguous() for part in parts)
        mask = None if mask is None else mask.to(qkv_BTPC.dtype)
        made: Tensor = _compiled(q, k, v, mask, scale, causal)
        return made
    y: Tensor = _Packed.apply(  # type: ignore[no-untyped-call]
        qkv_BTPC, mask, rotation, (heads, kv_heads, scale, causal)
    )
    return y


def attend(
    q_BTHC: Tensor, k_BSKC: Tensor, v_BSKC: Tensor, *, scale: float, mask: Tensor | None
) -> Tensor:
    """Attention [B, T, H, C] to another sequence; mask as in `attend_packed`, [.., .., T, S]."""
    y: Tensor = _Apart.apply(q_BTHC, k_BSKC, v_BSKC, mask, scale)  # type: ignore[no-untyped-call]
    return y


class _Packed(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, qkv: Tensor, mask: Tensor | None, rotation: Rotation | None, how: _How
    ) -> Tensor:
        ctx.mask_type = mask is not None and mask.dtype
        mask = None if mask is None else mask.to(qkv.dtype)
        y, *turned = _packed_forward(qkv, mask, rotation, how)
        ctx.save_for_backward(*turned, mask)
        ctx.rotation, ctx.how = rotation, how
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        *turned, mask = ctx.saved_tensors
        d_mask = None
        if ctx.needs_input_grad[1]:
            d_mask = torch.zeros_like(mask, dtype=_wide(dy.dtype))
        d_qkv = _packed_backward(dy, turned, mask, ctx.rotation, ctx.how, d_mask)
        return d_qkv, None if d_mask is None else d_mask.to(ctx.mask_type), None, None


def _packed_forward(
    qkv: Tensor, mask: Tensor | None, rotation: Rotation | None, how: _How
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What attention gives [B, T, H, C]; queries and keys, turned, and values [B, heads, T, C].

    Head by head the products of both passes read rows that lie side by side, and copy nothing.
    """
    heads, kv_heads, scale, causal = how
    B, T, _, C = qkv.shape
    parts = torch.split(qkv, [heads, kv_heads, kv_heads], 2)
    apart = [torch.empty(B, p.shape[2], T, C, dtype=p.dtype, device=p.device) for p in parts]
    for number, (part, to) in enumerate(zip(parts, apart, strict=True)):
        if rotation is None or number == 2:
            to.transpose(1, 2).copy_(part)
        else:
            turn(part, *rotation, out=to.transpose(1, 2))
    q, k, v = apart
    return _forward(q, k, v, mask, scale, causal), q, k, v


def _packed_backward(
    dy: Tensor,
    turned: Sequence[Tensor],
    mask: Tensor | None,
    rotation: Rotation | None,
    how: _How,
    d_mask: Tensor | None,
) -> Tensor:
    """The gradient of the projections; the mask's is added to `d_mask`."""
    heads, kv_heads, scale, causal = how
    grads = [torch.empty_like(t) for t in turned]
    _backward(dy.transpose(1, 2), turned, mask, scale, causal, grads, d_mask)
    B, T, _, C = dy.shape
    d_qkv = torch.empty(B, T, heads + 2 * kv_heads, C, dtype=dy.dtype, device=dy.device)
    parts = torch.split(d_qkv, [heads, kv_heads, kv_heads], 2)
    for number, (grad, to) in enumerate(zip(grads, parts, strict=True)):
        if rotation is None or number == 2:
            to.copy_(grad.transpose(1, 2))
        else:
            cos, sin = rotation
            turn(grad.transpose(1, 2), cos, -sin, out=to)
    return d_qkv


# A compiler turns queries and keys itself and sees one operation after that: it does not unroll the
# loop over sequences.


def _turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """`turn` for a compiler, which makes one pass of it."""
    rotated = cos.shape[-1]
    half = rotated // 2
    first, second = x[..., :half], x[..., half:rotated]
    one = first * cos[..., :half] + second * sin[..., :half]
    other = second * cos[..., half:] + first * sin[..., half:]
    return torch.cat([one, other, x[..., rotated:]], -1)


@torch.library.custom_op("hanlin::attend", mutates_args=())
def _compiled(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float, causal: bool
) -> Tensor:
    return _forward(q, k, v, mask, scale, causal).contiguous()


@_compiled.register_fake
def _(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float, causal: bool) -> Tensor:
    B, H, T, C = q.shape
    return q.new_empty(B, T, H, C)


@torch.library.custom_op("hanlin::attend_backward", mutates_args=())
def _compiled_backward(
    dy: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None,
    scale: float,
    causal: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    grads = [torch.empty_like(t) for t in (q, k, v)]
    _backward(dy.transpose(1, 2), (q, k, v), mask, scale, causal, grads, None)
    return grads[0], grads[1], grads[2]


@_compiled_backward.register_fake
def _(
    dy: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None,
    scale: float,
    causal: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.scale, ctx.causal = inputs
    ctx.save_for_backward(*tensors)


def _compiled_gradient(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    return *_compiled_backward(dy, *ctx.saved_tensors, ctx.scale, ctx.causal), None, None, None


_compiled.register_autograd(_compiled_gradient, setup_context=_keep)


class _Apart(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float
    ) -> Tensor:
        ctx.save_for_backward(q, k, v, mask)
        ctx.scale = scale
        q, k, v = (t.transpose(1, 2) for t in (q, k, v))
        return _forward(q, k, v, mask, scale, False)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, mask = ctx.saved_tensors
        qkv = [t.transpose(1, 2) for t in (q, k, v)]
        grads = [torch.empty_like(t, memory_format=torch.contiguous_format) for t in qkv]
        _backward(dy.transpose(1, 2), qkv, mask, ctx.scale, False, grads, None)
        return *(t.transpose(1, 2) for t in grads), None, None


def turn(x: Tensor, cos: Tensor, sin: Tensor, *, out: Tensor) -> Tensor:
    """Rotate the first channels of x [B, T, heads, C] into `out`; -sin turns them back."""
    rotated = cos.shape[-1]
    half = rotated // 2
    to, first, second = out[..., :rotated], x[..., :half], x[..., half:rotated]
    torch.mul(x[..., :rotated], cos, out=to)
    to[..., :half].addcmul_(second, sin[..., :half])
    to[..., half:].addcmul_(first, sin[..., half:])
    if rotated < x.shape[-1]:
        out[..., rotated:] = x[..., rotated:]
    return out


def _forward(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float, causal: bool
) -> Tensor:
    """Attention [B, T, H, C] of q, k, v [B, heads, T or S, C]."""
    y = F.scaled_dot_product_attention(
        q,
        k,
        v,
        mask,
        0.0,
        causal and mask is None,
        scale=scale,
        enable_gqa=q.shape[1] != k.shape[1],
    )
    return y.transpose(1, 2)


def _backward(
    dy: Tensor,
    qkv: Sequence[Tensor],
    mask: Tensor | None,
    scale: float,
    causal: bool,
    grads: Sequence[Tensor],
    d_mask: Tensor | None,
) -> None:
    """Write the gradients of q, k, v, all [B, heads, T or S, C], and add up the mask's.

    `grads` lie head by head in memory.
    """
    q, k, v = qkv
    d_q, d_k, d_v = grads
    B, H, T, C = q.shape
    K, S = k.shape[1:3]
    R = H // K
    fewest, most = _QUERIES
    block = max(fewest, min(most, _PAIRS // (H * S)))
    if causal and mask is None:
        mask = causal_mask(T, q.dtype, q.device)
    whole, wide = block >= T, _wide(q.dtype)
    together = max(1, _TOGETHER // (H * T * S)) if whole else 1
    dy = dy.contiguous()
    for first in range(0, B, together):
        of = slice(first, min(first + together, B))
        n = of.stop - first
        sums: list[Tensor] = []
        for start in range(0, T, block):
            stop = min(start + block, T)
            end = stop if causal else S
            rows, pairs = (n * K, R * (stop - start), C), (n, H, stop - start, end)
            q_, dy_ = (t[of, :, start:stop].reshape(rows) for t in (q, dy))
            k_, v_ = (t[of, :, :end].flatten(0, 1) for t in (k, v))
            added = None
            if mask is not None:
                # A mask over the source has one row for all queries.
                added = mask[..., start:stop, :end] if mask.shape[2] > 1 else mask[..., :end]
                added = added if mask.shape[0] == 1 else added[of]
                added = added.expand(pairs).reshape(*rows[:2], end)
            scores = _product(q_, k_.transpose(1, 2), added, scale)
            weights = scores.softmax(-1)
            d_weights = torch.bmm(dy_, v_.transpose(1, 2))
            d_scores = torch.ops.aten._softmax_backward_data(d_weights, weights, -1, q.dtype)
            if d_mask is not None:
                _add_up(d_mask[:, :, start:stop, :end], of, d_scores.view(pairs))
            d_scores.mul_(scale)
            of_k, of_v = d_scores.transpose(1, 2), weights.transpose(1, 2)
            if whole:
                torch.bmm(d_scores, k_, out=d_q[of].view(rows))
                torch.bmm(of_k, q_, out=d_k[of].flatten(0, 1))
                torch.bmm(of_v, dy_, out=d_v[of].flatten(0, 1))
                continue
            d_q[first, :, start:stop] = torch.bmm(d_scores, k_).view(H, -1, C)
            if not sums:
                sums = [torch.zeros(K, S, C, dtype=wide, device=q.device) for _ in range(2)]
            sums[0][:, :end] += torch.bmm(of_k, q_)
            sums[1][:, :end] += torch.bmm(of_v, dy_)
        if sums:
            d_k[first], d_v[first] = sums


def _add_up(d_mask: Tensor, of: slice, pairs: Tensor) -> None:
    """Add the gradients of the scores [n, H, T, S] of some sequences to a mask's, [1 or B, 1 or H,
    T, S]."""
    if d_mask.shape[1] == 1:
        pairs = pairs.sum(1, keepdim=True)
    if d_mask.shape[0] == 1:
        d_mask += pairs.sum(0, keepdim=True)
    else:
        d_mask[of] += pairs


def _wide(dtype: torch.dtype) -> torch.dtype:
    """What sums are kept in."""
    return torch.promote_types(dtype, torch.float32)


def _product(q: Tensor, k: Tensor, added: Tensor | None, scale: float) -> Tensor:
    if added is None:
        return torch.bmm(q * scale, k)
    return torch.baddbmm(added, q, k, alpha=scale)


def causal_mask(length: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Zero where a query may look, minus infinity after it: [1, 1, T, T]."""
    mask = torch.full((length, length), float("-inf"), dtype=dtype, device=device)
    return mask.triu_(1).view(1, 1, length, length)
