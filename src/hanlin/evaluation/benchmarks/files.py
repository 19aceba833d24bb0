"""Benchmarks as their authors publish them, on disk: JSON, JSON lines, CSV, compressed or not."""

import csv
import gzip
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hanlin.errors import FormatError, NotFoundError


def file_of(path: Path, *names: str) -> Path:
    """The file itself, or the first of `names` in a folder. Raises `NotFoundError`."""
    if path.is_file():
        return path
    for name in names:
        if (path / name).is_file():
            return path / name
    what = f"no file {str(path)!r}" if not path.is_dir() else f"no {' or '.join(names)} in {path}"
    raise NotFoundError(f"There is {what}. Give the benchmark's file or its folder.")


def text_of(file: Path) -> str:
    """The text of a file, unpacked where its name ends in .gz. Raises `FormatError`."""
    try:
        data = file.read_bytes()
        return (gzip.decompress(data) if file.suffix == ".gz" else data).decode("utf-8-sig")
    except (gzip.BadGzipFile, EOFError, UnicodeDecodeError) as error:
        raise FormatError(f"{file} cannot be read ({error}). Get the file again.") from error


def json_rows(file: Path) -> list[Mapping[str, Any]]:
    """The objects of a JSON array or of JSON lines. Raises `FormatError`."""
    text = text_of(file)
    try:
        if text.lstrip().startswith("["):
            rows = json.loads(text)
        else:
            rows = [json.loads(line) for line in text.split("\n") if line.strip()]
    except ValueError as error:
        raise FormatError(f"{file} is not JSON ({error}). Get the file again.") from error
    if not rows or not all(isinstance(row, dict) for row in rows):
        raise FormatError(f"{file} holds no list of objects. Give the benchmark's own file.")
    return list(rows)


def csv_rows(file: Path) -> list[Mapping[str, Any]]:
    """The rows of a CSV file with a header. Raises `FormatError` where there are none."""
    rows: list[Mapping[str, Any]] = list(csv.DictReader(io.StringIO(text_of(file), newline="")))
    if not rows:
        raise FormatError(f"{file} holds no rows. Give the benchmark's own file.")
    return rows


def fields(rows: list[Mapping[str, Any]], *names: str, file: Path) -> Iterator[tuple[str, ...]]:
    """These fields of every row, as text. Raises `FormatError` where one is missing."""
    for number, row in enumerate(rows, 1):
        missing = [name for name in names if not isinstance(row.get(name), str)]
        if missing:
            raise FormatError(
                f"{file}: item {number} has no {missing[0]!r}. Give the benchmark's own file."
            )
        yield tuple(row[name] for name in names)
