"""How far a run is, in every unit a duration may be given in, and what follows from that."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from hanlin.training.durations import Duration
from hanlin.training.schedules import Schedule


@dataclass(frozen=True, kw_only=True)
class Place:
    """A point of a run, between two steps."""

    step: int = 0
    tokens: int = 0
    epoch: float = 0.0
    seconds: float = 0.0
    """Training time, as every process counts it: by the first one's clock."""

    def share(self, duration: Duration) -> float:
        """How much of a duration is over, 0 to 1."""
        return min(1.0, max(self._parts(duration)))

    def passed(self, every: Duration, before: "Place") -> bool:
        """Whether a multiple of `every`, in any of its units, lies after `before` up to here."""
        parts = zip(before._parts(every), self._parts(every), strict=True)
        return any(math.floor(now) > math.floor(then) for then, now in parts)

    def _parts(self, duration: Duration) -> list[float]:
        """How often each amount of a duration fits into what is done."""
        done = {"steps": self.step, "tokens": self.tokens, "epochs": self.epoch}
        done["seconds"] = self.seconds
        return [done[unit] / amount for unit, amount in duration.amounts.items()]


def rate(schedule: Schedule, duration: Duration) -> Callable[[Place, Place], float]:
    """The factor of the highest learning rate for the step between two places.

    It is taken halfway, so that neither the first nor the last step has a rate of nothing. A
    warm-up may be in another unit than the run (100 steps of 10 minutes): how much of the run it is
    follows from how much of either is over, at the pace so far.
    """
    warmup = schedule.warmup

    def factor(before: Place, after: Place) -> float:
        progress = min(1.0, _halfway(before, after, duration))
        share = warmup.share
        if share is None:
            assert warmup.duration is not None
            done = _halfway(before, after, warmup.duration)
            if done < 1:
                return done
            share = min(progress / done, 1.0)
        return schedule.factor(progress, warmup=share)

    return factor


def _halfway(before: Place, after: Place, duration: Duration) -> float:
    pairs = zip(before._parts(duration), after._parts(duration), strict=True)
    return max((one + other) / 2 for one, other in pairs)
