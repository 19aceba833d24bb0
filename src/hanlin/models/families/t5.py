"""T5 (Raffel et al. 2020), T5 v1.1 and Flan-T5 (Chung et al. 2022), and mT5 (Xue et al. 2021).

RMSNorm before each sublayer, no biases, unscaled attention with one learned bias per distance
bucket and head; the table of the buckets is stored in block 0 of each tower. The first T5 has ReLU
and shares its embedding with the output, before which it scales by D ** -0.5; v1.1 and mT5 have
GeGLU and do neither. An encoder alone (T5EncoderModel) is an encoder here too.
"""

from typing import Any

import torch

from hanlin.errors import FormatError
from hanlin.models.config import Activation, ModelConfig
from hanlin.models.families import Family
from hanlin.models.families.bart import spellings
from hanlin.models.families.decoder import Classes, class_of, read_head
from hanlin.models.families.keys import (
    ACTIVATIONS,
    MOST_LAYERS,
    Keys,
    activation_name,
    write_labels,
    write_tokens,
)
from hanlin.models.weights import Source, Table, Tensors, linear

_STEMS = {"t5": "T5", "mt5": "MT5"}


def _both(stem: str) -> Classes:
    return {
        "language-model": f"{stem}ForConditionalGeneration",
        "none": f"{stem}Model",
        "classify": f"{stem}ForSequenceClassification",
    }


def _alone(stem: str) -> Classes:
    return {"none": f"{stem}EncoderModel", "tag": f"{stem}ForTokenClassification"}


def _activation(keys: Keys) -> tuple[Activation, bool]:
    """What feed_forward_proj says ("relu", "gated-gelu"), and what newer writers spell out."""
    gate, _, name = str(keys.given("feed_forward_proj", "relu")).rpartition("-")
    if gate == "gated" and name == "gelu":
        name = "gelu_new"
    name = keys.given("dense_act_fn", name)
    if gate not in ("", "gated") or name not in ACTIVATIONS:
        raise keys.wrong("feed_forward_proj", "an activation, or gated- and an activation")
    return ACTIVATIONS[name], keys.given("is_gated_act", gate == "gated")


def _read(raw: dict[str, Any]) -> ModelConfig:
    keys = Keys(raw)
    stem, model_type = _STEMS[raw["model_type"]], raw["model_type"]
    alone = raw.get("architectures") in [[name] for name in _alone(stem).values()]
    head = read_head(
        keys,
        _alone(stem) if alone else _both(stem),
        default="none" if alone else "language-model",
    )
    activation, gated = _activation(keys)
    layers, width = keys.whole("num_layers", most=MOST_LAYERS), keys.whole("d_model")
    decoder_layers = keys.whole("num_decoder_layers", layers, most=MOST_LAYERS)
    tied = keys.given("tie_word_embeddings", True)
    # transformers scales a T5's output unless its config once said "not tied"; an mT5's never.
    scaled = keys.given("scale_decoder_outputs", tied) if model_type == "t5" else False
    dropout = keys.given("dropout_rate", 0.1)
    keys.skip("initializer_factor", "classifier_dropout", "output_past")  # before or in training
    fields: dict[str, Any] = {}
    if head in ("classify", "tag"):
        fields |= keys.task(2)
    if head == "classify":
        fields |= {"pooling": "eos", "classifier": "dense", "head_activation": "tanh"}
    pad = keys.token("pad")
    start = keys.token("decoder_start")
    config = ModelConfig(
        family=model_type,
        shape="encoder" if alone else "encoder-decoder",
        head=head,
        vocab_size=keys.whole("vocab_size"),
        hidden_size=width,
        num_layers=layers,
        num_heads=keys.whole("num_heads"),
        head_dim=keys.whole("d_kv"),
        intermediate_size=keys.whole("d_ff"),
        decoder_layers=None if alone else decoder_layers,
        max_context=keys.whole("n_positions", 512),
        position="relative",
        relative_buckets=keys.whole("relative_attention_num_buckets", 32),
        relative_max_distance=keys.whole("relative_attention_max_distance", 128),
        attention_scale=1.0,
        norm_eps=keys.positive("layer_norm_epsilon", 1e-6),
        activation=activation,
        gated=gated,
        tie_embeddings=tied,
        logit_scale=width**-0.5 if scaled else 1.0,
        dropout=dropout,
        attention_dropout=keys.given("attention_dropout", dropout),
        pad_id=pad,
        bos_id=keys.token("bos"),
        eos_ids=keys.eos_ids,
        decoder_start_id=pad if start is None else start,
        **fields,
    )
    keys.finish()
    return config


def _write(config: ModelConfig) -> dict[str, Any]:
    stem = _STEMS[config.family]
    alone = config.shape == "encoder"
    scaled = config.logit_scale != 1.0
    activation = activation_name(config.activation)
    out = {
        "architectures": class_of(config, _alone(stem) if alone else _both(stem)),
        "model_type": config.family,
        "is_encoder_decoder": not alone,
        "vocab_size": config.vocab_size,
        "d_model": config.hidden_size,
        "d_kv": config.channels,
        "d_ff": config.intermediate_size,
        "num_layers": config.num_layers,
        "num_decoder_layers": config.decoder_layers or config.num_layers,
        "num_heads": config.num_heads,
        "relative_attention_num_buckets": config.relative_buckets,
        "relative_attention_max_distance": config.relative_max_distance,
        "dropout_rate": config.dropout,
        "layer_norm_epsilon": config.norm_eps,
        "feed_forward_proj": activation,
        "tie_word_embeddings": config.tie_embeddings,
        "decoder_start_token_id": config.decoder_start_id,
        **{name: token for name, token in write_tokens(config).items() if token is not None},
        **write_labels(config),
    }
    if config.gated:
        # "gated-gelu" means the tanh form, so the exact one is spelled out as newer writers do.
        out["feed_forward_proj"] = (
            "gated-gelu" if activation == "gelu_new" else f"gated-{activation}"
        )
        out |= {"dense_act_fn": activation, "is_gated_act": True}
    if config.family == "t5":
        out["scale_decoder_outputs"] = scaled
    if config.attention_dropout != config.dropout:
        out["attention_dropout"] = config.attention_dropout
    if config.max_context != 512:
        out["n_positions"] = config.max_context
    return out


def _weights(config: ModelConfig) -> Table:
    base = "transformer." if config.head in ("classify", "tag") else ""
    inner, width = config.num_heads * config.channels, config.intermediate_size
    table: Table = {"embedding.weight": Source((f"{base}shared.weight",))}

    def norm(ours: str, theirs: str) -> None:
        table[f"{ours}.weight"] = Source((f"{theirs}.weight",))

    for side, layers in (("encoder", config.num_layers), ("decoder", config.decoder_layers or 0)):
        if not layers:
            continue
        buckets = f"{base}{side}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
        table[f"{side}.relative.weight"] = Source((buckets,))
        for i in range(layers):
            ours, block = f"{side}.layers.{i}", f"{base}{side}.block.{i}.layer"
            theirs = f"{block}.0.SelfAttention"
            qkv = [f"{theirs}.{p}" for p in "qkv"]
            table |= linear(f"{ours}.attention.qkv", *qkv, bias=False, sizes=(inner,) * 3)
            table |= linear(f"{ours}.attention.out", f"{theirs}.o", bias=False)
            norm(f"{ours}.attention_norm", f"{block}.0.layer_norm")
            if side == "decoder":
                theirs = f"{block}.1.EncDecAttention"
                table |= linear(f"{ours}.cross.q", f"{theirs}.q", bias=False)
                kv = [f"{theirs}.{p}" for p in "kv"]
                table |= linear(f"{ours}.cross.kv", *kv, bias=False, sizes=(inner,) * 2)
                table |= linear(f"{ours}.cross.out", f"{theirs}.o", bias=False)
                norm(f"{ours}.cross_norm", f"{block}.1.layer_norm")
            last = f"{block}.{2 if side == 'decoder' else 1}"
            theirs = f"{last}.DenseReluDense"
            up = [f"{theirs}.wi_0", f"{theirs}.wi_1"] if config.gated else [f"{theirs}.wi"]
            sizes = (width, width) if config.gated else ()
            table |= linear(f"{ours}.mlp.up", *up, bias=False, sizes=sizes)
            table |= linear(f"{ours}.mlp.down", f"{theirs}.wo", bias=False)
            norm(f"{ours}.mlp_norm", f"{last}.layer_norm")
        norm(f"{side}.final_norm", f"{base}{side}.final_layer_norm")
    if config.head == "language-model" and not config.tie_embeddings:
        table["head.projection.weight"] = Source(("lm_head.weight",))
    if config.head == "classify":
        table |= linear("head.transform.dense", "classification_head.dense", bias=True)
        table |= linear("head.projection", "classification_head.out_proj", bias=True)
    if config.head == "tag":
        table |= linear("head.projection", "classifier", bias=True)
    return table


def _tied(config: ModelConfig) -> dict[str, str]:
    base = "transformer." if config.head in ("classify", "tag") else ""
    copies = [f"{base}encoder.embed_tokens.weight"]
    if config.shape == "encoder-decoder":
        copies.append(f"{base}decoder.embed_tokens.weight")
    if config.head == "language-model" and config.tie_embeddings:
        copies.append("lm_head.weight")
    return dict.fromkeys(copies, f"{base}shared.weight")


def _fit(config: ModelConfig, tensors: Tensors) -> ModelConfig:
    """Tied or not as the weights are: transformers 5 writes that every T5 is tied."""
    if config.head != "language-model":
        return config
    stored, head = set(tensors.tensor_names), "lm_head.weight"
    shared = next((n for n in ("shared.weight", *spellings("shared.weight")) if n in stored), head)
    if head not in stored or shared == head:
        return config.with_changes(tie_embeddings=True)
    if not config.tie_embeddings:
        return config
    tied = torch.equal(tensors.tensor(head), tensors.tensor(shared))
    if not tied and config.logit_scale != 1.0:
        raise FormatError(
            f"config.json ties {head} to {shared}, but the weights differ. "
            "Set tie_word_embeddings to false."
        )
    return config.with_changes(tie_embeddings=tied)


FAMILY = Family(
    name="t5",
    read=_read,
    write=_write,
    weights=_weights,
    tied=_tied,
    # A table of distances that early T5 checkpoints hold and nothing uses.
    ignored=r"(transformer\.)?decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight$",
    spellings=spellings,
    fit=_fit,
    unsaid=("initializer_range",),
)
