"""Curves: several lines in one frame, with bands, dots and marks.

On a terminal a picture of Braille dots with a line for each curve below; on the page inline SVG
whose lines are named at their ends; hovering (or a finger) shows the values.
"""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from hanlin.reports import braille, plot
from hanlin.reports.cells import cut, pad, spark
from hanlin.reports.cells import width as cells
from hanlin.reports.part import heading, jsonable, section, shown, words_data
from hanlin.reports.plot import HEIGHT, TONES, Axis, Scale
from hanlin.reports.words import Language, Words, compact, markup, number, percent, say


@dataclass(frozen=True)
class Series:
    """One line."""

    name: Words
    x: Sequence[float]
    y: Sequence[float]
    """Where it is NaN or infinite the line is broken, and a cross on the frame says so."""
    low: Sequence[float] = ()
    """With `high`: the edges of a band drawn behind the line."""
    high: Sequence[float] = ()
    tone: int = 0
    """Colour 1 to 6; 0: by its place in the figure."""
    faint: bool = False
    """Drawn thin and pale, without a name: what lies behind a smoothed line."""
    dots: bool = False
    """A dot at every point."""

    def __post_init__(self) -> None:
        if len(self.x) != len(self.y):
            raise ValueError(f"{len(self.x)} x for {len(self.y)} y in {self.name!r}.")
        banded = bool(self.low or self.high)
        if banded and not len(self.low) == len(self.high) == len(self.x):
            raise ValueError(f"The band of {self.name!r} has another length than its line.")
        if not 0 <= self.tone <= TONES:
            raise ValueError(f"There is no tone {self.tone}; they are 1 to {TONES}.")

    def end(self) -> float | None:
        """Return the last value that is a number."""
        return next((y for y in reversed(self.y) if math.isfinite(y)), None)


@dataclass(frozen=True)
class Figure:
    """Lines over one x axis and one y axis."""

    title: Words
    series: tuple[Series, ...]
    x: Axis
    y: Axis
    marks: tuple[tuple[float, Words], ...] = ()
    """Places on the x axis that get a vertical line with a word on it."""
    note: Words = ""
    half: bool = False
    """On a wide page it takes half a row."""

    def terminal(self, *, width: int, language: Language) -> str:
        """Return a picture of dots, and for each line its first, last, lowest and highest value."""
        lines = heading(self.title, language, width)
        x, y = self._scales()
        drawn = [
            [(x.share(a), y.share(b)) for a, b in zip(one.x, one.y, strict=True)]
            for one in self.series
            if not one.faint
        ]
        ends = [
            plot.tick_texts([float(f"{v:.3g}")], axis)[0]
            for scale, axis in ((x, self.x), (y, self.y))
            for v in (scale.low, scale.high)
        ]
        lines += braille.picture(
            drawn,
            x=(ends[0], ends[1]),
            y=(ends[2], ends[3]),
            label=shown(self.x.label, language),
            width=width,
        )
        named = [one for one in self.series if not one.faint]
        names = [shown(one.name, language) for one in named]
        room = max((cells(name) for name in names), default=0)
        for name, one in zip(names, named, strict=True):
            known = [v for v in one.y if math.isfinite(v)]
            words = say(("no value", "无数值"), language)
            if known:
                words = f"{number(known[0])} → {number(known[-1])}"
                low, high = say(("lowest", "最低"), language), say(("highest", "最高"), language)
                words += f"  {low} {number(min(known))}  {high} {number(max(known))}"
            line = f"{pad(name, room)}  {spark(one.y, 24, log=self.y.log)}  {words}"
            lines.append(cut(line, width))
        return "\n".join(lines)

    def data(self) -> dict[str, Any]:
        """Return the points of every line."""
        series = []
        for one in self.series:
            points = {"name": words_data(one.name), "x": jsonable(one.x), "y": jsonable(one.y)}
            if one.low:
                points |= {"low": jsonable(one.low), "high": jsonable(one.high)}
            series.append(points)
        axes = {
            name: {"label": words_data(axis.label), "log": axis.log}
            for name, axis in (("x", self.x), ("y", self.y))
        }
        return {"kind": "figure", "title": words_data(self.title), **axes, "series": series}

    def html(self) -> str:
        """Return the figure as inline SVG that fits itself to the width of the page."""
        x, y = self._scales()
        drawn = [plot.frame(x, y, x_axis=self.x, y_axis=self.y), *self._marks(x)]
        shapes: list[str] = []
        dots: list[str] = []
        for one, tone in zip(self.series, self._tones(), strict=True):
            shapes += _band(one, tone, x, y)
            points = list(zip(map(x.share, one.x), map(y.share, one.y), strict=True))
            faint = " faint" if one.faint else ""
            shapes.append(f'<path class="line t{tone}{faint}" d="{plot.path(points)}"/>')
            dots += _dots(one, points, tone)
        box = 'viewBox="0 0 1000 1000" preserveAspectRatio="none" width="100%" height="100%"'
        drawn.append(f'<svg class="area" {box}>{"".join(shapes)}</svg>')
        drawn += dots
        labels, room = self._labels(y)
        notes = [self.note] if self.note else []
        if any(not math.isfinite(value) for one in self.series for value in one.y):
            notes.append(("× is not a number", "× 表示非数值"))
        note = "".join(f'<p class="note">{markup(one)}</p>' for one in notes)
        title = say(self.title, "en")
        body = (
            f'<div class="plot" style="padding-right:{room}px">'
            f'<svg role="img" aria-label="{markup(title)}" width="100%" height="{HEIGHT}">'
            f'{"".join(drawn)}{labels}<line class="rule" y1="0" y2="100%"/></svg>'
            f'<script type="application/json">{self._points(x)}</script></div>'
            f'<p class="axis">{markup(self.x.label)}</p>{note}'
        )
        classes = "figure half" if self.half else "figure"
        return section(self.title, body, unit=self.y.label, classes=classes)

    def _scales(self) -> tuple[Scale, Scale]:
        xs = (v for one in self.series for v in one.x)
        ys = (v for one in self.series for part in (one.y, one.low, one.high) for v in part)
        return plot.scale(self.x, xs, margin=0), plot.scale(self.y, ys)

    def _tones(self) -> list[int]:
        return [one.tone or i % TONES + 1 for i, one in enumerate(self.series)]

    def _marks(self, x: Scale) -> list[str]:
        drawn = []
        for place, words in self.marks:
            share = x.share(place)
            if not 0 <= share <= 1:
                continue
            at = f"{100 * share:.2f}%"
            drawn.append(f'<line class="event" x1="{at}" x2="{at}" y1="0" y2="100%"/>')
            side = 'dx="-4" text-anchor="end"' if share > 0.7 else 'dx="4"'
            drawn.append(plot.svg_text(words, "event", f'x="{at}" y="8" {side}'))
        return drawn

    def _labels(self, y: Scale) -> tuple[str, int]:
        """Return the names and last values beside the ends of the lines, and the room they take."""
        named = [
            (one, tone, end)
            for one, tone in zip(self.series, self._tones(), strict=True)
            if not one.faint and (end := one.end()) is not None and not math.isnan(y.share(end))
        ]
        if not named:
            return "", 16
        alone = len(named) == 1
        places = [HEIGHT * (1 - min(max(y.share(end), 0), 1)) for _, _, end in named]
        gap = 16 if alone else 30
        places = plot.spread(places, gap=gap, low=6, high=HEIGHT - (4 if alone else 16))
        drawn, widest = [], 0.0
        for (one, tone, end), place in zip(named, places, strict=True):
            value = self._value(end)
            widest = max(widest, 7.4 * cells(value))
            at = f'x="100%" dx="8" dy="4" y="{place:.0f}"'
            drawn.append(plot.svg_text(value, f"end t{tone}", at))
            if not alone:
                words = cut(say(one.name, "en"), 18), cut(say(one.name, "zh"), 18)
                widest = max(widest, *(6.4 * cells(word) for word in words))
                at = f'x="100%" dx="8" dy="4" y="{place + 13:.0f}"'
                drawn.append(plot.svg_text(words, f"name t{tone}", at))
        return "".join(drawn), round(min(widest, 120)) + 16

    def _value(self, value: float) -> str:
        if self.y.style == "percent":
            return percent(value)
        text = compact(value) if abs(value) >= 10_000 else number(value)
        return text.replace("-", "−")

    def _points(self, x: Scale) -> str:
        """Return what hovering shows, as JSON that is safe inside a script element."""
        series = [
            {
                "name": [say(one.name, "en"), say(one.name, "zh")],
                "tone": tone,
                "x": [_short(v) for v in one.x],
                "y": [_short(v) for v in one.y],
            }
            for one, tone in zip(self.series, self._tones(), strict=True)
            if not one.faint
        ]
        data = {
            "x": [say(self.x.label, "en"), say(self.x.label, "zh")],
            "low": x.low,
            "high": x.high,
            "log": x.log,
            "percent": self.y.style == "percent",
            "series": series,
        }
        text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _band(one: Series, tone: int, x: Scale, y: Scale) -> Iterable[str]:
    if not one.low:
        return
    edges = [
        (x.share(at), y.share(low), y.share(high))
        for at, low, high in zip(one.x, one.low, one.high, strict=True)
    ]
    whole = [edge for edge in edges if not any(map(math.isnan, edge))]
    outline = [(at, high) for at, _, high in whole] + [(at, low) for at, low, _ in reversed(whole)]
    if outline:
        yield f'<path class="band t{tone}" d="{plot.path(outline)}Z"/>'


def _dots(one: Series, points: list[tuple[float, float]], tone: int) -> Iterable[str]:
    """Yield a dot for each point asked for, and crosses where there is no number to draw."""
    known = [point for point in points if not any(map(math.isnan, point))]
    if one.dots or (len(known) == 1 and not one.faint):
        for x, y in known:
            if 0 <= y <= 1:
                at = f'cx="{100 * x:.2f}%" cy="{100 - 100 * y:.2f}%"'
                yield f'<circle class="dot t{tone}" {at} r="3"/>'
    for (x, y), value in zip(points, one.y, strict=True):
        if math.isnan(y) and 0 <= x <= 1:
            at = "100%" if value <= 0 else "0"
            yield (
                f'<text class="odd t{tone}" x="{100 * x:.2f}%" y="{at}" dy="4"'
                f' text-anchor="middle">×</text>'
            )


def _short(value: float) -> float | None:
    rounded = float(f"{value:.5g}")  # may be infinite where the value is not
    return rounded if math.isfinite(rounded) else None
