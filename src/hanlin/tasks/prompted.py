"""A language model as a classifier: which of the labels would it write after a prompt?

Each label's log probability is taken per token, so that a long name loses nothing by its length.
A model likes some labels whatever the text says; that is measured with texts that say nothing, and
divided out (Zhao et al. 2021, "Calibrate Before Use").
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from hanlin.errors import ConfigError
from hanlin.tasks.language import LanguageModel
from hanlin.tasks.model import texts_of
from hanlin.tasks.scoring import Asked, log_probabilities
from hanlin.text.words import unspaced

PLACE = "{text}"
"""Stands in a prompt where the text goes."""
EMPTY = ("N/A", "[MASK]", "")
"""Texts that say nothing."""
_TEXTS = 32
"""Texts scored together."""


class PromptedLabeller:
    """Gives texts probabilities of labels, by what a language model would write."""

    def __init__(
        self, lm: LanguageModel, prompt: str, labels: Sequence[str], *, calibrate: bool = True
    ) -> None:
        """prompt: with `PLACE` where the text goes; what follows it is the label.

        calibrate: divide out what the model says of texts that say nothing. Raises `ConfigError`
        for a prompt without a place, and for labels that are too few or the same.
        """
        if prompt.count(PLACE) != 1:
            raise ConfigError(
                f"The prompt must have {PLACE} once, where the text goes: "
                f"'Review: {PLACE}\\nSentiment:'."
            )
        if len(labels) < 2 or len(set(labels)) < len(labels) or not all(map(str.strip, labels)):
            raise ConfigError(f"The labels are {list(labels)}. Give two or more different names.")
        self.lm = lm
        self.prompt = prompt
        self.labels = tuple(labels)
        self._prior: NDArray[np.float64] | None = None
        self._calibrate = calibrate
        self._two = lm.network.config.shape == "encoder-decoder"
        self._room = self._room_for_text()

    def probabilities(
        self, texts: Sequence[str], *, progress: Callable[[int], None] | None = None
    ) -> NDArray[np.float64]:
        """Of every label for every text [N, labels]; texts too long for the model are cut.

        progress: called with the number of texts done. Raises `InputError` for what is not text.
        """
        given = texts_of(texts)
        parts = [np.zeros((0, len(self.labels)))]
        for first in range(0, len(given), _TEXTS):
            some = given[first : first + _TEXTS]
            parts.append(self._shares(some) / self.prior)
            if progress is not None:
                progress(len(some))
        found = np.concatenate(parts)
        shares: NDArray[np.float64] = found / found.sum(1, keepdims=True)
        return shares

    @property
    def prior(self) -> NDArray[np.float64]:
        """What the model says of texts that say nothing [labels]; even where it is not asked."""
        if self._prior is None:
            even = np.full(len(self.labels), 1 / len(self.labels))
            self._prior = self._shares(EMPTY).mean(0) if self._calibrate else even
        return self._prior

    def _shares(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """The softmax over labels of the mean log probability of their tokens [N, labels]."""
        asked = [self._asked(text, name) for text in texts for name in self.labels]
        scored = log_probabilities(self.lm.network, asked, context=self.lm.context)
        means = np.array([one.logprobs.mean() for one in scored]).reshape(len(texts), -1)
        shares = np.exp(means - means.max(1, keepdims=True))
        found: NDArray[np.float64] = shares / shares.sum(1, keepdims=True)
        return found

    def _asked(self, text: str, name: str) -> Asked:
        before, after = self.prompt.split(PLACE)
        tokenizer = self.lm.tokenizer
        whole = before + self._cut(text) + after
        spoken = spaced(whole, name)
        if self._two:
            start = self.lm.network.config.decoder_start_id
            assert start is not None
            return Asked([start, *tokenizer.target.encode(name)], 1, tokenizer.encode(whole))
        ids, offsets = tokenizer.encode_offsets(whole + spoken)
        first = next(at for at, (_, end) in enumerate(offsets) if end > len(whole))
        if first == 0:
            raise ConfigError("The prompt has no token before the label. Say something in it.")
        # An end token after the label is no part of its name.
        last = max(at for at, (_, end) in enumerate(offsets) if end > len(whole)) + 1
        return Asked(ids[:last], first)

    def _room_for_text(self) -> int | None:
        """Tokens that a text may have beside the prompt and the longest label; None: any number."""
        if self.lm.context is None:
            return None
        bare = self.prompt.replace(PLACE, "")
        names = [""] if self._two else [spaced(bare, name) for name in self.labels]
        taken = max(len(self.lm.tokenizer.encode(bare + name)) for name in names)
        room = self.lm.context - taken - 2  # where the text joins the prompt, tokens may be others
        if room < 1:
            raise ConfigError(
                f"The prompt alone fills the {self.lm.context} tokens that {self.lm.name} reads. "
                "Shorten it."
            )
        return room

    def _cut(self, text: str) -> str:
        """The text, or the beginning of it that there is room for."""
        if self._room is None:
            return text
        _, offsets = self.lm.tokenizer.encode_offsets(text, add_special_tokens=False)
        return text if len(offsets) <= self._room else text[: offsets[self._room - 1][1]]


def spaced(before: str, label: str) -> str:
    """The label as it is written after the text before it: behind a space, where words have one."""
    bare = before[-1:].isspace() or not before or unspaced(before[-1]) or unspaced(label[0])
    return label if bare else f" {label}"
