"""Changes to next-token scores, as pure functions: bans and penalties, then filters of sampling.

Scores are logits or log probabilities [V], or [R, V] where every row is treated alike; each
function returns new scores. Definitions are those of transformers' LogitsProcessors, save the
frequency and presence penalties, which are OpenAI's (over generated tokens alone).
"""

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

NEVER = float("-inf")
_HEAD = 1024
"""Candidates that top_p looks at before it sorts the whole vocabulary."""


def ban(scores: Tensor, ids: Sequence[int]) -> Tensor:
    """No token of `ids` may come next."""
    if not ids:
        return scores
    scores = scores.clone()
    scores[..., list(ids)] = NEVER
    return scores


def force(scores: Tensor, token: int) -> Tensor:
    """Only `token` may come next, with certainty."""
    scores = torch.full_like(scores, NEVER)
    scores[..., token] = 0.0
    return scores


def bias(scores: Tensor, ids: Sequence[int], values: Sequence[float]) -> Tensor:
    """Add `values` to the scores of `ids`."""
    scores = scores.clone()
    scores[..., list(ids)] += torch.tensor(list(values), dtype=scores.dtype, device=scores.device)
    return scores


def penalise_repetition(scores: Tensor, seen: Sequence[int], penalty: float) -> Tensor:
    """Divide positive and multiply negative scores of `seen` tokens (Keskar et al. 2019)."""
    ids = torch.tensor(list(seen), dtype=torch.long, device=scores.device)
    old = scores[..., ids]
    scores = scores.clone()
    scores[..., ids] = torch.where(old < 0, old * penalty, old / penalty)
    return scores


def penalise_frequency(
    scores: Tensor, generated: Sequence[int], *, frequency: float, presence: float
) -> Tensor:
    """Subtract count * frequency + presence from every generated token's score (OpenAI's API)."""
    counts = Counter(generated)
    ids = list(counts)
    return bias(scores, ids, [-(counts[i] * frequency + presence) for i in ids]) if ids else scores


def repeats(history: Sequence[int], size: int) -> list[int]:
    """Tokens that would complete a run of `size` tokens that already stands in `history`."""
    if len(history) + 1 < size:
        return []
    if size == 1:
        return list(set(history))
    tail = list(history[len(history) - size + 1 :])
    last, before = tail[-1], size - 1
    return [
        history[end + 1]
        for end in range(before - 1, len(history) - 1)
        if history[end] == last and list(history[end - before + 1 : end + 1]) == tail
    ]


def completions(history: Sequence[int], sequences: Sequence[Sequence[int]]) -> list[int]:
    """Last tokens of those `sequences` whose other tokens end `history`."""
    return [
        ids[-1]
        for ids in sequences
        if len(history) >= len(ids) - 1
        and list(history[len(history) - len(ids) + 1 :]) == list(ids[:-1])
    ]


def warm(scores: Tensor, temperature: float) -> Tensor:
    """Divide by the temperature."""
    return scores / temperature


def keep_top_k(scores: Tensor, k: int) -> Tensor:
    """Keep the k highest scores, and those equal to the k-th."""
    least = torch.topk(scores, min(k, scores.shape[-1])).values[..., -1:]
    return scores.masked_fill(scores < least, NEVER)


def keep_top_p(scores: Tensor, p: float) -> Tensor:
    """Keep the fewest likeliest tokens that hold probability p (Holtzman et al. 2020)."""
    probabilities = scores.float().softmax(-1)
    size = scores.shape[-1]
    kept = min(_HEAD, size)
    best, ids = torch.topk(probabilities, kept)
    total = best.cumsum(-1)
    if kept < size and bool((total[..., -1] < p).any()):
        best, ids = torch.sort(probabilities, descending=True, stable=True)
        total = best.cumsum(-1)
    # A token stays while those before it hold less than p; the first always does.
    stays = total - best < p
    stays[..., 0] = True
    mask = torch.zeros_like(scores, dtype=torch.bool)
    mask.scatter_(-1, ids, stays)
    return scores.masked_fill(~mask, NEVER)


def keep_min_p(scores: Tensor, share: float) -> Tensor:
    """Keep tokens at least `share` times as likely as the likeliest (Nguyen et al. 2024)."""
    probabilities = scores.float().softmax(-1)
    least = share * probabilities.amax(-1, keepdim=True)
    return scores.masked_fill(probabilities < least, NEVER)


def keep_typical(scores: Tensor, mass: float) -> Tensor:
    """Keep tokens nearest to the expected information that hold `mass` (Meister et al. 2023)."""
    logs = scores.float().log_softmax(-1)
    probabilities = logs.exp()
    entropy = -(logs * probabilities).nansum(-1, keepdim=True)
    distance = (-logs - entropy).abs()
    ordered, index = torch.sort(distance, stable=True)
    total = probabilities.gather(-1, index).cumsum(-1)
    last = (total < mass).sum(-1, keepdim=True).clamp(max=scores.shape[-1] - 1)
    return scores.masked_fill(distance > ordered.gather(-1, last), NEVER)
