"""Positions against transformers' tables and plain float64 loops."""

import math
import random

import pytest
import torch
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding
from transformers.models.marian.modeling_marian import MarianSinusoidalPositionalEmbedding
from transformers.models.t5.modeling_t5 import T5Attention

from hanlin.models.config import Rope
from hanlin.models.positions import (
    RotaryTable,
    inverse_frequencies,
    relative_buckets,
    rotate,
    sinusoids,
)


def _draw(kind: str, seed: int) -> tuple[Rope, int]:
    draw = random.Random(f"{kind} {seed}")
    settings: dict[str, object] = {
        "theta": draw.choice([500.0, 1e4, 5e5, 1e6]),
        "kind": kind,
        "factor": draw.choice([2.0, 4.0, 32.0]),
        "original_context": draw.choice([32, 512, 8192]),
    }
    if kind == "llama3":
        settings |= {"low_freq_factor": 1.0, "high_freq_factor": draw.choice([2.0, 4.0])}
    if kind == "yarn":
        settings |= {
            "beta_fast": draw.choice([16.0, 32.0]),
            "beta_slow": draw.choice([1.0, 2.0]),
            "attention_factor": draw.choice([None, 1.25]),
            "truncate": draw.random() < 0.5,
        }
        if draw.random() < 0.5:
            settings |= {"mscale": 0.7, "mscale_all_dim": 1.2}
    rope = Rope(**settings)  # type: ignore[arg-type]
    print(rope)
    return rope, draw.choice([6, 10, 64, 128])


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("kind", ["default", "linear", "llama3", "yarn"])
def test_rotary_frequencies_are_those_of_transformers(kind: str, seed: int) -> None:
    rope, channels = _draw(kind, seed)
    parameters = {"rope_type": kind, "rope_theta": rope.theta, "factor": rope.factor}
    parameters["original_max_position_embeddings"] = rope.original_context
    if kind == "llama3":
        parameters["low_freq_factor"] = rope.low_freq_factor
        parameters["high_freq_factor"] = rope.high_freq_factor
    if kind == "yarn":
        for name in ("beta_fast", "beta_slow", "attention_factor", "mscale", "mscale_all_dim"):
            if getattr(rope, name) is not None:
                parameters[name] = getattr(rope, name)
        parameters["truncate"] = rope.truncate
    config = LlamaConfig(
        hidden_size=4 * channels, num_attention_heads=4, rope_parameters=parameters
    )
    theirs = LlamaRotaryEmbedding(config)
    mine, ours = inverse_frequencies(rope, channels)
    torch.testing.assert_close(mine, theirs.inv_freq, rtol=1e-6, atol=0)
    assert math.isclose(ours, theirs.attention_scaling, rel_tol=1e-9)


@pytest.mark.parametrize("fraction", [1.0, 0.5])
def test_rotation_turns_pairs_by_the_position_times_the_frequency(fraction: float) -> None:
    """Against complex multiplication in float64: channel c pairs with c + half."""
    torch.manual_seed(0)
    rope, channels = Rope(theta=300.0, fraction=fraction), 12
    x = torch.randn(2, 3, 7, channels)
    table = RotaryTable(rope, channels)
    cos, sin = table.at(slice(5, 12), device=x.device, dtype=x.dtype)
    turned = rotate(x, cos, sin).double()
    width = int(channels * fraction)
    half = width // 2
    for t in range(7):
        for c in range(half):
            angle = (5 + t) * 300.0 ** (-2 * c / width)
            pair = torch.complex(x[:, :, t, c].double(), x[:, :, t, c + half].double())
            pair = pair * complex(math.cos(angle), math.sin(angle))
            torch.testing.assert_close(turned[:, :, t, c], pair.real, rtol=0, atol=2e-6)
            torch.testing.assert_close(turned[:, :, t, c + half], pair.imag, rtol=0, atol=2e-6)
    assert torch.equal(turned[..., width:], x[..., width:].double())


def test_a_rotary_table_grows_and_takes_positions_of_any_shape() -> None:
    table = RotaryTable(Rope(), 8)
    options = {"device": torch.device("cpu"), "dtype": torch.float32}
    short = table.at(slice(0, 3), **options)
    long = table.at(slice(0, 5000), **options)
    assert torch.equal(short[0], long[0][:3])
    where = torch.tensor([[4999, 0], [7, 7]])
    cos, sin = table.at(where, **options)
    assert cos.shape == sin.shape == (2, 1, 2, 8)
    assert torch.equal(cos[0, 0, 0], long[0][4999])
    assert torch.equal(sin[1, 0, 1], long[1][7])
    assert table.at(slice(0, 2), device=torch.device("cpu"), dtype=torch.bfloat16)[0].dtype == (
        torch.bfloat16
    )


@pytest.mark.parametrize("width", [6, 7, 64])
def test_sinusoids_are_marians_and_the_papers(width: int) -> None:
    table = sinusoids(50, width)
    if width % 2 == 0:
        theirs = MarianSinusoidalPositionalEmbedding(50, width)
        torch.testing.assert_close(table, theirs.create_weight(), rtol=0, atol=1e-6)
    sines = (width + 1) // 2
    for position in (0, 1, 49):
        for channel in range(width):
            angle = position / 10000 ** (2 * (channel // 2) / width)
            place = channel // 2 + (0 if channel % 2 == 0 else sines)
            value = math.sin(angle) if channel % 2 == 0 else math.cos(angle)
            assert abs(table[position, place].item() - value) < 1e-6


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize(("buckets", "most"), [(32, 128), (8, 20), (16, 50)])
def test_relative_buckets_are_t5s(bidirectional: bool, buckets: int, most: int) -> None:
    query, key = torch.arange(40, 90), torch.arange(200)
    mine = relative_buckets(
        query, key, buckets=buckets, max_distance=most, bidirectional=bidirectional
    )
    theirs = T5Attention._relative_position_bucket(
        key[None] - query[:, None],
        bidirectional=bidirectional,
        num_buckets=buckets,
        max_distance=most,
    )
    assert torch.equal(mine, theirs)
    assert mine.max() < buckets
