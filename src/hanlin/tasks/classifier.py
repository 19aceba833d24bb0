"""Classifiers: a trained model is a function from texts, or pairs of texts, to labels."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hanlin.errors import ConfigError, InputError
from hanlin.models.transformer import Transformer
from hanlin.tasks.batches import Padded, batches
from hanlin.tasks.model import Model, texts_of
from hanlin.tokenizers import Tokenizer
from hanlin.tokenizers.fitting import fit

Text = str | tuple[str, str]
"""What is labelled: a text, or two that are read together."""

THRESHOLD = 0.5
"""Probability from which on a text has a label, where it may have several."""


@dataclass(frozen=True)
class Label:
    """What a classifier calls a text."""

    name: str
    """The likeliest label."""
    score: float
    """Its probability; for a regression, the value itself."""
    scores: Mapping[str, float] = field(default_factory=dict, repr=False, compare=False)
    """Of every label; they add up to 1 unless a text may have several labels."""
    names: tuple[str, ...] = ()
    """Where a text may have several labels or none: those that it has, likeliest first."""


class Classifier(Model):
    """Gives texts labels; call it."""

    kind = "a classifier"
    can = ("be called with texts", "probabilities")
    batch_tokens = 4096
    """Tokens read at a time, padding counted; changes no result beyond rounding."""

    def __init__(
        self,
        network: Transformer,
        tokenizer: Tokenizer,
        *,
        name: str,
        length: int | None = None,
    ) -> None:
        """length: tokens of the longest text that the model has learnt from, where it cannot read
        longer ones."""
        super().__init__(network, tokenizer, name=name)
        self.labels = network.config.labels
        self._learnt = length

    @property
    def multiple(self) -> bool:
        """Whether a text may have several labels, or none."""
        return self.network.config.problem == "multiple"

    def __call__(
        self,
        texts: str | Sequence[Text],
        *,
        threshold: float | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> Any:  # a str is a Sequence[str] to type checkers, so overloads cannot tell them apart
        """The `Label` of a text, or the list of them of several; a pair is a tuple in a list.

        Texts beyond the model's longest input are cut, of a pair the longer one first. threshold:
        the probability from which on a text has a label (0.5), for models of several labels.
        progress: called with the number of texts done. Raises `InputError` for what is not text,
        `ConfigError` for a threshold that is none or would be ignored.
        """
        if threshold is not None and not self.multiple:
            raise ConfigError(
                f"{self.name} gives a text one label, so threshold would be ignored. Leave it out."
            )
        if threshold is not None and not 0 < threshold < 1:
            raise ConfigError(f"threshold is {threshold}; it must be between 0 and 1.")
        scores = self.probabilities(texts, progress=progress)
        found = [self._label(row, threshold or THRESHOLD) for row in scores.tolist()]
        return found[0] if isinstance(texts, str) else found

    def probabilities(
        self, texts: str | Sequence[Text], *, progress: Callable[[int], None] | None = None
    ) -> NDArray[np.float64]:
        """Of every label for every text [N, labels], as `labels` names them (one text: [1, labels])

        For a regression the values themselves. As calling the model otherwise.
        """
        inputs = self._read(_inputs(texts))
        pad = self.network.config.pad_id or self.tokenizer.pad_id or 0
        found = np.zeros((len(inputs), len(self.labels)))
        with torch.inference_mode():
            sequences = [ids for ids, _ in inputs]
            for batch in batches(sequences, pad=pad, max_tokens=self.batch_tokens):
                types = None
                if self.network.config.token_types > 1:
                    types = _types(batch, [inputs[i][1] for i in batch.order])
                output = self.network(batch.ids, batch.mask, token_types=types)
                logits = output.logits.double()
                if self.network.config.problem == "single":
                    logits = logits.softmax(-1)
                elif self.multiple:
                    logits = logits.sigmoid()
                found[batch.order] = logits.numpy()
                if progress is not None:
                    progress(len(batch.order))
        return found

    def _label(self, scores: list[float], threshold: float) -> Label:
        order = sorted(range(len(scores)), key=lambda i: -scores[i])
        best = order[0]
        names = tuple(self.labels[i] for i in order if scores[i] >= threshold)
        return Label(
            self.labels[best],
            scores[best],
            dict(zip(self.labels, scores, strict=True)),
            names if self.multiple else (),
        )

    def _read(self, texts: Sequence[Text]) -> list[tuple[list[int], list[int] | None]]:
        """Token ids, and for a pair which of the two each belongs to; as training cuts them."""
        limit = self.tokenizer.max_length
        length = self.network.config.reads(limit, learnt=self._learnt) or 512
        alone = fit(self.tokenizer, [t for t in texts if isinstance(t, str)], length=length)
        pairs = fit(self.tokenizer, [t for t in texts if not isinstance(t, str)], length=length)
        ones, twos = iter(alone.ids), zip(pairs.ids, pairs.types or [], strict=True)
        return [(next(ones), None) if isinstance(text, str) else next(twos) for text in texts]


def _inputs(texts: str | Sequence[Text]) -> list[Text]:
    """Texts and pairs as a list. Raises `InputError` for what is neither."""
    if isinstance(texts, str) or not isinstance(texts, list | tuple):
        return list(texts_of(texts))  # type: ignore[arg-type]
    for number, each in enumerate(texts, 1):
        if isinstance(each, tuple):
            if len(each) != 2:
                raise InputError(
                    f"text number {number} has {len(each)} parts. Give a str, or a tuple of two."
                )
            texts_of(list(each))
        else:
            texts_of([each])
    return list(texts)


def _types(batch: Padded, types: Sequence[Sequence[int] | None]) -> Tensor | None:
    """Which text each token belongs to [B, T], where a row of the batch is a pair."""
    if not any(types):
        return None
    found = torch.zeros_like(batch.ids)
    for row, own in enumerate(types):
        if own is not None:
            found[row, : len(own)] = torch.tensor(own)
    return found
