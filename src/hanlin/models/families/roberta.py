"""RoBERTa (Liu et al. 2019) and XLM-RoBERTa (Conneau et al. 2020)."""

from typing import Any

from hanlin.errors import FormatError
from hanlin.models.config import HeadKind, ModelConfig
from hanlin.models.families import Family
from hanlin.models.families.bert import (
    encoder_table,
    head_table,
    older_names,
    read_encoder,
    write_encoder,
)
from hanlin.models.families.keys import Keys
from hanlin.models.weights import Table, linear


def _classes(stem: str) -> dict[HeadKind, str]:
    return {
        "none": f"{stem}Model",
        "masked-lm": f"{stem}ForMaskedLM",
        "classify": f"{stem}ForSequenceClassification",
        "tag": f"{stem}ForTokenClassification",
        "extract": f"{stem}ForQuestionAnswering",
    }


_CLASSES = {"roberta": _classes("Roberta"), "xlm-roberta": _classes("XLMRoberta")}


def _read(raw: dict[str, Any]) -> ModelConfig:
    keys = Keys(raw)
    fields = read_encoder(keys, _CLASSES[raw["model_type"]])
    if fields["pad_id"] is None:
        fields["pad_id"] = 1
    # Positions start behind the padding's own row.
    offset = fields["pad_id"] + 1
    if fields["max_context"] <= offset:
        raise FormatError(
            f"config.json's max_position_embeddings {fields['max_context']} leaves no positions "
            f"above pad_token_id {fields['pad_id']}. Fetch the config again."
        )
    fields |= {"position_offset": offset, "max_context": fields["max_context"] - offset}
    if fields["head"] == "classify":
        fields |= {"classifier": "dense", "head_activation": "tanh"}
    config = ModelConfig(**fields)
    keys.finish()
    return config


def _write(config: ModelConfig) -> dict[str, Any]:
    return write_encoder(config, _CLASSES[config.family])


_HEAD = {
    "dense": "lm_head.dense",
    "norm": "lm_head.layer_norm",
    "decoder": "lm_head.decoder",
    "bias": "lm_head.bias",
}


def _weights(config: ModelConfig) -> Table:
    table = encoder_table(config, "" if config.head == "none" else "roberta.")
    if config.head == "classify":
        table |= linear("head.transform.dense", "classifier.dense", bias=True)
        table |= linear("head.projection", "classifier.out_proj", bias=True)
        return table
    return table | head_table(config, _HEAD)


def _tied(config: ModelConfig) -> dict[str, str]:
    if config.head != "masked-lm" or not config.tie_embeddings:
        return {}
    return {
        "lm_head.decoder.weight": "roberta.embeddings.word_embeddings.weight",
        "lm_head.decoder.bias": "lm_head.bias",
    }


def _spellings(name: str) -> tuple[str, ...]:
    if name == "lm_head.bias":
        return ("lm_head.decoder.bias",)
    return older_names(name, "roberta.")


FAMILY = Family(
    name="roberta",
    read=_read,
    write=_write,
    weights=_weights,
    tied=_tied,
    spellings=_spellings,
    ignored=r"(roberta\.)?embeddings\.position_ids$|roberta\.pooler\.|lm_head\.bias$",
)
