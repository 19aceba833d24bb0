"""Files to documents, lazily: formats, compressions and encodings put together.

Nothing that is wrong with a file stops the rest: what cannot be read is counted in its `Reading`
with the reason, and told in words.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import BinaryIO, cast

from hanlin.errors import ConfigError
from hanlin.text import gettext, html, plain, records
from hanlin.text.compression import broken, decompressed, members
from hanlin.text.documents import Document, parts
from hanlin.text.encodings import BinaryError, Decoder
from hanlin.text.reading import Reading, ReadSettings
from hanlin.text.sources import SourceFile, find, kind_of


def read_documents(
    sources: str | Path | Sequence[str | Path],
    *,
    settings: ReadSettings | None = None,
    report: Callable[[Reading], None] | None = None,
) -> Iterator[Document]:
    """Yield the documents of files, folders and globs, one at a time, in the order of their names.

    A text longer than a million characters comes in parts (see `Document.more`). `report` is called
    with the account of each file when it has been read. Raises `NotFoundError` for a source that
    does not exist and `ConfigError` for a setting that cannot be met.
    """
    settings = settings or ReadSettings()
    listed = [sources] if isinstance(sources, str | Path) else sources
    for file in find(listed, format=settings.format).files:
        reading = Reading(file.name)
        yield from read_file(file, settings, reading)
        if report is not None:
            report(reading)


def read_file(
    file: SourceFile,
    settings: ReadSettings,
    reading: Reading,
    *,
    at: Callable[[int], None] | None = None,
) -> Iterator[Document]:
    """Yield the documents of one file, none longer than a part; `reading` takes the account.

    `at` is told now and then how many bytes of the file have been read.
    """
    last: Document | None = None
    try:
        with file.path.open("rb") as raw, closing(_open(file, raw, settings, reading)) as found:
            for document in found:
                for last in parts(document):
                    if at is not None:
                        at(raw.tell())
                    yield last
    except BinaryError as error:
        reading.drop("binary", str(error))
    except broken() as error:
        reading.drop("unreadable", _reason(error))
    except UnicodeError as error:  # an encoding that was forced and cannot replace
        reading.drop("unreadable", f"it is not in the encoding that was named ({error}).")
    if last is not None and last.more:
        # What was being read has no end; here it gets one.
        end = {**last.metadata, "part": last.part + 1, "more": False}
        yield Document("", last.source, end)


def _open(
    file: SourceFile, raw: BinaryIO, settings: ReadSettings, reading: Reading
) -> Generator[Document, None, None]:
    if file.compression != "zip":
        stream = decompressed(raw, file.compression) if file.compression else raw
        yield from _documents(stream, file.format, settings, reading)
        return
    for name, member in members(raw):
        kind, packed = kind_of(name)
        if settings.format is not None:
            kind = file.format
        inside = Reading(f"{file.name}::{name}")
        try:
            stream = decompressed(member, packed) if packed and packed != "zip" else member
            yield from _documents(stream, kind, settings, inside)
        except BinaryError as error:
            inside.drop("binary", str(error))
        except broken() as error:
            inside.drop("unreadable", _reason(error))
        _add(reading, inside)


def _documents(
    stream: BinaryIO, format: str, settings: ReadSettings, reading: Reading
) -> Iterator[Document]:
    if format == "html":
        yield html.page(stream, settings, reading)
        return
    if format == "parquet":
        yield from records.parquet(stream, settings, reading)
        return
    decoder = Decoder(settings.encoding)
    chunks = _counted(decoder, stream, reading)
    match format:
        case "jsonl":
            yield from records.json_lines(chunks, settings, reading)
        case "json":
            yield from records.json_values(chunks, settings, reading)
        case "csv" | "tsv":
            delimiter = "," if format == "csv" else "\t"
            yield from records.separated(chunks, settings, reading, delimiter=delimiter)
        case "po":
            yield from gettext.documents(chunks, settings, reading)
        case "text" | "markdown":
            yield from plain.documents(chunks, source=reading.name, split=settings.split)
        case _:
            raise ConfigError(f"There is no format {format!r}. See FORMATS.")


def _counted(decoder: Decoder, stream: BinaryIO, reading: Reading) -> Iterator[str]:
    counted = 0
    for text in decoder.decode(cast(Callable[[int], bytes], stream.read)):
        reading.encoding = decoder.encoding
        reading.replaced += decoder.replaced - counted
        counted = decoder.replaced
        yield text
    reading.encoding = decoder.encoding
    reading.replaced += decoder.replaced - counted


def _add(reading: Reading, inside: Reading) -> None:
    reading.encoding = reading.encoding or inside.encoding
    reading.replaced += inside.replaced
    reading.dropped.update(inside.dropped)
    reading.problems += inside.problems


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"it cannot be read ({error.strerror})."
    if isinstance(error, EOFError):
        return "it is cut off in the middle."
    text = str(error) or type(error).__name__
    return text if text.endswith(".") else f"it is damaged ({text})."
