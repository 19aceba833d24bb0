"""Pairs of texts for sequence to sequence: what to read, and what to write.

From columns of tables (CSV, TSV, JSON lines, Parquet), from the two sides of gettext's .po, or from
two text files with as many lines.
"""

import itertools
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

from hanlin.data.tokens import TokenArray
from hanlin.errors import FormatError, InputError
from hanlin.text.compression import decompressed
from hanlin.text.documents import Document
from hanlin.text.encodings import Decoder
from hanlin.text.gettext import entries
from hanlin.text.plain import unix_lines
from hanlin.text.read import read_file
from hanlin.text.reading import Reading, ReadSettings
from hanlin.text.sources import SourceFile, find
from hanlin.tokenizers import Tokenizer

Pair = tuple[str, str]


class Pairs:
    """Aligned texts as token ids in memory, about four bytes a token."""

    def __init__(self, sources: TokenArray, targets: TokenArray) -> None:
        """Text i of `sources` belongs to text i of `targets`; each is closed by an end token."""
        if sources.documents != targets.documents:
            raise InputError(
                f"There are {sources.documents} texts to read and {targets.documents} to write. "
                "Give as many of each."
            )
        self.sources = sources
        self.targets = targets

    @classmethod
    def encode(cls, pairs: Iterable[Pair], tokenizer: Tokenizer) -> "Pairs":
        """Encode pairs of texts; those with an empty side are left out."""
        kept = [(source, target) for source, target in pairs if source.strip() and target.strip()]
        if not kept:
            raise InputError("There are no pairs of texts. Give some that are not empty.")
        return cls(
            TokenArray.encode((source for source, _ in kept), tokenizer),
            TokenArray.encode((target for _, target in kept), tokenizer),
        )

    def __len__(self) -> int:
        return self.sources.documents


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
