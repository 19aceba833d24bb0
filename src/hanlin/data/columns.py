"""Which column of a table plays which part: as the user says, by usual names, or by its values."""

import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from hanlin.errors import ConfigError, InputError, nearest
from hanlin.text.tables import BadRow, Row, read_rows

Looks = Callable[[Sequence[Any]], bool]
SAMPLE = 1000
"""Rows that are looked at."""


def find_columns(
    names: Sequence[str],
    roles: Mapping[str, Sequence[str]],
    given: Mapping[str, str],
    sample_rows: Sequence[Row],
    *,
    optional: Collection[str] = (),
    looks: Mapping[str, Looks] | None = None,
) -> dict[str, str]:
    """The column of every role.

    names: of the columns; roles: role -> usual names of its column (see `tables.USUAL`), in lower
    case; given: role -> column, as the user says. A role that is not given is played by the column
    of a usual name, or else by the one column whose values `looks` like it. A role in `optional`
    may have none, and is never found by its values. Raises `ConfigError` for a role or column that
    does not exist (with the nearest), for one that is missing, and for several that may be meant.
    """
    check_roles(given, roles)
    check_columns(given, names)
    found = dict(given)
    for role, usual in roles.items():
        if role not in found and (called := _by_name(role, usual, names, found)) is not None:
            found[role] = called
    for role in roles:
        if role in found or role in optional:
            continue
        found[role] = _by_values(role, names, found, sample_rows, (looks or {}).get(role))
    return {role: found[role] for role in roles if role in found}


def check_roles(given: Iterable[str], roles: Collection[str]) -> None:
    """Raise `ConfigError` for a role in `given` that is none of `roles`."""
    for role in given:
        if role not in roles:
            raise ConfigError(
                f"data.columns.{role} means nothing to this task.{nearest(role, list(roles))} "
                f"It has: {', '.join(roles)}."
            )


def check_columns(given: Mapping[str, str], names: Collection[str]) -> None:
    """Raise `ConfigError` for a column in `given` that is none of `names`: those of all rows, as a
    row that alone lacks it is a bad row."""
    for role, column in given.items():
        if column not in names:
            raise ConfigError(
                f"data.columns.{role} is {column!r}, and there is no such column."
                f"{nearest(column, list(names))} There are: {_shown(list(names))}."
            )


def shared_columns(each: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Of the columns that play the parts in every row, those in which all rows agree."""
    rows = iter(each)
    found = dict(next(rows, {}))
    for row in rows:
        found = {role: column for role, column in found.items() if row.get(role) == column}
    return found


def tell_columns(
    found: Mapping[str, str], given: Mapping[str, str], tell: Callable[[str], None]
) -> None:
    """Say which column plays which part, where some were found and not given."""
    if found.items() - given.items():
        tell(f"Columns: {', '.join(f'{role} is {name}' for role, name in found.items())}.")


def header_of(given: Mapping[str, str]) -> bool | None:
    """Whether tables have a first row of names, as the columns say that are given: numbers mean
    none, names mean one; None where no column is given."""
    if not given:
        return None
    return not all(column.isascii() and column.isdigit() for column in given.values())


def _by_name(
    role: str, usual: Sequence[str], names: Sequence[str], found: Mapping[str, str]
) -> str | None:
    free = [name for name in names if name not in found.values()]
    if role in free:
        return role
    matches = [name for name in free if name.strip().casefold() in usual]
    if len(matches) > 1:
        raise _several(role, matches)
    return matches[0] if matches else None


def _by_values(
    role: str,
    names: Sequence[str],
    found: Mapping[str, str],
    rows: Sequence[Row],
    looks: Looks | None,
) -> str:
    matches = []
    if looks is not None:
        for name in names:
            values = [row.values.get(name) for row in rows]
            if name not in found.values() and values and looks(values):
                matches.append(name)
    if len(matches) > 1:
        raise _several(role, matches)
    if not matches:
        raise ConfigError(
            f"No column is plainly the {role}; there are: {_shown(names)}. Name it: "
            f"data.columns.{role}=COLUMN."
        )
    return matches[0]


def _several(role: str, matches: Sequence[str]) -> ConfigError:
    return ConfigError(
        f"Several columns may be the {role}: {_shown(matches)}. Name one: "
        f"data.columns.{role}={matches[0]}."
    )


def _shown(names: Sequence[str]) -> str:
    return ", ".join(f"{name:.40}" for name in names[:20]) or "none"


def looks_like_labels(values: Sequence[Any]) -> bool:
    """Whether these are a few short names, each of several rows (or lists of such names)."""
    lists = [value if isinstance(value, list) else [value] for value in values]
    flat = [str(part) for parts in lists for part in parts if part is not None]
    if not flat or any(len(text) > 60 for text in flat):
        return False
    kinds = len(set(flat))
    return 2 <= kinds <= max(2, len(flat) // 4) and not any(_fraction(text) for text in flat)


def looks_like_text(values: Sequence[Any]) -> bool:
    """Whether these are texts of some length that seldom come twice."""
    texts = [value for value in values if isinstance(value, str) and value.strip()]
    if len(texts) < len(values) / 2:
        return False
    length = sum(map(len, texts)) / len(texts)
    return length >= 4 and len(set(texts)) > len(texts) / 2 and not all(map(_fraction, texts))


def _fraction(text: str) -> bool:
    """Whether this is a number, but not a whole one of few digits (which may name a class)."""
    try:
        float(text)
    except ValueError:
        return False
    return not (text.strip().lstrip("+-").isdecimal() and len(text) <= 6)


def open_table(
    sources: Sequence[str],
    roles: Mapping[str, Sequence[str]],
    *,
    given: Mapping[str, str],
    file_labels: Mapping[str, str] | None = None,
    optional: Collection[str] = (),
    looks: Mapping[str, Looks] | None = None,
    tell: Callable[[str], None],
) -> tuple[Iterator[Row | BadRow], dict[str, str]]:
    """The rows of `sources`, and which column plays which part; see `find_columns`.

    Columns that are given by number mean tables without a header, by name tables with one.
    file_labels: source -> what stands in the column "label" of each of its rows. Raises what
    `find_columns` and `read_rows` raise, and `InputError` where there are no rows.
    """
    rows, first = peek(_labelled(sources, file_labels or {}, header_of(given), tell))
    columns = find_columns(
        list(dict.fromkeys(name for row in first for name in row.values)),
        roles,
        given,
        first,
        optional=optional,
        looks=looks,
    )
    return rows, columns


def _labelled(
    sources: Sequence[str],
    file_labels: Mapping[str, str],
    header: bool | None,
    tell: Callable[[str], None],
) -> Iterator[Row | BadRow]:
    if not file_labels:
        yield from read_rows(sources, header=header, tell=tell)
        return
    for source in sources:
        label = file_labels.get(source)
        for row in read_rows(source, header=header, tell=tell):
            if isinstance(row, Row) and label is not None:
                yield Row({**row.values, "label": label}, row.file, row.number)
            else:
                yield row


def peek(rows: Iterable[Row | BadRow]) -> tuple[Iterator[Row | BadRow], list[Row]]:
    """All rows, and the first good ones, to look at. Raises `InputError` without any."""
    remaining = iter(rows)
    first = list(itertools.islice(remaining, SAMPLE))
    good = [row for row in first if isinstance(row, Row)]
    if not good:
        reason = f" ({first[0].reason})" if first and isinstance(first[0], BadRow) else ""
        raise InputError(f"There are no rows to learn from{reason}. Give files that have some.")
    return itertools.chain(first, remaining), good
