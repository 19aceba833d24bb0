"""Examples of like lengths side by side, and an epoch of them cut into steps of so many tokens.

An example may have several sides (what is read, what is written), each padded by itself. Ordering
by one side and, among equals, by the next leaves 2 % of padding in steps of 4,096 tokens of
Multi30k's translations; ordering by the sum of both leaves 15 %.
"""

import numpy as np
import numpy.typing as npt

from hanlin.data.examples import Ids
from hanlin.data.order import Permutation

_SHORT = 0.25
"""A last step of less than this share of the tokens joins the one before it."""


def sides(lengths: Ids) -> Ids:
    """Lengths as [N, S], one column for each side that is padded by itself."""
    return lengths[:, None] if lengths.ndim == 1 else lengths


def like_beside_like(lengths_NS: Ids) -> npt.NDArray[np.intp]:
    """An order of the examples in which neighbours are of like lengths; ties stay as they came.

    By the last side; within equals by the one before it, upwards and downwards by turns, so that
    neither jumps.
    """
    keys = [lengths_NS[:, -1]]
    for side in range(lengths_NS.shape[1] - 2, -1, -1):
        keys.append(np.where(keys[-1] % 2 == 0, lengths_NS[:, side], -lengths_NS[:, side]))
    return np.lexsort(keys[::-1])


def padded(lengths_NS: Ids) -> int:
    """Tokens that these examples take side by side, padding included."""
    return len(lengths_NS) * int(lengths_NS.max(0).sum())


class TokenSteps:
    """Which examples each step reads where a step has so many tokens, not so many sequences.

    An epoch is ordered as a whole and cut; the steps come in a random order. All epochs have the
    same lengths, so they are cut at the same places, and a step is a function of its number alone.
    Which of several examples of one length share a step is drawn anew in every epoch.
    """

    def __init__(self, lengths: Ids, tokens: int) -> None:
        """`tokens`: of a step, padding included."""
        self._lengths = sides(lengths)
        self._cuts = _cuts(self._lengths[like_beside_like(self._lengths)], tokens)
        self.fewest = int(np.diff(self._cuts).min())
        """Sequences of the smallest step."""
        self._last: tuple[tuple[int, int], npt.NDArray[np.int64]] | None = None

    @property
    def steps(self) -> int:
        """How many steps read every example once."""
        return len(self._cuts) - 1

    def step(self, number: int, *, seed: int) -> tuple[npt.NDArray[np.int64], int]:
        """The examples of a step (from 0), and its epoch."""
        epoch, row = divmod(number, self.steps)
        if self._last is None or self._last[0] != (seed, epoch):
            drawn = Permutation(len(self._lengths), seed=seed, epoch=epoch).at(
                np.arange(len(self._lengths))
            )
            self._last = (seed, epoch), drawn[like_beside_like(self._lengths[drawn])]
        order = self._last[1]
        turn = int(Permutation(self.steps, seed=seed, epoch=epoch).at(np.array(row)))
        return order[self._cuts[turn] : self._cuts[turn + 1]], epoch

    def plain(self) -> list[npt.NDArray[np.intp]]:
        """The examples of an epoch, step by step, where nothing is drawn."""
        order = like_beside_like(self._lengths)
        return [order[a:b] for a, b in zip(self._cuts[:-1], self._cuts[1:], strict=True)]

    def padding(self) -> float:
        """The share of the tokens read that is padding."""
        places = sum(padded(self._lengths[rows]) for rows in self.plain())
        return 1 - int(self._lengths.sum()) / places


def _cuts(ordered_NS: Ids, tokens: int) -> list[int]:
    """Where to cut ordered examples so that no part is larger than `tokens`, unless it is one."""
    cuts, longest = [0], [0] * ordered_NS.shape[1]
    for at, row in enumerate(ordered_NS.tolist()):
        longest = [max(pair) for pair in zip(longest, row, strict=True)]
        if at > cuts[-1] and (at + 1 - cuts[-1]) * sum(longest) > tokens:
            cuts.append(at)
            longest = row
    cuts.append(len(ordered_NS))
    if len(cuts) > 2 and padded(ordered_NS[cuts[-2] :]) < _SHORT * tokens:
        del cuts[-2]
    return cuts
