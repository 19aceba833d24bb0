"""Training and validation text out of one source, the same way every time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from hanlin.data.examples import Ids, TokenSource, all_ends
from hanlin.data.order import SPLIT, rng
from hanlin.errors import ConfigError, InputError

Flags = npt.NDArray[np.bool_]
How = Literal["documents", "tail"]


class Stretches:
    """Some stretches of a source, read as if nothing were between them; a `TokenSource`."""

    def __init__(self, source: TokenSource, starts: Sequence[int] | Ids, stops: Ids) -> None:
        """Read [starts[i], stops[i]) one after the other; a stretch that ends inside a document
        ends it."""
        self._source = source
        self._starts = np.asarray(starts, dtype=np.int64)
        self._ends = np.cumsum(stops - self._starts, dtype=np.int64)
        self._shift = self._starts - np.concatenate([[0], self._ends[:-1]])
        self.tokens = int(self._ends[-1])
        self.documents = len(self.bounds_within(0, self.tokens))

    def read(self, start: int, stop: int) -> Ids:
        """The tokens [start, stop)."""
        parts = [self._source.read(a + shift, b + shift) for a, b, shift in self._cut(start, stop)]
        return parts[0] if len(parts) == 1 else np.concatenate([np.empty(0, np.int64), *parts])

    def bounds_within(self, start: int, stop: int) -> Ids:
        """The document ends e with start < e <= stop."""
        found = []
        for a, b, shift in self._cut(start, stop):
            found.append(self._source.bounds_within(a + shift, b + shift) - shift)
        ends = self._ends[(self._ends > start) & (self._ends <= stop)]
        bounds = np.unique(np.concatenate([ends, *found]))
        return bounds[(bounds > start) & (bounds <= stop)]

    def _cut(self, start: int, stop: int) -> list[tuple[int, int, int]]:
        """[start, stop) as pieces of one stretch each, with what to add to find them in the
        source."""
        pieces = []
        at = int(np.searchsorted(self._ends, start, side="right"))
        while start < stop and at < len(self._ends):
            end = min(stop, int(self._ends[at]))
            pieces.append((start, end, int(self._shift[at])))
            start, at = end, at + 1
        return pieces


@dataclass(frozen=True)
class Split:
    """Two parts that have no token in common."""

    train: TokenSource
    validation: TokenSource
    how: How
    """By documents drawn at random, or the last part of the text."""


def split(source: TokenSource, share: float, *, seed: int, how: How | None = None) -> Split:
    """Hold out about `share` (0 to 1) of the tokens of `source`.

    "documents" draws whole documents at random; "tail" takes the last part of the text and cuts
    through a document where it must. With None documents are drawn if some of them come within half
    of the wanted size (a text of three books has no such), else the tail is taken; `Split.how` says
    which. Raises `ConfigError` for a share out of range and `InputError` where a part would be
    empty.
    """
    if not 0 < share < 1:
        raise ConfigError(
            f"The share held out for validation is {share}; it must be between 0 and 1."
        )
    wanted = share * source.tokens
    if how != "tail":
        ends = all_ends(source)
        sizes = np.diff(ends, prepend=0)
        drawn = rng(seed, 0, 0, purpose=SPLIT).permutation(len(ends))
        held = drawn[: int(np.searchsorted(np.cumsum(sizes[drawn]), wanted)) + 1]
        got = int(sizes[held].sum())
        if len(held) < len(ends) and (how or abs(got - wanted) <= wanted / 2):
            out = np.zeros(len(ends), dtype=bool)
            out[held] = True
            return Split(_chosen(source, ends, ~out), _chosen(source, ends, out), "documents")
        if how:
            raise InputError(
                f"Of {len(ends)} documents none can be held out for validation. Give more "
                "documents, or hold out the tail of the text."
            )
    cut = int((1 - share) * source.tokens)
    if not 0 < cut < source.tokens:
        raise InputError(
            f"The text has {source.tokens} tokens; {share:.2%} of it cannot be held out. Give more "
            "text, or leave validation out."
        )
    return Split(
        Stretches(source, [0], np.array([cut])),
        Stretches(source, [cut], np.array([source.tokens])),
        "tail",
    )


def _chosen(source: TokenSource, ends: Ids, chosen: Flags) -> Stretches:
    """The documents for which `chosen` [documents] is True; neighbours make one stretch."""
    edges = np.flatnonzero(np.diff(chosen, prepend=False, append=False))
    begins = np.concatenate([[0], ends[:-1]])
    return Stretches(source, begins[edges[::2]], ends[edges[1::2] - 1])
