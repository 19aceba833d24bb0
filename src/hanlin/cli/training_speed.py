"""``hanlin bench train``: complete training steps on random tokens beside the machine's limit.

A step multiplies every weight three times per token, once forward and twice back, so its limit is
arithmetic: the matrix products this machine makes in the type the steps are made in.
"""

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from hanlin.cli.machine import matmul_peak
from hanlin.errors import InputError
from hanlin.kernels.packed import has_bfloat16
from hanlin.models import load
from hanlin.models.config import ModelConfig
from hanlin.models.heads import VocabularyHead
from hanlin.models.transformer import Transformer
from hanlin.training.objectives.loss import vocabulary_loss
from hanlin.training.optimizer_settings import OptimizerSettings
from hanlin.training.optimizers import build_optimizer, clip_gradients

FRESH = "llama, 14 M weights"
"""What is trained when no model is named: 6 layers of 384 channels, 8192 tokens."""
_SEQUENCES, _LENGTH = 8, 256
_ASKED = 0.15
"""Share of the tokens that a masked model is asked for."""


def training_rates(
    model: str | None, *, tokens: int | None, repeats: int, dtype: str
) -> tuple[list[float], float, str]:
    """Tokens per second of every step; the limit; what sets it.

    model: None for a fresh one. tokens: of each of the 8 sequences. dtype: what products are made
    in, "auto" for bfloat16 where the processor multiplies it. The weights are float32.
    """
    if dtype == "float16":
        raise InputError(
            "hanlin trains in float32 and bfloat16, not in float16. Use --dtype bfloat16."
        )
    narrow = dtype == "bfloat16" or (dtype == "auto" and has_bfloat16())
    network = _fresh() if model is None else load(model)
    config = network.config
    if not isinstance(network.head, VocabularyHead):
        raise InputError(
            f"{model} has no head over a vocabulary, which pretraining needs. Use one that writes "
            "or fills in text, such as smollm2-135m."
        )
    length = tokens or min(_LENGTH, config.max_context)
    ids = torch.randint(0, config.vocab_size, (_SEQUENCES, length))
    step, asked = _step(network.train(), ids, narrow=narrow)
    step()
    rates = []
    for _ in range(repeats):
        begin = time.perf_counter()
        step()
        rates.append(_SEQUENCES * length / (time.perf_counter() - begin))
    peak = matmul_peak(torch.bfloat16 if narrow else torch.float32)
    work = step_operations(network, length, asked=asked / ids.numel())
    return rates, peak / work, f"{peak / 1e9:.0f} GFLOP/s / {work / 1e6:.0f} MFLOP"


def _fresh() -> Transformer:
    return Transformer(
        ModelConfig(
            family="llama",
            shape="decoder",
            head="language-model",
            vocab_size=8192,
            hidden_size=384,
            num_layers=6,
            num_heads=6,
            intermediate_size=1024,
            max_context=8192,
            tie_embeddings=False,
        )
    )


def _step(network: Transformer, ids: Tensor, *, narrow: bool) -> tuple[Callable[[], None], int]:
    """A step as the trainer makes it, and how many targets it asks for."""
    optimizer = build_optimizer(network, OptimizerSettings(lr=1e-4))
    targets, decoder_ids = ids, None
    if network.decoder is None:
        targets = ids.masked_fill(torch.rand(ids.shape) >= _ASKED, -100)
    elif network.encoder is None:
        targets = torch.cat([ids[:, 1:], torch.full_like(ids[:, :1], -100)], 1)
    else:
        decoder_ids = network.shift(ids)
    asked = int((targets != -100).sum())

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=narrow):
            loss = vocabulary_loss(network, network.hidden(ids, None, decoder_ids), targets)
        torch.autograd.backward(loss / max(asked, 1))
        clip_gradients(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step, asked


def step_operations(network: Transformer, length: int, *, asked: float = 1.0) -> float:
    """Operations of a step for each token of a text: six per weight, and attention's pairs.

    An encoder-decoder's tokens are those of its text; its target is as long. asked: share of the
    tokens whose logits are made.
    """
    config = network.config
    weights = asked * config.vocab_size * config.hidden_size
    pairs = 0.0
    for stack in (network.encoder, network.decoder):
        if stack is None:
            continue
        for module in stack.modules():
            if isinstance(module, nn.Linear):
                weights += module.in_features * module.out_features
        seen = length / 2 if stack.causal else length
        pairs += seen * len(stack.layers) * config.num_heads * config.channels
        if stack.causal and network.encoder is not None:  # over the source too
            pairs += length * len(stack.layers) * config.num_heads * config.channels
    return 6 * weights + 12 * pairs
