"""Pairs of texts for sequence to sequence: what to read, and what to write.

From columns of tables (CSV, TSV, JSON lines, Parquet), from the two sides of gettext's .po, or from
two text files with as many lines. `read_pair_records` gives them to training and measuring, with
several references where there are some; `read_pairs` gives bare pairs.
"""

import itertools
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from hanlin.data.columns import find_columns, header_of, peek, tell_columns
from hanlin.data.records import collect, text_in
from hanlin.errors import FormatError, InputError
from hanlin.text.compression import decompressed
from hanlin.text.documents import Document
from hanlin.text.encodings import Decoder
from hanlin.text.gettext import entries
from hanlin.text.plain import unix_lines
from hanlin.text.read import read_file
from hanlin.text.reading import Reading, ReadSettings
from hanlin.text.sources import SourceFile, find
from hanlin.text.tables import USUAL, BadRow, Row, read_rows

Pair = tuple[str, str]
Tell = Callable[[str], None]

_TABLES = ("jsonl", "json", "csv", "tsv", "parquet")
ROLES: Mapping[str, tuple[str, ...]] = {
    "source": (*USUAL["source"], "dialogue", "article", "document"),
    "target": (*USUAL["target"], "summary1", "highlights"),
}
"""The parts that columns play -> what they are usually called."""


@dataclass(frozen=True)
class PairRecord:
    """A text to read, and what may be written for it."""

    source: str
    targets: tuple[str, ...]
    """The first is learnt; all of them are references when what is written is judged."""

    @property
    def target(self) -> str:
        """What is learnt."""
        return self.targets[0]

    @property
    def group(self) -> str:
        """What is read: all that may be written for it stands on one side of a split."""
        return self.source


def read_pair_records(
    sources: str | Path | Sequence[str | Path],
    *,
    columns: Mapping[str, str],
    skip_bad: bool = False,
    tell: Tell = lambda text: None,
) -> list[PairRecord]:
    """The pairs of tables, .po files or two aligned text files, spaces around them left out.

    columns: role (source, target) -> column, by name, by number from 1 in a table without a header,
    or by a path such as translation.en; found by their usual names where not given. Several
    references are a column that holds lists, or several columns with commas between, as in
    ``target: summary1,summary2``; the first is learnt. A row without both texts is a bad one, see
    `records.collect`. Raises `ConfigError`, `FormatError` and `InputError`.
    """
    listed = [sources] if isinstance(sources, str | Path) else list(sources)
    files = find(listed).files
    if _without_columns(files, columns):
        rows = (Row({"source": s, "target": t}, _both_names(files), n)
                for n, (s, t) in enumerate(read_pairs(listed), 1))  # fmt: skip
        return collect(rows, lambda row: _record(row, "source", ["target"]),
                       skip_bad=skip_bad, tell=tell)  # fmt: skip
    table, found = _open(listed, columns, tell)
    tell_columns(found, columns, tell)
    targets = _names(found["target"])
    return collect(
        table, lambda row: _record(row, found["source"], targets), skip_bad=skip_bad, tell=tell
    )


def columns_of(sources: Sequence[str], *, columns: Mapping[str, str]) -> dict[str, str]:
    """Which column of tables is read and which written, as `read_pair_records` finds them; nothing
    of .po files and of two aligned ones."""
    if _without_columns(find(sources).files, columns):
        return {}
    return _open(sources, columns, lambda text: None)[1]


def _without_columns(files: Sequence[SourceFile], columns: Mapping[str, str]) -> bool:
    """Whether these are .po files, or two text files whose lines belong together."""
    texts = not columns and not any(file.format in _TABLES for file in files)
    return texts and (all(file.format == "po" for file in files) or len(files) == 2)


def _open(
    sources: Sequence[str | Path], columns: Mapping[str, str], tell: Tell
) -> tuple[Iterator[Row | BadRow], dict[str, str]]:
    """The rows, and the columns of both sides; those of several references with commas between."""
    given = dict(columns)
    first, *more = _names(given.get("target", ""))
    if first:
        given["target"] = first
    table, seen = peek(map(_flat, read_rows(list(sources), header=header_of(given), tell=tell)))
    names = list(dict.fromkeys(name for row in seen for name in row.values))
    found = find_columns(names, ROLES, given, seen)
    return table, {**found, "target": ",".join([found["target"], *more])}


def _names(target: str) -> list[str]:
    return [name.strip() for name in target.split(",")]


def _record(row: Row, source: str, targets: Sequence[str]) -> PairRecord:
    found = [text for name in targets for text in _texts_in(row, name)]
    return PairRecord(text_in(row, source).strip(), tuple(text.strip() for text in found))


def _texts_in(row: Row, column: str) -> list[str]:
    """The text of a column, or the texts where it holds a list of references."""
    several = row.values.get(column)
    if not isinstance(several, list) or not several:
        return [text_in(row, column)]
    return [text_in(Row({column: text}, row.file, row.number), column) for text in several]


def _flat(row: Row | BadRow) -> Row | BadRow:
    """A row whose objects' fields are columns too: translation.en."""
    if isinstance(row, BadRow) or not any(isinstance(v, dict) for v in row.values.values()):
        return row
    inner = {
        f"{name}.{key}": item
        for name, value in row.values.items()
        if isinstance(value, dict)
        for key, item in value.items()
    }
    return Row({**row.values, **inner}, row.file, row.number)


def _both_names(files: Sequence[SourceFile]) -> str:
    return " and ".join(file.name for file in files[:2])


def read_pairs(
    sources: str | Path | Sequence[str | Path],
    *,
    source: str | None = None,
    target: str | None = None,
) -> Iterator[Pair]:
    """Yield the pairs of files, in the order of their names.

    source, target: the fields of JSON or the columns of tables, by name or by number from 1, that
    are read and written. Without them `sources` are .po files, or two text files, the first to be
    read, whose lines belong together. Raises `FormatError` where a side is missing.
    """
    listed = [sources] if isinstance(sources, str | Path) else list(sources)
    files = find(listed).files
    if all(file.format == "po" for file in files):
        for file in files:
            yield from _translations(file, swap=(source, target) == ("msgstr", "msgid"))
    elif source is not None and target is not None:
        for file in files:
            yield from _columns(file, source, target)
    elif len(listed) == len(files) == 2:
        yield from _aligned(*files)
    else:
        raise InputError(
            "Nothing says which texts belong together. Name the columns (data.source and "
            "data.target), or give two files whose lines belong together."
        )


def _columns(file: SourceFile, source: str, target: str) -> Iterator[Pair]:
    """Two columns of a table, each read on its own."""
    if file.format in ("text", "markdown", "html"):
        raise FormatError(
            f"{file.name} has no columns. Give tables (.tsv, .csv, .jsonl, .parquet), or two text "
            "files without data.source and data.target."
        )
    header = False if source.isdecimal() and target.isdecimal() else None
    readings = [Reading(file.name), Reading(file.name)]
    left, right = (
        read_file(file, ReadSettings(field=name, header=header), reading)
        for name, reading in zip((source, target), readings, strict=True)
    )
    for number, (one, other) in enumerate(_both(file.name, left, right, readings), start=1):
        if one.more or other.more or one.part or other.part:
            raise FormatError(
                f"{file.name}: row {number} is longer than a million characters. Leave it out."
            )
        yield one.text, other.text


def _aligned(first: SourceFile, second: SourceFile) -> Iterator[Pair]:
    """Two files, line by line."""
    both = f"{first.name} and {second.name}"
    for one, other in _both(both, _lines(first), _lines(second)):
        yield one.text, other.text


def _both(
    name: str,
    left: Iterator[Document],
    right: Iterator[Document],
    readings: Sequence[Reading] = (),
) -> Iterator[tuple[Document, Document]]:
    """The documents of two sides together, as long as nothing was dropped on either."""
    for one, other in itertools.zip_longest(left, right):
        _check(readings)
        if one is None or other is None:
            raise FormatError(
                f"{name}: one side has more texts than the other. Make every row or line a pair."
            )
        yield one, other
    _check(readings)


def _check(readings: Sequence[Reading]) -> None:
    for reading in readings:
        if reading.dropped:
            raise FormatError(f"Pairs need both sides of every row. {reading.problems[0]}")


def _lines(file: SourceFile) -> Iterator[Document]:
    """Every line, empty ones too."""
    with closing(_chunks(file)) as chunks:
        rest = ""
        for chunk in unix_lines(chunks):
            *lines, rest = (rest + chunk).split("\n")
            for line in lines:
                yield Document(line, file.name)
        if rest:
            yield Document(rest, file.name)


def _translations(file: SourceFile, *, swap: bool) -> Iterator[Pair]:
    """Messages and their translations; those without one, or with a doubtful one, are left out."""
    for entry in entries(_chunks(file), Reading(file.name)):
        message, translation = entry.side("msgid")[:1], entry.side("msgstr")[:1]
        if message and translation and not entry.fuzzy:
            yield (translation[0], message[0]) if swap else (message[0], translation[0])


def _chunks(file: SourceFile) -> Generator[str, None, None]:
    with file.path.open("rb") as raw:
        stream = decompressed(raw, file.compression) if file.compression else raw
        yield from Decoder().decode(stream.read)
