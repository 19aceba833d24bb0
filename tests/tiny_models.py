"""Model directories of a few thousand random weights, with tokenizers, made in a second."""

import json
from pathlib import Path
from typing import Any

import torch

from hanlin.models.config import ModelConfig
from hanlin.models.directory import save_directory
from hanlin.models.transformer import Transformer
from hanlin.tokenizers import ChatTemplate, Tokenizer, train

CORPUS = [
    "The academy drafted, examined and explained the words of the emperor.",
    "A language model continues a text: one token after the other, until it ends.",
    "What is a token? A token is a word, or a part of a word; 什么是词元？",
    "翰林院的学士起草诏书，翻译外文，主持考试，讲解经典。",
    "Numbers such as 3, 14 and 1592 are text too, and so are 你好 and 😀.",
] * 4

TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
CONTEXT = 96


def byte_tokenizer(*, chat: bool = True) -> Tokenizer:
    """A byte-level BPE with an end token, and a chat template unless told otherwise."""
    tokenizer = train(CORPUS, kind="bpe", vocab_size=400)
    if chat:
        tokenizer.chat_template = ChatTemplate(TEMPLATE)
    return tokenizer


def word_tokenizer() -> Tokenizer:
    """A WordPiece with BERT's special tokens."""
    return train(CORPUS, kind="wordpiece", vocab_size=300)


def decoder(tokenizer: Tokenizer, *, seed: int = 0, **changes: Any) -> Transformer:
    """A Llama of two layers with a context of `CONTEXT` tokens."""
    config = ModelConfig(
        family="llama",
        shape="decoder",
        head="language-model",
        vocab_size=tokenizer.vocab_size,
        hidden_size=32,
        num_layers=2,
        num_heads=4,
        num_kv_heads=2,
        intermediate_size=48,
        max_context=CONTEXT,
        initializer_range=0.2,
        eos_ids=tokenizer.eos_ids,
    ).with_changes(**changes)
    torch.manual_seed(seed)
    return Transformer(config).eval()


def save_decoder(
    directory: Path,
    *,
    chat: bool = True,
    seed: int = 0,
    generation: dict[str, Any] | None = None,
    **changes: Any,
) -> Path:
    """Write a `decoder`."""
    tokenizer = byte_tokenizer(chat=chat)
    network = decoder(tokenizer, seed=seed, **changes)
    return save_directory(network, directory, tokenizer=tokenizer, generation=generation)


def save_encoder(directory: Path, *, head: str = "none", seed: int = 0, **changes: Any) -> Path:
    """Write a BERT of two layers with a context of `CONTEXT` tokens."""
    tokenizer = word_tokenizer()
    config = ModelConfig(
        family="bert",
        shape="encoder",
        head=head,  # type: ignore[arg-type]
        vocab_size=tokenizer.vocab_size,
        hidden_size=32,
        num_layers=2,
        num_heads=4,
        intermediate_size=48,
        max_context=CONTEXT,
        position="learned",
        attention_bias=True,
        attention_out_bias=True,
        mlp_bias=True,
        norm="layernorm",
        norm_eps=1e-12,
        norm_place="after",
        norm_bias=True,
        final_norm=False,
        activation="gelu",
        gated=False,
        embedding_norm=True,
        token_types=2,
        initializer_range=0.2,
        pad_id=tokenizer.pad_id,
        pooler=head in ("none", "classify"),
        classifier="pooler" if head == "classify" else "linear",
        lm_head_bias=head == "masked-lm",
        head_transform=head == "masked-lm",
        labels=("good", "bad", "neither") if head in ("classify", "tag") else (),
    ).with_changes(**changes)
    torch.manual_seed(seed)
    network = Transformer(config).eval()
    return save_directory(network, directory, tokenizer=tokenizer)


def add_sentence_files(
    directory: Path, *, modes: tuple[str, ...], normalise: bool, max_length: int = 32
) -> None:
    """Make a directory one of sentence-transformers."""
    steps = [("", "Transformer"), ("1_Pooling", "Pooling")]
    if normalise:
        steps.append(("2_Normalize", "Normalize"))
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(steps)
    ]
    flags = {
        "pooling_mode_cls_token": "cls",
        "pooling_mode_max_tokens": "max",
        "pooling_mode_mean_tokens": "mean",
        "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
        "pooling_mode_weightedmean_tokens": "weightedmean",
        "pooling_mode_lasttoken": "lasttoken",
    }
    pooling: dict[str, Any] = {"word_embedding_dimension": 32}
    pooling |= {flag: mode in modes for flag, mode in flags.items()}
    limits = {"max_seq_length": max_length, "do_lower_case": False}
    (directory / "1_Pooling").mkdir()
    if normalise:
        (directory / "2_Normalize").mkdir()
    for name, value in (
        ("modules.json", modules),
        ("1_Pooling/config.json", pooling),
        ("sentence_bert_config.json", limits),
    ):
        (directory / name).write_text(json.dumps(value), encoding="utf-8")
