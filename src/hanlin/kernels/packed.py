"""Linear layers laid out for inference on a CPU: one layout for a token, another for a prompt.

Decoding reads every weight once for a single token, so its speed is that of memory: weights are
kept in float16, laid out by FBGEMM in the order its kernel reads them, and multiplied with float32
activations in float32. Rounding a weight to float16 costs 2e-4 of its size, eight times less than
bfloat16. The kernel adds up each output in the same order however many rows it is given, so a
token's logits do not depend, to the last bit, on what else is in the batch.

A prompt is bound by arithmetic instead: there the processor's bfloat16 units win where it has them
(avx512_bf16, AMX), on weights in the blocked order oneDNN asks for. Where it has not, the float16
layout serves both.

Reading a matrix (unpacking it, from a quantised file) and laying it out happen in the background,
in the order the layers are needed, so that a model is there at once. FBGEMM takes some 10 ns a
weight on one core, more than everything else: the prompt does not wait for it, the first token
does. Measured in docs/benchmarks.md; the choice is docs/decisions/0004.
"""

import os
import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


def supported() -> bool:
    """Whether this processor and this PyTorch have the float16 kernel (x86 with AVX2, FBGEMM)."""
    return (
        "fbgemm" in torch.backends.quantized.supported_engines
        and torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")
    )


def has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 natively, and PyTorch has oneDNN to do so."""
    return torch.backends.mkldnn.is_available() and bool(  # type: ignore[no-untyped-call]
        torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    )


_MULTIPLY_WIDE = torch.ops.mkldnn._linear_pointwise
_MULTIPLY = torch.ops.quantized.linear_dynamic_fp16
_PROMPT = 512
"""Tokens the blocked order is chosen for; the best or near it from 128 to 512."""
_PIECE = 1 << 15
"""Rows laid out at a time; only a vocabulary has more."""


class Pools(NamedTuple):
    """Where weights are laid out: what a prompt waits for, and what gives way to it."""

    first: ThreadPoolExecutor
    second: ThreadPoolExecutor


class PackedLinear(nn.Module):
    """y = x W^T + b for inference; stands in for an nn.Linear, whose weight it does not keep.

    x: [R, in] or [R, T, in] of any float type, T tokens of a sequence. For T = 1 and for [R, in]
    the result is float32; for longer texts it is bfloat16 where the processor multiplies it.
    """

    def __init__(self, linear: nn.Linear, *, pools: Pools) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        bias = None if linear.bias is None else linear.bias.detach().float()
        self._wide_bias = None if bias is None else bias.to(torch.bfloat16)
        read: Callable[[], Tensor] = getattr(linear, "unread", None) or linear.weight.detach
        weight: Future[Tensor] = Future()
        self._wide: Tensor | None = None
        self._packed: list[Any] = []
        self._reading: Future[Tensor | None] | None = pools.first.submit(_read, read, weight)
        # In pieces, so that every thread helps with a vocabulary's matrix.
        rows = range(0, self.out_features, _PIECE)
        self._packing = [pools.second.submit(_pack, weight, bias, row) for row in rows]

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() == 3 and x.shape[1] > 1:
            if self._reading is not None:
                self._wide, self._reading = self._reading.result(), None
            if self._wide is not None:
                x = x.to(torch.bfloat16)
                return _MULTIPLY_WIDE(x, self._wide, self._wide_bias, "none", [], "")  # type: ignore[no-any-return]
        if not self._packed:
            self.packed()
        if x.dtype != torch.float32:
            x = x.float()
        if len(self._packed) == 1:
            return _MULTIPLY(x, self._packed[0])  # type: ignore[no-any-return]
        return torch.cat([_MULTIPLY(x, piece) for piece in self._packed], -1)

    @property
    def whole(self) -> bool:
        """Whether the layout is one piece."""
        return self.out_features <= _PIECE

    def packed(self) -> Any:
        """The float16 layout (of a matrix in pieces, the first piece); waits until it is there."""
        if not self._packed:
            self._packed = [piece.result() for piece in self._packing]
            self._packing = []
        return self._packed[0]

    @property
    def bytes_per_token(self) -> int:
        """Bytes of weights that one decoded token reads."""
        return 2 * self.in_features * self.out_features


def _read(read: Callable[[], Tensor], weight: Future[Tensor]) -> Tensor | None:
    """Pass a weight on; give its blocked layout, where the processor multiplies bfloat16."""
    try:
        matrix = read()
    except BaseException as error:
        weight.set_exception(error)
        raise
    weight.set_result(matrix)
    if not has_bfloat16():
        return None
    return torch.ops.mkldnn._reorder_linear_weight(matrix.to(torch.bfloat16), _PROMPT)  # type: ignore[no-any-return]


def _pack(weight: Future[Tensor], bias: Tensor | None, row: int) -> Any:
    rows = slice(row, row + _PIECE)
    part = weight.result()[rows].float().contiguous()
    return torch.ops.quantized.linear_prepack_fp16(part, None if bias is None else bias[rows])


def _give_way() -> None:
    """Let the prompt have the cores: on Linux a thread has a priority of its own."""
    if sys.platform == "linux":
        os.nice(19)


def accelerate(model: nn.Module) -> None:
    """Replace every nn.Linear in `model` by its `PackedLinear`, in place; for inference alone.

    Returns without change where the processor lacks the kernel. The weights are not kept as they
    were: a model to be trained or saved must be loaded afresh.
    """
    if not supported():
        return
    layers = [
        (parent, name, child)
        for parent in model.modules()
        for name, child in parent.named_children()
        if isinstance(child, nn.Linear)
    ]
    # The vocabulary's first: the prompt needs it too.
    layers.sort(key=lambda layer: layer[2].out_features <= _PIECE)
    threads = torch.get_num_threads()
    pools = Pools(
        ThreadPoolExecutor(threads, "read"), ThreadPoolExecutor(threads, "pack", _give_way)
    )
    for parent, name, child in layers:
        setattr(parent, name, PackedLinear(child, pools=pools))
    for pool in pools:
        pool.shutdown(wait=False)
