"""The metadata of a GGUF file as the Hugging Face ``config.json`` of the same model.

GGUF keeps hyperparameters under ``{architecture}.*`` keys and leaves some to the reading program
(Gemma's query scale, Gemma's sliding pattern, Llama 3's rotary scaling as a tensor of factors).
What is left out is filled in here as llama.cpp does. A setting that would change what the model
computes and that we cannot express is refused, never skipped.

Keys: the GGUF specification; defaults: llama.cpp's ``llama-model.cpp``.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hanlin.errors import FormatError

ARCHITECTURES = ("llama", "qwen2", "qwen3", "gemma", "gemma2", "gemma3")
"""Values of ``general.architecture`` that have a reader."""

_CLASSES = {
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "gemma": "GemmaForCausalLM",
    "gemma2": "Gemma2ForCausalLM",
    "gemma3_text": "Gemma3ForCausalLM",
}

_ROPE_SCALING_READ = {
    "type",
    "factor",
    "original_context_length",
    "finetuned",
    "attn_factor",
    "yarn_attn_factor",
    "yarn_ext_factor",
    "yarn_beta_fast",
    "yarn_beta_slow",
}


class Settings:
    """The ``{architecture}.*`` entries of a file, read with errors that name the key."""

    def __init__(self, metadata: Mapping[str, Any], path: Path) -> None:
        self.metadata = metadata
        self.path = path
        architecture = metadata.get("general.architecture")
        if not isinstance(architecture, str):
            raise FormatError(
                f"{path} does not say its architecture (general.architecture). "
                "Convert the model again with a current converter."
            )
        if architecture not in ARCHITECTURES:
            raise FormatError(
                f"{path} holds a model of architecture {architecture!r}, which is not supported. "
                f"Supported are {', '.join(ARCHITECTURES)}."
            )
        self.architecture = architecture

    def wrong(self, key: str, what: str) -> FormatError:
        return FormatError(
            f"{self.path}: metadata key {key!r} {what}. "
            "Convert the model again with a current converter."
        )

    def get(self, key: str) -> Any:
        """The value of ``{architecture}.{key}``, None when absent; one value if it is per layer."""
        value = self.metadata.get(f"{self.architecture}.{key}")
        if isinstance(value, np.ndarray) and key != "attention.sliding_window_pattern":
            if value.size == 0 or (value != value[0]).any():
                raise self.wrong(
                    f"{self.architecture}.{key}", "differs between layers, which is not supported"
                )
            value = value[0].item()
        return value

    def whole(self, key: str, default: int | None = None) -> int:
        """A positive whole number; required unless there is a default."""
        value = self.get(key)
        if value is None and default is not None:
            return default
        full = f"{self.architecture}.{key}"
        if value is None:
            raise self.wrong(full, "is missing")
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value < 1 << 31:
            raise self.wrong(full, f"is {value!r}, not a positive whole number")
        return value

    def real(self, key: str, default: float | None = None) -> float:
        """A finite number, as the shortest decimal that rounds to the float32 stored."""
        value = self.get(key)
        if value is None and default is not None:
            return default
        full = f"{self.architecture}.{key}"
        if value is None:
            raise self.wrong(full, "is missing")
        if not isinstance(value, int | float) or not math.isfinite(value):
            raise self.wrong(full, f"is {value!r}, not a finite number")
        return float(str(np.float32(value)))

    def optional_real(self, key: str) -> float | None:
        return None if self.get(key) is None else self.real(key)


def hf_config(
    metadata: Mapping[str, Any],
    *,
    path: Path,
    tensor_names: frozenset[str],
    vocab_rows: int,
    rope_factors: np.ndarray[Any, np.dtype[np.float32]] | None,
) -> dict[str, Any]:
    """Return the equivalent ``config.json``.

    `tensor_names` are the file's own names (they tell biases and a separate output matrix),
    `vocab_rows` the rows of its embedding, `rope_factors` its ``rope_freqs.weight``. Raises
    `FormatError` naming the key that is missing, contradictory or not supported.
    """
    read = Settings(metadata, path)
    architecture = read.architecture
    if read.get("expert_count"):
        raise read.wrong(
            f"{architecture}.expert_count",
            f"is {read.get('expert_count')}: mixtures of experts are not supported",
        )
    heads = read.whole("attention.head_count")
    hidden = read.whole("embedding_length")
    head_dim = read.whole("attention.key_length", max(hidden // heads, 1))
    if read.whole("attention.value_length", head_dim) != head_dim:
        raise read.wrong(
            f"{architecture}.attention.value_length",
            f"is not the key length {head_dim}, which is not supported",
        )
    if read.whole("rope.dimension_count", head_dim) != head_dim:
        raise read.wrong(
            f"{architecture}.rope.dimension_count",
            f"is not the head dimension {head_dim}: partial rotation is not supported here",
        )
    vocab = read.whole("vocab_size", vocab_rows)
    if vocab != vocab_rows:
        raise read.wrong(
            f"{architecture}.vocab_size",
            f"is {vocab}, but the embedding has {vocab_rows} rows",
        )
    layers = read.whole("block_count")
    if layers > len(tensor_names):  # before anything is made per layer
        raise read.wrong(
            f"{architecture}.block_count",
            f"is {layers}, but the file has {len(tensor_names)} tensors",
        )
    theta = read.real("rope.freq_base", 10000.0)
    config: dict[str, Any] = {
        "model_type": architecture,
        "vocab_size": vocab,
        "hidden_size": hidden,
        "intermediate_size": read.whole("feed_forward_length"),
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": read.whole("attention.head_count_kv", heads),
        "head_dim": head_dim,
        "max_position_embeddings": read.whole("context_length"),
        "rms_norm_eps": read.real("attention.layer_norm_rms_epsilon"),
        "rope_theta": theta,
        "rope_scaling": _rope_scaling(read, theta, head_dim, rope_factors),
        "tie_word_embeddings": "output.weight" not in tensor_names,
    }
    if architecture in ("llama", "qwen3"):
        config["attention_bias"] = "blk.0.attn_q.bias" in tensor_names
    if architecture == "llama":
        config["mlp_bias"] = "blk.0.ffn_up.bias" in tensor_names
        if read.get("attention.sliding_window"):
            config["model_type"] = "mistral"
            config["sliding_window"] = read.whole("attention.sliding_window")
            del config["attention_bias"], config["mlp_bias"]
    elif architecture == "qwen2":
        if "blk.0.attn_q.bias" not in tensor_names:
            raise FormatError(
                f"{path} lacks the tensor 'blk.0.attn_q.bias' of a qwen2 model. Download it again."
            )
        config["use_sliding_window"] = False
        if head_dim * heads == hidden:
            del config["head_dim"]  # not a key of this family, though it is honoured
    if architecture.startswith("gemma"):
        config["hidden_activation"] = "gelu_pytorch_tanh"
        if architecture != "gemma":
            _gemma_attention(read, config)
    else:
        config["hidden_act"] = "silu"
    config["architectures"] = [_CLASSES[config["model_type"]]]
    config |= _special_tokens(metadata)
    return config


def _gemma_attention(read: Settings, config: dict[str, Any]) -> None:
    """Gemma 2 and 3: which layers slide, how queries are scaled, where scores are capped."""
    layers: int = config["num_hidden_layers"]
    third = read.architecture == "gemma3"
    config["sliding_window"] = read.whole("attention.sliding_window", 4096 if not third else 1024)
    pattern = read.get("attention.sliding_window_pattern")
    if isinstance(pattern, np.ndarray):
        if pattern.size != layers:
            raise read.wrong(
                f"{read.architecture}.attention.sliding_window_pattern",
                f"has {pattern.size} entries for {layers} layers",
            )
        slides = [bool(entry) for entry in pattern]
    else:
        every = read.whole("attention.sliding_window_pattern", 6 if third else 2)
        slides = [(layer + 1) % every != 0 for layer in range(layers)]
    config["layer_types"] = ["sliding_attention" if s else "full_attention" for s in slides]
    # The largest model of each generation scales by the width per head, the others by head_dim.
    largest = layers == (62 if third else 46)
    scalar: float = (
        config["hidden_size"] // config["num_attention_heads"] if largest else config["head_dim"]
    )
    scale = read.optional_real("attention.scale")
    if scale is not None:
        if scale <= 0:
            raise read.wrong(f"{read.architecture}.attention.scale", f"is {scale}, not positive")
        scalar = scale**-2
        scalar = round(scalar) if math.isclose(scalar, round(scalar), rel_tol=1e-6) else scalar
    config["query_pre_attn_scalar"] = scalar
    # Gemma 2's caps have defaults in its readers; Gemma 3 has none unless the file says so.
    attention_cap = read.real("attn_logit_softcapping", 50.0 if not third else 0.0)
    logit_cap = read.real("final_logit_softcapping", 30.0 if not third else 0.0)
    config["attn_logit_softcapping"] = attention_cap or None
    config["final_logit_softcapping"] = logit_cap or None
    if third:
        config["model_type"] = "gemma3_text"
        config["rope_theta"] = read.real("rope.freq_base", 1000000.0)
        config["rope_local_base_freq"] = read.real("rope.freq_base_swa", 10000.0)


def _special_tokens(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Ids of the special tokens; every token that ends a turn ends generation."""
    found: dict[str, Any] = {}
    ends: list[int] = []
    for name in ("eos", "eot", "eom"):
        token = metadata.get(f"tokenizer.ggml.{name}_token_id")
        if isinstance(token, int) and token not in ends:
            ends.append(token)
    found["eos_token_id"] = ends[0] if len(ends) == 1 else ends or None
    found["bos_token_id"] = metadata.get("tokenizer.ggml.bos_token_id")
    found["pad_token_id"] = metadata.get("tokenizer.ggml.padding_token_id")
    return found


def _rope_scaling(
    read: Settings,
    theta: float,
    head_dim: int,
    factors: np.ndarray[Any, np.dtype[np.float32]] | None,
) -> dict[str, Any] | None:
    prefix = f"{read.architecture}.rope.scaling."
    for key in read.metadata:
        if key.startswith(prefix) and key.removeprefix(prefix) not in _ROPE_SCALING_READ:
            raise read.wrong(key, "is a rotary scaling that is not supported")
    kind = read.get("rope.scaling.type")
    if kind is None and read.get("rope.scale_linear") is not None:
        kind, factor = "linear", read.real("rope.scale_linear")
    else:
        factor = read.real("rope.scaling.factor", 1.0)
    if factors is not None and not np.all(factors == 1):
        if kind not in (None, "none"):
            raise read.wrong(f"{prefix}type", f"is {kind!r} beside a tensor of rotary factors")
        return _llama3(read, theta, head_dim, factors)
    if kind in (None, "none") or (kind == "linear" and factor == 1.0):
        return None
    if kind == "linear":
        return {"rope_type": "linear", "factor": factor}
    if kind != "yarn":
        raise read.wrong(f"{prefix}type", f"is {kind!r}; supported are 'linear' and 'yarn'")
    if read.real("rope.scaling.yarn_ext_factor", 1.0) != 1.0:
        raise read.wrong(f"{prefix}yarn_ext_factor", "is not 1, which is not supported")
    scaling = {
        "rope_type": "yarn",
        "factor": factor,
        "original_max_position_embeddings": read.whole("rope.scaling.original_context_length"),
    }
    for key, name in (("yarn_beta_fast", "beta_fast"), ("yarn_beta_slow", "beta_slow")):
        if (value := read.optional_real(f"rope.scaling.{key}")) is not None:
            scaling[name] = value
    extra = read.real("rope.scaling.attn_factor", 1.0) * read.real(
        "rope.scaling.yarn_attn_factor", 1.0
    )
    if extra != 1.0:
        scaling["attention_factor"] = extra * (0.1 * math.log(factor) + 1.0)
    return scaling


def _llama3(
    read: Settings, theta: float, head_dim: int, factors: np.ndarray[Any, np.dtype[np.float32]]
) -> dict[str, Any]:
    """Recover Llama 3's four numbers from the divisors of the frequencies that a GGUF stores."""
    if factors.shape == (head_dim // 2,) and np.isfinite(factors).all():
        factor = float(str(factors.max()))
        original = read.whole("rope.scaling.original_context_length", 8192)
        scaling = {
            "rope_type": "llama3",
            "factor": factor,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": original,
        }
        wavelength = 2 * math.pi * theta ** (np.arange(0, head_dim, 2) / head_dim)
        smooth = np.clip((original / wavelength - 1.0) / (4.0 - 1.0), 0.0, 1.0)
        if np.allclose(1 / ((1 - smooth) / factor + smooth), factors, rtol=1e-4):
            return scaling
    raise FormatError(
        f"{read.path}: the tensor 'rope_freqs.weight' is not Llama 3's rotary scaling, the only "
        "one supported as a tensor. Use a file without it."
    )
