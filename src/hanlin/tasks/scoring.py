"""How likely a model finds a text: each token scored once, given as much as fits before it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hanlin.models.cache import Cache
from hanlin.models.transformer import Transformer

_CHUNK = 256
"""Tokens per pass: the logits of a chunk, [256, V], are all that is held of them."""


@dataclass(frozen=True)
class Score:
    """How likely a model finds a text. Logarithms are natural."""

    log_likelihood: float
    """The sum of `logprobs`."""
    tokens: tuple[int, ...]
    """The ids that were scored."""
    logprobs: tuple[float, ...]
    """Log probability of each, given all before it (a masked language model: all others)."""
    is_greedy: bool
    """Whether each was the model's first choice."""
    bytes: int
    """Length of the scored text in UTF-8."""

    @property
    def perplexity(self) -> float:
        """exp of the mean negative log probability of a token."""
        return math.exp(-self.log_likelihood / len(self.tokens))

    @property
    def bits_per_byte(self) -> float:
        """Negative log2 likelihood over bytes: comparable between tokenizers."""
        return -self.log_likelihood / math.log(2) / self.bytes


@dataclass(frozen=True)
class Window:
    """ids[begin:end] are read; those from `first` on are scored."""

    begin: int
    first: int
    end: int


def windows(first: int, length: int, context: int | None) -> list[Window]:
    """Cut ids [0, length) so that each from `first` on is scored once.

    At most `context` ids stand before a scored one (None: no limit). The first window is full; each
    later one scores half a context, so every token sees at least the half before it.
    """
    if context is None:
        return [Window(0, first, length)]
    stride = max(1, context // 2)
    found = []
    while first < length:
        end = min(length, max(first + stride, context + 1))
        found.append(Window(max(0, end - 1 - context), first, end))
        first = end
    return found


def log_probabilities(
    network: Transformer,
    ids: Sequence[int],
    *,
    first: int,
    source: Sequence[int] | None = None,
) -> tuple[list[float], bool]:
    """Log probability of each of ids[first:], and whether all were the model's first choices.

    source: the ids an encoder-decoder reads; `ids` are then its decoder's, start token first.
    """
    config = network.config
    bounded = config.position not in ("relative", "none")
    context = config.max_context if bounded else None
    logprobs: list[float] = []
    greedy = True
    with torch.inference_mode():
        for window in windows(first, len(ids), context):
            part = ids[window.begin : window.end]
            cache = network.new_cache(1, len(part))
            if source is not None:
                network.remember(cache, 0, torch.tensor(source, device=network.device))
            values, best = _read(network, cache, part, first=window.first - window.begin)
            logprobs += values
            greedy = greedy and best
    return logprobs, greedy


def _read(
    network: Transformer, cache: Cache, ids: Sequence[int], *, first: int
) -> tuple[list[float], bool]:
    inputs = torch.tensor(ids[:-1], device=network.device)
    targets = torch.tensor(ids[1:], device=network.device)
    logprobs: list[float] = []
    greedy = True
    for start in range(0, len(inputs), _CHUNK):
        end = min(start + _CHUNK, len(inputs))
        wanted = max(first - 1, start)
        chunk = inputs[start:end].unsqueeze(0)
        if wanted >= end:
            network.extend(chunk, cache)
            continue
        logits = network.extend(chunk, cache, every=True)[0, wanted - start :]
        values, best = gathered(logits, targets[wanted:end])
        logprobs += values
        greedy = greedy and best
    return logprobs, greedy


def gathered(logits_TV: Tensor, targets_T: Tensor) -> tuple[list[float], bool]:
    """The log probability of each target, and whether each was the likeliest."""
    logs = logits_TV.float().log_softmax(-1)
    values: list[float] = logs.gather(1, targets_T.unsqueeze(1))[:, 0].tolist()
    return values, bool((logs.argmax(-1) == targets_T).all())
