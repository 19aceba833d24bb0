"""activation(gate) * up, the middle of a gated feed-forward (Shazeer 2020), for training.

The plain twin is `activation(gate) * up` on the halves of one tensor. Its gradient makes each half
on its own and joins them in a third tensor; here both are written where they belong.

Legend: ``N`` rows, ``F`` width of the feed-forward.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

_ATEN = torch.ops.aten


def _silu_back(grad: Tensor, x: Tensor, out: Tensor) -> None:
    _ATEN.silu_backward.grad_input(grad, x, grad_input=out)


def _gelu_back(grad: Tensor, x: Tensor, out: Tensor) -> None:
    _ATEN.gelu_backward.grad_input(grad, x, approximate="none", grad_input=out)


def _gelu_tanh_back(grad: Tensor, x: Tensor, out: Tensor) -> None:
    _ATEN.gelu_backward.grad_input(grad, x, approximate="tanh", grad_input=out)


def _relu_back(grad: Tensor, x: Tensor, out: Tensor) -> None:
    _ATEN.threshold_backward.grad_input(grad, x, 0, grad_input=out)


_BOTH_WAYS: dict[
    str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor, Tensor, Tensor], None]]
] = {
    "silu": (F.silu, _silu_back),
    "gelu": (F.gelu, _gelu_back),
    "gelu_tanh": (lambda x: F.gelu(x, approximate="tanh"), _gelu_tanh_back),
    "relu": (F.relu, _relu_back),
}


def gated(gate_up: Tensor, activation: str) -> Tensor:
    """activation(gate) * up [..., F] from both side by side [..., 2F]. Differentiable once."""
    y: Tensor = _Gated.apply(gate_up, activation)  # type: ignore[no-untyped-call]
    return y


class _Gated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate_up: Tensor, activation: str) -> Tensor:
        gate, up = gate_up.chunk(2, -1)
        active = _BOTH_WAYS[activation][0](gate)
        ctx.save_for_backward(gate_up, active)
        ctx.activation = activation
        return active * up

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, None]:
        gate_up, active = ctx.saved_tensors
        gate, up = gate_up.chunk(2, -1)
        both = torch.empty_like(gate_up)
        d_gate, d_up = both.chunk(2, -1)
        torch.mul(dy, active, out=d_up)
        _BOTH_WAYS[ctx.activation][1](dy * up, gate, d_gate)
        return both, None
