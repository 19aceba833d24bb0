"""Texts longer than a model reads, cut into windows of tokens that overlap.

Training and use cut alike: a question with each window of its context (span extraction), or the
windows of one text (tagging).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hanlin.data.examples import Ids
from hanlin.errors import ConfigError
from hanlin.tokenizers import Tokenizer
from hanlin.tokenizers.pair_frame import PairFrame

Span = tuple[int, int]


@dataclass(frozen=True)
class Pieces:
    """A text as tokens without special ones, and the characters each covers."""

    ids: Ids
    """[T]."""
    spans: Ids
    """[T, 2]: the characters [start, end) of each token, white space around it left off."""


@dataclass(frozen=True)
class Window:
    """Tokens [start, stop) of a text, with what stands around them for the model to read."""

    ids: Ids
    """[T], special tokens included."""
    types: Ids
    """[T]: which of two texts each token belongs to; all 0 of one text."""
    first: int
    """Where in `ids` the token `start` of the text stands."""
    start: int
    stop: int


def pieces_of(text: str, tokenizer: Tokenizer) -> Pieces:
    """The tokens of a text and the characters they cover. Raises `InputError` for what is not
    text."""
    ids, offsets = tokenizer.encode_offsets(text, add_special_tokens=False)
    spans = np.array([_bare(text, *offset) for offset in offsets], dtype=np.int64)
    return Pieces(np.array(ids, dtype=np.int64), spans.reshape(-1, 2))


def _bare(text: str, start: int, end: int) -> Span:
    """Byte-level tokens cover the space before them: that is no part of a word or an answer."""
    while start < end and text[start].isspace():
        start += 1
    while start < end and text[end - 1].isspace():
        end -= 1
    return start, end


def cut(size: int, *, room: int, overlap: int) -> list[Span]:
    """Windows [start, stop) of at most `room` over `size` tokens, each beginning `room - overlap`
    after the last; one, if empty, where there are no tokens.

    As the fast tokenizers cut with `stride`: the last window ends where the text does. Raises
    `ConfigError` where windows would not get on.
    """
    if room < 1 or not 0 <= overlap < room:
        raise ConfigError(
            f"Windows of {room} tokens that overlap by {overlap} do not get on. Raise "
            "batch.length, or lower the overlap."
        )
    windows = [(0, min(room, size))]
    while windows[-1][1] < size:
        start = windows[-1][0] + room - overlap
        windows.append((start, min(start + room, size)))
    return windows


def home(windows: Sequence[Span]) -> Ids:
    """For every token the window in which it has the most context on its poorer side [T]."""
    size = windows[-1][1]
    best = np.full(size, -1, dtype=np.int64)
    owner = np.zeros(size, dtype=np.int64)
    for number, (start, stop) in enumerate(windows):
        at = np.arange(start, stop)
        # The text's own ends cut nothing off.
        left = at - start if start else np.full(stop - start, size)
        right = stop - 1 - at if stop < size else np.full(stop - start, size)
        context = np.minimum(left, right)
        better = context > best[start:stop]
        best[start:stop][better] = context[better]
        owner[start:stop][better] = number
    return owner


def ask(question: Ids, context: Ids, frame: PairFrame, *, length: int, stride: int) -> list[Window]:
    """A question with every window of its context, none longer than `length` tokens.

    A question that would leave the context less than half of the room loses its end. stride: how
    many tokens of the context two windows share; no more than half a window.
    """
    room = length - frame.size
    question = question[: max(1, room // 2)]
    room -= len(question)
    if room < 2:
        raise ConfigError(
            f"{length} tokens leave no room for a question and its text. Raise batch.length."
        )
    windows = []
    for start, stop in cut(len(context), room=room, overlap=min(stride, room // 2)):
        ids, types = frame.around(question, context[start:stop])
        first = len(frame.before) + len(question) + len(frame.between)
        windows.append(Window(ids, types, first, start, stop))
    return windows


def words_of(pieces: Pieces, words: Sequence[Span]) -> Ids:
    """The word each token belongs to [T], -1 for none: the first of which it covers a character."""
    if not len(words) or not len(pieces.ids):
        return np.full(len(pieces.ids), -1, dtype=np.int64)
    starts, ends = np.array(words, dtype=np.int64).T
    begin, end = pieces.spans.T
    word = np.searchsorted(starts, begin, side="right") - 1
    inside = (word >= 0) & (begin < ends[word])
    following = np.minimum(word + 1, len(words) - 1)
    reaches = (word + 1 < len(words)) & (starts[following] < end)
    found = np.where(inside, word, np.where(reaches, word + 1, -1))
    return np.where(end > begin, found, -1)


def firsts(word: Ids) -> Ids:
    """Which tokens are the first of their word, ascending. word: as `words_of` gives it."""
    known = np.flatnonzero(word >= 0)
    _, first = np.unique(word[known], return_index=True)
    return np.sort(known[first])
