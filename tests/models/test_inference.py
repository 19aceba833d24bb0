"""A prepared network computes what it computed before: its short way for tokens to the last bit."""

from pathlib import Path
from typing import Any

import pytest
import torch

from hanlin.kernels.packed import PackedLinear, Pools, accelerate, supported
from hanlin.models import load
from hanlin.models.config import ModelConfig, Rope
from hanlin.models.directory import save_directory
from hanlin.models.inference import prepare
from hanlin.models.layers import Linear
from hanlin.models.transformer import Transformer

pytestmark = pytest.mark.skipif(not supported(), reason="this processor lacks the kernels")

SHAPES: dict[str, dict[str, Any]] = {
    "llama": {"num_kv_heads": 1},
    "multi-head": {},
    "biases": {"attention_bias": True, "attention_out_bias": True, "mlp_bias": True},
    "qwen3": {"qk_norm": True, "head_dim": 10, "num_kv_heads": 1},
    "gemma": {
        "norm_place": "both",
        "norm_plus_one": True,
        "activation": "gelu_tanh",
        "embedding_scale": 5.0,
        "sliding_window": 4,
        "layer_kinds": ("sliding", "full", "sliding"),
        "rope_local": Rope(theta=100.0),
    },
    "gpt2": {
        "position": "learned",
        "norm": "layernorm",
        "norm_bias": True,
        "gated": False,
        "activation": "gelu_tanh",
        "attention_bias": True,
    },
    "half-turned": {"rope": Rope(fraction=0.5)},
    "relu": {"gated": False, "activation": "relu"},
    "gelu": {"activation": "gelu"},
}
LONG_WAY = {"gemma2": {"attention_softcap": 5.0}, "t5-like": {"position": "relative"}}


def network(changes: dict[str, Any], seed: int) -> Transformer:
    torch.manual_seed(seed)
    fields = {
        "family": "llama",
        "shape": "decoder",
        "head": "language-model",
        "vocab_size": 61,
        "hidden_size": 24,
        "num_layers": 3,
        "num_heads": 3,
        "intermediate_size": 40,
        "max_context": 64,
        "initializer_range": 0.3,
    }
    model = Transformer(ModelConfig(**(fields | changes))).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def read(model: Transformer, lengths: list[int], steps: int) -> list[torch.Tensor]:
    """Logits of prompts of these lengths, then of `steps` tokens after all of them together."""
    generator = torch.Generator().manual_seed(1)
    cache = model.new_cache(len(lengths), 4)
    out = []
    for row, length in enumerate(lengths):
        ids = torch.randint(0, 61, (1, length), generator=generator)
        out.append(model.extend(ids, cache, rows=[row]))
    for _ in range(steps):
        out.append(
            model.extend(torch.randint(0, 61, (len(lengths), 1), generator=generator), cache)
        )
    return out


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("lengths", [[5], [7, 7], [3, 9, 1]])
@torch.inference_mode()
def test_the_short_way_is_the_long_way_bit_for_bit(name: str, lengths: list[int]) -> None:
    model = network(SHAPES[name], seed=len(lengths))
    prepare(model)
    assert model.decoder is not None
    assert model.decoder.token_steps is not None
    short = read(model, lengths, steps=6)
    model.decoder.token_steps = None
    long = read(model, lengths, steps=6)
    for a, b in zip(short, long, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("name", [*SHAPES, *LONG_WAY])
@torch.inference_mode()
def test_packing_rounds_and_no_more(name: str) -> None:
    model = network((SHAPES | LONG_WAY)[name], seed=3)
    exact = read(model, [6], steps=4)
    prepare(model)
    packed = read(model, [6], steps=4)
    scale = exact[0].abs().max()
    for a, b in zip(exact, packed, strict=True):
        # The prompt is read in bfloat16 where there is such a unit: 8 bits of mantissa.
        assert (a - b).abs().max() < 0.1 * scale


@pytest.mark.parametrize("tied", [True, False])
@torch.inference_mode()
def test_layers_read_in_the_background_are_the_same_bit_for_bit(tmp_path: Path, tied: bool) -> None:
    model = network({"num_kv_heads": 1, "tie_embeddings": tied}, seed=4)
    save_directory(model, tmp_path / "model")
    prepare(model)
    lazy = load(tmp_path / "model", inference=True)
    for a, b in zip(read(model, [5, 8], steps=3), read(lazy, [5, 8], steps=3), strict=True):
        assert torch.equal(a, b)


def test_a_layer_that_cannot_be_read_is_an_error_and_not_a_hang() -> None:
    linear = Linear(8, 8)

    def unreadable() -> torch.Tensor:
        raise OSError("the disk is gone")

    linear.unread = unreadable
    layers = torch.nn.Sequential(linear)
    accelerate(layers)
    for tokens in (1, 3):
        with pytest.raises(OSError, match="the disk is gone"):
            layers(torch.ones(1, tokens, 8))


@pytest.mark.parametrize("position", ["sinusoidal", "relative"])
@pytest.mark.parametrize("source", [1, 2, 9])
@torch.inference_mode()
def test_an_encoder_decoder_is_packed_too(source: int, position: str) -> None:
    changes = {"shape": "encoder-decoder", "position": position, "decoder_start_id": 0}
    model = network(changes, seed=5)
    ids = torch.randint(0, 61, (source,), generator=torch.Generator().manual_seed(2))

    def answer() -> list[torch.Tensor]:
        cache = model.new_cache(2, 4)
        for row in range(2):
            model.remember(cache, row, ids)
        return [model.extend(torch.full((2, width), 7), cache) for width in (1, 3, 1)]

    exact = answer()
    whole = model(ids[None], decoder_ids=torch.tensor([[7]])).logits
    prepare(model)
    for a, b in zip(exact, answer(), strict=True):
        assert (a - b).abs().max() < 0.1 * exact[0].abs().max()
    again = model(ids[None], decoder_ids=torch.tensor([[7]])).logits
    assert (whole - again).abs().max() < 0.1 * whole.abs().max()


@torch.inference_mode()
def test_one_token_is_multiplied_in_float16_weights_and_float32_sums() -> None:
    from concurrent.futures import ThreadPoolExecutor

    torch.manual_seed(0)
    linear = torch.nn.Linear(96, 40_000)  # two pieces
    with ThreadPoolExecutor(1) as pool:
        packed = PackedLinear(linear, pools=Pools(pool, pool))
    x = torch.randn(3, 1, 96)
    oracle = x.double() @ linear.weight.half().double().T + linear.bias.double()
    assert (packed(x) - oracle).abs().max() < 1e-5
    assert packed(x).dtype == torch.float32


@torch.inference_mode()
def test_a_row_of_a_product_does_not_know_how_many_there_are() -> None:
    from concurrent.futures import ThreadPoolExecutor

    torch.manual_seed(0)
    for width, rows in ((576, 960), (1536, 576), (64, 64)):
        with ThreadPoolExecutor(1) as pool:
            packed = PackedLinear(torch.nn.Linear(width, rows), pools=Pools(pool, pool))
        x = torch.randn(64, 1, width)
        together = packed(x)
        for count in (1, 2, 3, 5, 8, 16, 33):
            assert torch.equal(packed(x[:count]), together[:count])
