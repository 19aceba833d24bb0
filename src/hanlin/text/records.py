"""Records to documents: JSON lines, JSON arrays and objects, CSV and TSV, Parquet.

A record without the field, or with something there that is not text, is dropped and counted; the
rest goes on.
"""

import csv
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

from hanlin.errors import ConfigError, FormatError
from hanlin.text.documents import Document
from hanlin.text.plain import unix_lines
from hanlin.text.reading import RECORD, Reading, ReadSettings

_BETWEEN = re.compile(r"[\s,]*")


def json_lines(
    chunks: Iterable[str], settings: ReadSettings, reading: Reading
) -> Iterator[Document]:
    """Yield the document of each line of JSON."""
    decode = json.JSONDecoder().decode
    for number, line in numbered_lines(chunks, reading):
        if not line or line.isspace():
            continue
        try:
            record = decode(line)
        except (ValueError, RecursionError) as error:
            reading.drop("not JSON", f"line {number} is not JSON ({error}).")
            continue
        yield from _document(record, f"line {number}", settings, reading)


def json_values(
    chunks: Iterable[str], settings: ReadSettings, reading: Reading
) -> Iterator[Document]:
    """Yield the document of each element of an array, or of each of several values in a row."""
    for number, record in array_values(chunks):
        yield from _document(record, f"value {number}", settings, reading)


def array_values(chunks: Iterable[str]) -> Iterator[tuple[int, Any]]:
    """Yield the elements of a JSON array, or several values in a row, with their numbers from 1.

    Raises `FormatError` where something is no JSON: what comes after it cannot be told.
    """
    decode = json.JSONDecoder().raw_decode
    buffer, number, array = "", 0, False
    started, wanted = False, 0
    for chunk in _ended(chunks):
        buffer += chunk or ""
        if not started and (content := buffer.lstrip()):
            started, array = True, content[0] == "["
            buffer = content[array:]
        # A value that is not whole yet is tried again when the buffer has doubled, not before.
        if chunk is not None and len(buffer) < wanted:
            continue
        at = wanted = 0
        while True:
            at = _BETWEEN.match(buffer, at).end()  # type: ignore[union-attr]
            if at >= len(buffer) or (array and buffer[at] == "]"):
                break
            try:
                record, at = decode(buffer, at)
            except (ValueError, RecursionError) as error:
                wanted = 2 * (len(buffer) - at)
                if chunk is None or wanted > 2 * RECORD:
                    raise FormatError(
                        f"What follows value {number} is not JSON ({error}). Correct the file."
                    ) from error
                break
            number += 1
            yield number, record
        buffer = buffer[at:]


def _ended(chunks: Iterable[str]) -> Iterator[str | None]:
    """The chunks, and None after the last."""
    yield from chunks
    yield None


def separated(
    chunks: Iterable[str], settings: ReadSettings, reading: Reading, *, delimiter: str
) -> Iterator[Document]:
    """Yield the document of each row of CSV, or of TSV, in which quotes mean nothing."""
    csv.field_size_limit(RECORD)
    lines = (line + "\n" for _, line in numbered_lines(chunks, reading))
    if delimiter == "\t":
        rows = csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE)
    else:
        rows = csv.reader(lines, delimiter=delimiter)
    name = settings.field or "text"
    numbered = name.isascii() and name.isdigit()
    header = settings.header if settings.header is not None else not numbered
    names: list[str] = []
    if header:
        names = next(rows, [])
        if not names:
            return
    if numbered and name not in names:
        column = int(name) - 1
        if column < 0:
            raise FormatError("Columns are counted from 1. Give another number.")
    elif name in names:
        column = names.index(name)
    else:
        reading.drop("no such column", _missing(name, names, "columns"))
        return
    try:
        for row in rows:
            where = f"line {rows.line_num}"
            if column < len(row):
                yield Document(row[column], reading.name)
            elif row:
                reading.drop("no such column", f"{where} has {len(row)} columns.")
    except csv.Error as error:
        raise FormatError(f"Line {rows.line_num} is not CSV ({error}). Correct it.") from error


def parquet(stream: BinaryIO, settings: ReadSettings, reading: Reading) -> Iterator[Document]:
    """Yield the document of each row of a Parquet file. Raises `ConfigError` without pyarrow."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ConfigError(
            "Reading Parquet needs the library pyarrow. Install it: pip install 'hanlin[data]'."
        ) from error
    name = settings.field or "text"
    try:
        file = pyarrow.parquet.ParquetFile(stream)
        names = file.schema_arrow.names
        if name.split(".")[0] not in names and name not in names:
            reading.drop("no such column", _missing(name, names, "columns"))
            return
        root = name if name in names else name.split(".")[0]
        number = 0
        for batch in file.iter_batches(columns=[root], batch_size=512):
            for value in batch.column(0).to_pylist():
                number += 1
                yield from _document({root: value}, f"row {number}", settings, reading)
    except (pyarrow.ArrowException, OSError) as error:
        raise FormatError(f"It is not a whole Parquet file ({_first_line(error)}).") from error


def _document(
    record: Any, where: str, settings: ReadSettings, reading: Reading
) -> Iterator[Document]:
    """The document of one record, or a line in the account of what was dropped."""
    name = settings.field or "text"
    if isinstance(record, str) and settings.field is None:
        value: Any = record
    elif not isinstance(record, dict):
        reading.drop("not a record", f"{where} is {_kind(record)}, not an object with fields.")
        return
    else:
        value, found = _look(record, name)
        if not found:
            reading.drop("no such field", f"{where}: {_missing(name, list(record), 'fields')}")
            return
    if isinstance(value, list) and value and all(isinstance(line, str) for line in value):
        value = "\n".join(value)
    if not isinstance(value, str):
        reading.drop("not text", f"{where}: {name} is {_kind(value)}, not text.")
        return
    try:
        value.encode()
    except UnicodeEncodeError:
        # JSON can spell half a character ("\ud800"), which no encoding can hold.
        broken = re.sub("[\ud800-\udfff]", "\ufffd", value)
        reading.replaced += broken.count("\ufffd") - value.count("\ufffd")
        value = broken
    metadata: dict[str, Any] = {}
    if isinstance(record, dict) and isinstance(record.get("document"), int):
        # A long document as `hanlin prepare` writes it, in parts.
        part, more = record.get("part"), record.get("more")
        if isinstance(part, int) and isinstance(more, bool):
            metadata = {"part": part, "more": more, "document": record["document"]}
    yield Document(value, reading.name, metadata)


def _look(record: dict[str, Any], name: str) -> tuple[Any, bool]:
    if name in record:
        return record[name], True
    value: Any = record
    for step in name.split("."):
        if not isinstance(value, dict) or step not in value:
            return None, False
        value = value[step]
    return value, True


def _missing(name: str, names: list[str], kind: str) -> str:
    there = ", ".join(f"{name:.30}" for name in names[:12]) or "none"
    return f"there is no {kind[:-1]} {name!r}; the {kind} are: {there}. Name the one with the text."


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "an array", str: "text", bool: "true or false"}
    if value is None:
        return "null"
    return names.get(type(value), "a number")


def numbered_lines(chunks: Iterable[str], reading: Reading) -> Iterator[tuple[int, str]]:
    """Yield the lines with their numbers; one that is longer than `RECORD` is dropped."""
    number, size = 0, 0
    pieces: list[str] = []
    for chunk in unix_lines(chunks):
        first, *others = chunk.split("\n")
        size += len(first)
        if size <= RECORD:
            pieces.append(first)
        for line in others:
            number += 1
            if size > RECORD:
                reading.drop("too long", f"line {number} has more than {RECORD} characters.")
            else:
                yield number, "".join(pieces)
            pieces, size = [line], len(line)
    if size > RECORD:
        reading.drop("too long", f"line {number + 1} has more than {RECORD} characters.")
    elif size:
        yield number + 1, "".join(pieces)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
