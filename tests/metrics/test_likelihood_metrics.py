"""Loss, perplexity, bits per byte and accuracy, against plain sums."""

import math

import numpy as np
import pytest

import hanlin
from hanlin.errors import ConfigError, InputError
from hanlin.metrics import Score, accuracy, bits_per_byte, loss, perplexity

RNG = np.random.default_rng(0)
NATS = RNG.random(30) * 900
TOKENS = RNG.integers(1, 400, 30)
SIZES = RNG.integers(1, 2000, 30)


def test_each_is_a_ratio_of_sums():
    assert loss(NATS, TOKENS).value == pytest.approx(sum(NATS) / sum(TOKENS))
    assert perplexity(NATS, TOKENS).value == pytest.approx(math.exp(sum(NATS) / sum(TOKENS)))
    assert bits_per_byte(NATS, SIZES).value == pytest.approx(sum(NATS) / math.log(2) / sum(SIZES))
    assert accuracy([3, 1], [4, 4]).value == 0.5


def test_the_interval_of_perplexity_is_that_of_the_loss():
    mean, per = loss(NATS, TOKENS, seed=2), perplexity(NATS, TOKENS, seed=2)
    assert mean.low is not None
    assert mean.low < mean.value < mean.high
    assert (per.low, per.high) == pytest.approx((math.exp(mean.low), math.exp(mean.high)))


def test_the_signature_says_what_was_done():
    score = bits_per_byte(NATS, SIZES, seed=7, context=96, over="documents", left_out=None)
    assert score.signature == "context:96|over:documents|n:30|interval:bca(2000,seed=7)"
    alone = loss([10.0], [4])
    assert alone.signature == "n:1|interval:none"
    assert (alone.low, alone.high) == (None, None)
    assert str(alone) == "2.5"
    assert str(Score(1.0, 0.5, 2.0, "")) == "1 [0.5, 2]"


def test_nothing_scored_is_an_error_and_too_much_is_infinite():
    with pytest.raises(InputError, match="Nothing was scored"):
        loss([0.0], [0])
    assert perplexity([1e6], [1]).value == math.inf


def test_a_score_has_both_ends_or_none():
    with pytest.raises(ConfigError):
        Score(1.0, 0.5, None, "")


def test_the_room_is_public():
    assert hanlin.metrics.Score is Score
    assert hanlin.metrics.bits_per_byte is bits_per_byte
