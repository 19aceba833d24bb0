"""The parts of a block that look at one token at a time: norms and the feed-forward."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hanlin.models.config import ModelConfig

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "relu": F.relu,
    "silu": F.silu,
    "tanh": torch.tanh,
}


class Linear(nn.Linear):
    """An nn.Linear whose weights the Transformer draws, once, or a directory brings."""

    unread: Callable[[], Tensor] | None = None
    """Reads the weight, where a lazy load has left it in its file."""

    def reset_parameters(self) -> None:
        """Leave the weights as they are: drawing them twice takes time, and 2 s on `meta`."""


class Embedding(nn.Embedding):
    """An nn.Embedding whose weights the Transformer draws, once, or a directory brings."""

    def reset_parameters(self) -> None:
        """Leave the weights as they are; see `Linear`."""


class RMSNorm(nn.Module):
    """x / rms(x) * weight (Zhang & Sennrich 2019), computed in float32; Gemma stores weight - 1."""

    def __init__(self, width: int, *, eps: float, plus_one: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(width) if plus_one else torch.ones(width))
        self.eps = eps
        self.plus_one = plus_one

    def forward(self, x: Tensor) -> Tensor:
        weight: Tensor = self.weight
        if self.plus_one:
            weight = 1.0 + weight.float()
        if x.dtype == weight.dtype:
            return F.rms_norm(x, weight.shape, weight, self.eps)
        return F.rms_norm(x.float(), weight.shape, weight.float(), self.eps).to(x.dtype)


class LayerNorm(nn.Module):
    """(x - mean) / std * weight + bias (Ba et al. 2016); the bias is optional."""

    def __init__(self, width: int, *, eps: float, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width)) if bias else None
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


def make_norm(config: ModelConfig, width: int | None = None) -> nn.Module:
    """The norm `config` asks for, over `width` channels (hidden_size when None)."""
    width = width or config.hidden_size
    if config.norm == "layernorm":
        return LayerNorm(width, eps=config.norm_eps, bias=config.norm_bias)
    return RMSNorm(width, eps=config.norm_eps, plus_one=config.norm_plus_one)


class FeedForward(nn.Module):
    """down(activation(up(x))), or down(activation(gate) * up) with gate and up in one matrix."""

    def __init__(self, config: ModelConfig, width: int) -> None:
        super().__init__()
        self.gated = config.gated
        self.up = Linear(
            config.hidden_size, width * (2 if config.gated else 1), bias=config.mlp_bias
        )
        self.down = Linear(width, config.hidden_size, bias=config.mlp_bias)
        self.activation_name = config.activation
        self.activation = ACTIVATIONS[config.activation]

    def forward(self, x: Tensor) -> Tensor:
        h = self.up(x)
        if self.gated:
            gate, up = h.chunk(2, -1)
            return self.down(self.activation(gate) * up)  # type: ignore[no-any-return]
        return self.down(self.activation(h))  # type: ignore[no-any-return]
