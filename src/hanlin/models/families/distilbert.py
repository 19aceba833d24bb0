"""DistilBERT (Sanh et al. 2019): BERT without token types and pooler."""

from typing import Any

from hanlin.models.config import HeadKind, ModelConfig
from hanlin.models.families import Family
from hanlin.models.families.bert import head_table, older_names
from hanlin.models.families.decoder import class_of, read_head
from hanlin.models.families.keys import (
    MOST_LAYERS,
    Keys,
    activation_name,
    write_labels,
    write_tokens,
)
from hanlin.models.weights import Source, Table, linear

_CLASSES: dict[HeadKind, str] = {
    "none": "DistilBertModel",
    "masked-lm": "DistilBertForMaskedLM",
    "classify": "DistilBertForSequenceClassification",
    "tag": "DistilBertForTokenClassification",
    "extract": "DistilBertForQuestionAnswering",
}


def _read(raw: dict[str, Any]) -> ModelConfig:
    keys = Keys(raw)
    head = read_head(keys, _CLASSES, default="none")
    # Sinusoidal tables are stored like learned ones.
    keys.skip("qa_dropout", "seq_classif_dropout", "sinusoidal_pos_embds", "tie_weights_")
    activation = keys.activation("activation", "gelu")
    fields: dict[str, Any] = {}
    if head == "classify":
        fields |= keys.task()
    elif head == "tag":
        fields["labels"] = keys.labels()
    if head == "classify":
        fields |= {"classifier": "dense", "head_activation": "relu"}
    if head == "masked-lm":
        fields |= {"lm_head_bias": True, "head_transform": True, "head_activation": activation}
    config = ModelConfig(
        family="distilbert",
        shape="encoder",
        head=head,
        vocab_size=keys.whole("vocab_size"),
        hidden_size=keys.whole("dim"),
        num_layers=keys.whole("n_layers", most=MOST_LAYERS),
        num_heads=keys.whole("n_heads"),
        intermediate_size=keys.whole("hidden_dim"),
        max_context=keys.whole("max_position_embeddings", 512),
        position="learned",
        attention_bias=True,
        attention_out_bias=True,
        mlp_bias=True,
        norm="layernorm",
        norm_eps=1e-12,
        norm_place="after",
        norm_bias=True,
        final_norm=False,
        activation=activation,
        gated=False,
        embedding_norm=True,
        tie_embeddings=keys.tied(True),
        dropout=keys.given("dropout", 0.1),
        attention_dropout=keys.given("attention_dropout", 0.1),
        initializer_range=keys.given("initializer_range", 0.02),
        pad_id=keys.token("pad"),
        bos_id=keys.token("bos"),
        eos_ids=keys.eos_ids,
        **fields,
    )
    keys.finish()
    return config


def _write(config: ModelConfig) -> dict[str, Any]:
    return {
        "architectures": class_of(config, _CLASSES),
        "model_type": "distilbert",
        "vocab_size": config.vocab_size,
        "dim": config.hidden_size,
        "n_layers": config.num_layers,
        "n_heads": config.num_heads,
        "hidden_dim": config.intermediate_size,
        "max_position_embeddings": config.max_context,
        "activation": activation_name(config.activation),
        "dropout": config.dropout,
        "attention_dropout": config.attention_dropout,
        "initializer_range": config.initializer_range,
        "tie_word_embeddings": config.tie_embeddings,
        **write_tokens(config),
        **write_labels(config),
    }


_LAYER = {
    "attention.out": "attention.out_lin",
    "attention_norm": "sa_layer_norm",
    "mlp.up": "ffn.lin1",
    "mlp.down": "ffn.lin2",
    "mlp_norm": "output_layer_norm",
}
_HEAD = {
    "dense": "vocab_transform",
    "norm": "vocab_layer_norm",
    "decoder": "vocab_projector",
    "bias": "vocab_projector.bias",
}


def _weights(config: ModelConfig) -> Table:
    base = "" if config.head == "none" else "distilbert."
    table: Table = {
        "embedding.weight": Source((f"{base}embeddings.word_embeddings.weight",)),
        "encoder.positions.weight": Source((f"{base}embeddings.position_embeddings.weight",)),
    }
    table |= linear("encoder.embedding_norm", f"{base}embeddings.LayerNorm", bias=True)
    for i in range(config.num_layers):
        ours, theirs = f"encoder.layers.{i}", f"{base}transformer.layer.{i}"
        table |= linear(
            f"{ours}.attention.qkv",
            *(f"{theirs}.attention.{p}_lin" for p in "qkv"),
            bias=True,
            sizes=(config.hidden_size,) * 3,
        )
        for mine, name in _LAYER.items():
            table |= linear(f"{ours}.{mine}", f"{theirs}.{name}", bias=True)
    if config.head == "classify":
        table |= linear("head.transform.dense", "pre_classifier", bias=True)
        table |= linear("head.projection", "classifier", bias=True)
        return table
    return table | head_table(config, _HEAD)


def _tied(config: ModelConfig) -> dict[str, str]:
    if config.head != "masked-lm" or not config.tie_embeddings:
        return {}
    return {"vocab_projector.weight": "distilbert.embeddings.word_embeddings.weight"}


def _spellings(name: str) -> tuple[str, ...]:
    return older_names(name, "distilbert.")


FAMILY = Family(
    name="distilbert",
    read=_read,
    write=_write,
    weights=_weights,
    tied=_tied,
    spellings=_spellings,
    ignored=r"(distilbert\.)?embeddings\.position_ids$",
)
