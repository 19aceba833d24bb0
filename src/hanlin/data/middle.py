"""Texts with their middle last, so that a decoder learns to fill it in.

Bavarian et al. 2022, "Efficient training of language models to fill in the middle": a document is
cut at two places drawn from its characters, and its parts are marked and put in another order. PSM:
prefix, suffix, middle. SPM: suffix, prefix, middle, as one run that the middle goes on from.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np

from hanlin.data.examples import Ids
from hanlin.data.shards import end_token
from hanlin.errors import InputError
from hanlin.tokenizers import Tokenizer

FORMS = (
    ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
    ("<fim-prefix>", "<fim-suffix>", "<fim-middle>"),
    ("▁<PRE>", "▁<SUF>", "▁<MID>"),
    ("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),
)
"""What models call the marks of prefix, suffix and middle: StarCoder, Qwen and CodeGemma,
SantaCoder, Code Llama, DeepSeek."""
SPM_SHARE = 0.5
"""Of the texts that are put in another order, those that come suffix first."""


@dataclass(frozen=True)
class Marks:
    """The ids that stand before a prefix, a suffix and a middle."""

    prefix: int
    suffix: int
    middle: int

    @classmethod
    def find(cls, tokenizer: Tokenizer) -> Self | None:
        """Those of a tokenizer; None where it has none."""
        for form in FORMS:
            prefix, suffix, middle = (tokenizer.id(token) for token in form)
            if prefix is not None and suffix is not None and middle is not None:
                return cls(prefix, suffix, middle)
        return None

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> Self:
        """Those of a tokenizer. Raises `InputError` where it has none."""
        if (found := cls.find(tokenizer)) is not None:
            return found
        raise InputError(
            "The tokenizer has no tokens that mark a prefix, a suffix and a middle. Use a model of "
            "code that has them, or train one: objective: {name: causal-lm, fim: 0.5} and "
            f"tokenizer: {{special_tokens: [{', '.join(FORMS[0])}]}}."
        )

    def psm(self, prefix: list[int], suffix: list[int]) -> list[int]:
        """What a middle comes after, the prefix first."""
        return [self.prefix, *prefix, self.suffix, *suffix, self.middle]

    def spm(self, prefix: list[int], suffix: list[int]) -> list[int]:
        """What a middle comes after, the suffix first and the prefix last."""
        return [self.prefix, self.suffix, *suffix, self.middle, *prefix]


def middles_last(
    ids: Ids, tokenizer: Tokenizer, marks: Marks, *, rate: float, rng: np.random.Generator
) -> Ids:
    """Tokens of documents [T] in which a share `rate` of the documents has its middle last: [T].

    A document whose parts and marks take more room than there was pushes the end out of the window.
    Each that was put in another order is closed by the end token, also where the window had cut it
    off, so that a model learns where a middle ends. The draws depend on `rng` alone.
    """
    end = end_token(tokenizer)
    stops = np.flatnonzero(ids == end) + 1
    parts: list[list[int]] = []
    for document in np.split(ids, stops):
        if not len(document):
            continue
        moved = rng.random() < rate
        first, second = sorted(rng.random(2))
        suffix_first = rng.random() < SPM_SHARE
        closed = int(document[-1]) == end
        text = tokenizer.decode((document[:-1] if closed else document).tolist())
        # Where the window cut a character in two, there is no text to cut.
        if not moved or len(text) < 2 or "\ufffd" in text:
            parts.append(document.tolist())
            continue
        # Two places between characters, which may be the ends or the same one.
        low, high = (int(place * (len(text) + 1)) for place in (first, second))
        prefix, middle, suffix = (
            tokenizer.encode(piece, add_special_tokens=False)
            for piece in (text[:low], text[low:high], text[high:])
        )
        order = marks.spm if suffix_first else marks.psm
        parts.append([*order(prefix, suffix), *middle, end])
    joined = np.array([token for part in parts for token in part], dtype=ids.dtype)[: len(ids)]
    # Text that is encoded in pieces may take fewer tokens than it did whole, but with three marks
    # and an end token that is rare: what is short is filled with ends.
    return np.concatenate([joined, np.full(len(ids) - len(joined), end, dtype=ids.dtype)])
