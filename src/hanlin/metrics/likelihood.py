"""Loss, perplexity and bits per byte of a corpus, from what each unit of it cost.

A unit is what is resampled for the interval: a document, or a block of one. Loss is the mean over
tokens and depends on the tokenizer, as perplexity does; bits per byte divides by the UTF-8 bytes of
the raw text and can be compared between any two models.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from hanlin.errors import InputError
from hanlin.metrics.bootstrap import RESAMPLES, interval_of_ratio
from hanlin.metrics.score import Score, signature


def loss(nats: ArrayLike, tokens: ArrayLike, *, seed: int = 0, **about: object) -> Score:
    """Nats per token: sum of `nats` over sum of `tokens`, both [units].

    `about` says what was measured and is put in the signature. Raises `InputError` where nothing
    was scored.
    """
    return _ratio(nats, tokens, seed=seed, about=about)


def perplexity(nats: ArrayLike, tokens: ArrayLike, *, seed: int = 0, **about: object) -> Score:
    """exp of the loss; infinite where that overflows."""
    return loss(nats, tokens, seed=seed, **about).map(_exp)


def bits_per_byte(nats: ArrayLike, sizes: ArrayLike, *, seed: int = 0, **about: object) -> Score:
    """Nats as bits over the UTF-8 bytes they pay for, both [units]."""
    bits = np.asarray(nats, dtype=np.float64) / math.log(2)
    return _ratio(bits, sizes, seed=seed, about=about)


def accuracy(right: ArrayLike, asked: ArrayLike, *, seed: int = 0, **about: object) -> Score:
    """The share of answers that are right, from 0 to 1: counts a unit, both [units]."""
    return _ratio(right, asked, seed=seed, about=about)


def _ratio(
    numerators: ArrayLike, denominators: ArrayLike, *, seed: int, about: dict[str, Any]
) -> Score:
    top = np.asarray(numerators, dtype=np.float64)
    bottom = np.asarray(denominators, dtype=np.float64)
    total = float(bottom.sum())
    if total <= 0:
        raise InputError("Nothing was scored. Give a text that is not empty.")
    found = interval_of_ratio(top, bottom, seed=seed)
    method = "none" if found is None else f"bca({RESAMPLES},seed={seed})"
    low, high = found or (None, None)
    about = {**about, "n": int((bottom > 0).sum()), "interval": method}
    return Score(float(top.sum()) / total, low, high, signature(**about))


def _exp(value: float) -> float:
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf
