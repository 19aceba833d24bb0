"""Llama (Touvron et al. 2023; 3.1: Meta 2024) with SmolLM2, and Mistral (Jiang et al. 2023)."""

from typing import Any

from hanlin.models.config import ModelConfig
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
from hanlin.models.families.keys import Keys
from hanlin.models.families.rope import read_rope, rope_parameters

_CLASSES = {"llama": classes_of("Llama"), "mistral": classes_of("Mistral")}


def _read(raw: dict[str, Any]) -> ModelConfig:
    keys = Keys(raw)
    mistral = raw["model_type"] == "mistral"
    fields = read_decoder(keys, _CLASSES[raw["model_type"]])
    keys.neutral("hidden_act", "silu")
    if mistral:
        if fields["num_kv_heads"] is None:
            fields["num_kv_heads"] = 8 if "num_key_value_heads" not in raw else None
        # Absent and null differ: an early Mistral config leaves the window to its default.
        window = keys.maybe_whole("sliding_window") if "sliding_window" in raw else 4096
        fields["sliding_window"] = window
        fields["layer_kinds"] = ("sliding",) * fields["num_layers"] if window else None
    else:
        keys.neutral("pretraining_tp", 1)
        keys.skip("rope_interleaved", "is_llama_config")
        bias = keys.given("attention_bias", False)
        fields |= {"attention_bias": bias, "attention_out_bias": bias}
        fields["mlp_bias"] = keys.given("mlp_bias", False)
    config = ModelConfig(
        rope=read_rope(keys, theta=10000.0), tie_embeddings=keys.tied(False), **fields
    )
    keys.finish()
    return config


def _write(config: ModelConfig) -> dict[str, Any]:
    out = write_decoder(config, _CLASSES[config.family])
    out |= {"hidden_act": "silu", "rope_parameters": rope_parameters(config.rope)}
    if config.family == "mistral":
        return out | {"sliding_window": config.sliding_window}
    return out | {"attention_bias": config.attention_bias, "mlp_bias": config.mlp_bias}


FAMILY = Family(
    name="llama",
    read=_read,
    write=_write,
    weights=decoder_table,
    tied=tied_head,
    spellings=spellings,
    ignored=ROTARY_BUFFER,
    unsaid=("dropout",),
)
