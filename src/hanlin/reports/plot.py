"""The frame of a plot: scales, ticks, and an SVG that keeps its type size at any width.

The drawing area is an ``<svg>`` without a view box, as wide as the page allows and of fixed height.
Curves are drawn in a nested one of 1000 × 1000 units that is stretched over it, with strokes that
do not scale; text stands at percentages of the area, outside of it too, and is never stretched.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

from hanlin.reports.words import Words, compact, percent

HEIGHT = 220
"""Pixels of the drawing area."""
TONES = 6
"""Colours of the page, named t1 to t6."""
_LARGEST = 1e250
"""Beyond this, and on a logarithmic axis below its inverse, a value is drawn at the edge."""


@dataclass(frozen=True)
class Axis:
    """What is measured along one side of a plot."""

    label: Words
    log: bool = False
    low: float | None = None
    """Where it begins; None: where the data do."""
    high: float | None = None
    style: Literal["number", "percent"] = "number"

    def __post_init__(self) -> None:
        if self.low is not None and self.high is not None and not self.low < self.high:
            raise ValueError(f"An axis from {self.low} to {self.high}.")
        if self.log and any(end is not None and end <= 0 for end in (self.low, self.high)):
            raise ValueError("A logarithmic axis cannot begin or end at 0 or below.")


@dataclass(frozen=True)
class Scale:
    """Where along an axis a value lies."""

    low: float
    high: float
    log: bool = False

    def share(self, value: float) -> float:
        """Return 0 at `low`, 1 at `high`; NaN for what an axis of this kind does not have."""
        if not _drawable(value, self.log):
            return math.nan
        if self.log:
            start = math.log(self.low)
            return (math.log(value) - start) / (math.log(self.high) - start)
        return (value - self.low) / (self.high - self.low)

    def ticks(self, count: int = 5) -> list[float]:
        """Return about `count` round values between the ends."""
        return _log_ticks(self, count) if self.log else _linear_ticks(self.low, self.high, count)


def scale(axis: Axis, values: Iterable[float], *, margin: float = 0.05) -> Scale:
    """Return the scale of an axis that shows all values that are numbers.

    `margin` is left beyond the data, as a share of their span, at ends the axis does not fix.
    """
    least = 1 / _LARGEST if axis.log else -_LARGEST
    known = [min(max(x, least), _LARGEST) for x in values if _drawable(x, axis.log)]
    low, high = (min(known), max(known)) if known else (1.0, 1.0)
    low = axis.low if axis.low is not None else low
    high = axis.high if axis.high is not None else high
    to, back = _directions(axis.log)
    size = max(abs(to(low)), abs(to(high)))
    if to(high) - to(low) <= max(1e-9 * size, 1e-300):  # one value, or all beyond a fixed end
        room = 1.0 if axis.log or not size else max(0.1 * size, 1e-9)
        if axis.low is None:
            low = back(to(high) - room)
        if axis.high is None:
            high = back(to(low) + 2 * room)
    room = (to(high) - to(low)) * margin
    if axis.low is None:
        low = back(to(low) - room)
    if axis.high is None:
        high = back(to(high) + room)
    return Scale(low, high, axis.log)


def tick_texts(ticks: Sequence[float], axis: Axis) -> list[str]:
    """Return the ticks as short texts, with as many decimals as tell them apart."""
    if axis.style == "percent":
        return [percent(tick) for tick in ticks]
    if any(tick and not 1e-3 <= abs(tick) < 1e15 for tick in ticks):
        return _told_apart(ticks, _exponent)
    if any(abs(tick) >= 10_000 for tick in ticks) or all(
        abs(tick) >= 1000 for tick in ticks if tick
    ):
        return _told_apart(ticks, compact)
    if axis.log:
        return [f"{tick:g}" for tick in ticks]
    decimals = next(
        (
            d
            for d in range(12)
            if all(abs(t - round(t, d)) < 1e-9 * max(abs(t), 1e-3) for t in ticks)
        ),
        12,
    )
    return [f"{tick:,.{decimals}f}".replace("-", "−") for tick in ticks]


def frame(x: Scale, y: Scale, *, x_axis: Axis, y_axis: Axis) -> str:
    """Return the grid and the ticks as SVG, to stand in the drawing area before what is drawn."""
    drawn = []
    ticks = y.ticks(5)
    for value, text in zip(ticks, tick_texts(ticks, y_axis), strict=True):
        at = f"{100 - 100 * y.share(value):.2f}%"
        drawn.append(f'<line class="grid" x1="0" x2="100%" y1="{at}" y2="{at}"/>')
        drawn.append(f'<text class="tick" x="-8" y="{at}" dy="4" text-anchor="end">{text}</text>')
    ticks = x.ticks(4)
    for value, text in zip(ticks, tick_texts(ticks, x_axis), strict=True):
        at = f"{100 * x.share(value):.2f}%"
        drawn.append(
            f'<text class="tick" x="{at}" y="100%" dy="18" text-anchor="middle">{text}</text>'
        )
    drawn.append('<line class="base" x1="0" x2="100%" y1="100%" y2="100%"/>')
    return "".join(drawn)


def svg_text(words: Words, classes: str, attributes: str) -> str:
    """Return SVG text, escaped, that shows the words in the language chosen on the page."""
    if isinstance(words, str):
        return f'<text class="{classes}" {attributes}>{escape(words)}</text>'
    return "".join(
        f'<text class="{classes} {language}" {attributes}>{escape(one)}</text>'
        for language, one in zip(("en", "zh"), words, strict=True)
    )


def path(points: Iterable[tuple[float, float]]) -> str:
    """Return the commands of a line through points given as shares; NaN lifts the pen."""
    commands, down = [], False
    for x, y in points:
        if math.isnan(x) or math.isnan(y):
            down = False
            continue
        # Far outside the area is clipped anyway; browsers lose precision beyond some 1e6.
        x, y = min(max(x, -9.0), 10.0), min(max(y, -9.0), 10.0)
        commands.append(f"{'L' if down else 'M'}{_unit(x)} {_unit(1 - y)}")
        down = True
    return "".join(commands)


def spread(places: Sequence[float], *, gap: float, low: float, high: float) -> list[float]:
    """Move labels at these heights apart to at least `gap`, keeping their order and the bounds."""
    order = sorted(range(len(places)), key=lambda i: places[i])
    moved = [0.0] * len(places)
    edge = low
    for i in order:
        moved[i] = max(places[i], edge)
        edge = moved[i] + gap
    edge = high
    for i in reversed(order):
        moved[i] = min(moved[i], edge)
        edge = moved[i] - gap
    return moved


def _drawable(value: float, log: bool) -> bool:
    return math.isfinite(value) and (value > 0 or not log)


def _unit(share: float) -> str:
    return f"{round(share * 1000, 1) + 0.0:.1f}".removesuffix(".0")


def _directions(log: bool) -> tuple[Callable[[float], float], Callable[[float], float]]:
    return (math.log, math.exp) if log else (float, float)


def _linear_ticks(low: float, high: float, count: int) -> list[float]:
    raw = (high - low) / max(count, 1)
    size = 10 ** math.floor(math.log10(raw))
    step = min((size * m for m in (1, 2, 5, 10)), key=lambda s: abs(math.log(s / raw)))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 12 - math.floor(math.log10(step))) for i in range(first, last + 1)]


def _log_ticks(scale: Scale, count: int) -> list[float]:
    first, last = math.floor(math.log10(scale.low)), math.ceil(math.log10(scale.high))
    for steps in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
        ticks = [
            round(m * 10.0**e, 12 - e)
            for e in range(first, last + 1)
            for m in steps
            if scale.low <= m * 10.0**e * (1 + 1e-9) and m * 10.0**e <= scale.high * (1 + 1e-9)
        ]
        if len(ticks) >= min(count, 4):
            break
    else:
        return _linear_ticks(scale.low, scale.high, count - 1)
    return ticks[:: math.ceil(len(ticks) / (count + 2))]


def _told_apart(ticks: Sequence[float], text: Callable[[float, int], str]) -> list[str]:
    """Return the texts with as few significant digits as make no two alike."""
    for digits in range(2, 17):
        texts = [text(tick, digits) for tick in ticks]
        if len(set(texts)) == len(ticks):
            break
    return [one.replace("-", "−") for one in texts]


def _exponent(value: float, digits: int) -> str:
    if not value:
        return "0"
    mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
