"""What a model costs: parameters, floating-point operations, bytes; and how fast this machine is.

Operations are counted as Kaplan et al. 2020 count them, two for each weight and token forwards and
four backwards, with attention's own products beside: causal ones for half a square.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import nn

from hanlin.models.config import ModelConfig
from hanlin.models.stack import Stack
from hanlin.models.transformer import Transformer
from hanlin.training.optimizer_settings import OptimizerSettings
from hanlin.training.optimizers import parameter_groups


@dataclass(frozen=True, kw_only=True)
class Shares:
    """How the tokens of a batch fall on the parts of a model; the first two add up to one."""

    encoder: float = 0.0
    decoder: float = 0.0
    targets: float = 1.0
    """Tokens that the head scores, per token read."""


_SHARES = {
    "causal-lm": Shares(decoder=1.0),
    "masked-lm": Shares(encoder=1.0, targets=0.15),
    # Of a text, 85 % and a sentinel a span (of 3 tokens) are read, 15 % and the sentinels written.
    "span-corruption": Shares(encoder=0.82, decoder=0.18, targets=0.18),
    "denoising": Shares(encoder=0.45, decoder=0.55, targets=0.55),
    "seq2seq": Shares(encoder=0.5, decoder=0.5, targets=0.5),
}


def _of_task(model: Transformer) -> Shares:
    """Of a task that is not in the table: where it reads and writes, by the model's head."""
    writes = model.config.head == "language-model"
    if model.encoder is None or model.decoder is None:
        side = {"encoder": 1.0} if model.decoder is None else {"decoder": 1.0}
        return Shares(**side, targets=1.0 if writes else 0.0)
    # A classifier's decoder reads the text that its encoder reads.
    return _SHARES["seq2seq"] if writes else Shares(encoder=1.0, decoder=1.0, targets=0.0)


def outline(config: ModelConfig) -> Transformer:
    """A model without weights: its parameters have shapes and take no memory."""
    with torch.device("meta"):
        return Transformer(config)


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """How many numbers a model learns; tied ones counted once."""

    total: int
    embedding: int
    """Of tables that are looked up (tokens, positions) and of an output projection of its own."""

    @property
    def blocks(self) -> int:
        """All others: what scaling laws call the size of a model."""
        return self.total - self.embedding


def count(model: Transformer) -> Parameters:
    """The parameters of a model, on any device."""
    tables = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    tables |= {id(p) for name, p in model.named_parameters() if name == "head.projection.weight"}
    parameters = list(model.parameters())
    return Parameters(
        total=sum(p.numel() for p in parameters),
        embedding=sum(p.numel() for p in parameters if id(p) in tables),
    )


def flops_per_token(model: Transformer, *, objective: str, length: int) -> float:
    """Floating-point operations of a training step, forwards and backwards, per token read."""
    shares, config = _SHARES.get(objective) or _of_task(model), model.config
    forwards = 0.0
    for stack, share in ((model.encoder, shares.encoder), (model.decoder, shares.decoder)):
        if stack is not None and share:
            forwards += _stack_flops(stack, share, shares.encoder, length)
    head = 0
    if config.head in ("language-model", "masked-lm"):
        head = config.vocab_size * config.hidden_size
    if config.head_transform:
        head += config.hidden_size**2
    return 3.0 * (forwards + shares.targets * 2 * head)


def _stack_flops(stack: Stack, share: float, read: float, length: int) -> float:
    """Forwards, per token of the batch."""
    config, total = stack.config, 0.0
    linear = [(name, m) for name, m in stack.named_modules() if isinstance(m, nn.Linear)]
    for name, module in linear:
        # Keys and values of cross-attention are made from the encoder's tokens.
        tokens = read if name.endswith("cross.kv") else share
        total += 2 * module.weight.numel() * tokens
    blocks: list[Any] = list(stack.layers)
    for kind, block in zip(config.kinds * len(blocks), blocks, strict=False):
        channels = block.attention.out.in_features
        seen = length / 2 if stack.causal else float(length)
        if kind == "sliding" and config.sliding_window:
            seen = min(seen, config.sliding_window)
        if block.cross is not None:
            seen += length
        total += 4 * channels * seen * share
    return total


def optimizer_bytes(model: Transformer, settings: OptimizerSettings) -> int:
    """Bytes of the averages that an optimiser keeps, in float32."""
    each = {"adamw": 8, "sgd": 0 if settings.momentum == 0 else 4, "muon": 4}
    return sum(
        each[group["kind"]] * sum(p.numel() for _, p in group["params"])
        for group in parameter_groups(model, settings)
    )


@cache
def machine_peak(precision: str = "fp32", *, seconds: float = 1.0) -> float:
    """Floating-point operations a second that large matrix products reach here, measured once.

    precision: fp32 or bf16. Takes `seconds`; uses the threads torch uses.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    side = 4096 if device == "cuda" else 1024
    left = torch.ones(side, side, dtype=dtype, device=device)
    right = torch.ones(side, side, dtype=dtype, device=device)

    def product() -> None:
        torch.mm(left, right)
        if device == "cuda":
            torch.cuda.synchronize()

    return 2 * side**3 / best_of(product, seconds=seconds)


def best_of(work: Callable[[], object], *, seconds: float) -> float:
    """Seconds of the fastest of several runs, after one to warm up."""
    work()
    best, end = float("inf"), time.perf_counter() + seconds
    while best == float("inf") or time.perf_counter() < end:
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best
