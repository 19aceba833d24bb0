"""Adapters agree with PEFT: files both ways, logits, gradients, a step; merging, switching."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers
from against_transformers import PAD, VOCABULARY, batch, make, pad
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import hanlin
from hanlin.errors import ConfigError, FormatError, InputError, NotFoundError
from hanlin.kernels.packed import supported
from hanlin.models import load
from hanlin.models.directory import save_directory
from hanlin.models.heading import with_head
from hanlin.models.lora import (
    LoraSettings,
    apply_lora,
    disabled,
    load_adapted,
    load_adapter,
    lora_parameters,
    merge,
    save_adapter,
    use,
)
from hanlin.models.lora.adapters import parts_of
from hanlin.models.transfer import take_weights
from hanlin.models.transformer import Transformer
from hanlin.training.optimizer_settings import OptimizerSettings
from hanlin.training.optimizers import build_optimizer
from tiny_models import save_decoder, save_encoder

EXACT = 1e-9
"""Of logits in float64."""
WIDE = {"llama": 1e-4, "t5": 1e-4}
"""Transformers computes norms and rotations of these in float32 whatever the model is in."""


def llama() -> tuple[str, Any]:
    return "LlamaForCausalLM", transformers.LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=24, intermediate_size=40, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64,
        tie_word_embeddings=True, attention_bias=True,
    )  # fmt: skip


def gpt2() -> tuple[str, Any]:
    return "GPT2LMHeadModel", transformers.GPT2Config(
        vocab_size=VOCABULARY, n_embd=24, n_layer=2, n_head=3, n_positions=64,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
    )  # fmt: skip


def bert() -> tuple[str, Any]:
    return "BertForSequenceClassification", transformers.BertConfig(
        vocab_size=VOCABULARY, hidden_size=24, intermediate_size=40, num_hidden_layers=2,
        num_attention_heads=3, max_position_embeddings=64, num_labels=3, pad_token_id=PAD,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip


def t5() -> tuple[str, Any]:
    return "T5ForConditionalGeneration", transformers.T5Config(
        vocab_size=VOCABULARY, d_model=24, d_kv=8, d_ff=40, num_layers=2, num_heads=3,
        feed_forward_proj="gated-gelu", tie_word_embeddings=False, pad_token_id=PAD,
        decoder_start_token_id=PAD, dropout_rate=0.0,
    )  # fmt: skip


FAMILIES: dict[str, Callable[[], tuple[str, Any]]] = {
    "llama": llama, "gpt2": gpt2, "bert": bert, "t5": t5,
}  # fmt: skip
TASKS = {
    "llama": "CAUSAL_LM", "gpt2": "CAUSAL_LM", "bert": "SEQ_CLS", "t5": "SEQ_2_SEQ_LM",
}  # fmt: skip
KINDS: dict[str, dict[str, bool]] = {
    "plain": {},
    "dora": {"use_dora": True},
    "stabilised": {"use_rslora": True},
}


def base_of(family: str, directory: Path, *, seed: int = 0) -> nn.Module:
    """A model of transformers in float64, and its directory."""
    cls, config = FAMILIES[family]()
    model = make(cls, config, seed)
    model.save_pretrained(directory)
    return model.double()


def disturb(parameters: dict[str, nn.Parameter], *, seed: int = 1) -> None:
    """Give an adapter numbers that change something."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _, parameter in sorted(parameters.items()):
            parameter += 0.2 * torch.randn(parameter.shape, generator=draw, dtype=torch.float64)


def with_peft(model: nn.Module, family: str, **options: Any) -> Any:
    given: dict[str, Any] = {"r": 3, "lora_alpha": 5, "target_modules": "all-linear"}
    config = peft.LoraConfig(task_type=TASKS[family], **{**given, **options})
    adapted = peft.get_peft_model(model, config).double().eval()
    trained = {n: p for n, p in adapted.named_parameters() if p.requires_grad}
    disturb(trained)
    return adapted


def logits(model: nn.Module, family: str) -> Tensor:
    """Of either library, on the same batch."""
    ids, mask = pad(batch(7), "right")
    if family == "t5":
        target = torch.stack([row[:5] for row in pad(batch(8), "right")[0]])
        if isinstance(model, Transformer):
            found: Tensor = model(ids, mask, target).logits
            return found
        return model(input_ids=ids, attention_mask=mask, decoder_input_ids=target).logits  # type: ignore[no-any-return]
    if isinstance(model, Transformer):
        found = model(ids, mask).logits
    else:
        found = model(input_ids=ids, attention_mask=mask).logits
    return found if found.dim() == 2 else found[mask.bool()]


def same(mine: Tensor, theirs: Tensor, tolerance: float = EXACT) -> None:
    assert mine.shape == theirs.shape
    worst = (mine.double() - theirs.double()).abs().max().item()
    assert worst < tolerance, f"differs by {worst}"


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("family", list(FAMILIES))
def test_an_adapter_of_peft_is_read(family: str, kind: str, tmp_path: Path) -> None:
    base = base_of(family, tmp_path / "base")
    plain = logits(base, family)
    adapted = with_peft(base, family, **KINDS[kind])
    adapted.save_pretrained(tmp_path / "adapter")
    network = load(tmp_path / "base", dtype="float64")
    load_adapter(network, tmp_path / "adapter")
    theirs = logits(adapted, family)
    assert (theirs - plain).abs().max() > 0.01
    tolerance = WIDE.get(family, EXACT)
    mine = logits(network, family)
    same(mine, theirs, tolerance)
    with disabled(network):
        same(logits(network, family), plain, tolerance)
    same(logits(network, family), mine)
    merge(network)
    assert network.adapters is None
    same(logits(network, family), mine)


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("family", list(FAMILIES))
def test_peft_reads_ours(family: str, kind: str, tmp_path: Path) -> None:
    base_of(family, tmp_path / "base")
    network = load(tmp_path / "base", dtype="float64")
    before = logits(network, family)
    settings = LoraSettings(
        rank=4, alpha=6.0, dora=kind == "dora", rank_stabilised=kind == "stabilised"
    )
    apply_lora(network, settings)
    same(logits(network, family), before)  # B is zero
    disturb(lora_parameters(network))
    save_adapter(network, tmp_path / "adapter", base=str(tmp_path / "base"))
    cls, _ = FAMILIES[family]()
    base = getattr(transformers, cls).from_pretrained(
        tmp_path / "base", attn_implementation="eager", dtype=torch.float64
    )
    adapted = peft.PeftModel.from_pretrained(
        base, tmp_path / "adapter", autocast_adapter_dtype=False
    ).eval()
    # Every tensor found its place, and no other module was given an adapter.
    stored = set(load_file(tmp_path / "adapter" / "adapter_model.safetensors"))
    assert set(peft.get_peft_model_state_dict(adapted)) == stored
    same(logits(adapted, family), logits(network, family), WIDE.get(family, EXACT))
    assert (logits(network, family) - before).abs().max() > 0.01


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("family", ["llama", "gpt2", "bert", "t5"])
def test_gradients_and_a_step_are_those_of_peft(family: str, kind: str, tmp_path: Path) -> None:
    base = base_of(family, tmp_path / "base")
    adapted = with_peft(base, family, **KINDS[kind])
    adapted.save_pretrained(tmp_path / "adapter")
    network = load(tmp_path / "base", dtype="float64")
    load_adapter(network, tmp_path / "adapter")
    network.requires_grad_(False)
    for parameter in lora_parameters(network).values():
        parameter.requires_grad_(True)
    frozen = {n: p.clone() for n, p in network.named_parameters() if not p.requires_grad}

    draw = torch.Generator().manual_seed(3)
    direction = torch.randn(logits(network, family).shape, generator=draw, dtype=torch.float64)
    settings = OptimizerSettings(
        name="adamw", lr=0.01, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.0
    )
    ours = build_optimizer(network, settings)
    theirs = torch.optim.AdamW(
        [p for p in adapted.parameters() if p.requires_grad],
        lr=0.01, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.0,
    )  # fmt: skip
    for model in (network, adapted):
        found = logits(model, family)
        (found.log_softmax(-1) * direction).sum().backward()

    def of_peft(module: str, leaf: str) -> nn.Parameter:
        tail = "lora_magnitude_vector.default.weight" if leaf == "magnitude" else None
        name = {"down": "lora_A", "up": "lora_B"}.get(leaf)
        found: nn.Parameter = adapted.base_model.model.get_parameter(
            f"{module}.{tail or f'{name}.default.weight'}"
        )
        return found

    pairs = [
        (getattr(part, leaf), of_peft(site.module, leaf))
        for site, part in parts_of(network, "default")
        for leaf in ("down", "up", "magnitude")
        if getattr(part, leaf) is not None
    ]
    assert len(pairs) > 10
    rtol, atol = (1e-2, 1e-3) if family in WIDE else (1e-7, 1e-9)
    for mine, other in pairs:
        assert mine.grad is not None
        assert other.grad is not None
        torch.testing.assert_close(mine.grad, other.grad, rtol=rtol, atol=atol)
    ours.step()
    theirs.step()
    for mine, other in pairs:
        torch.testing.assert_close(mine, other, rtol=rtol, atol=atol)
    for name, before in frozen.items():
        assert torch.equal(network.get_parameter(name), before), name


def test_ranks_and_scales_of_single_modules_are_followed(tmp_path: Path) -> None:
    base = base_of("llama", tmp_path / "base")
    adapted = with_peft(
        base, "llama", target_modules=["q_proj", "v_proj", "down_proj"],
        rank_pattern={"v_proj": 5}, alpha_pattern={"layers.1.self_attn.q_proj": 11},
    )  # fmt: skip
    adapted.save_pretrained(tmp_path / "adapter")
    network = load(tmp_path / "base", dtype="float64")
    load_adapter(network, tmp_path / "adapter")
    same(logits(network, "llama"), logits(adapted, "llama"), WIDE["llama"])
    # And go out again as they came.
    save_adapter(network, tmp_path / "again", base="base")
    third = load(tmp_path / "base", dtype="float64")
    load_adapter(third, tmp_path / "again")
    same(logits(third, "llama"), logits(network, "llama"))


def test_adapters_are_switched_on_one_base(tmp_path: Path) -> None:
    base_of("bert", tmp_path / "base")
    alone: dict[str, Tensor] = {}
    for seed, name in enumerate(("one", "two"), 1):
        network = load(tmp_path / "base", dtype="float64")
        targets = ("query", "value") if name == "one" else "all-linear"
        apply_lora(network, LoraSettings(rank=2, targets=targets), name=name)  # type: ignore[arg-type]
        disturb(lora_parameters(network), seed=seed)
        save_adapter(network, tmp_path / name, base=str(tmp_path / "base"))
        alone[name] = logits(network, "bert")
    network = load(tmp_path / "base", dtype="float64")
    plain = logits(network, "bert")
    for name in alone:
        load_adapter(network, tmp_path / name, name=name)
    same(logits(network, "bert"), alone["two"])
    use(network, "one")
    same(logits(network, "bert"), alone["one"])
    use(network, None)
    same(logits(network, "bert"), plain)
    use(network, "two")
    with disabled(network):
        same(logits(network, "bert"), plain)
    same(logits(network, "bert"), alone["two"])
    with pytest.raises(NotFoundError, match=r"no adapter 'tow'. Did you mean 'two'"):
        use(network, "tow")
    with pytest.raises(ConfigError, match="cannot be called 'one'"):
        load_adapter(network, tmp_path / "one", name="one")
    merge(network)
    same(logits(network, "bert"), alone["two"])
    save_directory(network, tmp_path / "merged")
    same(logits(load(tmp_path / "merged"), "bert"), alone["two"], 1e-4)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_merged_logits_are_the_adapters_to_rounding(dtype: str, tmp_path: Path) -> None:
    base_of("llama", tmp_path / "base")
    network = load(tmp_path / "base", dtype=dtype)
    apply_lora(network, LoraSettings(rank=4, dora=True))
    with torch.no_grad():
        for parameter in lora_parameters(network).values():
            parameter += 0.05 * torch.randn_like(parameter)
    found = logits(network, "llama")
    merge(network)
    assert network.dtype == found.dtype
    same(logits(network, "llama"), found, 1e-4 if dtype == "float32" else 0.2)
    assert all(type(module).__name__ != "LoraLinear" for module in network.modules())


def test_dropout_touches_the_adapter_alone(tmp_path: Path) -> None:
    base_of("llama", tmp_path / "base")
    network = load(tmp_path / "base", dtype="float64")
    plain = logits(network, "llama")
    apply_lora(network, LoraSettings(rank=4, dropout=0.5))
    network.train()
    same(logits(network, "llama"), plain)  # B is zero: nothing of it is seen
    disturb(lora_parameters(network))
    assert not torch.equal(logits(network, "llama"), logits(network, "llama"))
    network.eval()
    assert torch.equal(logits(network, "llama"), logits(network, "llama"))


def test_the_directory_of_an_adapter_is_a_model(tmp_path: Path) -> None:
    base = save_decoder(tmp_path / "base", generation={"temperature": 0.7})
    network = load(base)
    names = apply_lora(network, LoraSettings(rank=2, targets=("q_proj", "gate_proj")))
    assert names[:2] == ["model.layers.0.self_attn.q_proj", "model.layers.0.mlp.gate_proj"]
    disturb(lora_parameters(network))
    save_adapter(network, tmp_path / "adapter", base=str(base))
    about = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert about["target_modules"] == ["gate_proj", "q_proj"]
    assert about["modules_to_save"] is None
    assert not list((tmp_path / "adapter").glob("model*"))
    exact = hanlin.load(tmp_path / "adapter", dtype="float32")
    ids = torch.tensor([[5, 6, 7, 8]])
    same(exact.network(ids).logits, network(ids).logits, 1e-4)
    assert exact.defaults is not None
    assert exact.defaults["temperature"] == 0.7
    quick = hanlin.load(tmp_path / "adapter")
    settings = {"max_new_tokens": 8, "temperature": 0.0}
    assert quick.generate("The academy", **settings)[0].text
    adapted = load_adapted(tmp_path / "adapter")
    assert adapted.adapters is not None
    same(adapted(ids).logits, network(ids).logits, 1e-4)


def test_a_task_of_an_adapter_comes_with_its_head(tmp_path: Path) -> None:
    base = save_encoder(tmp_path / "base")
    reference = load(base)
    config = with_head(reference.config, "classify", labels=("good", "bad", "odd"))
    network = Transformer(config)
    fresh = take_weights(network, reference)
    apply_lora(network.eval(), LoraSettings(rank=2), fresh=fresh)
    trained = {n for n, p in network.named_parameters() if p.requires_grad}
    assert {"head.projection.weight", "head.projection.bias"} <= trained
    assert all("changes" in n or n.startswith(("head.", "pooler.")) for n in trained)
    disturb(lora_parameters(network))
    save_adapter(network, tmp_path / "adapter", base=str(base))
    about = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert about["modules_to_save"] == ["bert.pooler", "classifier"]
    model = hanlin.load(tmp_path / "adapter")
    assert model.labels == ("good", "bad", "odd")
    ids = torch.tensor([[5, 6, 7, 8]])
    same(model.network(ids).logits, network(ids).logits, 1e-5)


def test_a_headless_base_gets_the_head_that_peft_saved(tmp_path: Path) -> None:
    theirs = base_of("bert", tmp_path / "whole")
    theirs.bert.float().save_pretrained(tmp_path / "base")  # type: ignore[union-attr, operator]
    adapted = with_peft(theirs, "bert")
    adapted.peft_config["default"].base_model_name_or_path = str(tmp_path / "base")
    adapted.save_pretrained(tmp_path / "adapter")
    network = load(tmp_path / "adapter", dtype="float64")
    same(logits(network, "bert"), logits(adapted, "bert"), 1e-6)
    assert network.config.labels == ("LABEL_0", "LABEL_1", "LABEL_2")


def test_a_base_beside_the_adapter_is_found(tmp_path: Path) -> None:
    base = save_decoder(tmp_path / "base")
    network = load(base)
    apply_lora(network, LoraSettings())
    adapter = save_adapter(network, tmp_path / "adapter", base=str(base))
    path = adapter / "adapter_config.json"
    about = json.loads(path.read_text())
    assert Path(about["base_model_name_or_path"]).is_absolute()
    path.write_text(json.dumps(about | {"base_model_name_or_path": "../base"}))
    assert load(adapter).config.family == "llama"
    path.write_text(json.dumps(about | {"base_model_name_or_path": "./gone"}))
    with pytest.raises(NotFoundError, match=r"is an adapter of \./gone, which is not here"):
        load(adapter)


REFUSED = {
    "another kind": ({"peft_type": "IA3"}, "of the kind IA3, and hanlin computes LORA"),
    "biases": ({"bias": "all"}, "sets bias to 'all'"),
    "another base": ({"init_lora_weights": "pissa"}, "belongs to a changed base"),
    "unknown": ({"alora_invocation_tokens": [1]}, "sets alora_invocation_tokens"),
    "a bad scale": ({"lora_alpha": "x"}, "'x' is no lora_alpha"),
    "a bad pattern": ({"alpha_pattern": {"(": 1}}, "is no pattern"),
}


@pytest.mark.parametrize("case", list(REFUSED))
def test_what_is_not_computed_is_refused(case: str, tmp_path: Path) -> None:
    changes, said = REFUSED[case]
    base = save_decoder(tmp_path / "base")
    network = load(base)
    apply_lora(network, LoraSettings())
    adapter = save_adapter(network, tmp_path / "adapter", base=str(base))
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(FormatError, match=said):
        load_adapter(load(base), adapter)


def test_an_adapter_of_another_model_is_refused(tmp_path: Path) -> None:
    base = save_decoder(tmp_path / "base")
    network = load(base)
    apply_lora(network, LoraSettings())
    adapter = save_adapter(network, tmp_path / "adapter", base=str(base))
    wider = load(save_decoder(tmp_path / "wider", intermediate_size=64))
    with pytest.raises(FormatError, match="adapter of another model"):
        load_adapter(wider, adapter)
    with pytest.raises(FormatError, match="no linear layer of this model"):
        load_adapter(load(save_encoder(tmp_path / "encoder")), adapter)
    weights = adapter / "adapter_model.safetensors"
    tensors = load_file(weights)
    save_file(tensors | {"base_model.model.model.odd.weight": torch.ones(2)}, weights)
    with pytest.raises(FormatError, match=r"has model.odd.weight, for which hanlin has no place"):
        load_adapter(load(base), adapter)
    weights.write_bytes(b"broken")
    with pytest.raises(FormatError, match="not a whole safetensors file"):
        load_adapter(load(base), adapter)
    weights.unlink()
    with pytest.raises(NotFoundError, match=r"has no adapter_model.safetensors"):
        load_adapter(load(base), adapter)


def test_targets_are_checked(tmp_path: Path) -> None:
    base = save_decoder(tmp_path / "base", tie_embeddings=False)
    for targets, said in (
        (("q_porj",), "Did you mean 'q_proj'"),
        (("lm_head",), "the output projection"),
        (("embed_tokens",), "no linear layer of this model ends so"),
    ):
        with pytest.raises(ConfigError, match=said):
            apply_lora(load(base), LoraSettings(targets=targets))
    for wrong in ({"rank": 0}, {"alpha": 0.0}, {"dropout": 1.0}, {"targets": ()}):
        with pytest.raises(ConfigError, match=r"must be|names no"):
            LoraSettings(**wrong)
    with pytest.raises(ConfigError, match="cannot be called"):
        apply_lora(load(base), LoraSettings(), name="a.b")


def test_a_network_laid_out_for_inference_takes_no_adapter(tmp_path: Path) -> None:
    network = load(save_decoder(tmp_path / "base"), inference=True)
    if supported():
        with pytest.raises(InputError, match="dtype='float32'"):
            apply_lora(network, LoraSettings())
    with pytest.raises(NotFoundError, match="no adapter in use"):
        save_adapter(load(tmp_path / "base"), tmp_path / "x", base="b")
