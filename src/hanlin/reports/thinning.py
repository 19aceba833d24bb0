"""A curve of any length in bounded memory, with its extremes kept.

Points are gathered in stretches of equal count. When there are too many stretches, neighbours are
merged and the count doubles. What remains depends on the points alone, not on when it was asked,
so a run that went on from a checkpoint shows the curve of a run that never stopped.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

_ODD = 200
"""So many of the values that are not numbers are kept with their places."""


@dataclass(slots=True)
class _Stretch:
    count: int
    x: float
    total: float
    low: float
    low_x: float
    high: float
    high_x: float

    def take(self, other: "_Stretch") -> None:
        self.x += other.x
        self.total += other.total
        self.count += other.count
        if other.low < self.low:
            self.low, self.low_x = other.low, other.low_x
        if other.high > self.high:
            self.high, self.high_x = other.high, other.high_x


class Curve:
    """Takes points one by one, x growing; gives back at most two for each of `stretches`."""

    def __init__(self, stretches: int = 512) -> None:
        if stretches < 2 or stretches % 2:
            raise ValueError(f"{stretches} stretches: an even number from 2 is needed.")
        self.count = 0
        """Points that are numbers."""
        self.odd: list[tuple[float, float]] = []
        """The first points that are NaN or infinite."""
        self.odd_count = 0
        self.last: float | None = None
        """The last value that is a number."""
        self._limit = stretches
        self._size = 1
        self._stretches: list[_Stretch] = []

    def add(self, x: float, y: float) -> None:
        """Take the next point."""
        if not math.isfinite(y):
            self.odd_count += 1
            if len(self.odd) < _ODD:
                self.odd.append((x, y))
            return
        self.count += 1
        self.last = y
        stretches = self._stretches
        if stretches and (last := stretches[-1]).count < self._size:
            last.count += 1
            last.x += x
            last.total += y
            if y < last.low:
                last.low, last.low_x = y, x
            if y > last.high:
                last.high, last.high_x = y, x
            return
        if len(stretches) == self._limit:
            self._halve()
        stretches.append(_Stretch(1, x, y, y, x, y, x))

    def extremes(self) -> list[tuple[float, float]]:
        """Return the lowest and the highest point of every stretch, in order of x."""
        points = []
        for s in self._stretches:
            ends = sorted({(s.low_x, s.low), (s.high_x, s.high)})
            points.extend(ends)
        return points

    def means(self) -> list[tuple[float, float]]:
        """Return the middle of every stretch: mean x, mean y."""
        return [(s.x / s.count, s.total / s.count) for s in self._stretches]

    def smooth(self, share: float = 0.03) -> list[tuple[float, float]]:
        """Return a moving mean over about `share` of the curve on either side.

        At the beginning, where a loss falls fast, it narrows so as not to be pulled; at the end it
        is the mean of what came last, not the noise of one step.
        """
        stretches = self._stretches
        reach = max(round(len(stretches) * share), 1)
        totals, counts = [0.0], [0]
        for s in stretches:
            totals.append(totals[-1] + s.total)
            counts.append(counts[-1] + s.count)
        points = []
        for i, s in enumerate(stretches):
            half = min(reach, i)
            first, last = i - half, min(i + half + 1, len(stretches))
            mean = (totals[last] - totals[first]) / (counts[last] - counts[first])
            points.append((s.x / s.count, mean))
        return points

    def _halve(self) -> None:
        """Merge neighbours, so that the list is half as long."""
        halved = self._stretches[::2]
        for kept, other in zip(halved, self._stretches[1::2], strict=True):
            kept.take(other)
        self._stretches[:] = halved
        self._size *= 2


def thin(points: Iterable[tuple[float, float]], *, stretches: int = 512) -> Curve:
    """Return the curve of these points."""
    curve = Curve(stretches)
    for x, y in points:
        curve.add(x, y)
    return curve
