"""GPT-2 (Radford et al. 2019): learned positions, LayerNorm before, weights stored transposed."""

from typing import Any

from hanlin.models.config import HeadKind, ModelConfig
from hanlin.models.families import Family
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
    "language-model": "GPT2LMHeadModel",
    "none": "GPT2Model",
    "classify": "GPT2ForSequenceClassification",
    "tag": "GPT2ForTokenClassification",
}


def _read(raw: dict[str, Any]) -> ModelConfig:
    keys = Keys(raw)
    head = read_head(keys, _CLASSES, default="language-model")
    keys.neutral("scale_attn_weights", True)
    keys.neutral("scale_attn_by_inverse_layer_idx", False)
    # It only changes the order of rounding.
    keys.skip("reorder_and_upcast_attn", "embd_pdrop", "classifier_dropout", "n_ctx")
    keys.skip(*(name for name in raw if name.startswith("summary_")))
    keys.neutral("add_cross_attention", False)
    hidden = keys.whole("n_embd")
    fields: dict[str, Any] = {}
    if head in ("classify", "tag"):
        fields |= {"labels": keys.labels(), "classifier_bias": head == "tag"}
    if head == "classify":
        fields |= keys.task() | {"pooling": "last"}
    config = ModelConfig(
        family="gpt2",
        shape="decoder",
        head=head,
        vocab_size=keys.whole("vocab_size"),
        hidden_size=hidden,
        num_layers=keys.whole("n_layer", most=MOST_LAYERS),
        num_heads=keys.whole("n_head"),
        intermediate_size=keys.whole("n_inner", 4 * hidden),
        max_context=keys.whole("n_positions", 1024),
        position="learned",
        attention_bias=True,
        attention_out_bias=True,
        mlp_bias=True,
        norm="layernorm",
        norm_eps=keys.positive("layer_norm_epsilon", 1e-5),
        norm_bias=True,
        activation=keys.activation("activation_function", "gelu_new"),
        gated=False,
        dropout=keys.given("resid_pdrop", 0.1),
        attention_dropout=keys.given("attn_pdrop", 0.1),
        initializer_range=keys.given("initializer_range", 0.02),
        tie_embeddings=keys.tied(True),
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
        "model_type": "gpt2",
        "vocab_size": config.vocab_size,
        "n_embd": config.hidden_size,
        "n_layer": config.num_layers,
        "n_head": config.num_heads,
        "n_inner": config.intermediate_size,
        "n_positions": config.max_context,
        "layer_norm_epsilon": config.norm_eps,
        "activation_function": activation_name(config.activation),
        "resid_pdrop": config.dropout,
        "embd_pdrop": config.dropout,
        "attn_pdrop": config.attention_dropout,
        "initializer_range": config.initializer_range,
        "tie_word_embeddings": config.tie_embeddings,
        **write_tokens(config),
        **write_labels(config),
    }


def _weights(config: ModelConfig) -> Table:
    base = "" if config.head == "none" else "transformer."
    table: Table = {
        "embedding.weight": Source((f"{base}wte.weight",)),
        "decoder.positions.weight": Source((f"{base}wpe.weight",)),
    }
    linears = {
        "attention.qkv": "attn.c_attn",
        "attention.out": "attn.c_proj",
        "mlp.up": "mlp.c_fc",
        "mlp.down": "mlp.c_proj",
    }
    norms = {"attention_norm": "ln_1", "mlp_norm": "ln_2"}
    for i in range(config.num_layers):
        ours, theirs = f"decoder.layers.{i}", f"{base}h.{i}"
        for mine, name in linears.items():
            table |= linear(f"{ours}.{mine}", f"{theirs}.{name}", bias=True, transpose=True)
        for mine, name in norms.items():
            table |= linear(f"{ours}.{mine}", f"{theirs}.{name}", bias=True)
    table |= linear("decoder.final_norm", f"{base}ln_f", bias=True)
    if config.head == "language-model" and not config.tie_embeddings:
        table["head.projection.weight"] = Source(("lm_head.weight",))
    if config.head == "classify":
        table |= linear("head.projection", "score", bias=False)
    if config.head == "tag":
        table |= linear("head.projection", "classifier", bias=True)
    return table


def _tied(config: ModelConfig) -> dict[str, str]:
    if config.head != "language-model" or not config.tie_embeddings:
        return {}
    return {"lm_head.weight": "transformer.wte.weight"}


def _spellings(name: str) -> tuple[str, ...]:
    """The files that came with the paper's models name the stack's tensors without a prefix."""
    bare = name.removeprefix("transformer.")
    return (bare,) if bare != name else (f"transformer.{name}",)


FAMILY = Family(
    name="gpt2",
    read=_read,
    write=_write,
    weights=_weights,
    tied=_tied,
    spellings=_spellings,
    ignored=r"(transformer\.)?h\.\d+\.attn\.(bias|masked_bias)$",
)
