"""What preparing will come to, told from a sample: documents, tokens, time and disk."""

import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hanlin.data.shards import token_dtype
from hanlin.errors import InputError
from hanlin.provenance import usable_cores
from hanlin.text.documents import Document, Dropped
from hanlin.text.read import read_file
from hanlin.text.reading import Reading, ReadSettings
from hanlin.text.sources import SourceFile, find
from hanlin.text.stages import Stage, clean

if TYPE_CHECKING:
    from hanlin.tokenizers import Tokenizer

SAMPLE = 1 << 21
"""Characters that are read to tell the rest."""
_FILES = 32
_START = 1.0
"""Seconds until the workers work."""


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What is there, and what it will come to; all but the first two are estimates."""

    files: int
    source_bytes: int
    """Bytes of the files as they lie on disk."""
    documents: int
    bytes: int
    """UTF-8 bytes of text."""
    tokens: int | None
    disk_bytes: int
    """Bytes the result takes."""
    free_bytes: int
    """Bytes that are free where it goes."""
    seconds: float
    problems: tuple[str, ...]
    """What was wrong with the files of the sample."""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return {**asdict(self), "seconds": round(self.seconds, 1)}


def forecast(
    sources: Sequence[str | Path],
    output: Path,
    *,
    read: ReadSettings,
    tokenizer: "Tokenizer | None",
    stages: Sequence[Stage],
    workers: int | None,
) -> Forecast:
    """Read and encode a sample of the sources, in some seconds, and tell the rest from it.

    Raises as `prepare` does, `InputError` also where the sample has no text.
    """
    found = find(sources, format=read.format)
    total = sum(file.size for file in found.files)
    chosen = found.files[:: max(1, len(found.files) // _FILES)][:_FILES]
    problems: list[str] = []
    texts: list[str] = []
    documents = seen = 0
    begin = time.perf_counter()
    for file in chosen:
        own, position, notes = _sample(file, read, stages, SAMPLE // max(len(chosen), 1))
        texts += own
        documents += len(own)
        seen += position
        problems += notes
    reading = time.perf_counter() - begin
    if not texts:
        why = f" {problems[0]}" if problems else ""
        raise InputError(f"There is no text in the first of the {len(found.files)} files.{why}")
    size = sum(len(text.encode()) for text in texts)
    scale = total / max(seen, 1)
    cores = usable_cores()
    seconds = reading * scale / cores
    tokens: int | None = None
    if tokenizer is None:
        disk = size * scale * 1.05
    else:
        begin = time.perf_counter()
        counted = sum(map(len, tokenizer.encode_batch(texts, add_special_tokens=False)))
        share = min(workers or cores, cores) / cores
        seconds += (time.perf_counter() - begin) * scale / share
        tokens = round((counted + documents) * scale)
        disk = tokens * token_dtype(tokenizer).itemsize + 16 * documents * scale
    place = output.expanduser().absolute().parent
    while not place.exists():
        place = place.parent
    return Forecast(
        files=len(found.files),
        source_bytes=total,
        documents=round(documents * scale),
        bytes=round(size * scale),
        tokens=tokens,
        disk_bytes=round(disk),
        free_bytes=shutil.disk_usage(place).free,
        seconds=_START + seconds,
        problems=tuple(problems),
    )


def _sample(
    file: SourceFile, read: ReadSettings, stages: Sequence[Stage], limit: int
) -> tuple[list[str], int, list[str]]:
    """Texts from the start of a file, how many of its bytes they took, and what was wrong."""
    reading = Reading(file.name)
    texts: list[str] = []
    position = size = 0

    def told(read: int) -> None:
        nonlocal position
        position = read

    for document in read_file(file, read, reading, at=told):
        cleaned: Document | Dropped = clean(document, stages)
        if isinstance(cleaned, Document):
            texts.append(cleaned.text)
        size += len(document.text)
        if size >= limit:
            break
    else:
        position = file.size
    return texts, position, reading.take()["problems"]
