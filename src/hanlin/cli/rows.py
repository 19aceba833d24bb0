"""Rows for verbs that read them one by one: of tables, and texts a line each."""

import re
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from hanlin.cli.output import decode, note
from hanlin.errors import ConfigError, FormatError, InputError, NotFoundError
from hanlin.text.tables import USUAL, BadRow, Row

_TABLES = ("jsonl", "json", "csv", "tsv", "parquet")


def read_texts(source: str, column: str | None, *, skip_bad: bool) -> tuple[list[Row], str]:
    """The rows of files that have a text, and the column it is in.

    column: its name, or its number in tables without a header; found by its usual names or its
    looks when None. Raises `ConfigError` where it is not plain, `InputError` for bad rows (with
    `skip_bad` they are left out, and told).
    """
    from hanlin.data.columns import looks_like_text, open_table
    from hanlin.data.records import collect, text_in

    with _as_options():
        rows, columns = open_table(
            [source],
            {"text": USUAL["text"]},
            given={} if column is None else {"text": column},
            looks={"text": looks_like_text},
            tell=note,
        )
    place = columns["text"]

    def checked(row: Row) -> Row:
        text_in(row, place)
        return row

    return collect(rows, checked, skip_bad=skip_bad, tell=note), place


def read_inputs(source: str, column: str | None) -> tuple[list[Row | BadRow], bool]:
    """The rows of a file, compressed or not, and whether it is a table; else each of its lines (of
    standard input: ``-``) is a row with the column "text".

    column: see `read_texts`. Raises `NotFoundError`, `FormatError` for a file that is not whole,
    `InputError` where there is nothing, `ConfigError` for a column of what has none.
    """
    from hanlin.data.columns import header_of
    from hanlin.text.sources import kind_of
    from hanlin.text.tables import read_rows

    path = Path(source).expanduser()
    if source != "-" and not path.is_file():
        raise NotFoundError(f"There is no file {source!r}. Check the path, or give -.")
    name = "standard input" if source == "-" else source
    format, compression = ("text", None) if source == "-" else kind_of(path.name)
    rows: list[Row | BadRow]
    if format in _TABLES:
        header = header_of({} if column is None else {"text": column})
        rows = list(read_rows(path, header=header, tell=note))
    elif column is not None:
        raise ConfigError(f"{name} has no columns: every line is a text. Leave --column out.")
    else:
        data = sys.stdin.buffer.read() if source == "-" else _unpacked(path, compression)
        rows = [_line(line, name, n) for n, line in enumerate(data.splitlines(), 1)]
    if not rows:
        raise InputError(f"There is nothing in {name}. Give it one text a line, or a table.")
    return rows, format in _TABLES


def columns_in(
    rows: Sequence[Row | BadRow],
    roles: Mapping[str, Sequence[str]],
    column: str | None,
    *,
    optional: Collection[str],
) -> dict[str, str]:
    """Which column of `rows` plays which part; the text, unless `optional`, also by its looks.

    column: of the text. Raises `ConfigError` where it is not there or not plain.
    """
    from hanlin.data.columns import SAMPLE, find_columns, looks_like_text

    good = [row for row in rows if isinstance(row, Row)]
    names = list(dict.fromkeys(name for row in good for name in row.values))
    if not good:
        return {}
    with _as_options():
        return find_columns(
            names,
            roles,
            {} if column is None else {"text": column},
            good[:SAMPLE],
            optional=optional,
            looks={"text": looks_like_text},
        )


@contextmanager
def _as_options() -> Iterator[None]:
    """Errors that name the settings of a run name the options of the command."""
    try:
        yield
    except ConfigError as error:
        said = str(error).replace("data.columns.text=", "--column ")
        said = said.replace("data.columns.text", "--column")
        said = re.sub(r"Name one: data\.columns\.(\w+)=.*", r"Call the one that is meant \1.", said)
        raise ConfigError(said) from error


def _line(line: bytes, name: str, number: int) -> Row | BadRow:
    try:
        text = decode(line, name="it")
    except InputError as error:
        return BadRow(name, number, str(error))
    return (
        Row({"text": text}, name, number) if text.strip() else BadRow(name, number, "it is empty.")
    )


def _unpacked(path: Path, compression: str | None) -> bytes:
    from hanlin.text.compression import broken, decompressed

    if compression is None:
        return path.read_bytes()
    if compression == "zip":
        raise ConfigError(f"{path} is an archive. Unpack it, and give the file in it.")
    try:
        with path.open("rb") as raw:
            return decompressed(raw, compression).read()
    except broken() as error:
        raise FormatError(
            f"{path} cannot be read to its end ({str(error) or 'it is cut off'}). Fetch or write "
            "it again."
        ) from error
