"""Qwen2 (Yang et al. 2024; Qwen2.5 is the same) and Qwen3 (Yang et al. 2025), the dense models."""

from typing import Any

from hanlin.models.config import LayerKind, ModelConfig
from hanlin.models.families import Family
from hanlin.models.families.decoder import (
    ROTARY_BUFFER,
    classes_of,
    decoder_table,
    read_decoder,
    spellings,
    tied_head,
    write_decoder,
)
from hanlin.models.families.keys import Keys, write_kinds
from hanlin.models.families.rope import read_rope, rope_parameters

_CLASSES = {"qwen2": classes_of("Qwen2"), "qwen3": classes_of("Qwen3")}


def _read(raw: dict[str, Any]) -> ModelConfig:
    keys = Keys(raw)
    fields = read_decoder(keys, _CLASSES[raw["model_type"]])
    keys.neutral("hidden_act", "silu")
    keys.skip("use_mrope")
    if raw["model_type"] == "qwen3":
        bias = keys.given("attention_bias", False)
        fields |= {"attention_bias": bias, "attention_out_bias": bias, "qk_norm": True}
        fields["head_dim"] = fields["head_dim"] or 128
    else:
        fields["attention_bias"] = True
    window, kinds = _layers(keys, fields["num_layers"])
    config = ModelConfig(
        rope=read_rope(keys, theta=10000.0),
        sliding_window=window,
        layer_kinds=kinds,
        tie_embeddings=keys.tied(False),
        **fields,
    )
    keys.finish()
    return config


def _layers(keys: Keys, layers: int) -> tuple[int | None, tuple[LayerKind, ...] | None]:
    """The window and which layers use it: the upper ones, or those that layer_types names."""
    width = keys.maybe_whole("sliding_window") if "sliding_window" in keys.config else 4096
    window = width if keys.given("use_sliding_window", False) else None
    kinds = keys.layer_kinds(layers)
    first = keys.given("max_window_layers", 28)
    if window is None:
        return None, None
    if kinds is None:
        kinds = tuple("sliding" if layer >= first else "full" for layer in range(layers))
    return window, kinds


def _write(config: ModelConfig) -> dict[str, Any]:
    out = write_decoder(config, _CLASSES[config.family])
    out |= {"hidden_act": "silu", "rope_parameters": rope_parameters(config.rope)}
    if config.family == "qwen3":
        out["attention_bias"] = config.attention_bias
    elif config.channels * config.num_heads == config.hidden_size:
        del out["head_dim"]
    out |= {
        "use_sliding_window": config.sliding_window is not None,
        "sliding_window": config.sliding_window,
        "layer_types": write_kinds(config),
        "max_window_layers": config.num_layers,
    }
    return out


FAMILY = Family(
    name="qwen",
    read=_read,
    write=_write,
    weights=decoder_table,
    tied=tied_head,
    spellings=spellings,
    ignored=ROTARY_BUFFER,
    unsaid=("dropout",),
)
