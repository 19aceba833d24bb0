"""Muon: momentum whose matrices are orthogonalised before they are applied (Jordan et al. 2024).

The orthogonal factor of each matrix is approached by five steps of a quintic Newton-Schulz
iteration. Its scale follows Liu et al. 2025 (Moonlight): 0.2 * sqrt(max(rows, columns)), so that an
update has about the root mean square of AdamW's and one learning rate serves both.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from hanlin.kernels.packed import has_bfloat16

# The coefficients of Jordan et al.: steep at zero, so that small singular values grow fast; all of
# them end between about 0.7 and 1.2.
_A, _B, _C = 3.4445, -4.7750, 2.0315
STEPS = 5


def newton_schulz(matrices_NRC: Tensor, *, dtype: torch.dtype, steps: int = STEPS) -> Tensor:
    """Matrices [N, R, C], R <= C, with their singular values brought near one; in `dtype`."""
    x = matrices_NRC.to(dtype)
    # The norm bounds the largest singular value, and the iteration needs it at most one.
    x = x / x.float().norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7).to(dtype)
    for _ in range(steps):
        gram = x @ x.mT
        mixed = torch.baddbmm(gram, gram, gram, beta=_B, alpha=_C)
        x = torch.baddbmm(x, mixed, x, beta=_A)
    return x


def orthogonalise(updates: Sequence[Tensor], *, dtype: torch.dtype) -> list[Tensor]:
    """Each matrix [R, C] made orthogonal and scaled by 0.2 * sqrt(max(R, C)), as float32.

    Matrices of one shape, either way up, go through the iteration together.
    """
    by_shape: dict[tuple[int, int], list[int]] = {}
    for i, update in enumerate(updates):
        rows, columns = update.shape
        by_shape.setdefault((min(rows, columns), max(rows, columns)), []).append(i)
    out: list[Tensor] = list(updates)
    for (_, longer), places in by_shape.items():
        flat = [updates[i].mT if updates[i].shape[0] == longer else updates[i] for i in places]
        done = newton_schulz(torch.stack(flat), dtype=dtype).float() * (0.2 * longer**0.5)
        for i, one, whole in zip(places, flat, done, strict=True):
            out[i] = whole if one is updates[i] else whole.mT
    return out


def step_muon(group: dict[str, Any], state: dict[Tensor, dict[str, Any]]) -> None:
    """One step of a group of matrices.

    group: params, splits (for each matrix the rows of its parts, orthogonalised apart), lr,
    weight_decay, momentum, nesterov, dtype. A matrix that FSDP shards is gathered whole on every
    rank, which then keeps its own rows; the work is repeated on each rank, the result is that of
    one process.
    """
    momentum = group["momentum"]
    taken = [(p, s) for p, s in zip(group["params"], group["splits"], strict=True)
             if p.grad is not None]  # fmt: skip
    params = [p for p, _ in taken]
    if not params:
        return
    grads = [p.grad for p in params]
    buffers = []
    for p in params:
        if "momentum_buffer" not in state[p]:
            state[p]["momentum_buffer"] = torch.zeros_like(p)
        buffers.append(state[p]["momentum_buffer"])
    torch._foreach_lerp_(buffers, grads, 1 - momentum)
    updates = torch._foreach_lerp(grads, buffers, momentum) if group["nesterov"] else buffers
    whole = [u.full_tensor() if hasattr(u, "full_tensor") else u for u in updates]
    parts = [part for (_, s), u in zip(taken, whole, strict=True) for part in u.split(list(s))]
    done = iter(orthogonalise(parts, dtype=group["dtype"]))
    lr = group["lr"]
    if group["weight_decay"]:
        torch._foreach_mul_(params, 1 - lr * group["weight_decay"])
    for p, sizes in taken:
        update = [next(done) for _ in sizes]
        joined = update[0] if len(update) == 1 else torch.cat(update)
        if hasattr(p, "full_tensor"):
            from torch.distributed.tensor import distribute_tensor

            joined = distribute_tensor(joined, p.device_mesh, p.placements, src_data_rank=None)
        p.add_(joined, alpha=-lr)


def fast_dtype() -> torch.dtype:
    """bfloat16 where it is multiplied in hardware, float32 elsewhere."""
    fast = torch.cuda.is_available() or has_bfloat16()
    return torch.bfloat16 if fast else torch.float32
