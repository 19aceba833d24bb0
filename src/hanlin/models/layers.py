"""The parts of a block that look at one token at a time: norms and the feed-forward."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hanlin.kernels.dropout import dropout
from hanlin.kernels.gates import gated
from hanlin.kernels.linear import linear
from hanlin.kernels.norms import rms_norm
from hanlin.models.config import ModelConfig

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "relu": F.relu,
    "silu": F.silu,
    "tanh": torch.tanh,
}


def trains_here(x: Tensor) -> bool:
    """Whether gradients through `x` are made on a CPU by `kernels` rather than by a compiler."""
    return torch.is_grad_enabled() and x.device.type == "cpu" and not torch.compiler.is_compiling()


def dropped(x: Tensor, p: float) -> Tensor:
    """x with a share p of its numbers dropped, and the others larger by as much, for training."""
    return dropout(x, p) if trains_here(x) else F.dropout(x, p)


def narrow_type(x: Tensor) -> torch.dtype | None:
    """The type products are made in where the kernels for training stand in (autocast), or None."""
    if not torch.is_grad_enabled() or x.device.type != "cpu" or x.dtype == torch.float64:
        return None
    if not torch.is_autocast_enabled("cpu"):
        return None
    return torch.get_autocast_dtype("cpu")


class Linear(nn.Linear):
    """An nn.Linear whose weights the Transformer draws, once, or a directory brings."""

    unread: Callable[[], Tensor] | None = None
    """Reads the weight, where a lazy load has left it in its file."""

    def reset_parameters(self) -> None:
        """Leave the weights as they are: drawing them twice takes time, and 2 s on `meta`."""

    def forward(self, x: Tensor) -> Tensor:
        dtype = narrow_type(x)
        if dtype is None:
            return F.linear(x, self.weight, self.bias)
        return linear(x, self.weight, self.bias, dtype)


class Embedding(nn.Embedding):
    """An nn.Embedding whose weights the Transformer draws, once, or a directory brings."""

    def reset_parameters(self) -> None:
        """Leave the weights as they are; see `Linear`."""


class RMSNorm(nn.Module):
    """x / rms(x) * weight (Zhang & Sennrich 2019), computed in float32; Gemma stores weight - 1."""

    def __init__(
        self, width: int, *, eps: float, plus_one: bool = False, multiplied: bool = False
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(width) if plus_one else torch.ones(width))
        self.eps = eps
        self.plus_one = plus_one
        self.multiplied = multiplied
        """Whether what comes out is only multiplied: under autocast it then comes out narrow."""

    def forward(self, x: Tensor) -> Tensor:
        weight: Tensor = self.weight
        if self.plus_one:
            weight = 1.0 + weight.float()
        if trains_here(x):
            dtype = narrow_type(x) if self.multiplied else None
            return rms_norm(x, weight, self.eps, dtype or x.dtype)
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


def make_norm(
    config: ModelConfig, width: int | None = None, *, multiplied: bool = False
) -> nn.Module:
    """The norm `config` asks for, over `width` channels (hidden_size when None).

    multiplied: whether only a linear layer reads it.
    """
    width = width or config.hidden_size
    if config.norm == "layernorm":
        return LayerNorm(width, eps=config.norm_eps, bias=config.norm_bias)
    return RMSNorm(width, eps=config.norm_eps, plus_one=config.norm_plus_one, multiplied=multiplied)


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
            if trains_here(h):
                return self.down(gated(h, self.activation_name))  # type: ignore[no-any-return]
            gate, up = h.chunk(2, -1)
            return self.down(self.activation(gate) * up)  # type: ignore[no-any-return]
        return self.down(self.activation(h))  # type: ignore[no-any-return]
