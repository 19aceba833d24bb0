"""What the decoders of the Llama line share: Llama, Mistral, Qwen and Gemma differ in little."""

from collections.abc import Mapping
from typing import Any

from hanlin.errors import FormatError
from hanlin.models.config import HeadKind, ModelConfig
from hanlin.models.families.keys import MOST_LAYERS, Keys, write_labels, write_tokens
from hanlin.models.weights import Source, Table, linear

Classes = Mapping[HeadKind, str]
"""Which class of transformers holds a model with each head."""


def classes_of(stem: str, **changes: str) -> dict[HeadKind, str]:
    """The usual names of a decoder's classes (LlamaForCausalLM); `changes` where they differ."""
    usual: dict[HeadKind, str] = {
        "language-model": f"{stem}ForCausalLM",
        "none": f"{stem}Model",
        "classify": f"{stem}ForSequenceClassification",
        "tag": f"{stem}ForTokenClassification",
    }
    return {head: changes.get(head, name) for head, name in usual.items()}


def read_head(keys: Keys, classes: Classes, *, default: HeadKind) -> HeadKind:
    """Which head a directory holds, from `architectures`."""
    names = keys.config.get("architectures") or [classes[default]]
    if not isinstance(names, list) or not isinstance(names[0], str):
        raise keys.wrong("architectures", "a list of names")
    for head, name in classes.items():
        if name == names[0]:
            return head
    raise FormatError(
        f"config.json's architecture is {names[0]}, which hanlin cannot build. "
        f"It builds {', '.join(classes.values())}."
    )


def class_of(config: ModelConfig, classes: Classes) -> list[str]:
    """The inverse of `read_head`: `architectures`."""
    if config.head not in classes:
        raise FormatError(
            f"A {config.family} directory cannot hold the head {config.head!r}. "
            f"It holds {', '.join(classes)}."
        )
    return [classes[config.head]]


def read_decoder(keys: Keys, classes: Classes) -> dict[str, Any]:
    """The fields that all of these configs share, as arguments of ModelConfig."""
    head = read_head(keys, classes, default="language-model")
    fields: dict[str, Any] = {
        "family": keys.config["model_type"],
        "shape": "decoder",
        "head": head,
        "vocab_size": keys.whole("vocab_size"),
        "hidden_size": keys.whole("hidden_size"),
        "num_layers": keys.whole("num_hidden_layers", most=MOST_LAYERS),
        "num_heads": keys.whole("num_attention_heads"),
        "num_kv_heads": keys.maybe_whole("num_key_value_heads"),
        "head_dim": keys.maybe_whole("head_dim"),
        "intermediate_size": keys.whole("intermediate_size"),
        "max_context": keys.whole("max_position_embeddings", 2048),
        "norm_eps": keys.positive("rms_norm_eps", 1e-6),
        "attention_dropout": keys.given("attention_dropout", 0.0),
        "initializer_range": keys.given("initializer_range", 0.02),
        "pad_id": keys.token("pad"),
        "bos_id": keys.token("bos"),
        "eos_ids": keys.eos_ids,
    }
    if head in ("classify", "tag"):
        fields |= {"labels": keys.labels(), "classifier_bias": head == "tag"}
        keys.skip("classifier_dropout")
    if head == "classify":
        fields |= keys.task() | {"pooling": "last"}
    return fields


def write_decoder(config: ModelConfig, classes: Classes) -> dict[str, Any]:
    """The inverse of `read_decoder`."""
    return {
        "architectures": class_of(config, classes),
        "model_type": config.family,
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


_NORMS = {"attention_norm": "input_layernorm", "mlp_norm": "post_attention_layernorm"}
_SANDWICH = {
    "attention_norm": "input_layernorm",
    "attention_post_norm": "post_attention_layernorm",
    "mlp_norm": "pre_feedforward_layernorm",
    "mlp_post_norm": "post_feedforward_layernorm",
}


def decoder_table(config: ModelConfig) -> Table:
    """Our parameters and where they lie."""
    base = "" if config.head == "none" else "model."
    table: Table = {"embedding.weight": Source((f"{base}embed_tokens.weight",))}
    for i in range(config.num_layers):
        table |= _layer(config, f"decoder.layers.{i}", f"{base}layers.{i}")
    table["decoder.final_norm.weight"] = Source((f"{base}norm.weight",))
    if config.head == "language-model" and not config.tie_embeddings:
        table["head.projection.weight"] = Source(("lm_head.weight",))
    if config.head in ("classify", "tag"):
        table |= linear("head.projection", "score", bias=config.classifier_bias)
    return table


def _layer(config: ModelConfig, ours: str, theirs: str) -> Table:
    attention, mlp = f"{theirs}.self_attn", f"{theirs}.mlp"
    q, kv = config.num_heads * config.channels, config.kv_heads * config.channels
    width = config.intermediate_size
    table: Table = dict(
        linear(
            f"{ours}.attention.qkv",
            *(f"{attention}.{p}_proj" for p in "qkv"),
            bias=config.attention_bias,
            sizes=(q, kv, kv),
        )
    )
    table |= linear(f"{ours}.attention.out", f"{attention}.o_proj", bias=config.attention_out_bias)
    if config.qk_norm:
        for p in "qk":
            table |= linear(f"{ours}.attention.{p}_norm", f"{attention}.{p}_norm", bias=False)
    table |= linear(
        f"{ours}.mlp.up",
        f"{mlp}.gate_proj",
        f"{mlp}.up_proj",
        bias=config.mlp_bias,
        sizes=(width, width),
    )
    table |= linear(f"{ours}.mlp.down", f"{mlp}.down_proj", bias=config.mlp_bias)
    for mine, name in (_SANDWICH if config.norm_place == "both" else _NORMS).items():
        table |= linear(f"{ours}.{mine}", f"{theirs}.{name}", bias=False)
    return table


def tied_head(config: ModelConfig) -> dict[str, str]:
    """A repeated output projection, which must equal the embedding."""
    if config.head != "language-model" or not config.tie_embeddings:
        return {}
    return {"lm_head.weight": "model.embed_tokens.weight"}


def spellings(name: str) -> tuple[str, ...]:
    """Some writers keep a bare stack under `model.`."""
    return () if name.startswith(("model.", "lm_head.", "score.")) else (f"model.{name}",)


ROTARY_BUFFER = r".*rotary_emb\.inv_freq$"
"""Frequencies that old files store beside the weights."""
