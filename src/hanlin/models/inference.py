"""A network made ready for inference on a CPU: packed layers, and a short way for decoded tokens.

A decoded token is a thousand small operations, and between them Python takes as long as the memory
does over the weights. `TokenStep` is a block as one TorchScript function for the case that matters:
one new token for every row of a cache. It computes what `Block` computes, operation by operation, so
the result is the same to the last bit (tests/models/test_inference.py); a block that has what it
lacks (cross-attention, score caps, relative positions) goes the long way.

TorchScript is interpreted: it needs no compiler on the user's machine, as torch.compile would, and no
warm-up. It is deprecated; where a future PyTorch has it no more, the long way is taken.
"""

import warnings
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hanlin.kernels.packed import PackedLinear, accelerate
from hanlin.models.cache import Cache
from hanlin.models.layers import RMSNorm
from hanlin.models.transformer import Block, Transformer


class _Norm(nn.Module):
    """A block's norm, or none."""

    def __init__(self, norm: nn.Module | None) -> None:
        super().__init__()
        self.present = norm is not None and not isinstance(norm, nn.Identity)
        self.rms = isinstance(norm, RMSNorm)
        weight = getattr(norm, "weight", torch.empty(0)).detach()
        self.weight = 1.0 + weight.float() if getattr(norm, "plus_one", False) else weight
        bias = getattr(norm, "bias", None)
        self.bias = torch.zeros_like(self.weight) if bias is None else bias.detach()
        self.has_bias = bias is not None
        self.eps = float(getattr(norm, "eps", 0.0))

    def forward(self, x: Tensor) -> Tensor:
        if not self.present:
            return x
        if self.rms:
            return torch.rms_norm(x, [x.shape[-1]], self.weight, self.eps)
        bias: Tensor | None = None
        if self.has_bias:
            bias = self.bias
        return F.layer_norm(x, [x.shape[-1]], self.weight, bias, self.eps)


class TokenStep(nn.Module):
    """One block, one token for each of R rows: hidden states [R, 1, D] in and out."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        attention, mlp = block.attention, block.mlp
        self.heads, self.kv_heads = attention.heads, attention.kv_heads
        self.channels, self.scale = attention.channels, float(attention.scale)
        self.sliding = block.sliding
        self.gated, self.activation = mlp.gated, mlp.activation_name
        self.attention_norm = _Norm(block.attention_norm)
        self.q_norm, self.k_norm = _Norm(attention.q_norm), _Norm(attention.k_norm)
        self.attention_post_norm = _Norm(block.attention_post_norm)
        self.mlp_norm, self.mlp_post_norm = _Norm(block.mlp_norm), _Norm(block.mlp_post_norm)
        self.qkv, self.out = attention.qkv.packed(), attention.out.packed()
        self.up, self.down = mlp.up.packed(), mlp.down.packed()

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
        qkv = torch.ops.quantized.linear_dynamic_fp16(self.attention_norm(x), self.qkv)
        qkv = qkv.view(R, 1, H + 2 * K, C).transpose(1, 2)
        qk = qkv[:, : H + K]
        if self.q_norm.present:
            qk = torch.cat([self.q_norm(qkv[:, :H]), self.k_norm(qkv[:, H : H + K])], 1)
        turned = cos.shape[-1]
        if turned == C:
            qk = torch.addcmul(qk * cos, qk.roll([turned // 2], [-1]), sin)
        elif turned > 0:
            part = qk[..., :turned]
            part = torch.addcmul(part * cos, part.roll([turned // 2], [-1]), sin)
            qk = torch.cat([part, qk[..., turned:]], -1)
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
        x = x + self.attention_post_norm(y)
        y = torch.ops.quantized.linear_dynamic_fp16(self.mlp_norm(x), self.up)
        if self.gated:
            gate, up = y.chunk(2, -1)
            y = self.activate(gate) * up
        else:
            y = self.activate(y)
        y = torch.ops.quantized.linear_dynamic_fp16(y, self.down)
        return x + self.mlp_post_norm(y)

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
        self._blocks = list(model.decoder.layers)
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
            self._steps = [_scripted(TokenStep(block)) for block in self._blocks]
        starts = cache.lengths
        if len(set(starts)) == 1:
            starts = starts[:1]
        none = x.new_empty(0)
        for layer, (block, step) in enumerate(zip(self._blocks, self._steps, strict=True)):
            cos, sin = rotations[block.sliding] or (none, none)
            x = step(x, cos, sin, cache.keys[layer], cache.values[layer], starts, window or 0)
        return x


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
    layers = [layer for block in model.decoder.layers for layer in _linears(block)]
    if all(isinstance(layer, PackedLinear) and layer.whole for layer in layers):
        model.decoder.token_steps = TokenSteps(model)


def _linears(block: nn.Module) -> list[nn.Module]:
    assert isinstance(block, Block)
    return [block.attention.qkv, block.attention.out, block.mlp.up, block.mlp.down]
