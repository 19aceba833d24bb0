"""One token out of scores: the likeliest, or a draw that depends on its seed and nothing else.

The random number of a draw is a hash of (seed, index among the prompt's n sequences, step): there
is no stream of random numbers that other sequences of a batch, or their order, could shift.
"""

import hashlib
import math
import secrets
import struct

import torch
from torch import Tensor

from hanlin.errors import ConfigError, FormatError, HanlinError


def fresh_seed() -> int:
    """A seed from the operating system, 0 to 2**32 - 1 (short enough to type)."""
    return secrets.randbits(32)


def uniform(seed: int, index: int, step: int) -> float:
    """A number in [0, 1) of 53 random bits, for one step of one sequence."""
    digest = hashlib.blake2b(struct.pack("<QQQ", seed, index, step), digest_size=8).digest()
    return (int.from_bytes(digest, "little") >> 11) * 2.0**-53


def draw(scores_V: Tensor, u: float) -> int:
    """The place at which the cumulative distribution of softmax(scores) passes u, in float64.

    Raises `HanlinError` where no score is above minus infinity, or one is not a number.
    """
    weights = scores_V.double()
    weights = (weights - weights.max()).exp_()
    cumulative = weights.cumsum(-1)
    total = cumulative[-1].item()
    if not total > 0:
        raise _no_choice(scores_V)
    # Rounding may carry u * total up to total, past the last token that has a probability.
    target = min(u * total, math.nextafter(total, 0.0))
    return int(torch.searchsorted(cumulative, target, right=True))


def likeliest(scores_RV: Tensor) -> Tensor:
    """The first token with the highest score in each row [R]; raises as `draw` does."""
    if scores_RV.device.type == "cpu":
        # 0.03 ms at V = 49152, where torch's argmax takes 0.3 (bfloat16) or 0.16 (float32).
        best = torch.from_numpy(scores_RV.float().numpy().argmax(-1))
    else:
        best = scores_RV.argmax(-1)
    if not bool((scores_RV.gather(-1, best.unsqueeze(-1)) > float("-inf")).all()):
        raise _no_choice(scores_RV)
    return best


def _no_choice(scores: Tensor) -> HanlinError:
    if bool(scores.isnan().any()):
        return FormatError(
            "The model's output is not a number (NaN). Check its weights, or load it in float32."
        )
    return ConfigError(
        "The settings leave no token to choose from. Loosen banned, logit_bias or no_repeat_ngram."
    )
