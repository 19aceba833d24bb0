"""What stands between stored tokens and batches: a source of tokens, a set of examples."""

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int64]


class TokenSource(Protocol):
    """Documents of token ids, one after the other, each closed by the tokenizer's end token.

    `hanlin.data.shards.TokenShards` on disk, `hanlin.data.tokens.TokenArray` in memory, and parts
    of either (`hanlin.data.split`).
    """

    @property
    def tokens(self) -> int:
        """How many tokens there are."""

    @property
    def documents(self) -> int:
        """How many documents there are."""

    def read(self, start: int, stop: int) -> Ids:
        """The tokens [start, stop)."""

    def bounds_within(self, start: int, stop: int) -> Ids:
        """Where documents end inside [start, stop): ascending positions, each the first token
        after a document."""


def all_ends(source: TokenSource) -> Ids:
    """Where each document of `source` ends, the last one included."""
    ends = source.bounds_within(0, source.tokens)
    ends = ends[(ends > 0) & (ends < source.tokens)]
    return np.concatenate([ends, [source.tokens]])


class Examples(Protocol):
    """A fixed set of training examples, each a pure function of (its own seed, epoch, index).

    So nothing depends on batch size, world size or what was read before.
    """

    @property
    def lengths(self) -> Ids | None:
        """The size of each example in tokens where sizes differ much, so that a loader can put
        like beside like: [N], or [N, S] where it has S sides that are padded each by itself. None
        where all are about the same."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What whoever starts a run should know, a sentence each: what was cut off, what is
        padding."""

    def __len__(self) -> int:
        """How many examples an epoch has; every epoch has as many."""

    def example(self, index: int, epoch: int) -> Any:
        """Example `index` (from 0) as epoch `epoch` (from 0) reads it."""
