"""BERT (Devlin et al. 2019), with MiniLM (Wang et al. 2020) and the Chinese models of its kind.

A file of BertForPreTraining is read as its masked language model: the next-sentence head is left
out, and so is the pooler wherever the head does not stand on it.
"""

import re
from collections.abc import Mapping
from typing import Any

from hanlin.models.config import HeadKind, ModelConfig
from hanlin.models.families import Family
from hanlin.models.families.decoder import Classes, class_of, read_head
from hanlin.models.families.keys import (
    MOST_LAYERS,
    Keys,
    activation_name,
    write_labels,
    write_tokens,
)
from hanlin.models.weights import Source, Table, linear

_CLASSES: dict[HeadKind, str] = {
    "none": "BertModel",
    "masked-lm": "BertForMaskedLM",
    "classify": "BertForSequenceClassification",
    "tag": "BertForTokenClassification",
    "extract": "BertForQuestionAnswering",
}


def read_encoder(keys: Keys, classes: Classes) -> dict[str, Any]:
    """The fields that BERT and RoBERTa share, as arguments of ModelConfig."""
    head = read_head(keys, classes, default="none")
    keys.neutral("position_embedding_type", "absolute")
    keys.neutral("is_decoder", False)
    keys.neutral("add_cross_attention", False)
    keys.skip("classifier_dropout")
    fields: dict[str, Any] = {
        "family": keys.config["model_type"],
        "shape": "encoder",
        "head": head,
        "vocab_size": keys.whole("vocab_size"),
        "hidden_size": keys.whole("hidden_size"),
        "num_layers": keys.whole("num_hidden_layers", most=MOST_LAYERS),
        "num_heads": keys.whole("num_attention_heads"),
        "intermediate_size": keys.whole("intermediate_size"),
        "max_context": keys.whole("max_position_embeddings", 512),
        "position": "learned",
        "attention_bias": True,
        "attention_out_bias": True,
        "mlp_bias": True,
        "norm": "layernorm",
        "norm_eps": keys.positive("layer_norm_eps", 1e-12),
        "norm_place": "after",
        "norm_bias": True,
        "final_norm": False,
        "activation": keys.activation("hidden_act", "gelu"),
        "gated": False,
        "embedding_norm": True,
        "token_types": keys.whole("type_vocab_size", 2),
        "tie_embeddings": keys.tied(True),
        "dropout": keys.given("hidden_dropout_prob", 0.1),
        "attention_dropout": keys.given("attention_probs_dropout_prob", 0.1),
        "initializer_range": keys.given("initializer_range", 0.02),
        "pad_id": keys.token("pad"),
        "bos_id": keys.token("bos"),
        "eos_ids": keys.eos_ids,
    }
    if head == "classify":
        fields |= keys.task()
    elif head == "tag":
        fields["labels"] = keys.labels()
    if head == "masked-lm":
        fields |= {"lm_head_bias": True, "head_transform": True}
    if head == "none":
        # `build` drops it again where the file has none.
        fields["pooler"] = True
    return fields


def write_encoder(config: ModelConfig, classes: Classes) -> dict[str, Any]:
    """The inverse of `read_encoder`."""
    return {
        "architectures": class_of(config, classes),
        "model_type": config.family,
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "intermediate_size": config.intermediate_size,
        "max_position_embeddings": config.max_context + config.position_offset,
        "layer_norm_eps": config.norm_eps,
        "hidden_act": activation_name(config.activation),
        "type_vocab_size": config.token_types,
        "hidden_dropout_prob": config.dropout,
        "attention_probs_dropout_prob": config.attention_dropout,
        "initializer_range": config.initializer_range,
        "tie_word_embeddings": config.tie_embeddings,
        **write_tokens(config),
        **write_labels(config),
    }


def _read(raw: dict[str, Any]) -> ModelConfig:
    if raw.get("architectures") == ["BertForPreTraining"]:
        raw = raw | {"architectures": [_CLASSES["masked-lm"]]}
    keys = Keys(raw)
    fields = read_encoder(keys, _CLASSES)
    # Of the first releases; the pooler is always as wide as the stack.
    keys.skip("directionality", *(name for name in raw if name.startswith("pooler_")))
    if fields["head"] == "classify":
        fields |= {"pooler": True, "classifier": "pooler"}
    if fields["head"] == "masked-lm":
        fields["head_activation"] = fields["activation"]
    config = ModelConfig(**fields)
    keys.finish()
    return config


def _write(config: ModelConfig) -> dict[str, Any]:
    return write_encoder(config, _CLASSES)


LAYER = {
    "attention.out": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "mlp.up": "intermediate.dense",
    "mlp.down": "output.dense",
    "mlp_norm": "output.LayerNorm",
}


def encoder_table(config: ModelConfig, base: str) -> Table:
    """The stack of BERT and RoBERTa, whose names begin with `base`."""
    embeddings = f"{base}embeddings"
    table: Table = {
        "embedding.weight": Source((f"{embeddings}.word_embeddings.weight",)),
        "encoder.positions.weight": Source((f"{embeddings}.position_embeddings.weight",)),
        "encoder.types.weight": Source((f"{embeddings}.token_type_embeddings.weight",)),
    }
    table |= linear("encoder.embedding_norm", f"{embeddings}.LayerNorm", bias=True)
    width = config.hidden_size
    for i in range(config.num_layers):
        ours, theirs = f"encoder.layers.{i}", f"{base}encoder.layer.{i}"
        table |= linear(
            f"{ours}.attention.qkv",
            *(f"{theirs}.attention.self.{name}" for name in ("query", "key", "value")),
            bias=True,
            sizes=(width,) * 3,
        )
        for mine, name in LAYER.items():
            table |= linear(f"{ours}.{mine}", f"{theirs}.{name}", bias=True)
    if config.pooler:
        table |= linear("pooler", f"{base}pooler.dense", bias=True)
    return table


def head_table(config: ModelConfig, names: Mapping[str, str]) -> Table:
    """A masked-lm, tag or extract head. `names`: dense, norm, decoder and bias of the masked-lm."""
    table: Table = {}
    if config.head == "masked-lm":
        table |= linear("head.transform.dense", names["dense"], bias=True)
        table |= linear("head.transform.norm", names["norm"], bias=True)
        if config.tie_embeddings:
            table["head.projection.bias"] = Source((names["bias"],))
        else:
            table |= linear("head.projection", names["decoder"], bias=True)
    elif config.head == "tag":
        table |= linear("head.projection", "classifier", bias=True)
    elif config.head == "extract":
        table |= linear("head.projection", "qa_outputs", bias=True)
    return table


_HEAD = {
    "dense": "cls.predictions.transform.dense",
    "norm": "cls.predictions.transform.LayerNorm",
    "decoder": "cls.predictions.decoder",
    "bias": "cls.predictions.bias",
}


def _weights(config: ModelConfig) -> Table:
    table = encoder_table(config, "" if config.head == "none" else "bert.")
    if config.head == "classify":
        return table | dict(linear("head.projection", "classifier", bias=True))
    return table | head_table(config, _HEAD)


def _tied(config: ModelConfig) -> dict[str, str]:
    if config.head != "masked-lm" or not config.tie_embeddings:
        return {}
    return {
        "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    }


def older_names(name: str, base: str) -> tuple[str, ...]:
    """With or without the stack's prefix; norms also as TensorFlow called their weights."""
    other = name.removeprefix(base) if name.startswith(base) else f"{base}{name}"
    names = [name, other]
    if "LayerNorm." in name:
        names += [re.sub(r"\.weight$", ".gamma", re.sub(r"\.bias$", ".beta", n)) for n in names]
    return tuple(names[1:])


def _spellings(name: str) -> tuple[str, ...]:
    if name == "cls.predictions.bias":
        return ("cls.predictions.decoder.bias",)
    return older_names(name, "bert.")


FAMILY = Family(
    name="bert",
    read=_read,
    write=_write,
    weights=_weights,
    tied=_tied,
    spellings=_spellings,
    ignored=r"(bert\.)?embeddings\.position_ids$|cls\.seq_relationship\.|bert\.pooler\."
    r"|cls\.predictions\.bias$",
)
