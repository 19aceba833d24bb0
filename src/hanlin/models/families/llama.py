"""Llama (Touvron et al. 2023; 3.1: Meta 2024) with SmolLM2, and Mistral (Jiang et al. 2023)."""

from typing import Any

from hanlin.errors import FormatError
from hanlin.models.config import HeadKind, ModelConfig
from hanlin.models.families import Family
from hanlin.models.families.keys import Keys, rope_parameters
from hanlin.models.weights import Source, Table, linear

_CLASSES = {"llama": "Llama", "mistral": "Mistral"}


def read_head(config: dict[str, Any], stem: str) -> HeadKind:
    """Which head a decoder's directory holds, from `architectures`; a language model by default."""
    name = (config.get("architectures") or [f"{stem}ForCausalLM"])[0]
    heads: dict[str, HeadKind] = {
        f"{stem}ForCausalLM": "language-model",
        f"{stem}Model": "none",
        f"{stem}ForSequenceClassification": "classify",
        f"{stem}ForTokenClassification": "tag",
    }
    if name not in heads:
        raise FormatError(f"hanlin cannot build a {name}; it builds {', '.join(heads)}.")
    return heads[name]


def architecture(config: ModelConfig, stem: str) -> str:
    """The inverse of `read_head`: the class transformers builds for this model."""
    suffix = {
        "language-model": "ForCausalLM",
        "none": "Model",
        "classify": "ForSequenceClassification",
        "tag": "ForTokenClassification",
    }
    return stem + suffix[config.head]


def read_decoder(keys: Keys, stem: str) -> dict[str, Any]:
    """The fields that Llama, Mistral, Qwen and Gemma configs share, as arguments of ModelConfig."""
    take = keys.take
    head = read_head(dict(keys.config), stem)
    fields: dict[str, Any] = {
        "shape": "decoder",
        "head": head,
        "vocab_size": take("vocab_size"),
        "hidden_size": take("hidden_size"),
        "num_layers": take("num_hidden_layers"),
        "num_heads": take("num_attention_heads"),
        "num_kv_heads": take("num_key_value_heads", None),
        "head_dim": take("head_dim", None),
        "intermediate_size": take("intermediate_size"),
        "max_context": take("max_position_embeddings", 2048),
        "norm_eps": take("rms_norm_eps", 1e-6),
        "attention_dropout": keys.given("attention_dropout", 0.0),
        "initializer_range": take("initializer_range", 0.02),
        "pad_id": keys.token("pad"),
        "bos_id": keys.token("bos"),
        "eos_ids": keys.eos_ids,
    }
    if head in ("classify", "tag"):
        fields |= {
            "labels": keys.labels,
            "pooling": "last",
            "classifier_bias": head == "tag",
            "problem": PROBLEMS.get(keys.config.get("problem_type"), "single"),
        }
        keys.skip("classifier_dropout", "classifier_bias", "pooling")
    return fields


PROBLEMS = {
    "single_label_classification": "single",
    "multi_label_classification": "multiple",
    "regression": "regression",
}


def write_labels(config: ModelConfig) -> dict[str, Any]:
    """id2label, label2id and problem_type of a model with labels."""
    if not config.labels:
        return {}
    problems = {ours: theirs for theirs, ours in PROBLEMS.items()}
    return {
        "id2label": {str(i): name for i, name in enumerate(config.labels)},
        "label2id": {name: i for i, name in enumerate(config.labels)},
        "problem_type": problems[config.problem] if config.head == "classify" else None,
    }


def write_tokens(config: ModelConfig) -> dict[str, Any]:
    """The special tokens' ids, as config.json has them."""
    eos: Any = list(config.eos_ids) if len(config.eos_ids) > 1 else None
    if len(config.eos_ids) == 1:
        eos = config.eos_ids[0]
    return {"bos_token_id": config.bos_id, "eos_token_id": eos, "pad_token_id": config.pad_id}


def write_decoder(config: ModelConfig, model_type: str, stem: str) -> dict[str, Any]:
    """The inverse of `read_decoder`."""
    return {
        "architectures": [architecture(config, stem)],
        "model_type": model_type,
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.channels,
        "intermediate_size": config.intermediate_size,
        "max_position_embeddings": config.max_context,
        "rms_norm_eps": config.norm_eps,
        "attention_dropout": config.attention_dropout,
        "initializer_range": config.initializer_range,
        "tie_word_embeddings": config.tie_embeddings,
        **write_tokens(config),
        **write_labels(config),
    }


def _read(raw: dict[str, Any]) -> ModelConfig:
    keys = Keys(raw)
    model_type = raw["model_type"]
    fields = read_decoder(keys, _CLASSES[model_type])
    keys.neutral("hidden_act", "silu")
    keys.neutral("pretraining_tp", 1)
    keys.skip("rope_interleaved", "is_llama_config")
    window = keys.take("sliding_window", None) if model_type == "mistral" else None
    config = ModelConfig(
        family=model_type,
        rope=keys.rope(10000.0),
        attention_bias=keys.take("attention_bias", False),
        attention_out_bias=keys.take("attention_bias", False),
        mlp_bias=keys.take("mlp_bias", False),
        sliding_window=window,
        layer_kinds=("sliding",) * fields["num_layers"] if window else None,
        tie_embeddings=raw.get("tie_word_embeddings", False),
        **fields,
    )
    keys.finish()
    return config


def _write(config: ModelConfig) -> dict[str, Any]:
    out = write_decoder(config, config.family, _CLASSES[config.family])
    out |= {"hidden_act": "silu", "rope_parameters": rope_parameters(config.rope)}
    if config.family == "mistral":
        return out | {"sliding_window": config.sliding_window}
    return out | {"attention_bias": config.attention_bias, "mlp_bias": config.mlp_bias}


def decoder_table(config: ModelConfig) -> Table:
    """The names that Llama, Mistral, Qwen and Gemma share."""
    base = "" if config.head == "none" else "model."
    table: Table = {"embedding.weight": Source((f"{base}embed_tokens.weight",))}
    q, kv = config.num_heads * config.channels, config.kv_heads * config.channels
    for i in range(config.num_layers):
        ours, theirs = f"decoder.layers.{i}", f"{base}layers.{i}"
        attention, mlp = f"{theirs}.self_attn", f"{theirs}.mlp"
        table |= linear(
            f"{ours}.attention.qkv",
            *(f"{attention}.{p}_proj" for p in "qkv"),
            bias=config.attention_bias,
            sizes=(q, kv, kv),
        )
        table |= linear(
            f"{ours}.attention.out", f"{attention}.o_proj", bias=config.attention_out_bias
        )
        if config.qk_norm:
            for p in "qk":
                name = f"{attention}.{p}_norm.weight"
                table[f"{ours}.attention.{p}_norm.weight"] = Source((name,))
        width = config.intermediate_size
        table |= linear(
            f"{ours}.mlp.up",
            f"{mlp}.gate_proj",
            f"{mlp}.up_proj",
            bias=config.mlp_bias,
            sizes=(width, width),
        )
        table |= linear(f"{ours}.mlp.down", f"{mlp}.down_proj", bias=config.mlp_bias)
        if config.norm_place == "both":
            norms = {
                "attention_norm": "input_layernorm",
                "attention_post_norm": "post_attention_layernorm",
                "mlp_norm": "pre_feedforward_layernorm",
                "mlp_post_norm": "post_feedforward_layernorm",
            }
        else:
            norms = {
                "attention_norm": "input_layernorm",
                "mlp_norm": "post_attention_layernorm",
            }
        for mine, name in norms.items():
            table[f"{ours}.{mine}.weight"] = Source((f"{theirs}.{name}.weight",))
    table["decoder.final_norm.weight"] = Source((f"{base}norm.weight",))
    if config.head == "language-model" and not config.tie_embeddings:
        table["head.projection.weight"] = Source(("lm_head.weight",))
    if config.head in ("classify", "tag"):
        table |= linear("head.projection", "score", bias=config.classifier_bias)
    return table


def tied_head(config: ModelConfig) -> dict[str, str]:
    """A repeated output projection, which must equal the embedding."""
    if config.head != "language-model" or not config.tie_embeddings:
        return {}
    return {"lm_head.weight": "model.embed_tokens.weight"}


FAMILY = Family(
    name="llama",
    read=_read,
    write=_write,
    weights=decoder_table,
    tied=tied_head,
    ignored=r".*rotary_emb\.inv_freq$",
)
