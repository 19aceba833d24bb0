"""A curve on a terminal, drawn in Braille characters: each cell holds two dots by four."""

import math
from collections.abc import Iterable, Sequence

from hanlin.reports.cells import cut, pad
from hanlin.reports.cells import width as cells_of

ROWS = 10
"""Lines a picture takes."""
_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
"""Unicode's Braille patterns: bit of a dot by column and row."""
_WIDEST = 96

Points = Sequence[tuple[float, float]]
"""Shares of the width and of the height, 0 at the left and at the bottom; NaN breaks the line."""


def picture(
    lines: Sequence[Points], *, x: tuple[str, str], y: tuple[str, str], label: str, width: int
) -> list[str]:
    """Return the rows of a picture of all lines, or none where it would be too narrow.

    `x` and `y` are the texts at the beginning and the end of each axis, `label` names the x axis.
    """
    margin = max(map(cells_of, y))
    columns = min(width - margin - 2, _WIDEST)
    if columns < 10:
        return []
    canvas = [[0] * columns for _ in range(ROWS)]
    for points in lines:
        for column, row in _trace(points, columns * 2, ROWS * 4):
            canvas[row // 4][column // 2] |= _DOTS[column % 2][row % 4]
    edges = [y[1], *[""] * (ROWS - 2), y[0]]
    rows = []
    for edge, cells in zip(edges, canvas, strict=True):
        dots = "".join(chr(0x2800 + cell) for cell in cells).rstrip("\u2800")
        rows.append(f"{pad(edge, margin, right=True)} ┤{dots}")
    left, right = x
    middle = cut(label, max(columns - cells_of(left) - cells_of(right) - 2, 0))
    space = columns - cells_of(left) - cells_of(right) - cells_of(middle)
    if space >= 0:
        before, after = " " * (space // 2), " " * (space - space // 2)
        rows.append(" " * (margin + 2) + left + before + middle + after + right)
    return rows


def _trace(points: Points, columns: int, rows: int) -> Iterable[tuple[int, int]]:
    """Yield the dots that join the points."""
    before: tuple[int, int] | None = None
    for x, y in points:
        if math.isnan(x) or math.isnan(y) or not 0 <= x <= 1:
            before = None
            continue
        y = min(max(y, 0.0), 1.0)
        here = (round(x * (columns - 1)), round((1 - y) * (rows - 1)))
        start = before or here
        steps = max(abs(here[0] - start[0]), abs(here[1] - start[1]), 1)
        for i in range(steps + 1):
            yield (
                start[0] + (here[0] - start[0]) * i // steps,
                start[1] + (here[1] - start[1]) * i // steps,
            )
        before = here
