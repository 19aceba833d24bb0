"""What holds for every Transformer: who sees whom, what padding and neighbours may not change."""

import itertools
import math
import random
from typing import Any

import pytest
import torch
from torch import Tensor

from hanlin.errors import InputError
from hanlin.models.config import ModelConfig
from hanlin.models.heads import pool
from hanlin.models.transformer import Transformer

V = 50


def _model(seed: int = 0, **changes: Any) -> Transformer:
    config = ModelConfig(
        **{
            "family": "llama",
            "shape": "decoder",
            "head": "language-model",
            "vocab_size": V,
            "hidden_size": 24,
            "num_layers": 2,
            "num_heads": 3,
            "intermediate_size": 40,
            "initializer_range": 0.3,
            "max_context": 64,
            **changes,
        }
    )
    torch.manual_seed(seed)
    return Transformer(config).eval()


_ENCODER = {"shape": "encoder", "head": "none"}
POSITIONS = ["none", "learned", "sinusoidal", "rotary", "relative"]


def _ids(seed: int, length: int, rows: int = 1) -> Tensor:
    print("seed", seed)
    return torch.randint(0, V, (rows, length), generator=torch.Generator().manual_seed(seed))


def _draw(seed: int) -> dict[str, Any]:
    draw = random.Random(seed)
    heads, kv_heads = draw.choice([(3, 3), (3, 1), (6, 2), (4, 2)])
    changes: dict[str, Any] = {
        "num_heads": heads,
        "num_kv_heads": kv_heads,
        "head_dim": draw.choice([4, 6, 10]),
        "position": draw.choice(POSITIONS),
        "norm": draw.choice(["layernorm", "rmsnorm"]),
        "norm_place": draw.choice(["before", "after", "both"]),
        "attention_softcap": draw.choice([None, 5.0]),
        "qk_norm": draw.random() < 0.3,
        "gated": draw.random() < 0.5,
        "activation": draw.choice(["gelu", "relu", "silu", "gelu_tanh"]),
        "tie_embeddings": draw.random() < 0.5,
        "logit_softcap": draw.choice([None, 10.0]),
    }
    if draw.random() < 0.5:
        changes |= {"sliding_window": 4, "layer_kinds": ("sliding", "full")}
    print(seed, changes)
    return changes


# Attention, against a loop in float64.


def _attention_by_loop(model: Transformer, x: Tensor) -> Tensor:
    """The first block's self-attention of x [T, D], one query, head and key at a time."""
    config = model.config
    stack = model.decoder or model.encoder
    assert stack is not None
    layer: Any = stack.layers[0]
    H, K, C, T = config.num_heads, config.kv_heads, config.channels, x.shape[0]
    qkv = (x.double() @ layer.attention.qkv.weight.double().T).view(T, H + 2 * K, C)
    scale = config.attention_scale or C**-0.5
    window = config.sliding_window if config.kinds[0] == "sliding" else None
    causal = model.decoder is not None
    mixed = torch.zeros(T, H, C, dtype=torch.float64)
    for t, h in itertools.product(range(T), range(H)):
        group = h // (H // K)
        weights = {}
        for s in range(T):
            if causal and s > t:
                continue
            if window and (t - s >= window if causal else abs(t - s) > window // 2):
                continue
            score = float(qkv[t, h] @ qkv[s, H + group]) * scale
            if config.attention_softcap:
                score = math.tanh(score / config.attention_softcap) * config.attention_softcap
            weights[s] = math.exp(score)
        for s, weight in weights.items():
            mixed[t, h] += weight / sum(weights.values()) * qkv[s, H + K + group]
    return mixed.view(T, H * C) @ layer.attention.out.weight.double().T


@pytest.mark.parametrize("shape", ["decoder", "encoder"])
@pytest.mark.parametrize("window", [None, 3, 4])
@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize("heads", [(3, 1), (6, 2), (4, 4)])
@torch.no_grad()
def test_attention_is_the_loop(
    shape: str, window: int | None, softcap: float | None, heads: tuple[int, int]
) -> None:
    changes: dict[str, Any] = {"attention_softcap": softcap, "position": "none", "num_layers": 1}
    if window:
        changes |= {"sliding_window": window, "layer_kinds": ("sliding",)}
    if shape == "encoder":
        changes |= _ENCODER
    model = _model(num_heads=heads[0], num_kv_heads=heads[1], head_dim=6, **changes)
    seen: list[tuple[Tensor, Tensor]] = []
    stack: Any = model.decoder or model.encoder
    stack.layers[0].attention.register_forward_hook(
        lambda module, inputs, output: seen.append((inputs[0], output))
    )
    model(_ids(1, 9))
    x, y = seen[0]
    torch.testing.assert_close(y[0].double(), _attention_by_loop(model, x[0]), rtol=0, atol=1e-5)


# Who sees whom


@pytest.mark.parametrize("seed", range(12))
@torch.no_grad()
def test_a_decoder_never_sees_the_future(seed: int) -> None:
    model = _model(seed, **_draw(seed))
    ids = _ids(seed, 14)
    changed = ids.clone()
    changed[:, 9:] = (changed[:, 9:] + 1) % V
    before, after = model(ids).logits, model(changed).logits
    assert before is not None
    assert after is not None
    torch.testing.assert_close(before[:, :9], after[:, :9], rtol=0, atol=1e-5)
    assert (before[:, 9:] - after[:, 9:]).abs().max() > 1e-3


@pytest.mark.parametrize(("shape", "back", "ahead"), [("decoder", 3, 0), ("encoder", 2, 2)])
@torch.no_grad()
def test_a_sliding_layer_sees_its_window_and_no_further(shape: str, back: int, ahead: int) -> None:
    """A window of 4: a decoder sees itself and three back, an encoder two on either side."""
    changes = _ENCODER if shape == "encoder" else {}
    model = _model(num_layers=1, sliding_window=4, layer_kinds=("sliding",), **changes)
    ids = _ids(0, 12)
    base = model(ids).hidden
    for changed in range(12):
        other = ids.clone()
        other[0, changed] = (other[0, changed] + 1) % V
        moved = (model(other).hidden - base)[0].abs().amax(-1) > 1e-6
        expected = [t - back <= changed <= t + ahead for t in range(12)]
        assert moved.tolist() == expected


@pytest.mark.parametrize("position", POSITIONS)
@torch.no_grad()
def test_an_encoder_sees_both_ways_and_knows_the_order(position: str) -> None:
    model = _model(position=position, **_ENCODER)
    ids = torch.arange(6)[None]
    swapped = ids[:, [1, 0, 2, 3, 4, 5]]
    moved = (model(ids).hidden - model(swapped).hidden)[0, 5].abs().max()
    assert (moved > 1e-4) == (position != "none")


# Padding and neighbours


@pytest.mark.parametrize("shape", ["decoder", "encoder"])
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("seed", range(6))
@torch.no_grad()
def test_padding_changes_nothing(shape: str, side: str, seed: int) -> None:
    """Rows of different lengths together get what each gets alone, whatever the pads hold."""
    changes = _draw(seed) | (_ENCODER if shape == "encoder" else {})
    model = _model(seed, **changes)
    rows = [_ids(seed + i, n) for i, n in enumerate((3, 11, 1, 8))]
    mask = torch.zeros(4, 11, dtype=torch.long)
    for i, row in enumerate(rows):
        mask[i, slice(row.shape[1]) if side == "right" else slice(11 - row.shape[1], 11)] = 1
    for filler in (0, V - 1):
        ids = torch.full((4, 11), filler)
        ids[mask.bool()] = torch.cat(rows, 1)[0]
        hidden = model(ids, attention_mask=mask).hidden
        assert hidden.isfinite().all()
        for i, row in enumerate(rows):
            alone = model(row).hidden[0]
            torch.testing.assert_close(hidden[i, mask[i].bool()], alone, rtol=0, atol=2e-5)


@torch.no_grad()
def test_a_row_of_nothing_but_padding_is_finite() -> None:
    mask = torch.tensor([[1, 1, 1, 1], [0, 0, 0, 0]])
    for changes in ({}, _ENCODER, {"attention_softcap": 3.0}):
        model = _model(**changes)
        assert model(_ids(0, 4, rows=2), attention_mask=mask).hidden.isfinite().all()


@pytest.mark.parametrize("seed", range(8))
@torch.no_grad()
def test_a_cache_fed_in_any_pieces_gives_the_same_logits(seed: int) -> None:
    model = _model(seed, **_draw(seed))
    ids = _ids(seed, 15)
    whole = model(ids).logits
    assert whole is not None
    draw = random.Random(seed)
    cache, start, said = model.new_cache(1, 2), 0, []
    while start < 15:
        piece = ids[:, start : start + draw.randint(1, 6)]
        said.append(model.extend(piece, cache, every=True))
        start += piece.shape[1]
    torch.testing.assert_close(torch.cat(said, 1), whole, rtol=0, atol=2e-5)


@torch.no_grad()
def test_rows_of_a_cache_stand_where_they_stand() -> None:
    model = _model(**_draw(3))
    ids = _ids(0, 12, rows=3)
    cache = model.new_cache(3, 4)
    for row, length in enumerate((2, 9, 5)):
        model.extend(ids[row : row + 1, :length], cache, rows=[row])
    step = torch.stack([ids[0, 2:4], ids[1, 9:11], ids[2, 5:7]])
    logits = model.extend(step, cache)
    for row, end in enumerate((4, 11, 7)):
        expected = model(ids[row : row + 1, :end]).logits
        assert expected is not None
        torch.testing.assert_close(logits[row], expected[0, -1], rtol=0, atol=2e-5)


# Heads


@pytest.mark.parametrize("pooling", ["first", "last", "mean"])
def test_pooling_takes_real_tokens_only(pooling: Any) -> None:
    x = torch.arange(24, dtype=torch.float32).view(3, 4, 2)
    real = torch.tensor([[1, 1, 0, 0], [0, 1, 1, 1], [1, 1, 1, 1]]).bool()
    places = {"first": [0, 1, 0], "last": [1, 3, 3]}
    for row in range(3):
        if pooling == "mean":
            expected = x[row][real[row]].mean(0)
        else:
            expected = x[row, places[pooling][row]]
        assert torch.equal(pool(x, real, pooling)[row], expected)
    assert torch.equal(pool(x, None, pooling), pool(x, torch.ones(3, 4).bool(), pooling))


@pytest.mark.parametrize(
    ("changes", "shape"),
    [
        ({"head": "none"}, None),
        ({"head": "language-model"}, (2, 7, V)),
        ({"head": "classify", "labels": ("a", "b", "c"), "pooling": "last"}, (2, 3)),
        ({"head": "tag", "labels": ("a", "b", "c")}, (2, 7, 3)),
        ({"head": "extract"}, (2, 7, 2)),
    ],
)
def test_every_head_has_its_shape(changes: dict[str, Any], shape: tuple[int, ...] | None) -> None:
    out = _model(**changes)(_ids(0, 7, rows=2))
    assert out.hidden.shape == (2, 7, 24)
    assert (None if out.logits is None else tuple(out.logits.shape)) == shape


# What is refused


def test_what_a_shape_cannot_do_is_said() -> None:
    ids = _ids(0, 5)
    with pytest.raises(InputError, match="decoder_ids"):
        _model()(ids, decoder_ids=ids)
    encoder = _model(**_ENCODER)
    with pytest.raises(InputError, match="decoder_ids"):
        encoder(ids, decoder_ids=ids)
    with pytest.raises(InputError, match="cannot generate"):
        encoder.extend(ids, None)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="token types"):
        encoder(ids, token_types=torch.zeros_like(ids))
    with pytest.raises(InputError, match="reads at most 64"):
        _model(position="learned")(_ids(0, 65))


def test_dropout_is_for_training_only() -> None:
    model = _model(dropout=0.5, attention_dropout=0.5)
    ids = _ids(0, 9)
    assert torch.equal(model(ids).hidden, model(ids).hidden)
    model.train()
    torch.manual_seed(0)
    assert not torch.equal(model(ids).hidden, model(ids).hidden)


def test_tied_weights_are_one_tensor_with_one_gradient() -> None:
    model = _model(tie_embeddings=True)
    logits = model(_ids(0, 6)).logits
    assert logits is not None
    logits.square().mean().backward()
    assert model.embedding.weight.grad is not None
    assert "head.projection.weight" not in dict(model.named_parameters())
    assert model.embedding.weight.grad.abs().amin(-1).min() > 0
