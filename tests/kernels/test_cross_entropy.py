"""The chunked loss is the plain one, value and gradients, however it is cut."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hanlin.kernels.cross_entropy import cross_entropy_sum

N, D, V = 37, 12, 50


def _case(
    seed: int, *, bias: bool = True, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
    print("seed", seed)
    draw = torch.Generator().manual_seed(seed)
    hidden = torch.randn(N, D, generator=draw, dtype=dtype).requires_grad_()
    weight = torch.randn(V, D, generator=draw, dtype=dtype).requires_grad_()
    offset = torch.randn(V, generator=draw, dtype=dtype).requires_grad_() if bias else None
    targets = torch.randint(0, V, (N,), generator=draw)
    targets[torch.rand(N, generator=draw) < 0.4] = -100
    return hidden, weight, offset, targets


def _plain(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, softcap: float | None
) -> Tensor:
    logits = F.linear(hidden, weight, bias)
    if softcap is not None:
        logits = torch.tanh(logits / softcap) * softcap
    return F.cross_entropy(logits, targets, ignore_index=-100, reduction="sum")


@pytest.mark.parametrize("chunk", [1, 7, 22, 64, None])
@pytest.mark.parametrize("softcap", [None, 3.0])
@pytest.mark.parametrize("bias", [False, True])
def test_value_and_gradients_are_the_plain_ones(
    chunk: int | None, softcap: float | None, bias: bool
) -> None:
    hidden, weight, offset, targets = _case(3, bias=bias)
    inputs = [t for t in (hidden, weight, offset) if t is not None]
    right = _plain(hidden, weight, offset, targets, softcap)
    loss = cross_entropy_sum(hidden, weight, targets, bias=offset, softcap=softcap, chunk=chunk)
    torch.testing.assert_close(loss, right, rtol=1e-12, atol=1e-12)
    wanted = torch.autograd.grad(right * 0.3, inputs)
    got = torch.autograd.grad(loss * 0.3, inputs)
    for mine, theirs in zip(got, wanted, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("bias", [False, True])
def test_what_a_compiler_gets_is_the_same(bias: bool) -> None:
    hidden, weight, offset, targets = _case(4, bias=bias)
    inputs = [t for t in (hidden, weight, offset) if t is not None]
    right = _plain(hidden, weight, offset, targets, None)
    with torch.compiler.set_stance("force_eager"):  # its code, without a C++ compiler
        loss = cross_entropy_sum(hidden, weight, targets, bias=offset, chunk=7, compiled=True)
    torch.testing.assert_close(loss, right, rtol=1e-12, atol=1e-12)
    wanted = torch.autograd.grad(right * 0.3, inputs)
    for mine, theirs in zip(torch.autograd.grad(loss * 0.3, inputs), wanted, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-12)


def test_without_gradients_only_the_value_is_made() -> None:
    hidden, weight, offset, targets = _case(5)
    with torch.no_grad():
        loss = cross_entropy_sum(hidden, weight, targets, bias=offset, chunk=8)
    assert not loss.requires_grad
    right = _plain(hidden, weight, offset, targets, None)
    torch.testing.assert_close(loss, right.detach(), rtol=1e-12, atol=1e-12)


def test_a_frozen_weight_gets_no_gradient() -> None:
    hidden, weight, _, targets = _case(6, bias=False)
    (grad,) = torch.autograd.grad(cross_entropy_sum(hidden, weight.detach(), targets), hidden)
    (right,) = torch.autograd.grad(_plain(hidden, weight, None, targets, None), hidden)
    torch.testing.assert_close(grad, right, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("rows", [0, N])
def test_nothing_asked_is_a_loss_of_zero(rows: int) -> None:
    hidden, weight, _, _ = _case(7, bias=False)
    targets = torch.full((rows,), -100)
    loss = cross_entropy_sum(hidden[:rows], weight, targets)
    assert loss.item() == 0
    loss.backward()  # type: ignore[no-untyped-call]
    assert hidden.grad is not None
    assert weight.grad is not None
    assert not hidden.grad.any()
    assert not weight.grad.any()


def test_a_tied_weight_gathers_both_gradients() -> None:
    """As in a model whose output projection is its embedding."""
    _, weight, _, targets = _case(8, bias=False)
    ids = torch.randint(0, V, (N,))

    def grad(chunked: bool) -> Tensor:
        hidden = torch.tanh(weight[ids])
        loss = (
            cross_entropy_sum(hidden, weight, targets, chunk=5)
            if chunked
            else _plain(hidden, weight, None, targets, None)
        )
        return torch.autograd.grad(loss, weight)[0]

    torch.testing.assert_close(grad(True), grad(False), rtol=1e-10, atol=1e-12)


def test_float32_is_near_float64_and_repeats_bit_for_bit() -> None:
    hidden, weight, offset, targets = _case(9)
    right = _plain(hidden, weight, offset, targets, None)
    small = [t.detach().float().requires_grad_() for t in (hidden, weight, offset) if t is not None]

    def run() -> list[Tensor]:
        loss = cross_entropy_sum(small[0], small[1], targets, bias=small[2], chunk=8)
        return [loss, *torch.autograd.grad(loss, small)]

    first, second = run(), run()
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert first[0].dtype == torch.float32
    torch.testing.assert_close(first[0].double(), right, rtol=1e-6, atol=0)


def test_under_autocast_products_are_bfloat16_and_sums_float32() -> None:
    hidden, weight, _, targets = _case(10, bias=False)
    exact = torch.autograd.grad(_plain(hidden, weight, None, targets, None), (hidden, weight))
    h, w = hidden.detach().float().requires_grad_(), weight.detach().float().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        loss = cross_entropy_sum(h, w, targets, chunk=8)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.dtype == torch.float32
    assert h.grad is not None
    assert w.grad is not None
    assert h.grad.dtype == w.grad.dtype == torch.float32
    right = _plain(hidden, weight, None, targets, None)
    # bfloat16 keeps 8 bits: 2^-9 of every product, of both signs.
    torch.testing.assert_close(loss.double(), right, rtol=4e-3, atol=0)
    for mine, theirs in zip((h.grad, w.grad), exact, strict=True):
        assert (mine - theirs).norm() < 0.02 * theirs.norm()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        again = cross_entropy_sum(h, w, targets, chunk=8)
    assert torch.equal(again, loss.detach())


def test_differentiating_twice_is_an_error() -> None:
    hidden, weight, _, targets = _case(11, bias=False)
    loss = cross_entropy_sum(hidden, weight, targets)
    loss.backward(retain_graph=True)  # type: ignore[no-untyped-call]
    with pytest.raises(RuntimeError, match="anew"):
        loss.backward()  # type: ignore[no-untyped-call]
