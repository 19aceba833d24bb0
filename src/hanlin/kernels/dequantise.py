"""Blocks of a GGUF file to floating-point tensors, in plain vectorised PyTorch.

Every quantised type stores a row as blocks of 32 or 256 weights: small integers, and one or two
half-precision scales (the K-quants: scales of scales). The arithmetic is that of ggml's reference
(``ggml-quants.c``): each product and sum is rounded to float32, so results are equal bit for bit.

Work goes in chunks, so that what one step writes the next finds in the cache. With several threads
each takes a span of small chunks: PyTorch runs an operation of up to 32768 elements on the calling
thread alone. Left to split large operations itself it meets at a barrier after every one, which on
two cores shared with other work took ten times as long (measured: 5 to 24 s instead of 0.5 to 2).

Formats: ggml's ``ggml-common.h`` and the GGUF specification. Legend: ``n`` blocks in a chunk.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import prod

import numpy as np
import torch
from torch import Tensor

from hanlin.errors import FormatError
from hanlin.formats.gguf import BLOCKS, GGMLType

_CHUNK = 1 << 19
"""Weights per step on one thread: 2 MB of float32, about a second-level cache."""

_SMALL_CHUNK = 1 << 15
"""Weights per step on several threads: the most that PyTorch does not split (its grain size)."""

_PARALLEL_FROM = 1 << 18
"""Weights from which starting threads (0.1 ms) is worth it."""

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
    blocks, flat = stored.view(-1, block_bytes), out.view(-1, weights)
    threads = torch.get_num_threads() if count >= _PARALLEL_FROM else 1
    if threads == 1:
        _run(type, blocks, flat, _CHUNK if torch.get_num_threads() == 1 else _SMALL_CHUNK)
        return out
    spans = zip(blocks.tensor_split(threads), flat.tensor_split(threads), strict=True)
    with ThreadPoolExecutor(threads) as pool:
        for work in [pool.submit(_run, type, *span, _SMALL_CHUNK) for span in spans]:
            work.result()
    return out


def _run(type: GGMLType, blocks: Tensor, out: Tensor, chunk: int) -> None:
    """Unpack blocks [n, bytes of a block] into `out` [n, weights of a block], by chunks."""
    unpack, step = _UNPACK[type], max(chunk // out.shape[1], 1)
    for packed, target in zip(blocks.split(step), out.split(step), strict=True):
        if out.dtype == torch.float32:
            unpack(packed, target)
        else:
            numbers = torch.empty(target.shape)
            unpack(packed, numbers)
            target.copy_(numbers)


def _half(blocks: Tensor, at: int) -> Tensor:
    """The half-precision number at byte `at` (even) of each block, as float32 [n, 1]."""
    return blocks.view(torch.float16)[:, at // 2, None].float()


def _fields(packed: Tensor, bits: int) -> Tensor:
    """Split bytes [..., k] into their fields of `bits`, lowest first: [..., 8 / bits, k]."""
    parts = 8 // bits
    split = packed.new_empty(*packed.shape[:-1], parts, packed.shape[-1])
    for part in range(parts):
        field = split[..., part, :]
        torch.bitwise_right_shift(packed, part * bits, out=field)
        if part < parts - 1:
            field.bitwise_and_((1 << bits) - 1)
    return split


def _signed(q: Tensor, zero: int) -> Tensor:
    """Subtract the zero point: uint8 to int8."""
    return q.sub_(zero).view(torch.int8)


def _high_bits(packed: Tensor) -> Tensor:
    """Q5_0, Q5_1: 32 bits in 4 bytes, lowest first, to bit 4 of 32 bytes: [n, 32]."""
    shifts = torch.arange(8, dtype=torch.uint8)
    return ((packed[:, :, None] >> shifts) & 1).bitwise_left_shift_(4).view(-1, 32)


def _q4_0(blocks: Tensor, out: Tensor) -> None:
    q = _signed(_fields(blocks[:, 2:], 4), 8)
    torch.mul(q.view(-1, 32), _half(blocks, 0), out=out)


def _q4_1(blocks: Tensor, out: Tensor) -> None:
    q = _fields(blocks[:, 4:], 4)
    torch.mul(q.view(-1, 32), _half(blocks, 0), out=out).add_(_half(blocks, 2))


def _q5_0(blocks: Tensor, out: Tensor) -> None:
    q = _fields(blocks[:, 6:], 4).view(-1, 32).bitwise_or_(_high_bits(blocks[:, 2:6]))
    torch.mul(_signed(q, 16), _half(blocks, 0), out=out)


def _q5_1(blocks: Tensor, out: Tensor) -> None:
    q = _fields(blocks[:, 8:], 4).view(-1, 32).bitwise_or_(_high_bits(blocks[:, 4:8]))
    torch.mul(q, _half(blocks, 0), out=out).add_(_half(blocks, 2))


def _q8_0(blocks: Tensor, out: Tensor) -> None:
    torch.mul(blocks[:, 2:].view(torch.int8), _half(blocks, 0), out=out)


def _q2_k(blocks: Tensor, out: Tensor) -> None:
    """16 groups of 16 two-bit weights; scale and minimum of a group are four bits each."""
    scale = _half(blocks, 80) * (blocks[:, :16] & 15)
    minimum = _half(blocks, 82) * (blocks[:, :16] >> 4)
    q = _fields(blocks[:, 16:80].view(-1, 2, 32), 2).view(-1, 16, 16)
    torch.mul(q, scale[:, :, None], out=out.view(-1, 16, 16)).sub_(minimum[:, :, None])


def _q3_k(blocks: Tensor, out: Tensor) -> None:
    """16 groups of 16 three-bit weights: two bits, and a mask whose bit stands for +4."""
    low = _fields(blocks[:, 96:104], 4).view(-1, 16)
    high = _fields(blocks[:, 104:108], 2).view(-1, 16)
    scale = _half(blocks, 108) * _signed(low | (high << 4), 32)
    q = _fields(blocks[:, 32:96].view(-1, 2, 32), 2).view(-1, 8, 32)
    q.bitwise_or_(_fields(blocks[:, :32], 1).bitwise_left_shift_(2))
    q = _signed(q, 4).view(-1, 16, 16)
    torch.mul(q, scale[:, :, None], out=out.view(-1, 16, 16))


def _scales_and_minima(blocks: Tensor) -> tuple[Tensor, Tensor]:
    """Q4_K, Q5_K: eight scales and eight minima of six bits in the twelve bytes from 4: [n, 8, 1].

    Bytes 0-3 and 4-7 hold the first four scales and minima whole, and in their top two bits the
    highest bits of the last four, whose low nibbles share bytes 8-11.
    """
    first, second, third = blocks[:, 4:16].view(-1, 3, 4).unbind(1)
    scale = torch.cat([first & 63, (third & 15) | ((first >> 6) << 4)], dim=1)
    minimum = torch.cat([second & 63, (third >> 4) | ((second >> 6) << 4)], dim=1)
    return (
        (_half(blocks, 0) * scale)[:, :, None],
        (_half(blocks, 2) * minimum)[:, :, None],
    )


def _q4_k(blocks: Tensor, out: Tensor) -> None:
    """8 groups of 32 four-bit weights."""
    scale, minimum = _scales_and_minima(blocks)
    q = _fields(blocks[:, 16:].view(-1, 4, 32), 4).view(-1, 8, 32)
    torch.mul(q, scale, out=out.view(-1, 8, 32)).sub_(minimum)


def _q5_k(blocks: Tensor, out: Tensor) -> None:
    """As Q4_K, with a fifth bit: byte i of 32, bit g belongs to weight i of group g."""
    scale, minimum = _scales_and_minima(blocks)
    q = _fields(blocks[:, 48:].view(-1, 4, 32), 4).view(-1, 8, 32)
    q.bitwise_or_(_fields(blocks[:, 16:48], 1).bitwise_left_shift_(4))
    torch.mul(q, scale, out=out.view(-1, 8, 32)).sub_(minimum)


def _q6_k(blocks: Tensor, out: Tensor) -> None:
    """16 groups of 16 six-bit weights: nibbles, and two bits apart; the scales are int8."""
    scale = _half(blocks, 208) * blocks[:, 192:208].view(torch.int8)
    q = _fields(blocks[:, :128].view(-1, 2, 64), 4).view(-1, 8, 32)
    high = _fields(blocks[:, 128:192].view(-1, 2, 32), 2).view(-1, 8, 32)
    q = _signed(q.bitwise_or_(high.bitwise_left_shift_(4)), 32).view(-1, 16, 16)
    torch.mul(q, scale[:, :, None], out=out.view(-1, 16, 16))


_UNPACK: dict[GGMLType, Callable[[Tensor, Tensor], None]] = {
    GGMLType.Q4_0: _q4_0,
    GGMLType.Q4_1: _q4_1,
    GGMLType.Q5_0: _q5_0,
    GGMLType.Q5_1: _q5_1,
    GGMLType.Q8_0: _q8_0,
    GGMLType.Q2_K: _q2_k,
    GGMLType.Q3_K: _q3_k,
    GGMLType.Q4_K: _q4_k,
    GGMLType.Q5_K: _q5_k,
    GGMLType.Q6_K: _q6_k,
}

SUPPORTED = tuple(sorted([*_PLAIN, *_UNPACK]))
"""Types that can be turned into numbers."""
