"""A tokenizer, texts and tiny models of the three shapes, for the tests of the objectives."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

from hanlin.data.pairs import PairRecord
from hanlin.data.tokens import TokenArray
from hanlin.models.new import new_config
from hanlin.models.transformer import Transformer
from hanlin.tokenizers import Tokenizer, train
from hanlin.training.objectives import (
    CausalLM,
    Denoising,
    MaskedLM,
    Objective,
    Seq2Seq,
    SpanCorruption,
)

TEXTS = [
    "The academy drafted the words of the emperor. Its scholars examined them.",
    "A token is a word, or a part of a word. What is a text?",
    "翰林院的学士起草诏书，翻译外文。他们主持考试！",
    "什么是词元？词元是词或词的一部分。",
    "Numbers such as 3.14 and 1592 are text too, and so is 你好.",
    "The model goes on with a text. One token follows the other until it ends.",
]
LENGTH = 32


@cache
def tokenizer_of(kind: str) -> Tokenizer:
    """bpe and unigram have the special tokens that every objective needs; wordpiece is BERT's."""
    if kind == "wordpiece":
        return train(TEXTS, kind="wordpiece", vocab_size=200, min_frequency=1)
    sentinels = tuple(f"<extra_id_{n}>" for n in range(20))
    special = ("<pad>", "</s>", "<unk>", "<mask>", *sentinels)
    if kind == "bpe":
        return train(TEXTS, kind="bpe", vocab_size=420, special_tokens=special)
    return train(TEXTS, kind="unigram", vocab_size=420, special_tokens=special)


@dataclass(frozen=True)
class Case:
    """An objective with what it needs to learn something."""

    objective: Objective
    family: str
    kind: str = "bpe"

    @property
    def tokenizer(self) -> Tokenizer:
        return tokenizer_of(self.kind)

    def source(self, texts: list[str]) -> Any:
        if isinstance(self.objective, Seq2Seq):
            return [PairRecord(text, (text[::-1],)) for text in texts]
        return TokenArray.encode(texts, self.tokenizer)

    def examples(self, texts: list[str] | None = None, *, length: int = LENGTH) -> Any:
        return self.objective.examples(
            self.source(texts or TEXTS), tokenizer=self.tokenizer, length=length, seed=0
        )

    def model(self, *, seed: int = 0, dtype: torch.dtype = torch.float32, **fields: Any) -> Any:
        """A fresh model of two layers."""
        sizes = {"hidden_size": 32, "num_layers": 2, "num_heads": 2, "intermediate_size": 64}
        given = {**sizes, "max_context": 128, "initializer_range": 0.1, **fields}
        torch.manual_seed(seed)
        config = new_config(self.family, tokenizer=self.tokenizer, **given)
        return Transformer(config).to(dtype)


CASES = {
    "causal": Case(CausalLM(), "llama"),
    "causal, documents apart": Case(CausalLM(respect_documents=True), "gpt2"),
    "masked": Case(MaskedLM(), "bert", "wordpiece"),
    "masked, whole words": Case(MaskedLM(whole_words=True), "modernbert"),
    "masked, documents packed": Case(
        MaskedLM(pack="documents", respect_documents=True), "bert", "wordpiece"
    ),
    "spans": Case(SpanCorruption(), "t5", "unigram"),
    "spans of documents": Case(SpanCorruption(cut="documents"), "t5", "unigram"),
    "denoising": Case(Denoising(), "bart"),
    "denoising windows": Case(Denoising(cut="windows", chinese="words"), "bart"),
    "seq2seq": Case(Seq2Seq(), "vaswani", "unigram"),
    "seq2seq, smoothed": Case(Seq2Seq(smoothing=0.1), "marian"),
}
