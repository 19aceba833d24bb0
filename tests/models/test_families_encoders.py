"""Encoders agree with transformers: hidden states, pooled vectors, masked tokens, labels, spans."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from against_transformers import (
    PAD,
    VOCABULARY,
    batch,
    check_round_trip,
    close,
    make,
    ours,
    pad,
    rows_of,
    same_tensors,
)
from safetensors.torch import load_file, save_file

from hanlin.models import load
from hanlin.models.directory import save_directory

HEADS = {
    "none": "Model",
    "masked-lm": "ForMaskedLM",
    "classify": "ForSequenceClassification",
    "tag": "ForTokenClassification",
    "extract": "ForQuestionAnswering",
}


def _labels(draw: random.Random, head: str) -> dict[str, Any]:
    if head not in ("classify", "tag"):
        return {}
    return {"id2label": {i: f"kind {i}" for i in range(draw.choice([1, 3, 11]))}}


def _bert(draw: random.Random, head: str, cls: str = "BertConfig") -> Any:
    heads = draw.choice([3, 4, 5])
    return getattr(transformers, cls)(
        vocab_size=VOCABULARY,
        hidden_size=heads * draw.choice([3, 4, 8]),
        num_hidden_layers=draw.choice([1, 3]),
        num_attention_heads=heads,
        intermediate_size=draw.choice([13, 32]),
        hidden_act=draw.choice(["gelu", "gelu_new", "relu"]),
        max_position_embeddings=40,
        type_vocab_size=draw.choice([1, 2, 3]),
        layer_norm_eps=draw.choice([1e-12, 1e-5]),
        pad_token_id=PAD,
        bos_token_id=0,
        eos_token_id=2,
        **_labels(draw, head),
    )


def _roberta(draw: random.Random, head: str) -> Any:
    return _bert(draw, head, "RobertaConfig")


def _xlm(draw: random.Random, head: str) -> Any:
    return _bert(draw, head, "XLMRobertaConfig")


def _distilbert(draw: random.Random, head: str) -> Any:
    heads = draw.choice([3, 4, 5])
    return transformers.DistilBertConfig(
        vocab_size=VOCABULARY,
        dim=heads * draw.choice([4, 8]),
        n_layers=draw.choice([1, 3]),
        n_heads=heads,
        hidden_dim=draw.choice([13, 32]),
        activation=draw.choice(["gelu", "relu"]),
        max_position_embeddings=40,
        pad_token_id=PAD,
        **_labels(draw, head),
    )


def _modernbert(draw: random.Random, head: str) -> Any:
    heads = draw.choice([3, 4, 5])
    layers = draw.choice([2, 4])
    kinds = [draw.choice(["sliding_attention", "full_attention"]) for _ in range(layers)]
    return transformers.ModernBertConfig(
        vocab_size=VOCABULARY,
        hidden_size=heads * draw.choice([4, 6]),
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=draw.choice([13, 24]),
        hidden_activation=draw.choice(["gelu", "silu"]),
        max_position_embeddings=40,
        layer_types=draw.choice([None, kinds]),
        local_attention=draw.choice([4, 6, 7]),
        norm_bias=draw.random() < 0.5,
        attention_bias=draw.random() < 0.5,
        mlp_bias=draw.random() < 0.5,
        decoder_bias=draw.random() < 0.5 or head != "masked-lm",
        classifier_bias=draw.random() < 0.5 and head != "none",
        classifier_pooling=draw.choice(["cls", "mean"]),
        classifier_activation=draw.choice(["gelu", "relu"]) if head != "none" else "gelu",
        tie_word_embeddings=draw.random() < 0.5,
        pad_token_id=PAD,
        bos_token_id=0,
        eos_token_id=2,
        cls_token_id=0,
        sep_token_id=2,
        **_labels(draw, head),
    )


FAMILIES: dict[str, tuple[str, Callable[[random.Random, str], Any]]] = {
    "bert": ("Bert", _bert),
    "roberta": ("Roberta", _roberta),
    "xlm-roberta": ("XLMRoberta", _xlm),
    "distilbert": ("DistilBert", _distilbert),
    "modernbert": ("ModernBert", _modernbert),
}


def _pair(family: str, head: str, seed: int, path: Path) -> tuple[str, Any, Any]:
    stem, config_of = FAMILIES[family]
    config = config_of(random.Random(f"{family} {head} {seed}"), head)
    print(family, head, seed, config.to_json_string())
    theirs = make(stem + HEADS[head], config, seed)
    return stem + HEADS[head], theirs, ours(theirs, path / "theirs")


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_every_head_agrees_on_padded_batches(
    family: str, head: str, seed: int, tmp_path: Path
) -> None:
    """A row padded on either side gets what transformers gives it alone."""
    cls, theirs, model = _pair(family, head, seed, tmp_path)
    sequences = batch(seed)
    for side in ("right", "left"):
        ids, mask = pad(sequences, side)
        out = model(ids, attention_mask=mask)
        hidden = rows_of(out.hidden, mask)
        for row, sequence in enumerate(sequences):
            expected = theirs(sequence[None], output_hidden_states=True)
            what = f"row {row} padded on the {side}"
            if head == "none":
                close(hidden[row], expected.last_hidden_state[0], what)
                if expected.get("pooler_output") is not None:
                    close(out.pooled[row], expected.pooler_output[0], f"pooled {what}")
            elif head == "classify":
                close(out.logits[row], expected.logits[0], what)
            elif head == "extract":
                spans = torch.stack([expected.start_logits[0], expected.end_logits[0]], -1)
                close(rows_of(out.logits, mask)[row], spans, what)
            else:
                close(rows_of(out.logits, mask)[row], expected.logits[0], what)
    check_round_trip(cls, theirs, tmp_path)


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_a_whole_padded_batch_agrees_with_transformers(family: str, tmp_path: Path) -> None:
    """transformers counts columns, RoBERTa real tokens; with padding on the right all agree."""
    _, theirs, model = _pair(family, "masked-lm", 5, tmp_path)
    ids, mask = pad(batch(5, rows=4), "right")
    expected = theirs(ids, attention_mask=mask).logits[mask.bool()]
    close(model(ids, attention_mask=mask).logits[mask.bool()], expected, "logits")


@torch.no_grad()
def test_token_types_agree(tmp_path: Path) -> None:
    config = _bert(random.Random(0), "none").__class__(
        **(_bert(random.Random(0), "none").to_dict() | {"type_vocab_size": 3})
    )
    theirs = make("BertModel", config, 0)
    model = ours(theirs, tmp_path / "theirs")
    ids = torch.randint(4, VOCABULARY, (2, 9))
    types = torch.randint(0, 3, (2, 9))
    expected = theirs(ids, token_type_ids=types)
    out = model(ids, token_types=types)
    close(out.hidden, expected.last_hidden_state, "hidden")
    assert out.pooled is not None
    close(out.pooled, expected.pooler_output, "pooled")


def test_a_bert_without_a_pooler_stays_without(tmp_path: Path) -> None:
    config = _bert(random.Random(1), "none")
    theirs = make("BertModel", config, 1)
    theirs.pooler = None
    model = ours(theirs, tmp_path / "theirs")
    assert model.pooler is None
    save_directory(model, tmp_path / "ours")
    same_tensors(tmp_path / "theirs", tmp_path / "ours")


@pytest.mark.parametrize("family", ["bert", "roberta"])
@torch.no_grad()
def test_an_untied_masked_language_model_agrees(family: str, tmp_path: Path) -> None:
    stem, config_of = FAMILIES[family]
    config = config_of(random.Random(3), "masked-lm")
    config.tie_word_embeddings = False
    theirs = make(f"{stem}ForMaskedLM", config, 3)
    model = ours(theirs, tmp_path / "theirs")
    ids = torch.randint(4, VOCABULARY, (2, 9))
    logits = model(ids).logits
    assert logits is not None
    close(logits, theirs(ids).logits, "logits")
    save_directory(model, tmp_path / "ours")
    again = load(tmp_path / "ours")(ids).logits
    assert again is not None
    assert torch.equal(again, logits)


@torch.no_grad()
def test_bert_as_first_released_is_read(tmp_path: Path) -> None:
    """Its pretraining file: gamma and beta, the next-sentence head, a pooler, position ids."""
    config = _bert(random.Random(4), "masked-lm")
    theirs = make("BertForPreTraining", config, 4)
    theirs.save_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    tensors = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): tensor
        for name, tensor in load_file(weights).items()
    }
    tensors["bert.embeddings.position_ids"] = torch.arange(40)[None]
    tensors["cls.predictions.decoder.weight"] = tensors[
        "bert.embeddings.word_embeddings.weight"
    ].clone()
    save_file(tensors, weights)
    ids = torch.randint(4, VOCABULARY, (2, 9))
    logits = load(tmp_path)(ids).logits
    assert logits is not None
    close(logits, theirs(ids).prediction_logits, "logits")
