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
        cos, sin = rotation or (None, None)
        mask = None if mask is None else mask.to(qkv_BTPC.dtype)
        made: Tensor = _compiled(qkv_BTPC, mask, cos, sin, heads, kv_heads, scale, causal)[0]
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
        y, turned = _packed_forward(qkv, mask, rotation, how)
        ctx.save_for_backward(turned, mask)
        ctx.rotation, ctx.how = rotation, how
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        turned, mask = ctx.saved_tensors
        d_mask = None
        if ctx.needs_input_grad[1]:
            d_mask = torch.zeros_like(mask, dtype=_wide(turned.dtype))
        d_qkv = _packed_backward(dy, turned, mask, ctx.rotation, ctx.how, d_mask)
        return d_qkv, None if d_mask is None else d_mask.to(ctx.mask_type), None, None


def _packed_forward(
    qkv: Tensor, mask: Tensor | None, rotation: Rotation | None, how: _How
) -> tuple[Tensor, Tensor]:
    """What attention gives [B, T, H, C], and the projections, turned, head by head [B, P, T, C].

    Head by head the products of both passes read rows that lie side by side, and copy nothing.
    """
    heads, kv_heads, scale, causal = how
    B, T, P, C = qkv.shape
    both = heads + kv_heads
    apart = torch.empty(B, P, T, C, dtype=qkv.dtype, device=qkv.device)
    by_token = apart.transpose(1, 2)
    if rotation is None:
        by_token.copy_(qkv)
    else:
        turn(qkv[:, :, :both], *rotation, out=by_token[:, :, :both])
        by_token[:, :, both:] = qkv[:, :, both:]
    q, k, v = torch.split(apart, [heads, kv_heads, kv_heads], 1)
    return _forward(q, k, v, mask, scale, causal), apart


def _packed_backward(
    dy: Tensor,
    turned: Tensor,
    mask: Tensor | None,
    rotation: Rotation | None,
    how: _How,
    d_mask: Tensor | None,
) -> Tensor:
    """The gradient of the projections; the mask's is added to `d_mask`."""
    heads, kv_heads, scale, causal = how
    B, P, T, C = turned.shape
    sizes = [heads, kv_heads, kv_heads]
    apart = torch.empty_like(turned)
    _backward(
        dy.transpose(1, 2), torch.split(turned, sizes, 1), mask, scale, causal,
        torch.split(apart, sizes, 1), d_mask,
    )  # fmt: skip
    d_qkv = torch.empty(B, T, P, C, dtype=turned.dtype, device=turned.device)
    by_token, both = apart.transpose(1, 2), heads + kv_heads
    if rotation is None:
        return d_qkv.copy_(by_token)
    cos, sin = rotation
    turn(by_token[:, :, :both], cos, -sin, out=d_qkv[:, :, :both])
    d_qkv[:, :, both:] = by_token[:, :, both:]
    return d_qkv


# A compiler sees one operation, and does not unroll the loop over sequences.


@torch.library.custom_op("hanlin::attend_packed", mutates_args=())
def _compiled(
    qkv: Tensor,
    mask: Tensor | None,
    cos: Tensor | None,
    sin: Tensor | None,
    heads: int,
    kv_heads: int,
    scale: float,
    causal: bool,
) -> tuple[Tensor, Tensor]:
    rotation = None if cos is None or sin is None else (cos, sin)
    y, turned = _packed_forward(qkv, mask, rotation, (heads, kv_heads, scale, causal))
    return y.contiguous(), turned


@_compiled.register_fake
def _(
    qkv: Tensor,
    mask: Tensor | None,
    cos: Tensor | None,
    sin: Tensor | None,
    heads: int,
    kv_heads: int,
    scale: float,
    causal: bool,
) -> tuple[Tensor, Tensor]:
    B, T, P, C = qkv.shape
    return qkv.new_empty(B, T, heads, C), qkv.new_empty(B, P, T, C)


@torch.library.custom_op("hanlin::attend_packed_backward", mutates_args=())
def _compiled_backward(
    dy: Tensor,
    turned: Tensor,
    mask: Tensor | None,
    cos: Tensor | None,
    sin: Tensor | None,
    heads: int,
    kv_heads: int,
    scale: float,
    causal: bool,
) -> Tensor:
    rotation = None if cos is None or sin is None else (cos, sin)
    return _packed_backward(dy, turned, mask, rotation, (heads, kv_heads, scale, causal), None)


@_compiled_backward.register_fake
def _(
    dy: Tensor,
    turned: Tensor,
    mask: Tensor | None,
    cos: Tensor | None,
    sin: Tensor | None,
    heads: int,
    kv_heads: int,
    scale: float,
    causal: bool,
) -> Tensor:
    B, P, T, C = turned.shape
    return turned.new_empty(B, T, P, C)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    _, mask, cos, sin, *how = inputs
    ctx.save_for_backward(output[1], mask, cos, sin)
    ctx.how = how


def _compiled_gradient(ctx: Any, dy: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    return _compiled_backward(dy, *ctx.saved_tensors, *ctx.how), *(None,) * 7


_compiled.register_autograd(_compiled_gradient, setup_context=_keep)


class _Apart(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float
    ) -> Tensor:
        ctx.save_for_backward(q, k, v, mask)
        ctx.scale = scale
        return _forward(*(t.transpose(1, 2) for t in (q, k, v)), mask, scale, False)

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
    dy = dy.contiguous()
    for b in range(B):
        sums: list[Tensor] = []
        for start in range(0, T, block):
            stop = min(start + block, T)
            end = stop if causal else S
            rows = (K, R * (stop - start), C)
            q_, dy_ = (t[b, :, start:stop].reshape(rows) for t in (q, dy))
            k_, v_ = (t[b, :, :end] for t in (k, v))
            added = None
            if mask is not None:
                at = min(b, mask.shape[0] - 1)
                # A mask over the source has one row for all queries.
                added = mask[at, :, start:stop, :end] if mask.shape[2] > 1 else mask[at, :, :, :end]
                added = added.expand(H, stop - start, end).reshape(K, R * (stop - start), end)
            scores = _product(q_, k_.transpose(1, 2), added, scale)
            weights = scores.softmax(-1)
            d_weights = torch.bmm(dy_, v_.transpose(1, 2))
            d_scores = torch.ops.aten._softmax_backward_data(d_weights, weights, -1, q.dtype)
            if d_mask is not None:
                pairs = d_scores.view(H, stop - start, end)
                at = min(b, d_mask.shape[0] - 1)
                d_mask[at, :, start:stop, :end] += pairs if d_mask.shape[1] == H else pairs.sum(0)
            d_scores.mul_(scale)
            of_k, of_v = d_scores.transpose(1, 2), weights.transpose(1, 2)
            if whole:
                torch.bmm(d_scores, k_, out=d_q[b].view(rows))
                torch.bmm(of_k, q_, out=d_k[b])
                torch.bmm(of_v, dy_, out=d_v[b])
                continue
            d_q[b, :, start:stop] = torch.bmm(d_scores, k_).view(H, -1, C)
            if not sums:
                sums = [torch.zeros(K, S, C, dtype=wide, device=q.device) for _ in range(2)]
            sums[0][:, :end] += torch.bmm(of_k, q_)
            sums[1][:, :end] += torch.bmm(of_v, dy_)
        if sums:
            d_k[b], d_v[b] = sums


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
