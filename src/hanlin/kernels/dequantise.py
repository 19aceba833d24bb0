"""Blocks of a GGUF file to floating-point tensors, in plain vectorised PyTorch.

Every quantised type stores a row as blocks of 32 or 256 weights: small integers, and one or two
half-precision scales (the K-quants: scales of scales). The arithmetic is that of ggml's reference
(``ggml-quants.c``): each product and sum is rounded to float32, so results are equal bit for bit.

A type is two functions: the integers of its blocks, and the scales and offsets of its groups; a
weight is integer * scale + offset. The integers go in small pieces, so that what one step writes
the next finds in the cache, and so that PyTorch keeps each on the calling thread: split over
threads, these short operations spend their time at barriers, and on cores shared with other work a
load of 135 M weights took 5 to 24 s instead of 1 to 2.

Formats: ggml's ``ggml-common.h`` and the GGUF specification. Legend: ``n`` blocks in a chunk.
"""

from collections.abc import Callable, Sequence
from math import prod

import numpy as np
import torch
from torch import Tensor

from hanlin.errors import FormatError
from hanlin.formats.gguf import BLOCKS, GGMLType

_PIECE = 1 << 15
"""Weights per step: the most that PyTorch does not split over threads (its grain size)."""

_SPAN = 1 << 19
"""Weights whose scales are made at once: 32768 of them where a group is 16 weights."""

_PLAIN = {
    GGMLType.F32: torch.float32,
    GGMLType.F16: torch.float16,
    GGMLType.BF16: torch.bfloat16,
}


def dequantise(
    raw: Tensor | np.ndarray,
    type: GGMLType,
    shape: Sequence[int],
    *,
    dtype: torch.dtype = torch.float32,
    out: Tensor | None = None,
) -> Tensor:
    """Return the tensor of `shape` that `raw` (uint8, contiguous) stores as `type`.

    The result is computed in float32 and rounded once to `dtype`. Written into `out` (contiguous,
    of that shape and dtype) when given. Without `out`, F32, F16 and BF16 asked for as they are
    stored come back as a view of `raw`. Raises `FormatError` for a type that has no reader here and
    for a number of bytes that does not fit the shape.
    """
    if type not in SUPPORTED:
        raise FormatError(
            f"Tensors of type {type.name} are not supported. Use a file quantised as one of "
            f"{', '.join(kind.name for kind in SUPPORTED)}."
        )
    stored = torch.from_numpy(raw) if isinstance(raw, np.ndarray) else raw
    weights, block_bytes = BLOCKS[type]
    shape = tuple(shape)
    count = prod(shape)
    if count % weights or stored.numel() != count // weights * block_bytes:
        raise FormatError(
            f"A {type.name} tensor of shape {list(shape)} does not take {stored.numel()} bytes. "
            "The file is damaged; download it again."
        )
    if out is not None and (out.shape != shape or out.dtype != dtype or not out.is_contiguous()):
        raise ValueError(f"out must be a contiguous {dtype} tensor of shape {list(shape)}")
    if type in _PLAIN:
        values = stored.view(_PLAIN[type]).view(shape)
        return values.to(dtype) if out is None else out.copy_(values)
    if out is None:
        out = torch.empty(shape, dtype=dtype)
    integers, scales = _TYPES[type]
    blocks, flat = stored.view(-1, block_bytes), out.view(-1, weights)
    span, piece = max(_SPAN // weights, 1), max(_PIECE // weights, 1)
    for start in range(0, len(blocks), span):
        packed, target = blocks[start : start + span], flat[start : start + span]
        scale, offset = scales(packed)
        groups = scale.shape[1]
        for first in range(0, len(packed), piece):
            part = slice(first, first + piece)
            place = target[part]
            q = integers(packed[part]).view(-1, groups, weights // groups)
            direct = place.dtype == torch.float32
            numbers = place.view(q.shape) if direct else torch.empty(q.shape)
            torch.mul(q, scale[part], out=numbers)
            if offset is not None:
                numbers.add_(offset[part])
            if not direct:
                place.copy_(numbers.view(place.shape))
    return out


Scales = tuple[Tensor, Tensor | None]
"""Of each group: what its integers are multiplied by, and what is then added: [n, groups, 1]."""


def _half(blocks: Tensor, at: int) -> Tensor:
    """The half-precision number at byte `at` (even) of each block, as float32 [n, 1]."""
    return blocks.view(torch.float16)[:, at // 2, None].float()


def _one_scale(at: int, offset_at: int | None = None) -> Callable[[Tensor], Scales]:
    """The block is one group, with its numbers at these bytes."""

    def scales(blocks: Tensor) -> Scales:
        offset = None if offset_at is None else _half(blocks, offset_at)[:, :, None]
        return _half(blocks, at)[:, :, None], offset

    return scales


def _fields(packed: Tensor, bits: int) -> Tensor:
    """Split bytes [..., k] into their fields of `bits`, lowest first: [..., 8 / bits, k].

    Eight bytes at a time, so k is a multiple of 8: rows of 16 or 32 bytes are too short for
    PyTorch's loops over bytes.
    """
    words = packed.clone(memory_format=torch.contiguous_format).view(torch.int64)
    mask = 0x0101010101010101 * ((1 << bits) - 1)
    if bits == 4:
        return torch.stack([words & mask, (words >> 4) & mask], dim=-2).view(torch.uint8)
    shifts = torch.arange(0, 8, bits)[:, None]
    return (words[..., None, :] >> shifts).bitwise_and_(mask).view(torch.uint8)


def _signed(q: Tensor, zero: int) -> Tensor:
    """Subtract the zero point: uint8 to int8."""
    return q.sub_(zero).view(torch.int8)


def _fifth_bits(packed: Tensor) -> Tensor:
    """Q5_0, Q5_1: 32 bits in 4 bytes, lowest first, to bit 4 of 32 bytes: [n, 32]."""
    shifts = torch.arange(8, dtype=torch.uint8)
    return ((packed[:, :, None] >> shifts) & 1).bitwise_left_shift_(4).view(-1, 32)


def _q4_0(blocks: Tensor) -> Tensor:
    return _signed(_fields(blocks[:, 2:], 4), 8)


def _q4_1(blocks: Tensor) -> Tensor:
    return _fields(blocks[:, 4:], 4)


def _q5_0(blocks: Tensor) -> Tensor:
    q = _fields(blocks[:, 6:], 4).view(-1, 32).bitwise_or_(_fifth_bits(blocks[:, 2:6]))
    return _signed(q, 16)


def _q5_1(blocks: Tensor) -> Tensor:
    return _fields(blocks[:, 8:], 4).view(-1, 32).bitwise_or_(_fifth_bits(blocks[:, 4:8]))


def _q8_0(blocks: Tensor) -> Tensor:
    return blocks[:, None, 2:].view(torch.int8)


def _q2_k(blocks: Tensor) -> Tensor:
    return _fields(blocks[:, 16:80].view(-1, 2, 32), 2)


def _q2_k_scales(blocks: Tensor) -> Scales:
    """16 groups of 16 weights; a scale and a minimum share a byte."""
    scale = _half(blocks, 80) * (blocks[:, :16] & 15)
    minimum = _half(blocks, 82) * (blocks[:, :16] >> 4)
    return scale[:, :, None], minimum.neg_()[:, :, None]


def _q3_k(blocks: Tensor) -> Tensor:
    """Two bits, and a mask whose bit stands for +4."""
    q = _fields(blocks[:, 32:96].view(-1, 2, 32), 2).view(-1, 8, 32)
    return _signed(q.bitwise_or_(_fields(blocks[:, :32], 1).bitwise_left_shift_(2)), 4)


def _q3_k_scales(blocks: Tensor) -> Scales:
    """16 groups of 16 weights; six-bit scales: low nibbles in 8 bytes, high pairs in 4."""
    low = _fields(blocks[:, 96:104], 4).view(-1, 16)
    pairs = torch.tensor([[0], [2], [4], [6]], dtype=torch.uint8)
    high = ((blocks[:, None, 104:108] >> pairs) & 3).view(-1, 16)
    return (_half(blocks, 108) * _signed(low | (high << 4), 32))[:, :, None], None


def _q4_k(blocks: Tensor) -> Tensor:
    return _fields(blocks[:, 16:].view(-1, 4, 32), 4)


def _q5_k(blocks: Tensor) -> Tensor:
    """As Q4_K, with a fifth bit: byte i of 32, bit g belongs to weight i of group g."""
    q = _fields(blocks[:, 48:].view(-1, 4, 32), 4).view(-1, 8, 32)
    return q.bitwise_or_(_fields(blocks[:, 16:48], 1).bitwise_left_shift_(4))


def _q45_k_scales(blocks: Tensor) -> Scales:
    """8 groups of 32 weights; eight scales and eight minima of six bits in the 12 bytes from 4.

    Bytes 0-3 and 4-7 hold the first four scales and minima whole, and in their top two bits the
    highest bits of the last four, whose low nibbles share bytes 8-11.
    """
    first, second, third = blocks[:, 4:16].view(-1, 3, 4).unbind(1)
    scale = torch.cat([first & 63, (third & 15) | ((first >> 6) << 4)], dim=1)
    minimum = torch.cat([second & 63, (third >> 4) | ((second >> 6) << 4)], dim=1)
    return (
        (_half(blocks, 0) * scale)[:, :, None],
        (_half(blocks, 2) * minimum).neg_()[:, :, None],
    )


def _q6_k(blocks: Tensor) -> Tensor:
    """Nibbles, and the two high bits apart."""
    q = _fields(blocks[:, :128].view(-1, 2, 64), 4).view(-1, 8, 32)
    high = _fields(blocks[:, 128:192].view(-1, 2, 32), 2).view(-1, 8, 32)
    return _signed(q.bitwise_or_(high.bitwise_left_shift_(4)), 32)


def _q6_k_scales(blocks: Tensor) -> Scales:
    """16 groups of 16 weights; a scale is an int8."""
    return (_half(blocks, 208) * blocks[:, 192:208].view(torch.int8))[:, :, None], None


_TYPES: dict[GGMLType, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Scales]]] = {
    GGMLType.Q4_0: (_q4_0, _one_scale(0)),
    GGMLType.Q4_1: (_q4_1, _one_scale(0, 2)),
    GGMLType.Q5_0: (_q5_0, _one_scale(0)),
    GGMLType.Q5_1: (_q5_1, _one_scale(0, 2)),
    GGMLType.Q8_0: (_q8_0, _one_scale(0)),
    GGMLType.Q2_K: (_q2_k, _q2_k_scales),
    GGMLType.Q3_K: (_q3_k, _q3_k_scales),
    GGMLType.Q4_K: (_q4_k, _q45_k_scales),
    GGMLType.Q5_K: (_q5_k, _q45_k_scales),
    GGMLType.Q6_K: (_q6_k, _q6_k_scales),
}

SUPPORTED = tuple(sorted([*_PLAIN, *_TYPES]))
"""Types that can be turned into numbers."""
