"""What a part of a report can do, and how values become JSON and HTML in all of them."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Protocol

from hanlin.reports.cells import plain, wrap
from hanlin.reports.words import Language, Words, markup, say


class Part(Protocol):
    """One table, figure or text. Whatever comes from data is escaped by the part itself."""

    def terminal(self, *, width: int, language: Language) -> str:
        """Return it as lines of text, none wider than `width` cells if that can be done."""
        ...

    def data(self) -> dict[str, Any]:
        """Return it for JSON, with its `kind`."""
        ...

    def html(self) -> str:
        """Return it as one HTML element of the class ``part`` (and ``half`` for half a row)."""
        ...


def jsonable(value: Any) -> Any:
    """Return a value that strict JSON can hold.

    Numbers that are not finite become "NaN", "Infinity" and "-Infinity", as in the JSON mapping of
    Protocol Buffers; what JSON does not know becomes text.
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Mapping):
        return {str(key): jsonable(one) for key, one in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [jsonable(one) for one in value]
    return str(value)


def number_from_json(value: Any) -> Any:
    """Return what `jsonable` was given for a number; None stays None."""
    return float(value) if value in ("NaN", "Infinity", "-Infinity") else value


def shown(words: Words, language: Language) -> str:
    """Return words for a line on a terminal: no control character in them is obeyed."""
    return plain(say(words, language))


def heading(words: Words, language: Language, width: int) -> list[str]:
    """Return a title as lines on a terminal, none where there is none."""
    return wrap(say(words, language), width) if words else []


def words_data(words: Words) -> Any:
    """Return words for JSON: the text, or both languages by name."""
    return words if isinstance(words, str) else {"en": words[0], "zh": words[1]}


def section(
    title: Words, body: str, *, unit: Words = "", classes: str = "", folded: bool | None = None
) -> str:
    """Return a part with its heading, the `unit` small beside it.

    `folded` makes it one that opens (True: closed at first).
    """
    small = f"<small>{markup(unit)}</small>" if unit else ""
    names = escape(f"part {classes}".strip())
    if folded is None or not title:
        heading = f"<h2>{markup(title)}{small}</h2>" if title else ""
        return f'<section class="{names}">{heading}{body}</section>'
    opened = "" if folded else " open"
    return (
        f'<section class="{names}"><details{opened}><summary><h2>{markup(title)}</h2></summary>'
        f"{body}</details></section>"
    )
