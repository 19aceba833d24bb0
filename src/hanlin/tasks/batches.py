"""Texts of any length to padded batches of token ids, with little padding, and back in order."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hanlin.errors import InputError
from hanlin.tokenizers import Tokenizer


@dataclass(frozen=True)
class Padded:
    """One batch: B sequences padded on the right to the longest, T."""

    ids: Tensor
    """[B, T]"""
    mask: Tensor | None
    """[B, T], True at real tokens; None where nothing is padded."""
    order: list[int]
    """Which of the given sequences each row is."""


def batches(
    sequences: Sequence[Sequence[int]], *, pad: int, max_tokens: int = 4096
) -> Iterator[Padded]:
    """Yield the sequences longest first, as many at a time as `max_tokens`, padded, allow."""
    order = sorted(range(len(sequences)), key=lambda i: -len(sequences[i]))
    while order:
        width = len(sequences[order[0]])
        rows = max(1, max_tokens // width)
        taken, order = order[:rows], order[rows:]
        ids = torch.full((len(taken), width), pad)
        lengths = torch.tensor([len(sequences[i]) for i in taken])
        for row, i in enumerate(taken):
            ids[row, : len(sequences[i])] = torch.tensor(sequences[i])
        mask = torch.arange(width) < lengths.unsqueeze(1)
        yield Padded(ids, None if bool(mask.all()) else mask, taken)


def tail_length(tokenizer: Tokenizer) -> int:
    """How many special tokens the tokenizer puts after a text."""
    bare = tokenizer.encode("a", add_special_tokens=False)
    whole = tokenizer.encode("a")
    for end in range(len(whole), len(bare) - 1, -1):
        if whole[end - len(bare) : end] == bare:
            return len(whole) - end
    return 0


def truncated(ids: list[int], *, length: int, tail: int) -> list[int]:
    """The first `length` ids, of which the last `tail` (closing special tokens) are always kept."""
    if len(ids) <= length:
        return ids
    return ids[: length - tail] + ids[len(ids) - tail :]


def fitting(ids: list[int], *, length: int | None, what: str) -> list[int]:
    """The ids as they are. Raises `InputError` with both numbers where they are too many."""
    if not ids:
        raise InputError(f"The {what} is empty. Give it some words.")
    if length is not None and len(ids) > length:
        raise InputError(
            f"The {what} is {len(ids)} tokens long; this model reads at most {length}. "
            "Shorten or split it."
        )
    return ids
