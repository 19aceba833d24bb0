"""The parts of a report that are made of words: facts, tables, texts, samples."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from hanlin.reports.cells import cut, pad, plain, plain_lines, unbroken, width, wrap
from hanlin.reports.part import heading, jsonable, section, shown, words_data
from hanlin.reports.words import Language, Words, markup, number, say

Cell = Words | int | float | None
"""What a cell of a table holds: words, a number, or nothing."""
_FIGURES = re.compile(r"[-+−]?[\d,.]+(e[-+]?\d+)?( ?%)?( … [-+−]?[\d,.]+( ?%)?)?$")
"""What is a number or an interval, whole."""


@dataclass(frozen=True)
class Table:
    """Rows under named columns; a column of numbers only is set to the right."""

    title: Words
    columns: tuple[Words, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: Words = ""
    """One line under the table."""
    digits: int = 4
    """Significant digits of numbers."""
    folded: bool | None = None
    """True: on the page it is closed until it is clicked; None: it cannot be closed."""
    half: bool = False
    """On a wide page it takes half a row."""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"A row of {len(row)} cells under {len(self.columns)} columns.")

    def terminal(self, *, width: int, language: Language) -> str:
        """Return the table with aligned columns; where it does not fit the widest are cut, but for
        figures, which stay whole, and names of columns, which take two lines where that helps."""
        head = [shown(column, language) for column in self.columns]
        body = [[plain(self._text(cell, language)) for cell in row] for row in self.rows]
        widths = _fitting(_columns(head, body), width)
        right = self._right()

        def line(cells: Sequence[str]) -> str:
            fitted = (
                pad(cut(cell, room), room, right=set_right)
                for cell, room, set_right in zip(cells, widths, right, strict=True)
            )
            return "  ".join(fitted).rstrip()

        lines = heading(self.title, language, width)
        if any(head):
            names = [_in_two(name, room) for name, room in zip(head, widths, strict=True)]
            above, below = zip(*names, strict=True)
            lines += [line(above)] if any(above) else []
            lines += [line(below), "  ".join("─" * room for room in widths)]
        lines += [line(row) for row in body]
        if self.note:
            lines += wrap(say(self.note, language), width)
        return "\n".join(lines)

    def data(self) -> dict[str, Any]:
        """Return the columns and rows, the numbers unrounded."""
        rows = [
            [words_data(cell) if isinstance(cell, tuple) else jsonable(cell) for cell in row]
            for row in self.rows
        ]
        columns = [words_data(column) for column in self.columns]
        return {"kind": "table", "title": words_data(self.title), "columns": columns, "rows": rows}

    def html(self) -> str:
        """Return the table; on a narrow page it scrolls by itself."""
        right = self._right()

        def row(cells: Sequence[Cell], tag: str) -> str:
            shown = (
                f"<{tag}{' class=num' if set_right else ''}>{self._markup(cell)}</{tag}>"
                for cell, set_right in zip(cells, right, strict=True)
            )
            return f"<tr>{''.join(shown)}</tr>"

        head = f"<thead>{row(self.columns, 'th')}</thead>" if any(self.columns) else ""
        body = "".join(row(cells, "td") for cells in self.rows)
        note = f'<p class="note">{markup(self.note)}</p>' if self.note else ""
        table = f'<div class="scroll"><table>{head}<tbody>{body}</tbody></table></div>{note}'
        return section(self.title, table, classes="half" * self.half, folded=self.folded)

    def _right(self) -> list[bool]:
        return [
            any(x is not None for x in column)
            and all(x is None or (isinstance(x, int | float)) for x in column)
            for column in ([row[i] for row in self.rows] for i in range(len(self.columns)))
        ]

    def _text(self, cell: Cell, language: Language) -> str:
        return say(cell, language) if isinstance(cell, tuple) else number(cell, self.digits)

    def _markup(self, cell: Cell) -> str:
        return markup(cell if isinstance(cell, tuple) else number(cell, self.digits))


@dataclass(frozen=True)
class Facts:
    """The few values that matter most, large, each with its name and a note."""

    facts: tuple[tuple[Words, Cell, Words], ...]
    """Name, value, note."""

    def terminal(self, *, width: int, language: Language) -> str:
        """Return a line for each."""
        names = [shown(name, language) for name, _, _ in self.facts]
        room = _widest(names)
        lines = []
        for name, (_, value, note) in zip(names, self.facts, strict=True):
            text = say(value, language) if isinstance(value, tuple) else number(value)
            note_text = shown(note, language)
            line = f"{pad(name, room)}  {plain(text)}" + (f"  ({note_text})" if note_text else "")
            lines.append(cut(line, width))
        return "\n".join(lines)

    def data(self) -> dict[str, Any]:
        """Return names and values."""
        facts = [
            {
                "name": words_data(name),
                "value": words_data(value) if isinstance(value, tuple) else jsonable(value),
                "note": words_data(note),
            }
            for name, value, note in self.facts
        ]
        return {"kind": "facts", "facts": facts}

    def html(self) -> str:
        """Return a row of them that wraps."""
        row = "".join(
            f"<div><dt>{markup(name)}</dt>"
            f"<dd>{markup(value if isinstance(value, tuple) else number(value))}"
            f"{f'<small>{markup(note)}</small>' if note else ''}</dd></div>"
            for name, value, note in self.facts
        )
        return section("", f'<dl class="facts">{row}</dl>')


@dataclass(frozen=True)
class Text:
    """Words: paragraphs, or lines exactly as they are where `exact`."""

    title: Words
    body: Words
    exact: bool = False
    folded: bool | None = None
    half: bool = False

    def terminal(self, *, width: int, language: Language) -> str:
        """Return it wrapped; exact lines are cut instead."""
        body = say(self.body, language)
        lines = (
            [cut(line, width) for line in plain_lines(body)] if self.exact else wrap(body, width)
        )
        return "\n".join([*heading(self.title, language, width), *lines])

    def data(self) -> dict[str, Any]:
        """Return the words."""
        return {"kind": "text", "title": words_data(self.title), "body": words_data(self.body)}

    def html(self) -> str:
        """Return it; nothing in it is read as HTML."""
        body = markup(self.body)
        block = f"<pre>{body}</pre>" if self.exact else f'<p class="words">{body}</p>'
        return section(self.title, block, classes="half" * self.half, folded=self.folded)


@dataclass(frozen=True)
class Sample:
    """What a model made of a prompt."""

    prompt: str
    text: str
    note: Words = ""


@dataclass(frozen=True)
class Samples:
    """Texts a model wrote, each after its prompt."""

    title: Words
    samples: tuple[Sample, ...]
    folded: bool | None = None

    def terminal(self, *, width: int, language: Language) -> str:
        """Return each as a wrapped text with a bar beside it."""
        lines = heading(self.title, language, width)
        for sample in self.samples:
            if sample.note:
                lines.append(cut(f"  {shown(sample.note, language)}", width))
            lines += [f"  │ {line}" for line in wrap(sample.prompt + sample.text, width - 4)]
        return "\n".join(lines)

    def data(self) -> dict[str, Any]:
        """Return prompts and texts."""
        samples = [
            {"prompt": one.prompt, "text": one.text, "note": words_data(one.note)}
            for one in self.samples
        ]
        return {"kind": "samples", "title": words_data(self.title), "samples": samples}

    def html(self) -> str:
        """Return them with the prompt set off from the text."""
        quotes = "".join(
            f'<blockquote dir="auto"><b>{escape(one.prompt)}</b>{escape(one.text)}'
            f"{f'<cite>{markup(one.note)}</cite>' if one.note else ''}</blockquote>"
            for one in self.samples
        )
        return section(self.title, quotes, folded=self.folded)


def _columns(head: list[str], body: list[list[str]]) -> list[list[str]]:
    return [[name, *(row[i] for row in body)] for i, name in enumerate(head)]


def _widest(texts: Sequence[str]) -> int:
    return max((width(text) for text in texts), default=0)


def _in_two(name: str, room: int) -> tuple[str, str]:
    """A column's name on two lines where it has no room on one and its words have on two."""
    parts = wrap(name, room)
    return (parts[0], parts[1]) if len(parts) == 2 and unbroken(name) <= room else ("", name)


def _fitting(columns: list[list[str]], room: int) -> list[int]:
    """The width of each column, its name first: the widest are cut until the table fits, to four
    cells at least. A name may be cut, figures may not: a part of a figure is another figure."""
    fitted = [_widest(column) for column in columns]
    least = [
        max([4, *(width(text) for text in column[1:] if _FIGURES.match(text))])
        for column in columns
    ]
    spare = room - 2 * (len(fitted) - 1)
    while sum(fitted) > spare:
        over = {i: wide for i, wide in enumerate(fitted) if wide > least[i]}
        if not over:
            break
        fitted[max(over, key=over.__getitem__)] -= 1
    return fitted
