"""The kernels of a training step against their plain twins: value and gradients in float64, and
the share of the norm that bfloat16 costs."""

from collections.abc import Callable, Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hanlin.kernels import attention
from hanlin.kernels.attention import attend, attend_packed
from hanlin.kernels.gates import gated
from hanlin.kernels.linear import linear
from hanlin.kernels.norms import rms_norm

F64, F32, BF16 = torch.float64, torch.float32, torch.bfloat16


def _draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def _compare(
    kernel: Callable[..., Tensor],
    twin: Callable[..., Tensor],
    inputs: Sequence[Tensor],
    *,
    share: float = 1e-11,
    dtype: torch.dtype = F64,
) -> None:
    """Value and gradients differ by at most this share of their norm; the twin is float64."""
    exact = [t.detach().clone().requires_grad_() for t in inputs]
    given = [t.detach().to(dtype).requires_grad_() for t in inputs]
    right, got = twin(*exact), kernel(*given)
    assert right.shape == got.shape
    slope = _draw(99, *right.shape)
    right.backward(slope)  # type: ignore[no-untyped-call]
    got.backward(slope.to(got.dtype))  # type: ignore[no-untyped-call]
    pairs = [(got, right), *((a.grad, b.grad) for a, b in zip(given, exact, strict=True))]
    for mine, theirs in pairs:
        assert mine is not None
        assert theirs is not None
        assert (mine.double() - theirs).norm() <= share * theirs.norm()


# Linear


@pytest.mark.parametrize(("inputs", "outputs"), [(6, 6), (5, 20), (20, 5), (7, 10)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("dtype", "share"), [(F64, 1e-12), (BF16, 0.02)])
def test_linear(inputs: int, outputs: int, bias: bool, dtype: torch.dtype, share: float) -> None:
    parts = [_draw(1, 3, 8, inputs), _draw(2, outputs, inputs)]
    parts += [_draw(3, outputs)] * bias

    def kernel(x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
        return linear(x, w, b, dtype)

    _compare(kernel, F.linear, parts, share=share, dtype=F32 if dtype == BF16 else F64)


def test_linear_keeps_the_types_of_what_it_is_given() -> None:
    x, w = torch.randn(4, 6, requires_grad=True), torch.randn(18, 6, requires_grad=True)
    y = linear(x, w, None, BF16)
    assert y.dtype == BF16
    y.sum().backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
    assert w.grad is not None
    assert x.grad.dtype == w.grad.dtype == F32
    assert w.grad.is_contiguous()


def test_linear_makes_only_the_gradients_asked_for() -> None:
    x, w = torch.randn(4, 6), torch.randn(18, 6, requires_grad=True)
    linear(x, w, None, BF16).sum().backward()  # type: ignore[no-untyped-call]
    assert w.grad is not None
    y = linear(x.requires_grad_(), w.detach(), None, BF16)
    y.sum().backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None


# RMSNorm


@pytest.mark.parametrize(("dtype", "share"), [(F64, 1e-12), (F32, 1e-6), (BF16, 0.01)])
def test_rms_norm(dtype: torch.dtype, share: float) -> None:
    _compare(
        lambda x, w: rms_norm(x, w, 1e-5, dtype),
        lambda x, w: F.rms_norm(x, (12,), w, 1e-5),
        [_draw(1, 3, 7, 12), _draw(2, 12)],
        share=share,
        dtype=F64 if dtype == F64 else F32,
    )


def test_rms_norm_of_bfloat16_counts_in_float32() -> None:
    x, w = _draw(1, 5, 64).to(BF16), _draw(2, 64).float()
    right = F.rms_norm(x.double(), (64,), w.double(), 1e-5)
    torch.testing.assert_close(rms_norm(x, w, 1e-5, F32).double(), right, rtol=1e-5, atol=1e-6)


# Gates


@pytest.mark.parametrize("activation", ["silu", "gelu", "gelu_tanh", "relu"])
@pytest.mark.parametrize(("dtype", "share"), [(F64, 1e-11), (BF16, 0.02)])
def test_gated(activation: str, dtype: torch.dtype, share: float) -> None:
    plain: dict[str, Callable[[Tensor], Tensor]] = {
        "silu": lambda x: x * torch.sigmoid(x),
        "gelu": lambda x: x * 0.5 * (1 + torch.erf(x / 2**0.5)),
        "gelu_tanh": lambda x: (
            0.5 * x * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3)))
        ),
        "relu": lambda x: x.clamp(min=0),
    }

    def twin(h: Tensor) -> Tensor:
        gate, up = h.chunk(2, -1)
        return plain[activation](gate) * up

    _compare(lambda h: gated(h, activation), twin, [_draw(1, 3, 5, 16)], share=share, dtype=dtype)


# Attention


def _tables(shape: tuple[int, ...], rotated: int) -> tuple[Tensor, Tensor]:
    angle = _draw(5, *shape, rotated // 2)
    cos, sin = angle.cos(), angle.sin()
    return torch.cat([cos, cos], -1), torch.cat([-sin, sin], -1)


def _rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    rotated = cos.shape[-1]
    turning, rest = x[..., :rotated], x[..., rotated:]
    first, second = turning.chunk(2, -1)
    return torch.cat([turning * cos + torch.cat([second, first], -1) * sin, rest], -1)


def _plainly(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, *, causal: bool, scale: float
) -> Tensor:
    """Attention of [B, T, heads, C] by the formula."""
    q, k, v = (t.transpose(1, 2) for t in (q, k, v))
    repeats = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(repeats, 1), v.repeat_interleave(repeats, 1)
    scores = q @ k.transpose(-1, -2) * scale
    if mask is not None:
        scores = scores + mask
    if causal:
        T = scores.shape[-1]
        scores = scores.masked_fill(torch.ones(T, T, dtype=torch.bool).triu(1), float("-inf"))
    return (scores.softmax(-1) @ v).transpose(1, 2)


@pytest.mark.parametrize("heads", [(3, 3), (4, 2), (4, 1)])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("masked", ["", "all rows", "row by row"])
@pytest.mark.parametrize("turned", ["", "rows", "own", "part"])
@pytest.mark.parametrize("block", [64, 4])
def test_packed_attention(
    heads: tuple[int, int],
    causal: bool,
    masked: str,
    turned: str,
    block: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(attention, "_QUERIES", (block, block))
    (H, K), B, T, C = heads, 2, 11, 8
    mask = None
    if masked:
        shape = (B, 1, T, T) if masked == "row by row" else (1, 1, T, T)
        hidden = _draw(4, *shape) > 0.5
        hidden &= ~torch.eye(T, dtype=torch.bool)
        if causal:
            hidden |= torch.ones(T, T, dtype=torch.bool).triu(1)
        mask = torch.zeros(shape, dtype=F64).masked_fill(hidden, float("-inf"))
    rotation = None
    if turned:
        places = (B, T, 1) if turned == "own" else (T, 1)
        rotation = _tables(places, 4 if turned == "part" else C)

    def kernel(qkv: Tensor) -> Tensor:
        return attend_packed(
            qkv, heads=H, kv_heads=K, scale=0.4, mask=mask, causal=causal, rotation=rotation
        )

    def twin(qkv: Tensor) -> Tensor:
        q, k, v = torch.split(qkv, [H, K, K], 2)
        if rotation is not None:
            q, k = _rotated(q, *rotation), _rotated(k, *rotation)
        return _plainly(q, k, v, mask, causal=causal, scale=0.4)

    _compare(kernel, twin, [_draw(1, B, T, H + 2 * K, C)])


@pytest.mark.parametrize("block", [64, 4])
@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("kinds", [1, 3])
def test_a_learned_bias_gets_its_gradient(
    block: int, rows: int, kinds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T5's, which heads may share or not, with padding (a row for each sequence) or without."""
    monkeypatch.setattr(attention, "_QUERIES", (block, block))
    B, T, H, C = 2, 9, 3, 6
    padded = torch.zeros(rows, 1, T, T, dtype=torch.bool)
    padded[-1, :, :, -2:] = True
    padded &= ~torch.eye(T, dtype=torch.bool)

    def kernel(qkv: Tensor, bias: Tensor) -> Tensor:
        mask = bias.masked_fill(padded, float("-inf"))
        return attend_packed(
            qkv, heads=H, kv_heads=H, scale=1.0, mask=mask, causal=False, rotation=None
        )

    def twin(qkv: Tensor, bias: Tensor) -> Tensor:
        mask = bias.masked_fill(padded, float("-inf"))
        q, k, v = torch.split(qkv, H, 2)
        return _plainly(q, k, v, mask, causal=False, scale=1.0)

    _compare(kernel, twin, [_draw(1, B, T, 3 * H, C), _draw(2, 1, kinds, T, T)])


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("block", [64, 4])
def test_attention_to_another_sequence(
    masked: bool, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "_QUERIES", (block, block))
    B, T, S, H, K, C = 2, 9, 7, 4, 2, 6
    mask = None
    if masked:
        mask = torch.zeros(B, 1, 1, S, dtype=F64)
        mask[0, :, :, 4:] = float("-inf")
    _compare(
        lambda q, k, v: attend(q, k, v, scale=0.3, mask=mask),
        lambda q, k, v: _plainly(q, k, v, mask, causal=False, scale=0.3),
        [_draw(1, B, T, H, C), _draw(2, B, S, K, C), _draw(3, B, S, K, C)],
    )


@pytest.mark.parametrize("length", [40, 300])
def test_attention_in_bfloat16_loses_what_bfloat16_loses(length: int) -> None:
    tables = _tables((length, 1), 16)

    def kernel(qkv: Tensor) -> Tensor:
        cos, sin = (t.to(qkv.dtype) for t in tables)
        return attend_packed(
            qkv, heads=4, kv_heads=2, scale=0.25, mask=None, causal=True, rotation=(cos, sin)
        )

    def twin(qkv: Tensor) -> Tensor:
        q, k, v = torch.split(qkv, [4, 2, 2], 2)
        q, k = _rotated(q, *tables), _rotated(k, *tables)
        return _plainly(q, k, v, None, causal=True, scale=0.25)

    _compare(kernel, twin, [_draw(1, 2, length, 8, 16)], share=0.02, dtype=BF16)
