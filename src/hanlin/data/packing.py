"""Whole documents packed into rows: where to put each is computed once, from lengths alone.

Long documents are cut into pieces that fill a row; pieces are packed best-fit from the longest to
the shortest over a histogram of lengths (Krell et al. 2021, "Efficient sequence packing without
cross-contamination"), so that the work depends on the row length and not on the documents.
"""

from dataclasses import dataclass

import numpy as np

from hanlin.data.examples import Ids, TokenSource, all_ends
from hanlin.data.order import PACK, rng
from hanlin.errors import ConfigError, InputError


@dataclass(frozen=True)
class Pack:
    """What one row holds."""

    pieces: tuple[Ids, ...]
    """Documents, or pieces of them, without the token that closes them."""


class Packed:
    """Rows of whole documents; every epoch has the same rows.

    Takes about 40 bytes of memory for each document.
    """

    lengths = None

    def __init__(
        self,
        source: TokenSource,
        room: int,
        *,
        seed: int = 0,
        around: int = 0,
        together: bool = True,
    ) -> None:
        """Pack the documents of `source` into rows of `room` tokens.

        Which of the documents of one length go together is drawn with `seed`. Each piece takes
        `around` tokens more than its own for what is put around it; the closing token of a document
        is not counted, since it is taken off. Without `together` every piece has a row of its own.
        """
        most = room - around
        if most < 1:
            raise ConfigError(
                f"A row of {room} tokens has no room for text between its {around} special tokens. "
                "Raise batch.length."
            )
        ends = all_ends(source)
        starts = np.concatenate([[0], ends[:-1]])
        sizes = ends - starts - 1
        # The tail of a text that was split inside a document is not closed; it loses a token.
        counts = -(-sizes // most)
        first = np.repeat(np.cumsum(counts) - counts, counts)
        offset = (np.arange(len(first), dtype=np.int64) - first) * most
        self._source = source
        self._starts: Ids = np.repeat(starts, counts) + offset
        self._sizes: Ids = np.minimum(np.repeat(sizes, counts) - offset, most)
        if not len(self._sizes):
            raise InputError("The documents have no text in them. Give more text.")
        if together:
            self._order, self._rows = best_fit(self._sizes + around, room, seed=seed)
        else:
            self._order = np.arange(len(self._sizes))
            self._rows = np.arange(len(self._sizes) + 1)
        taken = self._sizes.sum() + around * len(self._sizes)
        self.padding = 1.0 - float(taken) / (room * len(self))
        """Share of the rows' tokens that is filled up, from 0 to 1."""

    def __len__(self) -> int:
        """Rows in an epoch."""
        return len(self._rows) - 1

    def example(self, index: int, epoch: int) -> Pack:
        """Row `index`, the same in every epoch."""
        here = self._order[self._rows[index] : self._rows[index + 1]]
        return Pack(
            tuple(
                self._source.read(start, start + size)
                for start, size in zip(
                    self._starts[here].tolist(), self._sizes[here].tolist(), strict=True
                )
            )
        )

    @property
    def row_sizes(self) -> Ids:
        """Text tokens in each row."""
        return np.add.reduceat(self._sizes[self._order], self._rows[:-1])


def best_fit(sizes: Ids, room: int, *, seed: int) -> tuple[Ids, Ids]:
    """Pieces of `sizes` in the order of the rows of `room` they go to, and where each row begins
    (and the last ends); which of those of one size go together is drawn with `seed`."""
    drawn = rng(seed, 0, 0, purpose=PACK).permutation(len(sizes))
    by_size = drawn[np.argsort(sizes[drawn], kind="stable")]
    counts = np.bincount(sizes, minlength=room + 1)
    first = np.cumsum(counts) - counts
    # How many rows are filled with which sizes so far, by the room that is left in them.
    left: dict[int, list[tuple[tuple[int, ...], int]]] = {}
    for size in range(room, 0, -1):
        waiting = int(counts[size])
        while waiting:
            fit = next((r for r in range(size, room) if left.get(r)), None)
            if fit is None:
                each = room // size
                rows, rest = divmod(waiting, each)
                for number, full in ((rows, each), (min(rest, 1), rest)):
                    if number:
                        sizes_here = (size,) * full
                        left.setdefault(room - size * full, []).append((sizes_here, number))
                break
            pattern, rows = left[fit].pop()
            used = min(rows, waiting)
            if rows > used:
                left[fit].append((pattern, rows - used))
            left.setdefault(fit - size, []).append(((*pattern, size), used))
            waiting -= used
    order, widths = [], []
    for pattern, rows in (group for r in sorted(left) for group in left[r]):
        columns = []
        for size in pattern:
            columns.append(by_size[first[size] : first[size] + rows])
            first[size] += rows
        order.append(np.stack(columns, 1).ravel())
        widths.append(np.full(rows, len(pattern)))
    return np.concatenate(order), np.concatenate([[0], np.cumsum(np.concatenate(widths))])
