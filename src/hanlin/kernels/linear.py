"""A linear layer's products for training in bfloat16 on a CPU, with the weights kept in float32.

The plain twin is `F.linear` under autocast. Its gradient of the weight, dy^T x, hands oneDNN a
transposed first factor, which its bfloat16 kernel turns about again and again: two to three times
the work. Turned once beforehand, on the narrower of dy and x, the product runs at full speed.

Legend: ``N`` rows (tokens), ``I`` inputs, ``O`` outputs.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def linear(x: Tensor, weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
    """x [..., I] times weight [O, I], transposed, plus bias [O]: [..., O] of `dtype`.

    Products are of `dtype`, gradients of the type of what they belong to. Differentiable once.
    """
    y: Tensor = _Linear.apply(x, weight, bias, dtype)  # type: ignore[no-untyped-call]
    return y


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, dtype: torch.dtype
    ) -> Tensor:
        rows, narrow = x.reshape(-1, x.shape[-1]).to(dtype), weight.to(dtype)
        if bias is None:
            y = torch.mm(rows, narrow.t())
        else:
            y = torch.addmm(bias.to(dtype), rows, narrow.t())
        ctx.save_for_backward(rows if ctx.needs_input_grad[1] else None, narrow)
        ctx.shape, ctx.types = x.shape, (x.dtype, weight.dtype, bias is not None and bias.dtype)
        return y.view(*x.shape[:-1], weight.shape[0])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        rows, narrow = ctx.saved_tensors
        x_type, weight_type, bias_type = ctx.types
        dy = dy.reshape(-1, dy.shape[-1]).to(narrow.dtype)
        dx = dw = db = None
        if ctx.needs_input_grad[0]:
            dx = torch.mm(dy, narrow).to(x_type).view(ctx.shape)
        if ctx.needs_input_grad[1]:
            dw = weight_gradient(dy, rows, weight_type)
        if ctx.needs_input_grad[2]:
            db = dy.sum(0, dtype=bias_type)
        return dx, dw, db, None


def weight_gradient(dy: Tensor, x: Tensor, dtype: torch.dtype) -> Tensor:
    """dy^T x: [O, I] of `dtype`, contiguous, from dy [N, O] and x [N, I]."""
    outputs, inputs = dy.shape[1], x.shape[1]
    if outputs >= 2 * inputs:
        turned = torch.mm(_turned(x), dy)
        return torch.empty(outputs, inputs, dtype=dtype, device=x.device).copy_(turned.t())
    if inputs >= 2 * outputs:
        return torch.mm(_turned(dy), x).to(dtype)
    return torch.mm(dy.t(), x).to(dtype)


def _turned(x: Tensor) -> Tensor:
    """x^T [C, N], contiguous, of x [N, C]."""
    N, C = x.shape
    if N % 2:
        return x.t().contiguous()
    # PyTorch turns a plain matrix about in one thread, and what has three dimensions in all.
    return x.view(2, N // 2, C).permute(2, 0, 1).reshape(C, N)
