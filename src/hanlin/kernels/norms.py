"""RMSNorm for training: the fewest passes over memory that plain PyTorch allows, both ways.

The plain twin is `F.rms_norm`, whose gradient on a CPU is a dozen operations, each a pass over
[N, D] numbers. Sums over a row or a column are matrix-vector products here, which is where they are
fastest. Zhang & Sennrich 2019.

Legend: ``N`` rows, ``D`` channels.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def rms_norm(x: Tensor, weight: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
    """x / sqrt(mean(x^2) + eps) * weight, computed in float32 and rounded once to `dtype`.

    x: [..., D]; weight: [D]. Differentiable once.
    """
    y: Tensor = _RMSNorm.apply(x, weight, eps, dtype)  # type: ignore[no-untyped-call]
    return y


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        wide = rows if rows.dtype == torch.float64 else rows.float()
        length = torch.linalg.vector_norm(wide, dim=1, keepdim=True)
        scale = length.square_().div_(rows.shape[1]).add_(eps).rsqrt_()
        ctx.save_for_backward(rows, weight, scale)
        y: Tensor = (wide * scale).mul_(weight).to(dtype).view(x.shape)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        rows, weight, scale = ctx.saved_tensors
        shape, wide = dy.shape, scale.dtype
        dy, x, w = dy.reshape(rows.shape).to(wide), rows.to(wide), weight.to(wide)
        along = dy * x
        dweight = torch.mv(along.t(), scale.squeeze(1)).to(weight.dtype)
        if not ctx.needs_input_grad[0]:
            return None, dweight, None, None
        # d = scale w dy - scale^3 / D (sum w dy x) x
        pull = torch.mv(along, w).unsqueeze(1).mul_(scale.pow(3)).div_(-rows.shape[1])
        dx = torch.mul(dy, w, out=along).mul_(scale).addcmul_(x, pull)
        return dx.to(rows.dtype).view(shape), dweight, None, None
