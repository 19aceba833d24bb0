"""BART (Lewis et al. 2019) and mBART (Liu et al. 2020), and the layout they share with Marian.

Both towers read one embedding matrix, which is the output projection too; positions are learned and
start at row 2. BART norms after each sublayer, mBART before, with a norm more at each tower's end.
"""

import math
from typing import Any

from hanlin.models.config import ModelConfig
from hanlin.models.families import Family
from hanlin.models.families.decoder import Classes, class_of, read_head
from hanlin.models.families.keys import (
    MOST_LAYERS,
    Keys,
    activation_name,
    write_labels,
    write_tokens,
)
from hanlin.models.weights import Source, Table, Tensors, linear, norm

_BART: Classes = {
    "language-model": "BartForConditionalGeneration",
    "none": "BartModel",
    "classify": "BartForSequenceClassification",
}
# transformers starts an mBART classifier's decoder with each text's own last token, which a
# decoder_start_id cannot say, so that class is left out.
_MBART: Classes = {"language-model": "MBartForConditionalGeneration", "none": "MBartModel"}


def read_towers(keys: Keys, classes: Classes) -> dict[str, Any]:
    """The fields that BART, mBART and Marian configs share, as arguments of ModelConfig."""
    head = read_head(keys, classes, default="language-model")
    width = keys.whole("d_model")
    keys.neutral("tie_word_embeddings", True)
    keys.neutral("add_bias_logits", False)
    # Dropout of other places, and whole layers dropped: they act in training alone.
    keys.skip("activation_dropout", "classifier_dropout", "classif_dropout")
    keys.skip("encoder_layerdrop", "decoder_layerdrop")
    # encoder_layers under another name; and what a generation config says better.
    keys.skip("num_hidden_layers", "force_bos_token_to_be_generated", "output_past", "save_step")
    fields: dict[str, Any] = {
        "shape": "encoder-decoder",
        "head": head,
        "vocab_size": keys.whole("vocab_size"),
        "hidden_size": width,
        "num_layers": keys.whole("encoder_layers", most=MOST_LAYERS),
        "num_heads": keys.whole("encoder_attention_heads"),
        "intermediate_size": keys.whole("encoder_ffn_dim"),
        "decoder_layers": keys.whole("decoder_layers", most=MOST_LAYERS),
        "decoder_heads": keys.whole("decoder_attention_heads"),
        "decoder_intermediate_size": keys.whole("decoder_ffn_dim"),
        "max_context": keys.whole("max_position_embeddings", 1024),
        "attention_bias": True,
        "attention_out_bias": True,
        "norm": "layernorm",
        "norm_bias": True,
        "activation": keys.activation("activation_function", "gelu"),
        "gated": False,
        "mlp_bias": True,
        "embedding_scale": math.sqrt(width) if keys.given("scale_embedding", False) else 1.0,
        "lm_head_bias": head == "language-model",
        "dropout": keys.given("dropout", 0.1),
        "attention_dropout": keys.given("attention_dropout", 0.0),
        "initializer_range": keys.given("init_std", 0.02),
        "pad_id": keys.token("pad"),
        "bos_id": keys.token("bos"),
        "eos_ids": keys.eos_ids,
        "decoder_start_id": keys.token("decoder_start"),
    }
    if head == "classify":
        fields |= keys.task(3)
        fields |= {"pooling": "eos", "classifier": "dense", "head_activation": "tanh"}
    return fields


def write_towers(config: ModelConfig) -> dict[str, Any]:
    """The reverse of `read_towers`."""
    out = {
        "is_encoder_decoder": True,
        "vocab_size": config.vocab_size,
        "d_model": config.hidden_size,
        "encoder_layers": config.num_layers,
        "encoder_attention_heads": config.num_heads,
        "encoder_ffn_dim": config.intermediate_size,
        "decoder_layers": config.decoder_layers,
        "decoder_attention_heads": config.decoder_heads,
        "decoder_ffn_dim": config.decoder_intermediate_size,
        "max_position_embeddings": config.max_context,
        "activation_function": activation_name(config.activation),
        "scale_embedding": config.embedding_scale != 1.0,
        "dropout": config.dropout,
        "attention_dropout": config.attention_dropout,
        "init_std": config.initializer_range,
        "tie_word_embeddings": True,
        "decoder_start_token_id": config.decoder_start_id,
        **write_tokens(config),
        **write_labels(config),
    }
    # Every published model ends so at the length limit, and transformers' defaults are other ids.
    return out | {"forced_eos_token_id": config.eos_ids[0] if config.eos_ids else None}


def _read(raw: dict[str, Any]) -> ModelConfig:
    keys = Keys(raw)
    before = raw["model_type"] == "mbart"
    fields = read_towers(keys, _MBART if before else _BART)
    keys.neutral("normalize_before", before)
    keys.neutral("add_final_layer_norm", before)
    keys.neutral("normalize_embedding", True)
    keys.neutral("static_position_embeddings", False)
    keys.neutral("extra_pos_embeddings", 2)
    keys.finish()
    return ModelConfig(
        family=raw["model_type"],
        position="learned",
        position_offset=2,
        norm_place="before" if before else "after",
        final_norm=before,
        embedding_norm=True,
        **fields,
    )


def _write(config: ModelConfig) -> dict[str, Any]:
    classes = _MBART if config.family == "mbart" else _BART
    out = {"architectures": class_of(config, classes), "model_type": config.family}
    return out | write_towers(config)


def towers_table(config: ModelConfig) -> Table:
    """The names that BART, mBART and Marian share."""
    base = "" if config.head == "none" else "model."
    width = config.hidden_size
    table: Table = {"embedding.weight": Source((f"{base}shared.weight",))}
    for side, layers in (("encoder", config.num_layers), ("decoder", config.decoder_layers or 0)):
        tower = f"{base}{side}"
        if config.position == "learned":
            table[f"{side}.positions.weight"] = Source((f"{tower}.embed_positions.weight",))
        if config.embedding_norm:
            table |= norm(f"{side}.embedding_norm", f"{tower}.layernorm_embedding", bias=True)
        for i in range(layers):
            ours, theirs = f"{side}.layers.{i}", f"{tower}.layers.{i}"
            q, k, v = (f"{theirs}.self_attn.{p}_proj" for p in "qkv")
            table |= linear(f"{ours}.attention.qkv", q, k, v, bias=True, sizes=(width,) * 3)
            table |= linear(f"{ours}.attention.out", f"{theirs}.self_attn.out_proj", bias=True)
            table |= norm(f"{ours}.attention_norm", f"{theirs}.self_attn_layer_norm", bias=True)
            if side == "decoder":
                q, k, v = (f"{theirs}.encoder_attn.{p}_proj" for p in "qkv")
                table |= linear(f"{ours}.cross.q", q, bias=True)
                table |= linear(f"{ours}.cross.kv", k, v, bias=True, sizes=(width,) * 2)
                table |= linear(f"{ours}.cross.out", f"{theirs}.encoder_attn.out_proj", bias=True)
                table |= norm(f"{ours}.cross_norm", f"{theirs}.encoder_attn_layer_norm", bias=True)
            table |= linear(f"{ours}.mlp.up", f"{theirs}.fc1", bias=True)
            table |= linear(f"{ours}.mlp.down", f"{theirs}.fc2", bias=True)
            table |= norm(f"{ours}.mlp_norm", f"{theirs}.final_layer_norm", bias=True)
        if config.final_norm:
            table |= norm(f"{side}.final_norm", f"{tower}.layer_norm", bias=True)
    if config.head == "language-model" and config.lm_head_bias:
        shape = (1, config.vocab_size)
        table["head.projection.bias"] = Source(("final_logits_bias",), shape=shape)
    if config.head == "classify":
        table |= linear("head.transform.dense", "classification_head.dense", bias=True)
        table |= linear("head.projection", "classification_head.out_proj", bias=True)
    return table


def tied_embeddings(config: ModelConfig) -> dict[str, str]:
    """The embedding matrix where some writers repeat it."""
    base = "" if config.head == "none" else "model."
    copies = [f"{base}encoder.embed_tokens.weight", f"{base}decoder.embed_tokens.weight"]
    if config.head == "language-model":
        copies.append("lm_head.weight")
    return dict.fromkeys(copies, f"{base}shared.weight")


def spellings(name: str) -> tuple[str, ...]:
    """Writers that keep one copy of the embedding matrix keep it under any of its names."""
    base, _, last = name.rpartition("shared.weight")
    if last or "shared.weight" not in name:
        return ()
    towers = (f"{base}encoder.embed_tokens.weight", f"{base}decoder.embed_tokens.weight")
    return (*towers, "lm_head.weight")


def fit_bias(config: ModelConfig, tensors: Tensors) -> ModelConfig:
    """Without the output bias that a directory may leave out, as transformers reads it."""
    if config.lm_head_bias and "final_logits_bias" not in tensors.tensor_names:
        return config.with_changes(lm_head_bias=False)
    return config


FAMILY = Family(
    name="bart",
    read=_read,
    write=_write,
    weights=towers_table,
    tied=tied_embeddings,
    ignored=r"(model\.)?(encoder|decoder)\.version$",
    spellings=spellings,
    fit=fit_bias,
    unsaid=("lm_head_bias",),
)
