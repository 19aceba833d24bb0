"""A table of counts, one of rows by columns, whose cells are the darker the more of their row they
hold: who was taken for whom."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hanlin.reports.cells import cut, pad, plain, width
from hanlin.reports.part import heading, section, shown, words_data
from hanlin.reports.words import Language, Words, markup, number, say

_LONGEST = 24
"""Cells of a name on a terminal."""


@dataclass(frozen=True)
class Matrix:
    """Counts of rows by columns, such as a confusion matrix: what is right by what was said."""

    title: Words
    rows: tuple[Words, ...]
    columns: tuple[Words, ...]
    counts: tuple[tuple[int, ...], ...]
    """[rows][columns], none negative."""
    down: Words
    """What the rows are."""
    across: Words
    """What the columns are."""
    note: Words = ""
    half: bool = False
    """On a wide page it takes half a row."""

    def __post_init__(self) -> None:
        if len(self.counts) != len(self.rows):
            raise ValueError(f"{len(self.counts)} rows of counts for {len(self.rows)} names.")
        for row in self.counts:
            if len(row) != len(self.columns):
                raise ValueError(f"A row of {len(row)} counts under {len(self.columns)} columns.")
            if any(count < 0 for count in row):
                raise ValueError("A count is negative.")

    def terminal(self, *, width: int, language: Language) -> str:
        """Return the counts under numbered columns; the numbers stand before the rows' names."""
        lines = heading(self.title, language, width)
        names = [shown(name, language) for name in self.rows]
        same = names == [shown(name, language) for name in self.columns]
        marks = [str(i + 1) for i in range(len(self.columns))]
        room = max([len(mark) for mark in marks] + [len(f"{n:,}") for r in self.counts for n in r])
        labels = [f"{i + 1}  {name}" if same else name for i, name in enumerate(names)]
        side = min(max(map(_cells, labels), default=0), _LONGEST)
        down, across = shown(self.down, language), shown(self.across, language)
        lines.append(cut(f"{pad('', side)}  {down} ↓  {across} →", width))
        if not same:
            marks = [cut(shown(name, language), room) for name in self.columns]
        lines.append(cut(_row("", marks, side, room), width))
        for label, row in zip(labels, self.counts, strict=True):
            texts = [f"{count:,}" if count else "·" for count in row]
            lines.append(cut(_row(cut(label, side), texts, side, room), width))
        if self.note:
            lines.append(cut(plain(say(self.note, language)), width))
        return "\n".join(lines)

    def data(self) -> dict[str, Any]:
        """Return names and counts."""
        return {
            "kind": "matrix",
            "title": words_data(self.title),
            "down": words_data(self.down),
            "across": words_data(self.across),
            "rows": [words_data(name) for name in self.rows],
            "columns": [words_data(name) for name in self.columns],
            "counts": [list(row) for row in self.counts],
        }

    def html(self) -> str:
        """Return the table; each cell shaded by its share of the row's sum."""
        head = "".join(f"<th><span>{markup(name)}</span></th>" for name in self.columns)
        body = []
        for i, (name, row) in enumerate(zip(self.rows, self.counts, strict=True)):
            total = max(sum(row), 1)
            cells = "".join(
                f'<td class="{"hit" if self._right(i, j) else "miss"}" '
                f'style="--share:{100 * count / total:.0f}%">{number(count) if count else ""}</td>'
                for j, count in enumerate(row)
            )
            body.append(f"<tr><th>{markup(name)}</th>{cells}</tr>")
        corner = f"<th><small>{markup(self.down)} ↓ {markup(self.across)} →</small></th>"
        note = f'<p class="note">{markup(self.note)}</p>' if self.note else ""
        table = (
            f'<div class="scroll"><table class="matrix"><thead><tr>{corner}{head}</tr></thead>'
            f"<tbody>{''.join(body)}</tbody></table></div>{note}"
        )
        return section(self.title, table, classes="half" * self.half)

    def _right(self, row: int, column: int) -> bool:
        return self.rows[row] == self.columns[column]


def _cells(text: str) -> int:
    return width(text)


def _row(label: str, texts: Sequence[str], side: int, room: int) -> str:
    return "  ".join([pad(label, side), *(pad(text, room, right=True) for text in texts)])
