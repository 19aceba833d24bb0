"""A terminal's screen as data: what a program wrote becomes lines of styled cells.

Knows what command-line programs use: text in any script, carriage return, erasing, cursor motion
and colours (ECMA-48; colours after xterm). A character of double width, as in Chinese, fills two
cells. Lines that scroll off the top are kept.
"""

import re
import unicodedata
from collections.abc import Iterator
from typing import NamedTuple

# The sixteen named colours, made for a dark ground.
PALETTE = (
    "#5c6773 #ff6b6b #7fd88f #f2c55c #6cb6ff #d2a8ff #6fd6d6 #d6deeb "
    "#8794a1 #ff8f8f #a2e8ae #ffdb86 #96ccff #e2c5ff #97e8e8 #ffffff"
).split()
SEQUENCE = re.compile(
    r"\x1b\[(?P<arguments>[0-9;?]*)(?P<final>[@-~])"  # control sequences: colours, motion, erasing
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"  # window titles
    r"|\x1b[()][0-9A-Za-z]|\x1b[=>78cDEHM]"  # character sets and single functions
)
UNFINISHED_SEQUENCE = re.compile(r"\x1b(?:\[[0-9;?]*|\][^\x07\x1b]*\x1b?|[()])?$")


class Style(NamedTuple):
    """How a cell looks: colours as ``#rrggbb`` or None for the terminal's own."""

    ink: str | None = None
    ground: str | None = None
    bold: bool = False
    faint: bool = False


class Cell(NamedTuple):
    """One column of a line; the second half of a wide character is a cell with empty text."""

    text: str
    style: Style


BLANK = Cell(" ", Style())


class Screen:
    """The lines written so far, and where the next character goes."""

    def __init__(self, columns: int, rows: int) -> None:
        self.columns, self.rows = columns, rows
        self.lines: list[list[Cell]] = [[]]
        self.row = self.column = 0
        self._style = Style()
        self._pending = ""

    @property
    def top(self) -> int:
        """The first line in view."""
        return max(0, len(self.lines) - self.rows)

    def before_cursor(self) -> str:
        """The text of the cursor's line up to the cursor."""
        return "".join(cell.text for cell in self.lines[self.row][: self.column])

    def write(self, text: str) -> None:
        """Take what a program wrote; a sequence cut in two is completed by the next call."""
        text = self._pending + text
        cut = UNFINISHED_SEQUENCE.search(text)
        self._pending = text[cut.start() :] if cut else ""
        text = text[: cut.start()] if cut else text
        position = 0
        while position < len(text):
            if sequence := SEQUENCE.match(text, position):
                self._obey(sequence["arguments"] or "", sequence["final"] or "")
                position = sequence.end()
            else:
                self._put(text[position])
                position += 1

    def _put(self, character: str) -> None:
        if character == "\n":
            self._go_to(self.row + 1, self.column)
        elif character == "\r":
            self.column = 0
        elif character == "\b":
            self.column = max(0, self.column - 1)
        elif character == "\t":
            self.column = min(self.columns - 1, self.column // 8 * 8 + 8)
        elif unicodedata.combining(character) or character in "\u200d\ufe0e\ufe0f":
            self._join(character)
        elif character >= " ":
            width = 2 if unicodedata.east_asian_width(character) in "WF" else 1
            if self.column + width > self.columns:
                self._go_to(self.row + 1, 0)
            line = self.lines[self.row]
            line.extend([BLANK] * (self.column + width - len(line)))
            self._part(self.column)
            self._part(self.column + width)
            line[self.column] = Cell(character, self._style)
            if width == 2:
                line[self.column + 1] = Cell("", self._style)
            self.column += width

    def _part(self, column: int) -> None:
        """Blank a wide character that stands on both sides of the left edge of `column`."""
        line = self.lines[self.row]
        if 0 < column < len(line) and not line[column].text:
            line[column - 1 : column + 1] = [BLANK, BLANK]

    def _join(self, mark: str) -> None:
        line, before = self.lines[self.row], self.column - 1
        while before > 0 and before < len(line) and not line[before].text:
            before -= 1
        if 0 <= before < len(line):
            line[before] = line[before]._replace(text=line[before].text + mark)

    def _go_to(self, row: int, column: int) -> None:
        self.row, self.column = row, max(0, min(self.columns - 1, column))
        self.lines.extend([] for _ in range(row + 1 - len(self.lines)))

    def _obey(self, arguments: str, final: str) -> None:
        if arguments.startswith("?"):
            return  # the cursor's look, pasting, the mouse: nothing that is seen here
        numbers = [int(n) if n else 0 for n in arguments.split(";")]
        first = numbers[0]
        step = max(1, first)
        if final == "m":
            self._colour(numbers)
        elif final == "K":
            self._erase_line(first)
        elif final == "J":
            self._erase_screen(first)
        elif final in "ABEF":
            up = final in "AF"
            row = max(self.top, self.row - step) if up else self.row + step
            self._go_to(row, self.column if final in "AB" else 0)
        elif final in "CD":
            self._go_to(self.row, self.column + (step if final == "C" else -step))
        elif final == "G":
            self._go_to(self.row, step - 1)
        elif final in "Hf":
            column = max(1, numbers[1]) if len(numbers) > 1 else 1
            self._go_to(self.top + step - 1, column - 1)

    def _erase_line(self, which: int) -> None:
        line = self.lines[self.row]
        if which == 0:
            self._part(self.column)
            del line[self.column :]
        elif which == 1:
            end = min(self.column + 1, len(line))
            line[:end] = [BLANK] * end
        else:
            line.clear()

    def _erase_screen(self, which: int) -> None:
        self._erase_line(which)
        above = range(self.top, self.row) if which else ()
        below = range(self.row + 1, len(self.lines)) if which != 1 else ()
        for row in (*above, *below):
            self.lines[row].clear()

    def _colour(self, numbers: list[int]) -> None:
        style, codes = self._style, iter(numbers)
        for code in codes:
            if code == 0:
                style = Style()
            elif code in (1, 2):
                style = style._replace(bold=code == 1, faint=code == 2)
            elif code == 22:
                style = style._replace(bold=False, faint=False)
            elif code in (38, 48):
                colour = _many_coloured(codes)
                style = style._replace(ink=colour) if code == 38 else style._replace(ground=colour)
            elif code == 39:
                style = style._replace(ink=None)
            elif code == 49:
                style = style._replace(ground=None)
            elif code // 10 in (3, 9) and code % 10 < 8:
                style = style._replace(ink=PALETTE[code % 10 + 8 * (code >= 90)])
            elif code // 10 in (4, 10) and code % 10 < 8:
                style = style._replace(ground=PALETTE[code % 10 + 8 * (code >= 100)])
        self._style = style


def _many_coloured(codes: Iterator[int]) -> str | None:
    """Read the rest of ``38;5;n`` or ``38;2;r;g;b``."""
    kind = next(codes, 0)
    if kind == 2:
        red, green, blue = (min(255, next(codes, 0)) for _ in range(3))
        return f"#{red:02x}{green:02x}{blue:02x}"
    number = min(255, next(codes, 0))
    if number < 16:
        return PALETTE[number]
    if number >= 232:
        return f"#{(number - 232) * 10 + 8:02x}" + f"{(number - 232) * 10 + 8:02x}" * 2
    levels = (0, 95, 135, 175, 215, 255)
    red, green, blue = (number - 16) // 36, (number - 16) // 6 % 6, (number - 16) % 6
    return f"#{levels[red]:02x}{levels[green]:02x}{levels[blue]:02x}"
