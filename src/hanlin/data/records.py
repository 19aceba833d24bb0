"""Rows to the records of a task: each is parsed, bad ones are counted and told."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from hanlin.errors import InputError
from hanlin.text.tables import BadRow, Row

T = TypeVar("T")
Tell = Callable[[str], None]


class BadRowError(Exception):
    """A row cannot be used; the message says why, and `collect` says which."""


def collect(
    rows: Iterable[Row | BadRow], parse: Callable[[Row], T], *, skip_bad: bool, tell: Tell
) -> list[T]:
    """The records that `parse` makes of `rows`; it raises `BadRowError` for one it cannot use.

    All bad rows are counted. Raises `InputError` where there are some, saying how many of how many,
    the first of them, why, and the remedy; with `skip_bad` they are left out and `tell` hears the
    same. No record at all is an error either way.
    """
    records: list[T] = []
    total = bad = 0
    first = ""
    for row in rows:
        total += 1
        reason = ""
        if isinstance(row, BadRow):
            reason = row.reason
        else:
            try:
                records.append(parse(row))
            except BadRowError as error:
                reason = str(error)
        if reason:
            bad += 1
            first = first or f"{row.file}, row {row.number}: {reason}"
    if not total:
        raise InputError("There are no rows to read. Give files that have some.")
    said = f"{bad} of {total} rows cannot be used; the first is {first}"
    if bad and not skip_bad:
        raise InputError(
            f"{said} Correct them, or leave them out with data.skip_bad=true (--skip-bad)."
        )
    if not records:
        raise InputError(f"{said} No row is left. Name the columns with data.columns.")
    if bad:
        tell(said)
    return records


def text_in(row: Row, column: str, *, empty: bool = False) -> str:
    """The text in a column. Raises `BadRowError` where there is none, or (unless `empty`) it has no
    characters but spaces."""
    value = _in(row, column)
    if not isinstance(value, str):
        raise BadRowError(f"{column} is {_kind(value)}, not text.")
    if not empty and not value.strip():
        raise BadRowError(f"{column} is empty.")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise BadRowError(f"{column} has half a character (a lone surrogate).")
    return value


def label_in(row: Row, column: str) -> str:
    """The label in a column, a number or truth value as its text. Raises `BadRowError`."""
    return _label(_in(row, column), column)


def labels_in(row: Row, column: str, *, separator: str | None = None) -> tuple[str, ...]:
    """Several labels: a list, or a text cut at `separator`; an empty text or list has none.

    Raises `BadRowError` where there is neither, and where a label comes twice.
    """
    value = _in(row, column)
    if isinstance(value, str) and separator is not None:
        parts = [part.strip() for part in value.split(separator)]
        value = [part for part in parts if part]
    if not isinstance(value, list | tuple):
        raise BadRowError(f"{column} is {_kind(value)}, not a list of labels.")
    labels = tuple(_label(each, column) for each in value)
    if len(set(labels)) < len(labels):
        raise BadRowError(f"{column} names a label twice.")
    return labels


def _in(row: Row, column: str) -> Any:
    if column not in row.values:
        there = ", ".join(f"{name:.30}" for name in list(row.values)[:12]) or "none"
        raise BadRowError(f"there is no column {column!r}; there are: {there}.")
    return row.values[column]


def _label(value: Any, column: str) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        return str(int(value))
    if isinstance(value, str) and value.strip():
        return value.strip()
    if isinstance(value, str):
        raise BadRowError(f"{column} is empty.")
    raise BadRowError(f"{column} is {_kind(value)}, not a label.")


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    names: Mapping[type, str] = {dict: "an object", list: "a list", bool: "true or false"}
    return names.get(type(value), "text" if isinstance(value, str) else "a number")


def sampled(records: Sequence[T], most: int) -> list[T]:
    """At most `most` records, spread evenly over all; the same ones every time."""
    if len(records) <= most:
        return list(records)
    return [records[at * len(records) // most] for at in range(most)]
