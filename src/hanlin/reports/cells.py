"""Text on a terminal, counted in cells: Chinese is two wide, a combining mark none.

Widths follow Unicode's East Asian Width (UAX 11): W and F take two cells. Characters of ambiguous
width take one, as terminals outside East Asian locales draw them.
"""

import math
import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

SPARKS = "▁▂▃▄▅▆▇█"
_LARGEST = 1e300
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_PIECES = re.compile(r"\s+|[^\s\u2e80-\u9fff\uf900-\ufaff\uff00-\uffef]+|.")
_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


@lru_cache(maxsize=1 << 14)
def _cells(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def width(text: str) -> int:
    """Return how many cells the text takes; colours take none."""
    text = _ESCAPES.sub("", text)
    return len(text) if text.isascii() else sum(map(_cells, text))


def plain(text: str) -> str:
    """Return the text on one line, every control character as a visible escape."""
    return _CONTROLS.sub(lambda found: _visible(found[0]), text)


def plain_lines(text: str) -> list[str]:
    """Return the lines of a text, every other control character as a visible escape."""
    return [plain(line.replace("\t", "    ")) for line in re.split(r"\r\n|\r|\n", text)]


def cut(text: str, cells: int) -> str:
    """Return the text in at most `cells` cells, the last of them an ellipsis where it was cut.

    Colours are kept, and are ended where the text is cut.
    """
    if width(text) <= cells:
        return text
    if cells <= 0:
        return ""
    kept, used, coloured = [], 0, False
    for piece in re.split(r"(\x1b\[[0-9;]*m)", text):
        if piece.startswith("\x1b["):
            kept.append(piece)
            coloured = True
            continue
        for character in piece:
            used += _cells(character)
            if used > cells - 1:
                return "".join(kept) + "…" + ("\x1b[0m" if coloured else "")
            kept.append(character)
    return "".join(kept)


def pad(text: str, cells: int, *, right: bool = False) -> str:
    """Return the text filled with spaces to `cells` cells; `right` sets it to the right."""
    space = " " * max(cells - width(text), 0)
    return space + text if right else text + space


def wrap(text: str, cells: int) -> list[str]:
    """Return the text in lines of at most `cells` cells, broken at spaces or between Chinese."""
    lines = []
    for line in plain_lines(text):
        row, used = "", 0
        for word in _PIECES.findall(line):
            wide = width(word)
            if used + wide > cells and used:
                lines.append(row.rstrip())
                row, used = "", 0
                if word.isspace():
                    continue
            while width(word) > cells:
                head = _prefix(word, cells)
                lines.append(head)
                word = word[len(head) :]
            row, used = row + word, used + width(word)
        lines.append(row.rstrip())
    return lines


def unbroken(text: str) -> int:
    """Return how many cells the longest piece takes that `wrap` keeps on one line where it can."""
    return max(map(width, _PIECES.findall(text)), default=0)


def spark(values: Sequence[float], cells: int, *, log: bool = False) -> str:
    """Return a curve one line high, `cells` wide at most; "×" where a value is not a number."""
    if cells <= 0 or not values:
        return ""
    count = min(cells, len(values))
    stretches = [
        values[i * len(values) // count : (i + 1) * len(values) // count] for i in range(count)
    ]
    means = []
    for stretch in stretches:
        good = [x for x in stretch if math.isfinite(x) and (x > 0 or not log)]
        mean = sum(good) / len(good) if good else math.nan
        means.append(math.log(mean) if log and good else mean)
    means = [min(max(x, -_LARGEST), _LARGEST) if math.isfinite(x) else x for x in means]
    known = [x for x in means if math.isfinite(x)]
    low, high = (min(known), max(known)) if known else (0.0, 0.0)
    span = high - low
    return "".join(
        "×" if not math.isfinite(x) else SPARKS[round((x - low) / span * 7) if span > 0 else 3]
        for x in means
    )


def _prefix(word: str, cells: int) -> str:
    used = 0
    for i, character in enumerate(word):
        used += _cells(character)
        if used > cells:
            return word[: max(i, 1)]
    return word


def _visible(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
