"""Texts of at most so many tokens, without the marks between documents: what encoder-decoders read.

T5 joins documents without a mark and cuts them anywhere (Raffel et al. 2020); BART reads whole
documents (Lewis et al. 2020). An end token inside a text would teach a decoder to stop there.
"""

from typing import Literal

from hanlin.data.examples import Ids, TokenSource
from hanlin.data.packing import Packed
from hanlin.data.windows import Windows

Cut = Literal["windows", "documents"]


class Texts:
    """Windows over the text or its documents, each at most `room` tokens; example i is an array."""

    def __init__(
        self, source: TokenSource, room: int, *, cut: Cut, seed: int | None, end: int
    ) -> None:
        """`end` closes documents; `seed` None cuts every epoch at the same places.

        Documents longer than `room` are cut into pieces.
        """
        self._end = end
        self._documents: Packed | None = None
        self._windows: Windows | None = None
        if cut == "documents":
            self._documents = Packed(source, room, together=False)
            self.lengths: Ids | None = self._documents.row_sizes
        else:
            self._windows = Windows(source, room, seed=seed)
            self.lengths = None

    def __len__(self) -> int:
        return len(self._documents or self._windows or ())

    def example(self, index: int, epoch: int) -> Ids:
        """Text `index` of an epoch: [T] with T from 0 to `room`."""
        if self._documents is not None:
            return self._documents.example(index, epoch).pieces[0]
        assert self._windows is not None
        ids = self._windows.example(index, epoch).ids
        kept: Ids = ids[ids != self._end]
        return kept
