"""Texts, or pairs of them, as the ids a model reads, cut to its length; special tokens stay.

A pair loses from the end of its longer text first (as transformers' "longest_first"). Training and
use cut alike because both do it here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from hanlin.errors import ConfigError
from hanlin.tokenizers.pair_frame import PairFrame
from hanlin.tokenizers.tokenizer import Tokenizer


@dataclass(frozen=True)
class Fitted:
    """Encoded texts."""

    ids: list[list[int]]
    types: list[list[int]] | None
    """Which of two texts each token belongs to; None where there is one text."""
    cut: int
    """How many texts, or pairs, lost their end."""


def fit(
    tokenizer: Tokenizer, texts: Sequence[str] | Sequence[tuple[str, str]], *, length: int
) -> Fitted:
    """Encode texts or pairs of texts with their special tokens, in at most `length` tokens each.

    What is spelt by no token at all is one padding token. Several processor cores share the work.
    Raises `ConfigError` where `length` has no room for a pair.
    """
    pairs = bool(texts) and not isinstance(texts[0], str)
    if pairs and not (frame := PairFrame.of(tokenizer)).own:
        return _framed(tokenizer, cast(Sequence[tuple[str, str]], texts), frame, length=length)
    backend = tokenizer.backend
    backend.enable_truncation(length, strategy="longest_first")
    try:
        encoded = backend.encode_batch(list(texts))
    finally:
        backend.no_truncation()
    return Fitted(
        ids=[e.ids or [tokenizer.pad_id or 0] for e in encoded],
        types=[e.type_ids or [0] for e in encoded] if pairs else None,
        cut=sum(bool(e.overflowing) for e in encoded),
    )


def _framed(
    tokenizer: Tokenizer, pairs: Sequence[tuple[str, str]], frame: PairFrame, *, length: int
) -> Fitted:
    """As `fit` for pairs between whose texts the tokenizer puts nothing."""
    room = length - frame.size
    if room < 2:
        raise ConfigError(f"Two texts have no room in {length} tokens. Raise batch.length.")
    backend = tokenizer.backend
    backend.enable_truncation(room, strategy="longest_first")
    try:
        encoded = backend.encode_batch(list(pairs), add_special_tokens=False)
    finally:
        backend.no_truncation()
    ids: list[list[int]] = []
    types: list[list[int]] = []
    for one in encoded:
        read = np.array(one.ids, dtype=np.int64)
        second = np.array(one.sequence_ids, dtype=np.int64) == 1
        whole, kinds = frame.around(read[~second], read[second])
        ids.append(whole.tolist())
        types.append(kinds.tolist())
    return Fitted(ids=ids, types=types, cut=sum(bool(e.overflowing) for e in encoded))
