"""Classifiers: a trained model is a function from texts to labels."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from hanlin.models.transformer import Transformer
from hanlin.tasks.batches import batches, tail_length, truncated
from hanlin.tasks.model import Model, texts_of
from hanlin.tokenizers import Tokenizer


@dataclass(frozen=True)
class Label:
    """What a classifier calls a text."""

    name: str
    """The likeliest label."""
    score: float
    """Its probability; for a regression, the value itself."""
    scores: Mapping[str, float] = field(default_factory=dict, repr=False, compare=False)
    """Of every label; they add up to 1 unless a text may have several labels."""


class Classifier(Model):
    """Gives texts labels; call it."""

    kind = "a classifier"
    can = ("be called with texts",)
    batch_tokens = 4096
    """Tokens read at a time, padding counted; changes no result beyond rounding."""

    def __init__(self, network: Transformer, tokenizer: Tokenizer, *, name: str) -> None:
        super().__init__(network, tokenizer, name=name)
        self.labels = network.config.labels
        self._tail = tail_length(tokenizer)

    def __call__(
        self, texts: str | Sequence[str], *, progress: Callable[[int], None] | None = None
    ) -> Any:  # a str is a Sequence[str] to type checkers, so overloads cannot tell them apart
        """The `Label` of a text, or the list of them of several.

        Texts beyond the model's longest input are cut. progress: called with the number of texts
        done. Raises `InputError` for what is not text.
        """
        sequences = [self._ids(text) for text in texts_of(texts)]
        pad = self.network.config.pad_id or self.tokenizer.pad_id or 0
        found: list[Label | None] = [None] * len(sequences)
        with torch.inference_mode():
            for batch in batches(sequences, pad=pad, max_tokens=self.batch_tokens):
                logits = self.network(batch.ids, batch.mask).logits.float()
                if self.network.config.problem == "single":
                    logits = logits.softmax(-1)
                elif self.network.config.problem == "multiple":
                    logits = logits.sigmoid()
                for i, scores in zip(batch.order, logits.tolist(), strict=True):
                    found[i] = self._label(scores)
                if progress is not None:
                    progress(len(batch.order))
        return found[0] if isinstance(texts, str) else found

    def _label(self, scores: list[float]) -> Label:
        best = max(range(len(scores)), key=scores.__getitem__)
        return Label(self.labels[best], scores[best], dict(zip(self.labels, scores, strict=True)))

    def _ids(self, text: str) -> list[int]:
        config = self.network.config
        limits = [self.tokenizer.max_length]
        if config.position not in ("relative", "none"):
            limits.append(config.max_context)
        longest = min((limit for limit in limits if limit), default=512)
        ids = truncated(self.tokenizer.encode(text), length=longest, tail=self._tail)
        return ids or [self.tokenizer.pad_id or 0]
