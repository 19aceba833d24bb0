"""Where a token stands: rotary tables and their scalings, sinusoids, T5's buckets.

Rotary: Su et al. 2021 (RoFormer), halves rotated as in Llama. Linear: Chen et al. 2023. YaRN: Peng
et al. 2023. llama3: the frequency bands of Llama 3.1. Sinusoids: Vaswani et al. 2017, sines in the
first half of the channels and cosines in the second, as tensor2tensor and Marian lay them out.
Relative buckets: Raffel et al. 2020.
"""

import math
from typing import Any

import torch
from torch import Tensor

from hanlin.models.config import Rope


def inverse_frequencies(rope: Rope, rotated: int) -> tuple[Tensor, float]:
    """Angular frequency of each channel pair [rotated / 2], and the factor on cosine and sine."""
    exponent = torch.arange(0, rotated, 2, dtype=torch.float32) / rotated
    plain = 1.0 / (rope.theta**exponent)
    if rope.kind == "linear":
        return plain / rope.factor, 1.0
    if rope.kind == "llama3":
        return _llama3(rope, plain), 1.0
    if rope.kind == "yarn":
        return _yarn(rope, plain, rotated)
    return plain, 1.0


def _llama3(rope: Rope, plain: Tensor) -> Tensor:
    assert rope.original_context is not None
    wavelength = 2 * math.pi / plain
    longest = rope.original_context / rope.low_freq_factor
    shortest = rope.original_context / rope.high_freq_factor
    blend = (rope.original_context / wavelength - rope.low_freq_factor) / (
        rope.high_freq_factor - rope.low_freq_factor
    )
    smooth = (1 - blend) * plain / rope.factor + blend * plain
    scaled = torch.where(wavelength > longest, plain / rope.factor, plain)
    between = (wavelength >= shortest) & (wavelength <= longest)
    return torch.where(between, smooth, scaled)


def _yarn(rope: Rope, plain: Tensor, rotated: int) -> tuple[Tensor, float]:
    assert rope.original_context is not None

    def dimension(rotations: float) -> float:
        assert rope.original_context is not None
        turns = rope.original_context / (rotations * 2 * math.pi)
        return rotated * math.log(turns) / (2 * math.log(rope.theta))

    low, high = dimension(rope.beta_fast), dimension(rope.beta_slow)
    if rope.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, rotated - 1)
    ramp = (torch.arange(rotated // 2, dtype=torch.float32) - low) / max(high - low, 0.001)
    keep = 1 - ramp.clamp(0, 1)
    frequencies = (plain / rope.factor) * (1 - keep) + plain * keep

    def mscale(weight: float) -> float:
        return 0.1 * weight * math.log(rope.factor) + 1.0 if rope.factor > 1 else 1.0

    if rope.attention_factor is not None:
        factor = rope.attention_factor
    elif rope.mscale and rope.mscale_all_dim:
        factor = mscale(rope.mscale) / mscale(rope.mscale_all_dim)
    else:
        factor = mscale(1.0)
    return frequencies, factor


class RotaryTable:
    """Cosines and sines of every position so far asked for; grows by doubling."""

    def __init__(self, rope: Rope, channels: int) -> None:
        self.rope = rope
        self.rotated = int(channels * rope.fraction)
        self._cos: Tensor | None = None
        self._sin: Tensor | None = None

    def _grow(self, length: int, device: torch.device, dtype: torch.dtype) -> None:
        length = max(256, 1 << (length - 1).bit_length())
        frequencies, factor = inverse_frequencies(self.rope, self.rotated)
        angle = torch.outer(torch.arange(length, dtype=torch.float32), frequencies)
        cos, sin = angle.cos() * factor, angle.sin() * factor
        # The other half of a head is turned by -sin and sin: the sign lives in the table.
        self._cos = torch.cat([cos, cos], -1).to(device, dtype)
        self._sin = torch.cat([-sin, sin], -1).to(device, dtype)

    def at(
        self, positions: Tensor | slice, *, device: torch.device, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor]:
        """Cosine and sine for `positions`: [T, C] for a slice, [B, 1, T, C] for a tensor [B, T]."""
        last = positions.stop if isinstance(positions, slice) else int(positions.max()) + 1
        held = 0 if self._cos is None else self._cos.shape[0]
        if (
            self._cos is None
            or last > held
            or self._cos.device != device
            or self._cos.dtype != dtype
        ):
            self._grow(max(last, held), device, dtype)
        assert self._cos is not None
        assert self._sin is not None
        if isinstance(positions, slice):
            return self._cos[positions], self._sin[positions]
        return self._cos[positions].unsqueeze(1), self._sin[positions].unsqueeze(1)


def rotate(x_BHTC: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate the first channels of every head by their position's angle."""
    if cos.dtype != x_BHTC.dtype:
        cos, sin = cos.to(x_BHTC.dtype), sin.to(x_BHTC.dtype)
    if torch.is_grad_enabled() and x_BHTC.requires_grad and not torch.compiler.is_compiling():
        return _Rotation.apply(x_BHTC, cos, sin)  # type: ignore[no-any-return, no-untyped-call]
    return rotated(x_BHTC, cos, sin)


class _Rotation(torch.autograd.Function):
    """Whose gradient is turned back: plain autograd pads and adds a piece for every half."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return rotated(x, cos, sin)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return rotated(grad, cos, -sin), None, None


def rotated(x_BHTC: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """`rotate` where no gradient is asked for; TorchScript reads it too."""
    width = cos.shape[-1]
    half = width // 2
    turning = x_BHTC if width == x_BHTC.shape[-1] else x_BHTC[..., :width]
    turned = turning * cos
    turned[..., :half].addcmul_(turning[..., half:], sin[..., :half])
    turned[..., half:].addcmul_(turning[..., :half], sin[..., half:])
    if width == x_BHTC.shape[-1]:
        return turned
    return torch.cat([turned, x_BHTC[..., width:]], -1)


def positions_within(segments_BT: Tensor, real_BT: Tensor | None = None) -> Tensor:
    """Each token's position in its own segment [B, T]: real tokens counted from where it starts."""
    real = torch.ones_like(segments_BT) if real_BT is None else real_BT
    after = real.long().cumsum(1)
    before = after - real.long()
    starts = torch.ones_like(segments_BT, dtype=torch.bool)
    starts[:, 1:] = segments_BT[:, 1:] != segments_BT[:, :-1]
    # What had been counted when the segment began: counts never fall, so the last start is largest.
    return (after - 1 - before.where(starts, 0).cummax(1).values).clamp(min=0)


def sinusoids(length: int, width: int) -> Tensor:
    """Fixed position vectors [length, width]; wavelengths from 2 pi to 10000 * 2 pi."""
    channel = torch.arange(width) // 2 * 2
    # float64, since Marian's table was computed in it.
    angle = torch.arange(length, dtype=torch.float64).unsqueeze(1) / torch.pow(
        torch.tensor(10000.0, dtype=torch.float64), channel.double() / width
    )
    sines = (width + 1) // 2
    table = torch.empty(length, width)
    table[:, :sines] = angle[:, 0::2].sin().float()
    table[:, sines:] = angle[:, 1::2].cos().float()
    return table


def relative_buckets(
    query: Tensor, key: Tensor, *, buckets: int, max_distance: int, bidirectional: bool
) -> Tensor:
    """T5's bucket of each distance: exact when near, logarithmic when far. [T], [S] -> [T, S]."""
    distance = key.unsqueeze(0) - query.unsqueeze(1)
    offset = torch.zeros_like(distance)
    if bidirectional:
        buckets //= 2
        offset = (distance > 0).long() * buckets
        distance = distance.abs()
    else:
        distance = (-distance).clamp(min=0)
    exact = buckets // 2
    far = exact + (
        torch.log(distance.float().clamp(min=1) / exact)
        / math.log(max_distance / exact)
        * (buckets - exact)
    ).long().clamp(max=buckets - exact - 1)
    return offset + torch.where(distance < exact, distance, far.clamp(max=buckets - 1))
