"""Windows over a stream of documents: the text cut every `length` tokens, wherever that falls.

An epoch sees the stream as a ring and starts cutting at a place of its own, so that every token is
a target about once an epoch and has another context in each.
"""

from dataclasses import dataclass

import numpy as np

from hanlin.data.examples import Ids, TokenSource, all_ends
from hanlin.data.order import OFFSET, rng
from hanlin.errors import InputError


@dataclass(frozen=True)
class Window:
    """A stretch of tokens."""

    ids: Ids
    """[T] token ids."""
    segments: Ids | None = None
    """[T], from 0: the document each belongs to; None where borders do not matter."""


class Windows:
    """Windows of `length` tokens, `overlap` of them shared with the next window.

    A causal model reads all but the last token of a window and predicts all but the first, so its
    windows overlap by one. With `seed` None every epoch reads the same: from the first token, the
    last window as short as the text leaves it, each token once (for validation).
    """

    lengths = None

    def __init__(
        self,
        source: TokenSource,
        length: int,
        *,
        seed: int | None,
        overlap: int = 0,
        respect_documents: bool = False,
    ) -> None:
        least = length if seed is not None else overlap + 1
        if source.tokens < least:
            raise InputError(
                f"The text has {source.tokens} tokens, and a window takes {length}. Give more "
                "text or set a shorter batch.length."
            )
        self._source = source
        self._length = length
        self._stride = length - overlap
        self._overlap = overlap
        self._seed = seed
        # Eight bytes a document, so that a window finds its borders without going to disk.
        self._ends = all_ends(source) if respect_documents else None
        self._offset = (-1, 0)

    def __len__(self) -> int:
        """Windows in an epoch."""
        if self._seed is not None:
            return self._source.tokens // self._stride
        return -(-(self._source.tokens - self._overlap) // self._stride)

    def example(self, index: int, epoch: int) -> Window:
        """Window `index` of an epoch."""
        total = self._source.tokens
        start = index * self._stride
        if self._seed is None:
            stop = min(start + self._length, total)
        else:
            start = (start + self._offset_of(epoch)) % total
            stop = start + self._length
        ids = self._source.read(start, min(stop, total))
        if stop > total:
            ids = np.concatenate([ids, self._source.read(0, stop - total)])
        if self._ends is None:
            return Window(ids)
        return Window(ids, _segments(self._ends, start, stop))

    def _offset_of(self, epoch: int) -> int:
        kept, offset = self._offset
        if kept != epoch:
            assert self._seed is not None
            offset = int(rng(self._seed, epoch, 0, purpose=OFFSET).integers(self._source.tokens))
            self._offset = (epoch, offset)
        return offset


def _segments(ends: Ids, start: int, stop: int) -> Ids:
    """The number of the document of each token of a ring [start, stop), counted from 0."""
    total = int(ends[-1])
    borders = ends[slice(*np.searchsorted(ends, (start, stop), side="right"))]
    if stop > total:
        wrapped = ends[: np.searchsorted(ends, stop - total, side="right")] + total
        borders = np.concatenate([borders, wrapped])
    steps = np.zeros(stop - start + 1, dtype=np.int64)
    steps[borders - start] = 1
    return np.cumsum(steps[:-1])
