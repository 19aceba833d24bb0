"""A network made ready for inference on a CPU: packed layers, and a short way for decoded tokens.

A decoded token is a thousand small operations, and between them Python takes as long as the memory
does over the weights. `TokenStep` is a block as one TorchScript function for the case that
matters: one new token for every row of a cache. It computes what `Block` computes, operation by
operation, so the result is the same to the last bit (tests/models/test_inference.py); a block that
has what it lacks (cross-attention, score caps, relative positions) goes the long way.

TorchScript is interpreted: it needs no compiler on the user's machine, as torch.compile would, and
no warm-up. It is deprecated; where a future PyTorch has it no more, the long way is taken.
"""

import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hanlin.kernels.packed import PackedLinear, accelerate
from hanlin.models.cache import Cache
from hanlin.models.layers import LayerNorm, RMSNorm
from hanlin.models.positions import rotated
from hanlin.models.stack import Block, Stack
from hanlin.models.transformer import Transformer

_NONE, _RMS, _LAYER, _LAYER_WITH_BIAS = range(4)


def _norm(x: Tensor, kind: int, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    if kind == 0:
        return x
    if kind == 1:
        return torch.rms_norm(x, [x.shape[-1]], weight, eps)
    if kind == 2:
        return F.layer_norm(x, [x.shape[-1]], weight, None, eps)
    return F.layer_norm(x, [x.shape[-1]], weight, bias, eps)


def _described(norm: nn.Module | None) -> tuple[int, Tensor, Tensor]:
    """A norm as the arguments of `_norm`."""
    none = torch.empty(0)
    if isinstance(norm, RMSNorm):
        weight = norm.weight.detach()
        return _RMS, 1.0 + weight.float() if norm.plus_one else weight, none
    if isinstance(norm, LayerNorm):
        if norm.bias is None:
            return _LAYER, norm.weight.detach(), none
        return _LAYER_WITH_BIAS, norm.weight.detach(), norm.bias.detach()
    return _NONE, none, none


class TokenStep(nn.Module):
    """One block, one token for each of R rows: hidden states [R, 1, D] in and out."""

    # Lists rather than submodules: each of those takes TorchScript 3 ms to see.
    kinds: list[int]
    weights: list[Tensor]
    biases: list[Tensor]

    def __init__(self, block: Block, eps: float) -> None:
        super().__init__()
        attention, mlp = block.attention, block.mlp
        self.heads, self.kv_heads = attention.heads, attention.kv_heads
        self.channels, self.scale, self.eps = attention.channels, float(attention.scale), eps
        self.sliding = block.sliding
        self.gated, self.activation = mlp.gated, mlp.activation_name
        norms = (
            block.attention_norm,
            attention.q_norm,
            attention.k_norm,
            block.attention_post_norm,
            block.mlp_norm,
            block.mlp_post_norm,
        )
        described = [_described(norm) for norm in norms]
        self.kinds = [kind for kind, _, _ in described]
        self.weights = [weight for _, weight, _ in described]
        self.biases = [bias for _, _, bias in described]
        self.qkv, self.out, self.up, self.down = (layer.packed() for layer in _linears(block))

    def norm(self, x: Tensor, which: int) -> Tensor:
        """Of the norms above, in their order."""
        return _norm(x, self.kinds[which], self.weights[which], self.biases[which], self.eps)

    def forward(
        self,
        x: Tensor,
        cos: Tensor,
        sin: Tensor,
        keys: Tensor,
        values: Tensor,
        starts: list[int],
        window: int,
    ) -> Tensor:
        """starts: the column of every row, or one for all; cos, sin: empty without rotation."""
        R, H, K, C = x.shape[0], self.heads, self.kv_heads, self.channels
        qkv = torch.ops.quantized.linear_dynamic_fp16(self.norm(x, 0), self.qkv)
        qkv = qkv.view(R, 1, H + 2 * K, C).transpose(1, 2)
        qk = qkv[:, : H + K]
        if self.kinds[1] != 0:
            qk = torch.cat([self.norm(qkv[:, :H], 1), self.norm(qkv[:, H : H + K], 2)], 1)
        if cos.shape[-1] > 0:
            qk = rotated(qk, cos, sin)
        q, k, v = qk[:, :H], qk[:, H:], qkv[:, H + K :]
        if len(starts) == 1:
            keys.narrow(2, starts[0], 1).copy_(k)
            values.narrow(2, starts[0], 1).copy_(v)
            y = self.attend(q, keys, values, starts[0] + 1, window)
        else:
            parts: list[Tensor] = []
            for row in range(R):
                own = keys.narrow(0, row, 1)
                theirs = values.narrow(0, row, 1)
                own.narrow(2, starts[row], 1).copy_(k.narrow(0, row, 1))
                theirs.narrow(2, starts[row], 1).copy_(v.narrow(0, row, 1))
                parts.append(self.attend(q.narrow(0, row, 1), own, theirs, starts[row] + 1, window))
            y = torch.cat(parts)
        y = y.transpose(1, 2).reshape(R, 1, H * C)
        y = torch.ops.quantized.linear_dynamic_fp16(y, self.out)
        x = x + self.norm(y, 3)
        y = torch.ops.quantized.linear_dynamic_fp16(self.norm(x, 4), self.up)
        if self.gated:
            gate, up = y.chunk(2, -1)
            y = self.activate(gate) * up
        else:
            y = self.activate(y)
        y = torch.ops.quantized.linear_dynamic_fp16(y, self.down)
        return x + self.norm(y, 5)

    def attend(self, q: Tensor, keys: Tensor, values: Tensor, end: int, window: int) -> Tensor:
        first = 0
        if self.sliding:
            first = max(0, end - window)
        k, v = keys.narrow(2, first, end - first), values.narrow(2, first, end - first)
        B, H, K, C = q.shape[0], self.heads, self.kv_heads, self.channels
        if H != K:
            q = q.reshape(B, K, H // K, C)
        y = F.scaled_dot_product_attention(q, k, v, None, 0.0, False, scale=self.scale)
        return y.reshape(B, H, 1, C)

    def activate(self, x: Tensor) -> Tensor:
        if self.activation == "silu":
            return F.silu(x)
        if self.activation == "gelu":
            return F.gelu(x)
        if self.activation == "gelu_tanh":
            return F.gelu(x, approximate="tanh")
        return F.relu(x)


class TokenSteps:
    """The short way through a decoder's blocks; built when the first token is decoded."""

    def __init__(self, model: Transformer) -> None:
        assert model.decoder is not None
        self._blocks = _blocks(model.decoder)
        self._eps = model.config.norm_eps
        self._steps: list[Any] = []

    def __call__(
        self,
        x: Tensor,
        rotations: dict[bool, tuple[Tensor, Tensor] | None],
        cache: Cache,
        window: int | None,
    ) -> Tensor:
        """Hidden states [R, 1, D] through every block, for all the rows of `cache`."""
        if not self._steps:
            with _interrupts_kept():
                self._steps = [_scripted(TokenStep(block, self._eps)) for block in self._blocks]
        starts = cache.lengths
        if len(set(starts)) == 1:
            starts = starts[:1]
        none = x.new_empty(0)
        for layer, (block, step) in enumerate(zip(self._blocks, self._steps, strict=True)):
            cos, sin = rotations[block.sliding] or (none, none)
            x = step(x, cos, sin, cache.keys[layer], cache.values[layer], starts, window or 0)
        return x


@contextmanager
def _interrupts_kept() -> Iterator[None]:
    """Deliver a Ctrl-C afterwards: TorchScript loses the exception while it compiles."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return
    kept: list[Any] = []
    signal.signal(signal.SIGINT, lambda *arguments: kept.append(arguments))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if kept:
        before(*kept[-1])


def _scripted(step: nn.Module) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            return torch.jit.script(step)
        except (AttributeError, NotImplementedError):  # a PyTorch or Python without TorchScript
            return step


def prepare(model: Transformer) -> None:
    """Make `model` fast at inference, in place; it can no longer be trained or saved.

    Without change where the processor lacks the kernels (see `kernels.packed`).
    """
    accelerate(model)
    config = model.config
    plain = (
        config.shape == "decoder"
        and config.norm_place != "after"
        and config.attention_softcap is None
        and config.position != "relative"
    )
    if not plain or model.decoder is None:
        return
    layers = [layer for block in _blocks(model.decoder) for layer in _linears(block)]
    if all(isinstance(layer, PackedLinear) and layer.whole for layer in layers):
        model.decoder.token_steps = TokenSteps(model)


def _blocks(stack: Stack) -> list[Block]:
    return [block for block in stack.layers if isinstance(block, Block)]


def _linears(block: Block) -> list[Any]:
    return [block.attention.qkv, block.attention.out, block.mlp.up, block.mlp.down]
