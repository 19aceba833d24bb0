"""Fresh models: sizes from a few numbers, of every family, as transformers would read them."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import transformers
from torch import Tensor

from hanlin.errors import ConfigError
from hanlin.models import load
from hanlin.models.config import ModelConfig, Rope
from hanlin.models.directory import read_config, save_directory
from hanlin.models.families import _MODULES, describe
from hanlin.models.new import ALIASES, NEW, new_config
from hanlin.models.transformer import Transformer
from tiny_models import byte_tokenizer, word_tokenizer


def fresh(family: str, seed: int = 0, **fields: Any) -> Transformer:
    torch.manual_seed(seed)
    sizes: dict[str, Any] = {"vocab_size": 60, "hidden_size": 64, "num_layers": 2} | fields
    return Transformer(new_config(family, **sizes)).eval()


def ids_of(rows: int = 2, length: int = 11, seed: int = 0) -> Tensor:
    return torch.randint(4, 60, (rows, length), generator=torch.Generator().manual_seed(seed))


def logits_of(model: Transformer, ids: Tensor) -> Tensor:
    both = model.config.shape == "encoder-decoder"
    logits = model(ids, decoder_ids=ids if both else None).logits
    assert logits is not None
    return logits


def test_there_is_a_fresh_model_of_every_family() -> None:
    assert set(NEW) == set(_MODULES)


@pytest.mark.parametrize("family", NEW)
def test_transformers_reads_a_fresh_model_and_computes_the_same(
    family: str, tmp_path: Path
) -> None:
    model = fresh(family)
    save_directory(model, tmp_path / "model")
    raw = json.loads((tmp_path / "model" / "config.json").read_text())
    theirs = getattr(transformers, raw["architectures"][0]).from_pretrained(
        tmp_path / "model", attn_implementation="eager"
    )
    ids = ids_of()
    arguments = {"decoder_input_ids": ids} if model.config.shape == "encoder-decoder" else {}
    with torch.no_grad():
        expected = theirs.eval()(input_ids=ids, **arguments).logits
        mine = logits_of(model, ids)
    torch.testing.assert_close(mine, expected, rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        again = logits_of(load(tmp_path / "model"), ids)
    assert torch.equal(again, mine)


@pytest.mark.parametrize("family", NEW)
@pytest.mark.parametrize("kind", ["bytes", "words"])
def test_a_directory_brings_the_config_back(family: str, kind: str, tmp_path: Path) -> None:
    tokenizer = byte_tokenizer() if kind == "bytes" else word_tokenizer()
    if family.endswith("roberta") and tokenizer.pad_id is None:
        with pytest.raises(ConfigError, match="counts its positions from the padding token"):
            new_config(family, tokenizer=tokenizer)
        return
    config = new_config(family, tokenizer=tokenizer, hidden_size=48, num_layers=3)
    assert config.vocab_size == tokenizer.vocab_size
    assert config.pad_id == tokenizer.pad_id
    if kind == "bytes":
        assert config.eos_ids == tokenizer.eos_ids
    if config.shape == "encoder-decoder":
        assert config.decoder_start_id is not None
    save_directory(Transformer(config), tmp_path / "model", tokenizer=tokenizer)
    back = read_config(tmp_path / "model")
    lost = ("dropout", "initializer_range", "lm_head_bias", "family")  # said nowhere by some
    for name in ModelConfig.__dataclass_fields__:
        if name not in lost:
            assert getattr(back, name) == getattr(config, name), name


@pytest.mark.parametrize("family", NEW)
@pytest.mark.parametrize("width", [16, 48, 100, 128, 160, 384, 768])
def test_sizes_follow_from_the_width(family: str, width: int) -> None:
    config = new_config(family, vocab_size=100, hidden_size=width)
    assert config.num_heads * config.channels == width
    assert config.channels % 2 == 0
    assert 16 <= config.channels <= 100 or width == 16
    plain = 2 * 4 * width  # two matrices of four times the width
    cost = (3 if config.gated else 2) * config.intermediate_size
    assert cost == pytest.approx(plain, rel=0.2) or width < 100
    assert not config.gated or config.intermediate_size % 64 == 0
    describe(config)


def test_usual_sizes() -> None:
    def sizes(family: str, width: int) -> tuple[int, int]:
        config = new_config(family, vocab_size=100, hidden_size=width)
        return config.num_heads, config.intermediate_size

    assert sizes("gpt2", 768) == (12, 3072)
    assert sizes("bert", 768) == (12, 3072)
    assert sizes("llama", 384) == (6, 1024)
    assert sizes("llama", 128) == (4, 320)


def test_what_is_asked_for_counts() -> None:
    config = new_config(
        "llama",
        vocab_size=100,
        hidden_size=96,
        num_layers=3,
        num_heads=6,
        num_kv_heads=2,
        intermediate_size=200,
        tie_embeddings=False,
        rope={"theta": 5e5},
        dropout=0.1,
        max_context=77,
    )
    assert (config.num_heads, config.kv_heads, config.channels) == (6, 2, 16)
    assert (config.intermediate_size, config.max_context, config.num_layers) == (200, 77, 3)
    assert config.rope == Rope(theta=5e5)
    assert (config.tie_embeddings, config.dropout) == (False, 0.1)
    assert new_config("llama", vocab_size=9, hidden_size=96, head_dim=64).channels == 64


def test_the_names_of_hugging_face_are_understood() -> None:
    theirs = new_config(
        "gpt2", vocab_size=9, n_embd=96, n_layer=3, n_head=3, n_inner=100, n_positions=50
    )
    mine = new_config(
        "gpt2",
        vocab_size=9,
        hidden_size=96,
        num_layers=3,
        num_heads=3,
        intermediate_size=100,
        max_context=50,
    )
    assert theirs == mine
    assert set(ALIASES.values()) <= set(ModelConfig.__dataclass_fields__)


def test_the_vocabulary_may_be_larger_than_the_tokenizers() -> None:
    tokenizer = byte_tokenizer()
    assert new_config("llama", tokenizer=tokenizer, vocab_size=1000).vocab_size == 1000
    padded = new_config("llama", tokenizer=tokenizer, multiple=64).vocab_size
    assert padded % 64 == 0
    assert 0 <= padded - tokenizer.vocab_size < 64
    with pytest.raises(ConfigError, match="smaller than the tokenizer's"):
        new_config("llama", tokenizer=tokenizer, vocab_size=10)


@pytest.mark.parametrize(
    ("family", "fields", "message"),
    [
        ("lama", {"vocab_size": 9}, "Did you mean 'llama'"),
        ("llama", {}, "needs a vocabulary"),
        ("llama", {"vocab_size": 9, "hiden_size": 3}, "Did you mean 'hidden_size'"),
        ("llama", {"vocab_size": 9, "n_layer": 3, "num_layers": 3}, "are the same"),
        ("llama", {"vocab_size": 9, "shape": "encoder"}, "follows from the family"),
        ("llama", {"vocab_size": 9, "head": "classify"}, "has a language-model head"),
        ("llama", {"vocab_size": 9, "hidden_size": 0}, "above zero"),
        ("llama", {"vocab_size": 9, "hidden_size": "x"}, "whole number"),
        ("llama", {"vocab_size": 9, "hidden_size": 64, "num_heads": 5}, "Choose a divisor"),
        ("llama", {"vocab_size": 9, "rope": {"teta": 3}}, "Did you mean 'theta'"),
        ("llama", {"vocab_size": 9, "multiple": 0}, "at least 1"),
        ("roberta", {"vocab_size": 9, "pad_id": 9}, "outside the vocabulary"),
    ],
)
def test_what_cannot_be(family: str, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        new_config(family, **fields)


# First weights


@pytest.mark.parametrize("family", NEW)
def test_a_fresh_model_knows_nothing_and_is_sure_of_nothing(family: str) -> None:
    """Its loss on random targets is near that of a uniform guess."""
    model = fresh(family, hidden_size=128, num_layers=4, vocab_size=300)
    ids = torch.randint(4, 300, (8, 32), generator=torch.Generator().manual_seed(1))
    targets = torch.randint(4, 300, (8, 32), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        loss = F.cross_entropy(logits_of(model, ids).flatten(0, 1), targets.flatten())
    # T5's authors draw embeddings so large that a tied one begins by repeating its input.
    assert math.log(300) - 0.1 < loss < math.log(300) + (1.5 if family == "t5" else 0.8)


@pytest.mark.parametrize("family", ["llama", "gpt2", "mbart"])
def test_the_stream_does_not_grow_with_depth(family: str) -> None:
    def growth(layers: int) -> float:
        model = fresh(family, hidden_size=128, num_layers=layers)
        assert model.decoder is not None
        seen: list[float] = []
        model.decoder.layers[0].register_forward_pre_hook(
            lambda module, inputs: seen.append(float(inputs[0].square().mean()))
        )
        model.decoder.layers[-1].register_forward_hook(
            lambda module, inputs, output: seen.append(float(output.square().mean()))
        )
        with torch.no_grad():
            logits_of(model, ids_of())
        first, last = seen
        return (last - first) / first

    assert growth(24) < 3 * growth(2)


def test_t5_is_drawn_as_its_authors_draw_it() -> None:
    """transformers, which took it from the authors, is the oracle."""
    config = new_config("t5", vocab_size=500, hidden_size=256, num_layers=2, tie_embeddings=True)
    torch.manual_seed(0)
    model = Transformer(config)
    theirs = transformers.T5ForConditionalGeneration(transformers.T5Config(**describe(config)))
    attention = theirs.encoder.block[0].layer[0].SelfAttention
    feed_forward = theirs.encoder.block[0].layer[1].DenseReluDense
    wanted = {
        "embedding.weight": theirs.shared.weight,
        "encoder.relative.weight": attention.relative_attention_bias.weight,
        "encoder.layers.0.attention.out.weight": attention.o.weight,
        "encoder.layers.0.mlp.down.weight": feed_forward.wo.weight,
    }
    for name, tensor in wanted.items():
        std = model.get_parameter(name).std()
        assert float(std.detach()) == pytest.approx(float(tensor.detach().std()), rel=0.15), name
    q, k, v = model.get_parameter("encoder.layers.0.attention.qkv.weight").chunk(3)
    for part, tensor in ((q, attention.q), (k, attention.k), (v, attention.v)):
        assert float(part.detach().std()) == pytest.approx(
            float(tensor.weight.detach().std()), rel=0.1
        )


# Changing a config


def test_what_followed_from_a_field_follows_it_again() -> None:
    config = new_config("llama", vocab_size=9, hidden_size=96, num_layers=2)
    changed = config.with_changes(num_heads=6)
    assert (changed.num_heads, changed.kv_heads, changed.channels) == (6, 6, 16)
    assert config.with_changes(hidden_size=192).channels == 64
    both = new_config("t5", vocab_size=9, hidden_size=96, num_layers=2)
    deeper = both.with_changes(num_layers=5, intermediate_size=64)
    assert (deeper.decoder_layers, deeper.decoder_intermediate_size) == (5, 64)
    assert both.with_changes(num_layers=5, decoder_layers=2).decoder_layers == 2


def test_what_was_set_apart_stays() -> None:
    config = new_config(
        "llama",
        vocab_size=9,
        hidden_size=96,
        num_layers=2,
        num_heads=6,
        num_kv_heads=2,
        head_dim=32,
    )
    changed = config.with_changes(num_heads=4)
    assert (changed.kv_heads, changed.channels) == (2, 32)
    with pytest.raises(ConfigError, match="not a multiple of num_kv_heads"):
        config.with_changes(num_heads=3)
