"""How far a student's choice among V tokens is from its teacher's, a few rows at a time.

Distillation compares two softmaxes over the vocabulary (Hinton et al. 2015). Both models' logits of
N targets held whole would take 2 * N * V numbers and a gradient of N * V: here the products of both
models, the softmaxes and the gradients of the student's states and weight are made for one chunk of
rows before the next is begun, as in `cross_entropy.py`. The gradients exist when the divergence
does, so `backward` only scales them; the teacher gets none.

The plain twin is ``F.kl_div(log_softmax(z / T), log_softmax(z_teacher / T), reduction="sum",
log_target=True)`` with ``z = hidden @ weight.T + bias``.

Legend: ``N`` rows, ``D`` hidden size (the teacher's may differ), ``V`` vocabulary, ``T``
temperature.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_LOGITS, _FEWEST = 1 << 22, 64
"""Logits of a chunk of each model when its rows are not given, and the fewest rows."""


@dataclass(frozen=True)
class Scores:
    """What logits are made of: ``cap(states @ weight.T + bias)``."""

    states: Tensor
    """[N, D]."""
    weight: Tensor
    """[V, D]."""
    bias: Tensor | None = None
    """[V]."""
    softcap: float | None = None
    """Logits become cap * tanh(logits / cap)."""


def kl_sum(
    student: Scores, teacher: Scores, *, temperature: float = 1.0, chunk: int | None = None
) -> Tensor:
    """Return the sum over rows of KL(softmax(teacher / T) || softmax(student / T)), a float32
    scalar.

    Both have N rows and V columns. chunk: rows at a time. Under autocast the products are in its
    type; softmaxes and sums are float32 always (float64 for float64). The same inputs give the same
    bits. Differentiable once, in the student's states, weight and bias.
    """
    type_, dtype = student.states.device.type, student.states.dtype
    if torch.is_autocast_enabled(type_) and dtype != torch.float64:
        dtype = torch.get_autocast_dtype(type_)
    if chunk is None:
        chunk = max(_FEWEST, _LOGITS // student.weight.shape[0])
    wanted = torch.is_grad_enabled() and any(
        t is not None and t.requires_grad for t in (student.states, student.weight, student.bias)
    )
    found: Tensor = _Divergence.apply(  # type: ignore[no-untyped-call]
        student.states,
        student.weight,
        student.bias,
        student.softcap,
        teacher,
        temperature,
        chunk,
        dtype,
        wanted,
    )
    return found


class _Divergence(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        softcap: float | None,
        teacher: Scores,
        temperature: float,
        chunk: int,
        dtype: torch.dtype,
        wanted: bool,
    ) -> Tensor:
        needs = [wanted and need for need in ctx.needs_input_grad[:3]]
        student = Scores(states, weight, bias, softcap)
        with torch.autocast(states.device.type, enabled=False):
            total, grads = _chunks(student, teacher, temperature, chunk, dtype, needs)
        ctx.grads = grads
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.grads is None:
            raise RuntimeError("The divergence was differentiated before. Compute it anew.")
        grads, ctx.grads = ctx.grads, None
        return *(None if g is None else g.mul_(grad) for g in grads), *(None,) * 6


def _chunks(
    student: Scores,
    teacher: Scores,
    temperature: float,
    chunk: int,
    dtype: torch.dtype,
    needs: list[bool],
) -> tuple[Tensor, list[Tensor | None]]:
    """The divergence, and those gradients of the student's states, weight and bias in `needs`."""
    states, weight, bias = student.states, student.weight, student.bias
    wide = torch.float64 if states.dtype == torch.float64 else torch.float32
    narrow = weight.to(dtype)
    taught = teacher.weight.to(dtype)
    d_states = torch.zeros_like(states) if needs[0] else None
    d_weight = torch.zeros_like(weight, dtype=wide) if needs[1] else None
    d_bias = torch.zeros_like(bias, dtype=wide) if needs[2] and bias is not None else None
    total = torch.zeros((), dtype=wide, device=states.device)
    for start in range(0, len(states), chunk):
        rows = slice(start, start + chunk)
        part = states[rows].to(dtype)
        told, slope = _log_shares(part, narrow, student, temperature, wide)
        right, _ = _log_shares(teacher.states[rows].to(dtype), taught, teacher, temperature, wide)
        shares = right.exp()
        total += (shares * (right - told)).sum()
        if not any(needs):
            continue
        d_logits = told.exp_().sub_(shares).div_(temperature)
        if slope is not None:
            d_logits.mul_(slope)
        if d_bias is not None:
            d_bias += d_logits.sum(0)
        d_narrow = d_logits.to(dtype)
        if d_states is not None:
            d_states[rows] = torch.mm(d_narrow, narrow).to(d_states.dtype)
        if d_weight is not None:
            d_weight += torch.mm(d_narrow.t(), part)
    grads = [d_states, d_weight, d_bias]
    like = [states, weight, bias]
    return total, [
        None if grad is None or one is None else grad.to(one.dtype)
        for grad, one in zip(grads, like, strict=True)
    ]


def _log_shares(
    part: Tensor, weight: Tensor, scores: Scores, temperature: float, wide: torch.dtype
) -> tuple[Tensor, Tensor | None]:
    """log softmax(logits / T) of a chunk [n, V]; the slope of the cap [n, V] where there is one."""
    logits = torch.mm(part, weight.t()).to(wide)
    if scores.bias is not None:
        logits += scores.bias.to(wide)
    slope = None
    if scores.softcap is not None:
        logits.div_(scores.softcap).tanh_()
        slope = 1 - logits.square()
        logits.mul_(scores.softcap)
    return torch.log_softmax(logits.div_(temperature), 1), slope
