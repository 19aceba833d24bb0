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
from hanlin.tokenizers.fitting import separator

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


@dataclass(frozen=True)
class PairFrame:
    """The special tokens around a question and its text, as the tokenizer puts them, and the type
    of every token: before the first text, between the two, after the second. Where it puts nothing
    between them, `fitting.separator` stands there, as in all pairs."""

    before: Ids
    between: Ids
    after: Ids
    types: tuple[Ids, int, Ids, int, Ids]
    """Of `before`, of the first text, of `between`, of the second text, of `after`."""

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> "PairFrame":
        """What `tokenizer` puts around two texts. Raises `ConfigError` where it spells no text or
        has nothing to set two apart with."""
        for number in range(tokenizer.vocab_size):
            text = tokenizer.decode([number]).strip()
            if number in tokenizer.special_ids or not text:
                continue
            bare = tokenizer.encode(text, add_special_tokens=False)
            if len(bare) == 1 and bare[0] not in tokenizer.special_ids:
                break
        else:
            raise ConfigError("The tokenizer spells no text at all. Take another model.")
        ids, types = (np.array(x, dtype=np.int64) for x in tokenizer.encode_pair(text, text))
        places = np.flatnonzero(ids == bare[0])
        if len(places) != 2:
            raise ConfigError("The tokenizer does not keep two texts apart. Take another model.")
        a, b = places.tolist()
        between, types_between = ids[a + 1 : b], types[a + 1 : b]
        first, second, after = int(types[a]), int(types[b]), types[b + 1 :]
        if not len(between):
            between = np.array(separator(tokenizer), dtype=np.int64)
            first, second = 0, 1
            types_between, after = np.zeros_like(between), np.ones_like(after)
        if not len(between):
            raise ConfigError(
                "The tokenizer has nothing to put between a question and its text: no end token, "
                "and no new line. Take another model."
            )
        return cls(ids[:a], between, ids[b + 1 :], (types[:a], first, types_between, second, after))

    @property
    def size(self) -> int:
        """How many special tokens it adds."""
        return len(self.before) + len(self.between) + len(self.after)

    def around(self, first: Ids, second: Ids) -> tuple[Ids, Ids]:
        """The ids of both texts with the frame around them, and the type of each [T]."""
        types = self.types
        return (
            np.concatenate([self.before, first, self.between, second, self.after]),
            np.concatenate(
                [
                    types[0],
                    np.full(len(first), types[1]),
                    types[2],
                    np.full(len(second), types[3]),
                    types[4],
                ]
            ),
        )


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
