"""Decoders agree with transformers: logits, labels, greedy and beam text, and directories."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from against_transformers import (
    PAD,
    VOCABULARY,
    batch,
    check_round_trip,
    close,
    make,
    ours,
    pad,
    rows_of,
)
from torch import nn

from hanlin.generation import Sampling, generate
from hanlin.models.transformer import Transformer

SEEDS = range(4)


def _size(draw: random.Random) -> dict[str, Any]:
    heads, groups = draw.choice([(3, 1), (3, 3), (5, 1), (6, 2), (4, 4), (6, 3)])
    return {
        "vocab_size": VOCABULARY,
        "hidden_size": heads * draw.choice([4, 6, 8]),
        "intermediate_size": draw.choice([13, 24, 40]),
        "num_hidden_layers": draw.choice([2, 3]),
        "num_attention_heads": heads,
        "num_key_value_heads": groups,
        "max_position_embeddings": 64,
        "rms_norm_eps": draw.choice([1e-6, 1e-5]),
        "tie_word_embeddings": draw.random() < 0.5,
        "pad_token_id": PAD,
        "bos_token_id": 1,
        "eos_token_id": draw.choice([2, [2, 7]]),
    }


def _rope(draw: random.Random) -> dict[str, Any]:
    theta = draw.choice([10000.0, 500.0])
    scalings: list[dict[str, Any]] = [
        {"rope_type": "default"},
        {"rope_type": "linear", "factor": 3.0},
        {
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 32,
        },
        {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16},
        {
            "rope_type": "yarn",
            "factor": 2.0,
            "original_max_position_embeddings": 32,
            "attention_factor": 1.3,
            "beta_fast": 16.0,
        },
    ]
    return {"rope_theta": theta} | draw.choice(scalings)


def _llama(draw: random.Random) -> Any:
    return transformers.LlamaConfig(
        **_size(draw),
        head_dim=draw.choice([None, 6, 10]),
        rope_parameters=_rope(draw),
        attention_bias=draw.random() < 0.5,
        mlp_bias=draw.random() < 0.5,
    )


def _mistral(draw: random.Random) -> Any:
    return transformers.MistralConfig(
        **_size(draw),
        head_dim=draw.choice([None, 6]),
        rope_parameters=_rope(draw),
        sliding_window=draw.choice([None, 4, 5]),
    )


def _qwen2(draw: random.Random) -> Any:
    return transformers.Qwen2Config(
        **_size(draw),
        rope_parameters=_rope(draw),
        use_sliding_window=draw.random() < 0.7,
        sliding_window=draw.choice([4, 5]),
        max_window_layers=1,
    )


def _qwen3(draw: random.Random) -> Any:
    size = _size(draw)
    kinds = [draw.choice(["full_attention", "sliding_attention"]) for _ in range(3)]
    return transformers.Qwen3Config(
        **size,
        head_dim=draw.choice([6, 8, 10]),
        rope_parameters=_rope(draw),
        attention_bias=draw.random() < 0.5,
        use_sliding_window=True,
        sliding_window=4,
        layer_types=kinds[: size["num_hidden_layers"]],
    )


def _gemma(draw: random.Random) -> Any:
    return transformers.GemmaConfig(
        **_size(draw),
        head_dim=draw.choice([6, 10]),
        rope_parameters=_rope(draw),
        attention_bias=draw.random() < 0.5,
    )


def _second(draw: random.Random) -> dict[str, Any]:
    return {
        **_size(draw),
        "head_dim": draw.choice([6, 10]),
        "query_pre_attn_scalar": draw.choice([7, 24]),
        "attn_logit_softcapping": draw.choice([None, 3.0, 20.0]),
        "final_logit_softcapping": draw.choice([None, 5.0, 30.0]),
        "sliding_window": draw.choice([4, 5]),
        "attention_bias": draw.random() < 0.5,
    }


def _gemma2(draw: random.Random) -> Any:
    return transformers.Gemma2Config(**_second(draw), rope_parameters=_rope(draw))


def _gemma3(draw: random.Random) -> Any:
    local = {"rope_type": "default", "rope_theta": 300.0}
    options = _second(draw) | {"attn_logit_softcapping": None}
    rope = {"full_attention": _rope(draw), "sliding_attention": local}
    kinds = ["sliding_attention", "full_attention", "sliding_attention"]
    options["layer_types"] = kinds[: options["num_hidden_layers"]]
    return transformers.Gemma3TextConfig(**options, rope_parameters=rope)


def _gpt2(draw: random.Random) -> Any:
    heads = draw.choice([3, 4, 5])
    return transformers.GPT2Config(
        vocab_size=VOCABULARY,
        n_embd=heads * draw.choice([3, 4, 8]),
        n_layer=2,
        n_head=heads,
        n_inner=draw.choice([None, 17]),
        n_positions=64,
        activation_function=draw.choice(["gelu_new", "relu", "gelu"]),
        tie_word_embeddings=draw.random() < 0.7,
        pad_token_id=PAD,
        bos_token_id=1,
        eos_token_id=2,
    )


Config = Callable[[random.Random], Any]
FAMILIES: dict[str, tuple[Config, dict[str, str]]] = {
    "llama": (_llama, {}),
    "mistral": (_mistral, {}),
    "qwen2": (_qwen2, {}),
    "qwen3": (_qwen3, {}),
    "gemma": (_gemma, {}),
    "gemma2": (_gemma2, {}),
    "gemma3": (
        _gemma3,
        {"none": "Gemma3TextModel", "classify": "Gemma3TextForSequenceClassification"},
    ),
    "gpt2": (_gpt2, {"lm": "GPT2LMHeadModel"}),
}
STEMS = {
    "llama": "Llama",
    "mistral": "Mistral",
    "qwen2": "Qwen2",
    "qwen3": "Qwen3",
    "gemma": "Gemma",
    "gemma2": "Gemma2",
    "gemma3": "Gemma3",
    "gpt2": "GPT2",
}
SUFFIXES = {
    "lm": "ForCausalLM",
    "none": "Model",
    "classify": "ForSequenceClassification",
    "tag": "ForTokenClassification",
}


def _class(family: str, head: str) -> str:
    return FAMILIES[family][1].get(head, STEMS[family] + SUFFIXES[head])


def _pair(family: str, seed: int, path: Path, head: str = "lm") -> tuple[nn.Module, Transformer]:
    config = FAMILIES[family][0](random.Random(f"{family} {seed}"))
    if head in ("classify", "tag"):
        config.num_labels = 5
    print(family, seed, head, config.to_json_string())
    theirs = make(_class(family, head), config, seed)
    return theirs, ours(theirs, path / "theirs")


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.mark.parametrize("seed", SEEDS)
@torch.no_grad()
def test_logits_and_hidden_states_agree_on_padded_batches(
    family: str, seed: int, tmp_path: Path
) -> None:
    theirs, model = _pair(family, seed, tmp_path)
    sequences = batch(seed)
    alone = [theirs(s[None], output_hidden_states=True) for s in sequences]
    assert 0.5 < torch.cat([a.logits.flatten() for a in alone]).std() < 30
    for side in ("right", "left"):
        ids, mask = pad(sequences, side)
        out = model(ids, attention_mask=mask)
        assert out.logits is not None
        for row, (logits, hidden) in enumerate(
            zip(rows_of(out.logits, mask), rows_of(out.hidden, mask), strict=True)
        ):
            close(logits, alone[row].logits[0], f"row {row} padded on the {side}")
            close(hidden, alone[row].hidden_states[-1][0], f"hidden row {row}")


@pytest.mark.parametrize("seed", SEEDS[:2])
@torch.no_grad()
def test_padded_batches_agree_when_transformers_counts_real_tokens(
    family: str, seed: int, tmp_path: Path
) -> None:
    """With position_ids that count real tokens, transformers says of a padded batch what we say."""
    theirs, model = _pair(family, seed, tmp_path)
    for side in ("right", "left"):
        ids, mask = pad(batch(seed + 50), side)
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        expected = theirs(ids, attention_mask=mask, position_ids=positions).logits
        logits = model(ids, attention_mask=mask).logits
        assert logits is not None
        close(logits[mask.bool()], expected[mask.bool()], f"padded on the {side}")


@pytest.mark.parametrize("head", ["none", "classify", "tag"])
@torch.no_grad()
def test_other_heads_agree(family: str, head: str, tmp_path: Path) -> None:
    if (family, head) == ("gemma3", "tag"):
        pytest.skip("transformers has no such class")
    theirs, model = _pair(family, 11, tmp_path, head)
    sequences = batch(11)
    ids, mask = pad(sequences, "left")
    out = model(ids, attention_mask=mask)
    for row, sequence in enumerate(sequences):
        expected = theirs(sequence[None])
        if head == "none":
            close(rows_of(out.hidden, mask)[row], expected.last_hidden_state[0], f"row {row}")
            continue
        assert out.logits is not None
        logits = out.logits[row] if head == "classify" else rows_of(out.logits, mask)[row]
        close(logits, expected.logits[0], f"row {row}")
    check_round_trip(_class(family, head), theirs, tmp_path)


@pytest.mark.parametrize("seed", SEEDS[:2])
def test_the_directory_round_trips_bit_for_bit(family: str, seed: int, tmp_path: Path) -> None:
    theirs, _ = _pair(family, seed, tmp_path)
    check_round_trip(_class(family, "lm"), theirs, tmp_path)


# Generation: the whole way through hanlin.generation.


class _Numbers:
    """A tokenizer whose tokens spell themselves."""

    def __init__(self, eos_ids: tuple[int, ...]) -> None:
        self.eos_ids = eos_ids

    def stream(self) -> "_Numbers":
        return self

    def push(self, token: int, /) -> str:
        return f"{token} "

    def finish(self) -> str:
        return ""

    def token_bytes(self, token: int, /) -> bytes:
        return f"{token} ".encode()


def _prompts(seed: int) -> list[list[int]]:
    return [s.tolist() for s in batch(seed, rows=3, longest=9)]


def _trimmed(tokens: list[int], ends: tuple[int, ...]) -> list[int]:
    """Up to the end token, which neither side need keep."""
    for place, token in enumerate(tokens):
        if token in ends:
            return tokens[:place]
    return tokens


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("seed", SEEDS[:2])
@torch.no_grad()
def test_greedy_and_beam_text_is_the_same_token_for_token(
    family: str, seed: int, beams: int, tmp_path: Path
) -> None:
    theirs, model = _pair(family, seed + 20, tmp_path)
    ends = model.config.eos_ids
    prompts = _prompts(seed)
    sampling = Sampling(temperature=0, max_new_tokens=14, beams=beams)
    results = generate(model, _Numbers(ends), prompts, sampling)
    for prompt, [result] in zip(prompts, results, strict=True):
        ids = torch.tensor([prompt])
        out = theirs.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=14,
            num_beams=beams,
            do_sample=False,
        )
        expected = _trimmed(out[0, len(prompt) :].tolist(), ends)
        assert _trimmed(list(result.tokens), ends) == expected


@torch.no_grad()
def test_reading_in_pieces_is_reading_at_once(family: str, tmp_path: Path) -> None:
    """The cache, extended by rows of different lengths, gives the logits of the whole text."""
    _, model = _pair(family, 7, tmp_path)
    sequences = batch(7, rows=3, longest=17)
    cache = model.new_cache(3, 4)
    for row, sequence in enumerate(sequences):
        model.extend(sequence[None, :-1], cache, rows=[row]) if len(sequence) > 1 else None
    logits = model.extend(torch.stack([s[-1:] for s in sequences]), cache)
    for row, sequence in enumerate(sequences):
        whole = model(sequence[None]).logits
        assert whole is not None
        close(logits[row], whole[0, -1], f"row {row}")
