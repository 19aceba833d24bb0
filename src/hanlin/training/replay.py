"""Old examples among new ones, so that a model that goes on learning forgets less.

A fixed share of what an epoch reads is old (rehearsal: Robins 1995; Ibrahim et al. 2024 find a few
per cent enough for continued pretraining). Which old example stands where is a function of the
epoch and the index alone, as everything that is read here, so that a resumed run is the same run.
"""

from typing import Any

import numpy as np

from hanlin.data.examples import Examples, Ids
from hanlin.data.grouping import like_beside_like, sides
from hanlin.data.order import Permutation
from hanlin.errors import ConfigError, InputError

_STRIDE = 0x9E3779B97F4A7C15
"""Between the seeds of two slots: odd, so that no two slots share one."""


class Replayed:
    """Every new example once an epoch, and old ones between them; an `Examples`.

    The last indices are slots for old examples. A slot owns a stretch of them (of like length,
    where lengths differ) and shows another one in each epoch, all of them before any comes again.
    """

    def __init__(self, new: Examples, old: Examples, *, share: float, seed: int) -> None:
        """share: of all that an epoch reads, from 0 to 1, both excluded.

        Raises `InputError` where the share comes to no example at all.
        """
        if not 0 < share < 1:
            raise ConfigError(f"data.replay.share is {share:.0%}; it must be above 0 and below 1.")
        if not len(old):
            raise InputError("There are no old examples in data.replay.sources. Give more text.")
        self.slots = round(len(new) * share / (1 - share))
        """Old examples in an epoch."""
        if not self.slots:
            raise InputError(
                f"{share:.2%} of {len(new)} examples is none at all. Raise data.replay.share."
            )
        self._new, self._old = new, old
        self._seed = seed
        self._order: Ids | None = None
        self.lengths: Ids | None = None
        if new.lengths is not None and old.lengths is not None:
            self._order = like_beside_like(sides(old.lengths))
            longest = [self._order[self._stretch(slot)[1] - 1] for slot in range(self.slots)]
            self.lengths = np.concatenate([new.lengths, old.lengths[longest]])

    @property
    def notes(self) -> tuple[str, ...]:
        """What either kind of examples says, and how many are old."""
        both = dict.fromkeys([*self._new.notes, *(f"Replay: {n}" for n in self._old.notes)])
        return (
            *both,
            f"Replay: {self.slots} of the {len(self)} examples of an epoch are old "
            f"({self.slots / len(self):.1%}), out of {len(self._old)}.",
        )

    def __len__(self) -> int:
        """Examples in an epoch, new and old."""
        return len(self._new) + self.slots

    def example(self, index: int, epoch: int) -> Any:
        """Example `index` of an epoch, new or old."""
        slot = index - len(self._new)
        if slot < 0:
            return self._new.example(index, epoch)
        return self._old.example(self.replayed(slot, epoch), epoch)

    def replayed(self, slot: int, epoch: int) -> int:
        """The number of the old example that a slot shows in an epoch."""
        start, stop = self._stretch(slot)
        turn, place = divmod(epoch, stop - start)
        seed = (self._seed + (slot + 1) * _STRIDE) % (1 << 63)
        at = start + int(Permutation(stop - start, seed=seed, epoch=turn).at(np.array(place)))
        return at if self._order is None else int(self._order[at])

    def _stretch(self, slot: int) -> tuple[int, int]:
        """The old examples [start, stop) that a slot owns; one that others own too where there are
        fewer of them than slots."""
        count = len(self._old)
        start = slot * count // self.slots
        return start, max(start + 1, (slot + 1) * count // self.slots)
