"""Gemma (Mesnard et al. 2024), Gemma 2 (Riviere et al. 2024), the text side of Gemma 3 (2025)."""

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

_GEMMA_3 = classes_of(
    "Gemma3", none="Gemma3TextModel", classify="Gemma3TextForSequenceClassification"
)
del _GEMMA_3["tag"]

_CLASSES = {"gemma": classes_of("Gemma"), "gemma2": classes_of("Gemma2"), "gemma3_text": _GEMMA_3}


def _read(raw: dict[str, Any]) -> ModelConfig:
    keys = Keys(raw)
    kind = raw["model_type"]
    fields = read_decoder(keys, _CLASSES[kind])
    keys.neutral("use_bidirectional_attention", False)
    keys.skip("cache_implementation")
    # The first releases said "gelu" and meant the tanh approximation.
    keys.neutral("hidden_act", "gelu", "gelu_pytorch_tanh")
    keys.neutral("hidden_activation", "gelu_pytorch_tanh")
    bias = keys.given("attention_bias", False)
    fields |= {
        "head_dim": fields["head_dim"] or 256,
        "attention_bias": bias,
        "attention_out_bias": bias,
        "activation": "gelu_tanh",
        "norm_plus_one": True,
        "embedding_scale": fields["hidden_size"] ** 0.5,
    }
    if kind == "gemma":
        fields["rope"] = read_rope(keys, theta=10000.0)
    else:
        fields |= _second(keys, fields["num_layers"], third=kind == "gemma3_text")
    config = ModelConfig(tie_embeddings=keys.tied(True), **fields)
    keys.finish()
    return config


def _second(keys: Keys, layers: int, *, third: bool) -> dict[str, Any]:
    """What came with Gemma 2: norms on both sides, windows, caps, a scale of its own."""
    kinds = keys.layer_kinds(layers)
    every = 2
    if third:
        every = keys.whole("sliding_window_pattern", 6)
        keys.skip("_sliding_window_pattern")
        rope = read_rope(keys, theta=1_000_000.0, kind="full_attention")
        local = read_rope(
            keys,
            theta=10000.0,
            theta_key="rope_local_base_freq",
            kind="sliding_attention",
            scaled=False,
        )
    else:
        rope, local = read_rope(keys, theta=10000.0), None
    if kinds is None:
        kinds = _alternate(layers, every)
    attention_cap, logit_cap = None, None
    if third:
        # Gemma 3 has none; transformers reads the key and computes nothing from it.
        keys.neutral("attn_logit_softcapping", None)
    else:
        attention_cap, logit_cap = _cap(keys, "attn_logit_softcapping", 50.0), 30.0
    return {
        "norm_place": "both",
        "qk_norm": third,
        "rope": rope,
        "rope_local": local,
        "attention_scale": keys.positive("query_pre_attn_scalar", 256) ** -0.5,
        "attention_softcap": attention_cap,
        "logit_softcap": _cap(keys, "final_logit_softcapping", logit_cap),
        "sliding_window": keys.whole("sliding_window", 4096),
        "layer_kinds": kinds,
    }


def _alternate(layers: int, every: int) -> tuple[LayerKind, ...]:
    return tuple("sliding" if (layer + 1) % every else "full" for layer in range(layers))


def _cap(keys: Keys, name: str, default: float | None) -> float | None:
    """Absent means the default, null none."""
    return keys.maybe_positive(name) if name in keys.config else default


def _write(config: ModelConfig) -> dict[str, Any]:
    out = write_decoder(config, _CLASSES[config.family])
    name = "hidden_act" if config.family == "gemma" else "hidden_activation"
    out |= {name: "gelu_pytorch_tanh", "attention_bias": config.attention_bias}
    rope = rope_parameters(config.rope)
    if config.family == "gemma":
        return out | {"rope_parameters": rope}
    if config.rope_local is not None:
        local = rope_parameters(config.rope_local)
        rope = {"full_attention": rope, "sliding_attention": local}
    scale = config.attention_scale or config.channels**-0.5
    scalar = round(scale**-2, 9)
    return out | {
        "rope_parameters": rope,
        "query_pre_attn_scalar": int(scalar) if scalar.is_integer() else scalar,
        "attn_logit_softcapping": config.attention_softcap,
        "final_logit_softcapping": config.logit_softcap,
        "sliding_window": config.sliding_window,
        "layer_types": write_kinds(config),
    }


FAMILY = Family(
    name="gemma",
    read=_read,
    write=_write,
    weights=decoder_table,
    tied=tied_head,
    spellings=spellings,
    ignored=ROTARY_BUFFER,
    unsaid=("dropout",),
)
