"""A model in a GGUF file is, tensor for tensor and logit for logit, the one it was converted from.

The files are written with the gguf package from tiny random transformers models; what the package's
own name table says, and what transformers makes of the file where it can, are the oracles.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
import transformers

from hanlin.errors import FormatError, NotFoundError
from hanlin.formats.gguf import GGMLType
from hanlin.models.gguf import GGUFModel, read_gguf

QUANTISED = gguf.GGMLQuantizationType
BASE = {
    "vocab_size": 50, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32,
    "max_position_embeddings": 512, "rms_norm_eps": 1e-6, "bos_token_id": 1, "eos_token_id": 2,
    "pad_token_id": 0, "attn_implementation": "eager",
}  # fmt: skip
LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0,
    "high_freq_factor": 4.0, "original_max_position_embeddings": 64,
}  # fmt: skip
YARN = {
    "rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0,
    "original_max_position_embeddings": 128,
}  # fmt: skip
LINEAR = {"rope_type": "linear", "rope_theta": 20000.0, "factor": 2.0}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {"head_dim": 16}),
    "llama untied": ("llama", {"head_dim": 16, "tie_word_embeddings": False}),
    "llama wide heads": ("llama", {"num_key_value_heads": 1}),
    "llama biases": ("llama", {"attention_bias": True, "mlp_bias": True}),
    "llama linear": ("llama", {"rope_parameters": LINEAR}),
    "llama yarn": ("llama", {"rope_parameters": YARN}),
    "llama 3": ("llama", {"rope_parameters": LLAMA3}),
    "mistral": ("mistral", {"sliding_window": 4}),
    "qwen2": ("qwen2", {"head_dim": 16, "tie_word_embeddings": True}),
    "qwen3": ("qwen3", {}),
    "qwen3 usual heads": ("qwen3", {"head_dim": 128}),
    "gemma": ("gemma", {}),
    "gemma2": ("gemma2", {"sliding_window": 4, "query_pre_attn_scalar": 32}),
    "gemma2 scaled": (
        "gemma2",
        {"query_pre_attn_scalar": 16, "attn_logit_softcapping": 5.0,
         "final_logit_softcapping": 3.0},
    ),
    "gemma3": ("gemma3_text", {"num_hidden_layers": 7, "sliding_window": 4,
                               "query_pre_attn_scalar": 32}),
}  # fmt: skip
SEED = 20260


def tiny(case: str) -> transformers.PreTrainedModel:
    kind, changes = CASES[case]
    torch.manual_seed(SEED)
    settings = BASE | {"tie_word_embeddings": kind != "qwen3"} | changes
    config = transformers.AutoConfig.for_model(kind, **settings)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # norms and biases too, which start as constants
            parameter.normal_(0, 0.2)
    return model


def quantisation(name: str, value: torch.Tensor) -> gguf.GGMLQuantizationType:
    if value.ndim == 1:
        return QUANTISED.F32
    kinds = [QUANTISED.Q4_1, QUANTISED.Q8_0, QUANTISED.F16, QUANTISED.BF16, QUANTISED.Q5_0]
    return kinds[sum(name.encode()) % len(kinds)]


def interleave(value: np.ndarray, heads: int) -> np.ndarray:
    """llama.cpp's order of rotary channels: pairs side by side."""
    halves = value.reshape(heads, 2, value.shape[0] // heads // 2, *value.shape[1:])
    return halves.swapaxes(1, 2).reshape(value.shape)


def write(
    model: transformers.PreTrainedModel,
    path: Path,
    *,
    change: Callable[[gguf.GGUFWriter], None] = lambda _: None,
    skip: str = "",
) -> dict[str, torch.Tensor]:
    """Write a model as llama.cpp's converter does; return the numbers the file holds."""
    config = model.config
    arch = {"gemma3_text": "gemma3", "mistral": "llama"}.get(config.model_type, config.model_type)
    writer = gguf.GGUFWriter(path, arch)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    head_dim = getattr(config, "head_dim", None) or 16
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    if arch == "llama":
        writer.add_rope_dimension_count(head_dim)
    writer.add_vocab_size(config.vocab_size)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(0)
    rope = config.rope_parameters
    rope = rope.get("full_attention", rope)
    writer.add_rope_freq_base(rope["rope_theta"])
    if rope["rope_type"] in ("linear", "yarn"):
        writer.add_rope_scaling_type(gguf.RopeScalingType(rope["rope_type"]))
        writer.add_rope_scaling_factor(rope["factor"])
    if rope["rope_type"] in ("llama3", "yarn"):
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    if rope["rope_type"] == "llama3":
        writer.add_tensor("rope_freqs.weight", llama3_factors(rope, head_dim))
    if arch in ("gemma2", "gemma3") or config.model_type == "mistral":
        writer.add_sliding_window(config.sliding_window)
    if arch == "gemma2":
        writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
        writer.add_final_logit_softcapping(config.final_logit_softcapping)
        if config.query_pre_attn_scalar != head_dim:
            writer.add_attention_scale(config.query_pre_attn_scalar**-0.5)
    change(writer)
    kind = next(key for key, value in gguf.MODEL_ARCH_NAMES.items() if value == arch)
    names = gguf.get_tensor_name_map(kind, config.num_hidden_layers)
    held: dict[str, torch.Tensor] = {}
    for name, value in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        stem, suffix = name.rsplit(".", 1)
        ours = value.numpy()
        if arch.startswith("gemma") and name.endswith("norm.weight"):
            ours = ours + 1
        if arch == "llama" and ".q_proj" in name:
            ours = interleave(ours, config.num_attention_heads)
        if arch == "llama" and ".k_proj" in name:
            ours = interleave(ours, config.num_key_value_heads)
        how = quantisation(name, value)
        packed = gguf.quants.quantize(ours, how)
        # What the file holds, back in the model's order and offset.
        back = gguf.quants.quantize(value.numpy(), how)
        held[name] = torch.from_numpy(gguf.quants.dequantize(back, how).reshape(value.shape).copy())
        if arch.startswith("gemma") and name.endswith("norm.weight"):
            held[name] = torch.from_numpy(ours) - 1
        if name != skip:
            writer.add_tensor(f"{names.get_name(stem)}.{suffix}", packed, raw_dtype=how)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return held


def llama3_factors(rope: dict[str, Any], head_dim: int) -> np.ndarray:
    """The divisors of the frequencies, as llama.cpp's converter computes them."""
    low = rope["original_max_position_embeddings"] / rope["low_freq_factor"]
    high = rope["original_max_position_embeddings"] / rope["high_freq_factor"]
    factors = []
    for channel in range(0, head_dim, 2):
        wavelength = 2 * math.pi * rope["rope_theta"] ** (channel / head_dim)
        smooth = (rope["original_max_position_embeddings"] / wavelength - 1) / (4 - 1)
        if wavelength < high:
            factors.append(1.0)
        elif wavelength > low:
            factors.append(rope["factor"])
        else:
            factors.append(1 / ((1 - smooth) / rope["factor"] + smooth))
    assert any(1 < factor < rope["factor"] for factor in factors)
    return np.array(factors, np.float32)


def rebuilt(found: GGUFModel) -> transformers.PreTrainedModel:
    """The transformers model of our configuration with our tensors."""
    settings = dict(found.hf_config)
    config = transformers.AutoConfig.for_model(
        settings.pop("model_type"), **settings, attn_implementation="eager"
    )
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    state = {name: found.tensor(name) for name in found.tensor_names}
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected
    assert set(missing) <= {"lm_head.weight"}
    model.tie_weights()
    return model


@pytest.mark.parametrize("case", CASES)
def test_tensors_and_configuration_survive_the_file(case: str, tmp_path: Path) -> None:
    model = tiny(case)
    held = write(model, tmp_path / "tiny.gguf")
    found = read_gguf(tmp_path / "tiny.gguf")
    assert set(found.tensor_names) == set(held)
    for name, value in held.items():
        assert found.shape(name) == tuple(value.shape)
        assert torch.equal(found.tensor(name), value), name
        assert torch.equal(found.tensor(name, torch.bfloat16), value.bfloat16()), name
    model.load_state_dict(held, strict=False)
    ids = torch.randint(0, 50, (2, 24), generator=torch.Generator().manual_seed(SEED))
    with torch.no_grad():
        expected, ours = model(ids).logits, rebuilt(found)(ids).logits
    # Not bit for bit only where float32 metadata rounded a setting (the caps, the epsilon).
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)


# What transformers reads too, and agrees on with llama.cpp. (It does not read Qwen3's head size.)
BOTH = ["llama", "llama untied", "llama wide heads", "qwen2", "qwen3 usual heads", "gemma2",
        "gemma3"]  # fmt: skip
FIELDS = [
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "head_dim", "max_position_embeddings", "rms_norm_eps",
    "tie_word_embeddings", "hidden_act", "hidden_activation", "attention_bias", "mlp_bias",
    "sliding_window", "layer_types", "attn_logit_softcapping", "final_logit_softcapping",
    "bos_token_id", "eos_token_id", "pad_token_id",
]  # fmt: skip


def agree(found: GGUFModel, path: Path) -> None:
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32
    )
    state = theirs.state_dict()
    for name in found.tensor_names:
        assert torch.equal(found.tensor(name), state[name]), name
    settings = dict(found.hf_config)
    ours = transformers.AutoConfig.for_model(settings.pop("model_type"), **settings)
    assert ours.model_type == theirs.config.model_type
    for field in FIELDS:
        left, right = getattr(ours, field, None), getattr(theirs.config, field, None)
        if isinstance(left, float):  # the file holds float32; ours is its shortest decimal
            left, right = np.float32(left), np.float32(right)
        assert left == right, field
    assert ours.rope_parameters == theirs.config.rope_parameters


@pytest.mark.parametrize("case", BOTH)
def test_transformers_reads_the_same_model(case: str, tmp_path: Path) -> None:
    write(tiny(case), tmp_path / "tiny.gguf")
    agree(read_gguf(tmp_path / "tiny.gguf"), tmp_path / "tiny.gguf")


@pytest.mark.real
@pytest.mark.slow
def test_smollm2_is_what_transformers_reads(smollm2_gguf: Path) -> None:
    found = read_gguf(smollm2_gguf)
    agree(found, smollm2_gguf)
    assert found.raw_type("model.embed_tokens.weight") is GGMLType.Q8_0
    assert found.raw_type("model.layers.0.self_attn.q_proj.weight") is GGMLType.Q4_1
    assert found.tokenizer_metadata["tokenizer.ggml.model"] == "gpt2"


def test_raw_rows_are_in_the_order_of_the_tensor(tmp_path: Path) -> None:
    write(tiny("llama"), tmp_path / "tiny.gguf")
    found = read_gguf(tmp_path / "tiny.gguf")
    for name in found.tensor_names:
        if len(found.shape(name)) == 2:
            kind = gguf.GGMLQuantizationType[found.raw_type(name).name]
            rows = found.raw(name).numpy()
            assert rows.shape[0] == found.shape(name)[0]
            np.testing.assert_array_equal(
                gguf.quants.dequantize(rows, kind), found.tensor(name).numpy(), err_msg=name
            )


def test_several_tokens_may_end_a_turn(tmp_path: Path) -> None:
    write(tiny("llama"), tmp_path / "tiny.gguf", change=lambda writer: writer.add_eot_token_id(7))
    assert read_gguf(tmp_path / "tiny.gguf").hf_config["eos_token_id"] == [2, 7]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda writer: writer.add_expert_count(4), r"expert_count.*mixtures"),
        (lambda writer: writer.add_rope_scaling_type(gguf.RopeScalingType.LONGROPE), "longrope"),
        (lambda writer: writer.add_uint32("llama.rope.scaling.novel", 3), r"scaling\.novel"),
        (lambda writer: writer.add_array("llama.attention.head_count_kv", [2, 1, 2]), "layers"),
        (lambda writer: writer.add_embedding_length(0), "embedding_length.*positive"),
        (lambda writer: writer.add_context_length(1 << 31), "context_length"),
        (lambda writer: writer.add_layer_norm_rms_eps(math.nan), "finite"),
        (lambda writer: writer.add_vocab_size(51), "51.*50 rows"),
        (lambda writer: writer.add_rope_dimension_count(8), "partial rotation"),
        (lambda writer: writer.add_value_length(8), "value_length"),
        (lambda writer: writer.add_feed_forward_length(128), r"ffn.*\[96, 64\].*\[128, 64\]"),
        (lambda writer: writer.add_block_count(4), r"lacks 9 .*'blk\.3\.attn_norm\.weight'"),
        (lambda writer: writer.add_block_count(2), r"'blk\.2\."),
        (lambda writer: writer.add_block_count((1 << 31) - 1), r"block_count.*tensors"),
        (
            lambda writer: writer.add_tensor("rope_freqs.weight", np.full(8, 2, np.float32)),
            "rope_freqs",
        ),
        (
            lambda writer: writer.add_tensor(
                "blk.0.odd.weight", np.zeros(256, np.uint8), raw_shape=(66,),
                raw_dtype=QUANTISED.IQ2_XXS),
            r"blk\.0\.odd",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_honoured_is_refused_by_name(
    change: Callable[[gguf.GGUFWriter], None], message: str, tmp_path: Path
) -> None:
    def overriding(writer: gguf.GGUFWriter) -> None:
        add = writer.add_key_value

        def replace(key: str, *rest: Any, **more: Any) -> None:
            writer.kv_data[0].pop(key, None)
            add(key, *rest, **more)

        writer.add_key_value = replace  # type: ignore[method-assign]
        change(writer)

    write(tiny("llama"), tmp_path / "tiny.gguf", change=overriding)
    with pytest.raises(FormatError, match=message):
        read_gguf(tmp_path / "tiny.gguf")


def test_a_missing_key_tensor_or_architecture_is_named(tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    write(tiny("llama"), path, skip="model.layers.1.mlp.up_proj.weight")
    with pytest.raises(FormatError, match=r"lacks 1 .*'blk\.1\.ffn_up\.weight'"):
        read_gguf(path)
    write(tiny("qwen3"), path, skip="model.embed_tokens.weight")
    with pytest.raises(FormatError, match="0 rows"):
        read_gguf(path)
    for architecture in ("mamba", "bert"):
        writer = gguf.GGUFWriter(path, architecture)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        with pytest.raises(FormatError, match=f"'{architecture}'.*llama"):
            read_gguf(path)


def test_a_tensor_that_is_not_there_suggests_one_that_is(tmp_path: Path) -> None:
    write(tiny("qwen3"), tmp_path / "tiny.gguf")
    with pytest.raises(NotFoundError, match=r"model\.norm\.weight"):
        read_gguf(tmp_path / "tiny.gguf").tensor("model.norms.weight")
