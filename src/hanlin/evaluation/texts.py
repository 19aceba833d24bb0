"""The texts that are evaluated, or that baselines are trained on: whole documents in memory."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hanlin.errors import ConfigError, InputError
from hanlin.text.documents import Document
from hanlin.text.read import read_documents
from hanlin.text.reading import Reading, ReadSettings

Sources = str | Path | Sequence[str | Path]


@dataclass(frozen=True)
class Texts:
    """Documents that are not empty."""

    texts: tuple[str, ...]
    bytes: int
    """Of UTF-8."""
    notes: tuple[str, ...] = ()
    """What was left out of the sources, or could not be read."""


def read_texts(
    sources: Sources,
    *,
    limit: int | None = None,
    stream: bool = False,
    settings: ReadSettings | None = None,
) -> Texts:
    """The documents of files, folders and globs.

    limit: bytes after which the rest is left out. stream: all of it as one text, in which the model
    sees across documents. Raises `NotFoundError` for what does not exist and `InputError` where
    there is no text.
    """
    readings: list[Reading] = []
    documents = read_documents(sources, settings=settings, report=readings.append)
    named = sources if isinstance(sources, str | Path) else ", ".join(map(str, sources))
    found = of_texts(whole(documents), name=str(named), limit=limit, stream=stream)
    notes = list(found.notes)
    dropped: Counter[str] = sum((reading.dropped for reading in readings), Counter())
    notes += [f"{count} of the sources' records left out: {why}." for why, count in dropped.items()]
    if broken := sum(reading.replaced for reading in readings):
        notes.append(f"{broken} broken bytes read as U+FFFD.")
    return Texts(found.texts, found.bytes, tuple(notes))


def of_texts(
    texts: Iterable[str], *, name: str = "texts", limit: int | None = None, stream: bool = False
) -> Texts:
    """Texts that are there already, as `read_texts` gives them."""
    if limit is not None and limit < 1:
        raise ConfigError(f"The limit is {limit} bytes; it must be at least 1.")
    kept: list[str] = []
    size, empty, cut = 0, 0, False
    for text in texts:
        if limit is not None and size >= limit:
            cut = True
            break
        data = text.encode("utf-8", "replace")
        if limit is not None and size + len(data) > limit:
            text, cut = data[: limit - size].decode("utf-8", "ignore"), True
            data = text.encode()
        empty += not text
        size += len(data)
        if text:
            kept.append(text)
        if cut:
            break
    if not kept:
        raise InputError(f"There is no text in {name}. Give one that is not empty.")
    notes = [f"The first {size} bytes alone were read."] if cut else []
    if empty:
        notes.append(f"{empty} empty documents left out.")
    if stream and len(kept) > 1:
        kept = ["".join(text if text.endswith("\n") else text + "\n" for text in kept)]
        size = len(kept[0].encode())
    return Texts(tuple(kept), size, tuple(notes))


def whole(documents: Iterable[Document]) -> Iterable[str]:
    """The text of each document, its parts put together."""
    pieces: list[str] = []
    for document in documents:
        pieces.append(document.text)
        if not document.more:
            yield "".join(pieces)
            pieces = []
    if pieces:
        yield "".join(pieces)
