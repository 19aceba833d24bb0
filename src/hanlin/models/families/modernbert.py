"""ModernBERT (Warner et al. 2024): rotary positions, GeGLU, windows between full layers."""

from typing import Any

from hanlin.models.config import HeadKind, LayerKind, ModelConfig
from hanlin.models.families import Family
from hanlin.models.families.decoder import class_of, read_head
from hanlin.models.families.keys import (
    MOST_LAYERS,
    Keys,
    activation_name,
    write_kinds,
    write_labels,
    write_tokens,
)
from hanlin.models.families.rope import read_rope, rope_parameters
from hanlin.models.weights import Source, Table, linear

_CLASSES: dict[HeadKind, str] = {
    "none": "ModernBertModel",
    "masked-lm": "ModernBertForMaskedLM",
    "classify": "ModernBertForSequenceClassification",
    "tag": "ModernBertForTokenClassification",
    "extract": "ModernBertForQuestionAnswering",
}
_POOLINGS = {"cls": "first", "mean": "mean"}

# Of training, of speed, or of keys that later ones replaced.
_SKIPPED = """initializer_cutoff_factor embedding_dropout classifier_dropout
    deterministic_flash_attn sparse_prediction sparse_pred_ignore_index reference_compile
    repad_logits_with_grad layer_norm_eps""".split()


def _read(raw: dict[str, Any]) -> ModelConfig:
    keys = Keys(raw)
    head = read_head(keys, _CLASSES, default="none")
    keys.neutral("position_embedding_type", "absolute")
    keys.skip(*_SKIPPED)
    layers = keys.whole("num_hidden_layers", most=MOST_LAYERS)
    every = keys.whole("global_attn_every_n_layers", 3)
    bias = keys.given("attention_bias", False)
    transform_bias = keys.given("classifier_bias", False)
    decoder_bias = keys.given("decoder_bias", True)
    head_activation = keys.activation("classifier_activation", "gelu")
    pooling = keys.given("classifier_pooling", "cls")
    if pooling not in _POOLINGS:
        raise keys.wrong("classifier_pooling", f"one of {', '.join(_POOLINGS)}")
    # A classifier's, though it stands in the config of what a classifier is made from too.
    fields: dict[str, Any] = {"pooling": _POOLINGS[pooling]}
    if head != "none":
        fields |= {"head_transform_bias": transform_bias, "head_activation": head_activation}
    if head in ("masked-lm", "tag", "extract"):
        fields["head_transform"] = True
    if head == "masked-lm":
        fields["lm_head_bias"] = decoder_bias
    if head == "tag":
        fields["labels"] = keys.labels()
    if head == "classify":
        fields |= keys.task() | {"classifier": "transform"}
    config = ModelConfig(
        family="modernbert",
        shape="encoder",
        head=head,
        vocab_size=keys.whole("vocab_size"),
        hidden_size=keys.whole("hidden_size"),
        num_layers=layers,
        num_heads=keys.whole("num_attention_heads"),
        intermediate_size=keys.whole("intermediate_size"),
        max_context=keys.whole("max_position_embeddings", 8192),
        rope=_rope(keys, "full"),
        rope_local=_rope(keys, "sliding"),
        attention_bias=bias,
        attention_out_bias=bias,
        sliding_window=keys.whole("local_attention", 128),
        layer_kinds=keys.layer_kinds(layers) or _alternate(layers, every),
        norm="layernorm",
        norm_eps=keys.positive("norm_eps", 1e-5),
        norm_bias=keys.given("norm_bias", False),
        first_attention_norm=False,
        activation=keys.activation("hidden_activation", "gelu"),
        mlp_bias=keys.given("mlp_bias", False),
        embedding_norm=True,
        tie_embeddings=keys.tied(True),
        dropout=keys.given("mlp_dropout", 0.0),
        attention_dropout=keys.given("attention_dropout", 0.0),
        initializer_range=keys.given("initializer_range", 0.02),
        pad_id=keys.token("pad"),
        bos_id=keys.token("bos"),
        eos_ids=keys.eos_ids,
        **fields,
    )
    keys.finish()
    return config


def _rope(keys: Keys, kind: LayerKind) -> Any:
    full = kind == "full"
    return read_rope(
        keys,
        theta=160_000.0 if full else 10_000.0,
        theta_key="global_rope_theta" if full else "local_rope_theta",
        kind=f"{kind}_attention",
    )


def _alternate(layers: int, every: int) -> tuple[LayerKind, ...]:
    return tuple("sliding" if layer % every else "full" for layer in range(layers))


def _write(config: ModelConfig) -> dict[str, Any]:
    poolings = {mine: theirs for theirs, mine in _POOLINGS.items()}
    # A bare stack's head keys are whatever transformers would write.
    headed = config.head != "none"
    bias = config.head_transform_bias if headed else False
    return {
        "architectures": class_of(config, _CLASSES),
        "model_type": "modernbert",
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "intermediate_size": config.intermediate_size,
        "max_position_embeddings": config.max_context,
        "rope_parameters": {
            "full_attention": rope_parameters(config.rope),
            "sliding_attention": rope_parameters(config.rope_local or config.rope),
        },
        "attention_bias": config.attention_bias,
        "local_attention": config.sliding_window,
        "layer_types": write_kinds(config),
        "norm_eps": config.norm_eps,
        "norm_bias": config.norm_bias,
        "hidden_activation": activation_name(config.activation),
        "mlp_bias": config.mlp_bias,
        "mlp_dropout": config.dropout,
        "embedding_dropout": config.dropout,
        "attention_dropout": config.attention_dropout,
        "classifier_bias": bias,
        "classifier_activation": activation_name(config.head_activation),
        "classifier_pooling": poolings.get(config.pooling, "cls"),
        "decoder_bias": config.lm_head_bias or config.head != "masked-lm",
        "initializer_range": config.initializer_range,
        "tie_word_embeddings": config.tie_embeddings,
        "cls_token_id": config.bos_id,
        "sep_token_id": config.eos_ids[0] if config.eos_ids else None,
        **write_tokens(config),
        **write_labels(config),
    }


def _weights(config: ModelConfig) -> Table:
    base = "" if config.head == "none" else "model."
    norm_bias, embeddings = config.norm_bias, f"{base}embeddings"
    table: Table = {"embedding.weight": Source((f"{embeddings}.tok_embeddings.weight",))}
    table |= linear("encoder.embedding_norm", f"{embeddings}.norm", bias=norm_bias)
    lines = {
        "attention.qkv": ("attn.Wqkv", config.attention_bias),
        "attention.out": ("attn.Wo", config.attention_out_bias),
        "mlp.up": ("mlp.Wi", config.mlp_bias),
        "mlp.down": ("mlp.Wo", config.mlp_bias),
        "attention_norm": ("attn_norm", norm_bias),
        "mlp_norm": ("mlp_norm", norm_bias),
    }
    for i in range(config.num_layers):
        for mine, (name, bias) in lines.items():
            if i > 0 or mine != "attention_norm":
                table |= linear(f"encoder.layers.{i}.{mine}", f"{base}layers.{i}.{name}", bias=bias)
    table |= linear("encoder.final_norm", f"{base}final_norm", bias=norm_bias)
    if config.head == "none":
        return table
    table |= linear("head.transform.dense", "head.dense", bias=config.head_transform_bias)
    table |= linear("head.transform.norm", "head.norm", bias=norm_bias)
    if config.head != "masked-lm":
        return table | dict(linear("head.projection", "classifier", bias=True))
    if not config.tie_embeddings:
        table["head.projection.weight"] = Source(("decoder.weight",))
    if config.lm_head_bias:
        table["head.projection.bias"] = Source(("decoder.bias",))
    return table


def _tied(config: ModelConfig) -> dict[str, str]:
    if config.head != "masked-lm" or not config.tie_embeddings:
        return {}
    return {"decoder.weight": "model.embeddings.tok_embeddings.weight"}


def _spellings(name: str) -> tuple[str, ...]:
    headed = name.startswith(("model.", "head.", "decoder.", "classifier."))
    return () if headed else (f"model.{name}",)


FAMILY = Family(
    name="modernbert",
    read=_read,
    write=_write,
    weights=_weights,
    tied=_tied,
    spellings=_spellings,
)
