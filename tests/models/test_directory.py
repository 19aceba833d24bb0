"""Directories: shards and dtypes both ways; what is wrong with one is said, in one sentence."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from against_transformers import PAD, VOCABULARY, close, make, ours, same_tensors, stored
from safetensors.torch import load_file, save_file
from torch import nn

from hanlin.errors import ConfigError, FormatError, HanlinError, NotFoundError
from hanlin.models import directory as directory_module
from hanlin.models import load
from hanlin.models.config import ModelConfig, Rope
from hanlin.models.directory import read_config, save_directory
from hanlin.models.families import describe, family_of
from hanlin.models.transformer import Transformer


def _tiny(seed: int = 0, **changes: Any) -> nn.Module:
    config = transformers.LlamaConfig(
        **{
            "vocab_size": VOCABULARY,
            "hidden_size": 24,
            "intermediate_size": 40,
            "num_hidden_layers": 2,
            "num_attention_heads": 3,
            "num_key_value_heads": 1,
            "max_position_embeddings": 64,
            "pad_token_id": PAD,
            **changes,
        }
    )
    return make("LlamaForCausalLM", config, seed)


@pytest.fixture
def model_dir(tmp_path: Path) -> Path:
    _tiny().save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def _edit(directory: Path, **changes: Any) -> None:
    path = directory / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def _change_tensors(directory: Path, **changes: torch.Tensor | None) -> None:
    """Replace, add or (None) drop tensors; dots are spelled as double underscores."""
    path = directory / "model.safetensors"
    tensors: dict[str, torch.Tensor | None] = dict(load_file(path))
    tensors |= {name.replace("__", "."): tensor for name, tensor in changes.items()}
    save_file({k: v for k, v in tensors.items() if v is not None}, path)


# In and out


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_stored_types_survive_both_ways(dtype: torch.dtype, tmp_path: Path) -> None:
    theirs = _tiny(1, tie_word_embeddings=True).to(dtype)
    theirs.save_pretrained(tmp_path / "theirs")
    model = load(tmp_path / "theirs", dtype="stored")
    assert {p.dtype for p in model.parameters()} == {dtype}
    save_directory(model, tmp_path / "ours")
    same_tensors(tmp_path / "theirs", tmp_path / "ours")
    back = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "ours", dtype="auto")
    assert back.dtype == dtype
    assert all(
        torch.equal(p, q) for p, q in zip(theirs.parameters(), back.parameters(), strict=True)
    )
    ours_wide = load(tmp_path / "theirs", dtype="float32")
    theirs_wide = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "theirs", dtype=torch.float32
    )
    ids = torch.arange(4, 15)[None]
    with torch.no_grad():
        logits = ours_wide(ids).logits
        assert logits is not None
        close(logits, theirs_wide(ids).logits, "logits")


def test_shards_are_read_and_written(tmp_path: Path) -> None:
    theirs = _tiny(2)
    model = ours(theirs, tmp_path / "theirs", max_shard_size="8KB")
    assert len(list((tmp_path / "theirs").glob("*.safetensors"))) > 2
    save_directory(model, tmp_path / "ours", shard_bytes=8000)
    assert len(list((tmp_path / "ours").glob("*.safetensors"))) > 2
    assert not (tmp_path / "ours" / "model.safetensors").exists()
    same_tensors(tmp_path / "theirs", tmp_path / "ours")
    index = json.loads((tmp_path / "ours" / "model.safetensors.index.json").read_text())
    assert set(index["weight_map"]) == set(stored(tmp_path / "theirs"))
    back = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "ours")
    for (name, p), q in zip(theirs.state_dict().items(), back.state_dict().values(), strict=True):
        assert torch.equal(p, q), name
    again = load(tmp_path / "ours")
    assert all(
        torch.equal(p, q) for p, q in zip(model.parameters(), again.parameters(), strict=True)
    )


def test_a_model_directory_is_replaced_whole(model_dir: Path) -> None:
    model = load(model_dir)
    (model_dir / "model-00001-of-00002.safetensors").write_bytes(b"x")
    with torch.no_grad():
        model.embedding.weight.zero_()
    save_directory(model, model_dir, provenance={"command": "test"})
    assert not (model_dir / "model-00001-of-00002.safetensors").exists()
    assert json.loads((model_dir / "hanlin.json").read_text()) == {"command": "test"}
    assert load(model_dir).embedding.weight.abs().max() == 0
    assert [p.name for p in model_dir.parent.iterdir()] == ["model"]


def test_what_else_lies_in_a_model_directory_stays(model_dir: Path) -> None:
    (model_dir / "notes.md").write_text("mine")
    save_directory(load(model_dir), model_dir)
    assert (model_dir / "notes.md").read_text() == "mine"


def test_generation_config_adds_end_tokens_and_is_written(model_dir: Path, tmp_path: Path) -> None:
    (model_dir / "generation_config.json").write_text('{"eos_token_id": [2, 9]}')
    model = load(model_dir)
    assert model.config.eos_ids == (2, 9)
    save_directory(model, tmp_path / "ours", generation={"temperature": 0.5})
    written = json.loads((tmp_path / "ours" / "generation_config.json").read_text())
    assert written["eos_token_id"] == [2, 9]
    assert written["temperature"] == 0.5


def test_a_bare_stack_kept_under_a_prefix_is_read(model_dir: Path) -> None:
    expected = load(model_dir)(torch.arange(9)[None]).hidden
    _edit(model_dir, architectures=["LlamaModel"])
    _change_tensors(model_dir, lm_head__weight=None)
    assert torch.equal(load(model_dir)(torch.arange(9)[None]).hidden, expected)


def test_a_repeated_tied_projection_must_be_the_embedding(tmp_path: Path) -> None:
    _tiny(3, tie_word_embeddings=True).save_pretrained(tmp_path)
    embedding = load_file(tmp_path / "model.safetensors")["model.embed_tokens.weight"]
    _change_tensors(tmp_path, lm_head__weight=embedding.clone())
    load(tmp_path)
    _change_tensors(tmp_path, lm_head__weight=embedding + 1)
    with pytest.raises(FormatError, match="tie_word_embeddings"):
        load(tmp_path)


# What is wrong with the configuration


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"attention_multiplier": 2.0}, "'attention_multiplier'"),
        ({"hidden_size": "big"}, "hidden_size is 'big'"),
        ({"hidden_size": None}, "hidden_size is None"),
        ({"hidden_size": 24.0}, "hidden_size is 24.0"),
        ({"hidden_size": True}, "hidden_size is True"),
        ({"hidden_size": 10**9}, "hidden_size is 1000000000"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers is 1000000000"),
        ({"num_hidden_layers": -1}, "num_hidden_layers is -1"),
        ({"vocab_size": 10**18}, "vocab_size is 10"),
        ({"num_attention_heads": 0}, "num_attention_heads is 0"),
        ({"num_attention_heads": 5, "head_dim": None}, "not a multiple of num_heads 5"),
        ({"num_key_value_heads": 2}, "not a multiple of num_kv_heads"),
        ({"head_dim": 7}, "head_dim 7 cannot be rotated"),
        ({"hidden_act": "mish"}, "hidden_act to 'mish'"),
        ({"attention_bias": "no"}, "attention_bias is 'no'"),
        ({"rms_norm_eps": "tiny"}, "rms_norm_eps is 'tiny'"),
        ({"attention_dropout": 3.0}, "attention_dropout is 3.0"),
        ({"eos_token_id": ["</s>"]}, "eos_token_id is"),
        ({"pad_token_id": "<pad>"}, "pad_token_id is '<pad>'"),
        ({"architectures": ["LlamaForVision"]}, "LlamaForVision"),
        ({"architectures": "LlamaModel"}, "architectures is 'LlamaModel'"),
        ({"rope_parameters": {"rope_type": "longrope"}}, "'longrope'"),
        ({"rope_parameters": {"rope_type": "linear", "factor": "two"}}, "factor 'two'"),
        ({"rope_parameters": {"rope_type": "linear", "new": 2}}, "'new'"),
        ({"rope_parameters": [1]}, "rope_parameters is"),
        ({"model_type": "lama"}, "Did you mean 'llama'"),
        ({"model_type": ["llama"]}, "no model family"),
        ({"model_type": "gemma3"}, "gemma3_text"),
    ],
)
def test_a_wrong_configuration_is_refused_by_name(
    changes: dict[str, Any], said: str, model_dir: Path
) -> None:
    _edit(model_dir, **changes)
    (model_dir / "generation_config.json").unlink()
    with pytest.raises(HanlinError, match=re.escape(said)) as caught:
        load(model_dir)
    assert isinstance(caught.value, FormatError | ConfigError)
    assert str(caught.value).count("\n") == 0


def test_a_huge_width_allocates_nothing(model_dir: Path) -> None:
    """The largest width allowed would be petabytes; the weights are compared before it is built."""
    _edit(model_dir, hidden_size=1 << 24, intermediate_size=1 << 24, num_attention_heads=1)
    with pytest.raises(FormatError, match="shape"):
        load(model_dir)


def test_a_missing_key_is_named(model_dir: Path) -> None:
    path = model_dir / "config.json"
    raw = json.loads(path.read_text())
    del raw["num_hidden_layers"]
    path.write_text(json.dumps(raw))
    with pytest.raises(FormatError, match="lacks 'num_hidden_layers'"):
        load(model_dir)


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", "\x00\xff", '{"a": ' * 5000])
def test_what_is_not_a_json_object_is_refused(text: str, model_dir: Path) -> None:
    (model_dir / "config.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(FormatError, match=r"config\.json"):
        load(model_dir)


# What is wrong with the weights


def test_a_directory_without_a_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"config\.json"):
        load(tmp_path)


def test_a_directory_without_weights_is_refused(model_dir: Path) -> None:
    (model_dir / "model.safetensors").unlink()
    with pytest.raises(NotFoundError, match="holds no weights"):
        load(model_dir)
    (model_dir / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(NotFoundError, match=r"pytorch_model\.bin, a pickle"):
        load(model_dir)


@pytest.mark.parametrize("keep", [0, 4, 43, 500, 0.5, 0.999])
def test_a_truncated_file_is_refused(keep: float, model_dir: Path) -> None:
    path = model_dir / "model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole)) if 0 < keep < 1 else int(keep)])
    with pytest.raises(FormatError, match="not a whole safetensors file"):
        load(model_dir)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model__layers__7__mlp__bias": torch.ones(3)}, "'model.layers.7.mlp.bias'"),
        ({"model__norm__weight": None}, "lack 'model.norm.weight'"),
        ({"model__norm__weight": torch.ones(23)}, "model.norm.weight has shape [23]"),
        ({"model__norm__weight": torch.ones(24, dtype=torch.int8)}, "holds torch.int8"),
        (
            {"model__layers__0__self_attn__k_proj__weight": torch.ones(9, 24)},
            "k_proj.weight has shape [9, 24]",
        ),
        (
            {"model__layers__0__self_attn__k_proj__weight": torch.ones(8, 23)},
            "k_proj.weight has shape [8, 23]",
        ),
        ({"model__layers__0__mlp__up_proj__weight": torch.tensor(1.0)}, "up_proj.weight has shape"),
    ],
)
def test_tensors_that_do_not_fit_are_refused_by_name(
    changes: dict[str, Any], said: str, model_dir: Path
) -> None:
    _change_tensors(model_dir, **changes)
    with pytest.raises(FormatError, match=re.escape(said)):
        load(model_dir)


@pytest.mark.parametrize(
    "index",
    [
        "{}",
        '{"weight_map": {}}',
        '{"weight_map": ["a"]}',
        '{"weight_map": {"a": "gone.safetensors"}}',
        '{"weight_map": {"a": "../model.safetensors"}}',
        '{"weight_map": {"a": 7}}',
        "not JSON",
    ],
)
def test_a_bad_index_is_refused(index: str, model_dir: Path) -> None:
    weights = model_dir / "model.safetensors"
    weights.rename(model_dir.parent / "model.safetensors")
    (model_dir / "model.safetensors.index.json").write_text(index)
    with pytest.raises((FormatError, NotFoundError), match=r"index\.json"):
        load(model_dir)


# Saving


@pytest.mark.parametrize("kind", ["files", "file", "other config"])
def test_what_is_not_a_model_is_never_replaced(kind: str, model_dir: Path, tmp_path: Path) -> None:
    model = load(model_dir)
    target = tmp_path / "precious"
    if kind == "file":
        target.write_text("mine")
    else:
        target.mkdir()
        (target / "notes.txt").write_text("mine")
        if kind == "other config":
            (target / "config.json").write_text('{"colour": "blue"}')
    with pytest.raises(HanlinError, match="not a model directory"):
        save_directory(model, target)
    kept = target if kind == "file" else target / "notes.txt"
    assert kept.read_text() == "mine"


@pytest.mark.parametrize("failing", ["save_file", "_write_json", "sync", "exchange"])
def test_a_full_disk_leaves_the_old_model_and_no_draft(
    failing: str, model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(model_dir)
    before = {p.name: p.read_bytes() for p in model_dir.iterdir()}

    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(directory_module, failing, full)
    with pytest.raises(HanlinError, match="No space left"):
        save_directory(model, model_dir)
    assert {p.name: p.read_bytes() for p in model_dir.iterdir()} == before
    assert [p.name for p in model_dir.parent.iterdir()] == ["model"]


def test_a_failing_rename_puts_the_old_model_back(
    model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(model_dir)
    before = {p.name: p.read_bytes() for p in model_dir.iterdir()}
    rename = Path.rename

    def refuse(self: Path, target: Path) -> Path:
        if target == model_dir and not self.name.endswith(".old"):
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse)
    monkeypatch.setattr(directory_module, "exchange", lambda one, other: False)
    with pytest.raises(HanlinError, match="Input/output error"):
        save_directory(model, model_dir)
    assert {p.name: p.read_bytes() for p in model_dir.iterdir()} == before
    assert [p.name for p in model_dir.parent.iterdir()] == ["model"]


def _ours(**changes: Any) -> ModelConfig:
    return ModelConfig(
        **{
            "family": "llama",
            "shape": "decoder",
            "head": "language-model",
            "vocab_size": 50,
            "hidden_size": 24,
            "num_layers": 2,
            "num_heads": 3,
            "intermediate_size": 40,
            **changes,
        }
    )


def test_a_decoder_trained_with_dropout_is_saved_without_it(tmp_path: Path) -> None:
    model = Transformer(_ours(dropout=0.1))
    save_directory(model, tmp_path / "new")
    assert read_config(tmp_path / "new") == model.config.with_changes(dropout=0.0)


def test_a_model_from_nothing_is_read_by_transformers(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Transformer(_ours(rope=Rope(theta=500.0), eos_ids=(2,))).eval()
    save_directory(model, tmp_path / "new")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "new", attn_implementation="eager"
    )
    ids = torch.arange(30)[None]
    with torch.no_grad():
        logits = model(ids).logits
        assert logits is not None
        close(logits, theirs(ids).logits, "logits")
    assert read_config(tmp_path / "new") == model.config


@pytest.mark.parametrize(
    "changes",
    [
        {"qk_norm": True},
        {"norm": "layernorm"},
        {"attention_bias": True},
        {"sliding_window": 4, "layer_kinds": ("full", "sliding")},
        {"position": "learned"},
        {"logit_softcap": 30.0},
    ],
)
def test_what_a_family_cannot_say_is_not_lost_in_silence(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    model = Transformer(_ours(**changes))
    with pytest.raises(ConfigError, match="cannot say"):
        save_directory(model, tmp_path / "new")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"hidden_size": "24"}, "hidden_size is '24'; it must be a whole number"),
        ({"num_heads": 0}, "num_heads is 0"),
        ({"tie_embeddings": 1}, "tie_embeddings is 1; it must be true or false"),
        ({"norm_eps": float("nan")}, "norm_eps is nan"),
        ({"activation": "mish"}, "activation is 'mish'"),
        ({"eos_ids": [1]}, "eos_ids is [1]"),
        ({"layer_kinds": ("full",)}, "layer_kinds names 1 layers"),
        ({"head": "classify"}, "needs labels"),
        ({"head": "masked-lm"}, "belongs on an encoder"),
    ],
)
def test_a_config_is_validated_on_construction(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        _ours(**changes)


def test_an_unknown_field_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'hidden_size'"):
        _ours().with_changes(hiden_size=3)


def test_rope_scaling_without_its_context_is_refused() -> None:
    with pytest.raises(ConfigError, match="original_context"):
        Rope(kind="yarn", factor=2.0)


def test_describing_is_reading_backwards() -> None:
    config = _ours(rope=Rope(theta=500.0, kind="linear", factor=2.0), mlp_bias=True)
    assert family_of("llama").read(describe(config)) == config
