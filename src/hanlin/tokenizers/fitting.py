"""Texts, or pairs of them, as the ids a model reads, cut to its length; special tokens stay.

A pair loses from the end of its longer text first (as transformers' "longest_first"). Where the
tokenizer puts nothing between the two (GPT-2's, SmolLM2's), its end token stands there, or a new
line where it has none: "first" + "<|endoftext|>" + "second". Training and use cut alike because
both do it here.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from hanlin.errors import ConfigError
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
    backend = tokenizer.backend
    if pairs and not _separates(tokenizer):
        return _separated(tokenizer, texts, length=length)
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


def separator(tokenizer: Tokenizer) -> list[int]:
    """What stands between two texts where the tokenizer puts nothing: its end token, or a new line
    where it has none."""
    end = tokenizer.eos_id
    return tokenizer.encode("\n", add_special_tokens=False) if end is None else [end]


def _separates(tokenizer: Tokenizer) -> bool:
    """Whether the tokenizer puts a token of its own between two texts."""
    of = tokenizer.backend.encode("a", "a").sequence_ids
    return None in of[_first(of, 0) : _first(of, 1)]


def _first(of: Sequence[int | None], text: int) -> int:
    """Where the tokens of one of two texts begin; the end where it has none."""
    return of.index(text) if text in of else len(of)


def _separated(
    tokenizer: Tokenizer, pairs: Sequence[str] | Sequence[tuple[str, str]], *, length: int
) -> Fitted:
    """As `fit` for pairs between whose texts the tokenizer puts nothing."""
    backend = tokenizer.backend
    frame = backend.encode("a", "a")
    last = len(frame.ids) - _first(frame.sequence_ids[::-1], 1)
    before, after = frame.ids[: _first(frame.sequence_ids, 0)], frame.ids[last:]
    between = separator(tokenizer)
    room = length - len(before) - len(between) - len(after)
    if room < 2:
        raise ConfigError(f"Two texts have no room in {length} tokens. Raise batch.length.")
    backend.enable_truncation(room, strategy="longest_first")
    try:
        encoded = backend.encode_batch(list(pairs), add_special_tokens=False)
    finally:
        backend.no_truncation()
    ids: list[list[int]] = []
    types: list[list[int]] = []
    for one in encoded:
        border = _first(one.sequence_ids, 1)
        ids.append([*before, *one.ids[:border], *between, *one.ids[border:], *after])
        first = len(before) + border + len(between)
        types.append([0] * first + [1] * (len(ids[-1]) - first))
    return Fitted(ids=ids, types=types, cut=sum(bool(e.overflowing) for e in encoded))
