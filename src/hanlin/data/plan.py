"""What preparing has to do: the units of each file, by keys, and those that are there already.

The key of a unit is a hash of the file's bytes, of the settings, and of the unit's place in the
file: where any of them changes, exactly the units that depend on it get another key.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from hanlin.data.draft import Store, writing
from hanlin.data.units import Block, Run, Task
from hanlin.provenance import file_hash
from hanlin.text.documents import Document
from hanlin.text.read import read_file
from hanlin.text.reading import Reading, ReadSettings
from hanlin.text.sources import SourceFile

VERSION = 1
"""Counts changes of how units are made that change their results."""
BLOCK = 1 << 21
"""Characters of the documents in one unit of a large file, about."""
TASK_BYTES, TASK_FILES = 1 << 20, 256
"""Small files that go to a worker together."""


@dataclass(frozen=True)
class Planned:
    """A file with its hash and the key of its units."""

    file: SourceFile
    sha256: str
    settings: str
    """A hash of what else its units depend on."""

    def key(self, unit: int) -> str:
        """Return the key of the file's unit of this number."""
        content = f"{VERSION} {self.sha256} {self.settings} {self.file.small} {unit}"
        return hashlib.sha256(content.encode()).hexdigest()[:40]


@dataclass
class Step:
    """One or more units in a row: a task for a worker, or data that is there already."""

    units: list[tuple[Planned, str, bool]]
    """The file, the key, and whether it is the last unit of the file."""
    task: Task | None
    ready: tuple[list[Run], dict[str, Any]] | None = None
    position: int = 0
    """Bytes of the file that have been read when it is done."""


def settings_hash(read: ReadSettings, rest: dict[str, Any]) -> Callable[[SourceFile], str]:
    """Return a function that hashes what the units of a file depend on besides its bytes."""
    common = {**vars(read), **rest}

    def of(file: SourceFile) -> str:
        own = {"format": file.format, "compression": file.compression}
        if rest["tokenizer"] is None:
            own["name"] = file.name  # it stands in the documents
        content = json.dumps({**common, **own}, sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(content.encode()).hexdigest()

    return of


def plan(
    files: Sequence[SourceFile],
    settings: Callable[[SourceFile], str],
    *,
    read: Callable[[int], None],
) -> list[Planned]:
    """Return the files with their hashes; `read` is told the bytes of each when it is done."""
    planned = []
    for file in files:
        try:
            sha256 = file_hash(file.path)
        except OSError:
            sha256 = "unreadable"  # whoever reads it will say why
        planned.append(Planned(file, sha256, settings(file)))
        read(file.size)
    return planned


def recorded(
    planned: Sequence[Planned], units: Sequence[dict[str, Any]]
) -> Iterator[tuple[Planned, list[dict[str, Any]]]]:
    """Yield each file with those of `units` that are its own, as far as they follow the plan."""
    at = 0
    for one in planned:
        own: list[dict[str, Any]] = []
        while at < len(units) and units[at]["key"] == one.key(len(own)):
            own.append(units[at])
            at += 1
            if own[-1]["last"]:
                break
        else:
            at = len(units)  # this file is not finished, so nothing after it is there
        yield one, own


def continues(units: Sequence[dict[str, Any]], planned: Sequence[Planned]) -> bool:
    """Whether these records are the first units of the plan."""
    return sum(len(own) for _, own in recorded(planned, units)) == len(units)


def steps(
    planned: Sequence[Planned],
    done: Sequence[dict[str, Any]],
    stores: Sequence[Store],
    read: ReadSettings,
) -> Iterator[Step]:
    """Yield what is left after the units in `done`, in order; `stores` have units to copy."""
    batch: list[Planned] = []
    for one, own in recorded(planned, done):
        if own and own[-1]["last"]:
            continue
        copies = [] if own else list(_copies(one, stores))
        if copies and copies[-1].units[0][2]:
            yield from _batch(batch)
            yield from copies
        elif one.file.small:
            batch.append(one)
            if len(batch) == TASK_FILES or sum(b.file.size for b in batch) >= TASK_BYTES:
                yield from _batch(batch)
        else:
            yield from _batch(batch)
            yield from copies
            yield from _blocks(one, read, skip=len(own) + len(copies))
    yield from _batch(batch)


def _batch(batch: list[Planned]) -> Iterator[Step]:
    if batch:
        units = [(one, one.key(0), True) for one in batch]
        yield Step(units, tuple(one.file for one in batch))
        batch.clear()


def _copies(one: Planned, stores: Sequence[Store]) -> Iterator[Step]:
    """The file's first units, as many of them as there are in `stores`."""
    number = 0
    while True:
        key = one.key(number)
        for store in stores:
            record = store.units.get(key)
            runs = None if record is None else store.runs(record)
            if record is not None and runs is not None:
                break
        else:
            return
        last = record["last"]
        yield Step([(one, key, last)], None, (runs, dict(record["account"])), one.file.size * last)
        if last:
            return
        number += 1


def _blocks(one: Planned, settings: ReadSettings, *, skip: int) -> Iterator[Step]:
    """The units of a large file from number `skip` on."""
    reading = Reading(one.file.name)
    held: list[Document] = []
    position = size = number = 0

    def told(read: int) -> None:
        nonlocal position
        position = read

    def block(*, last: bool) -> Iterator[Step]:
        task = Block(tuple(held), reading.take())
        if number >= skip:
            yield Step([(one, one.key(number), last)], task, None, position)

    for document in read_file(one.file, settings, reading, at=told):
        # Not before there is more: the last unit has to know that it is.
        if size >= BLOCK:
            yield from block(last=False)
            held, size, number = [], 0, number + 1
        held.append(document)
        size += len(document.text) + 64
    position = one.file.size
    yield from block(last=True)


def spool(stream: BinaryIO, path: Path) -> None:
    """Put standard input into a file, because it can be read only once; raises `HanlinError`."""
    with writing(path.parent), path.open("wb") as file:
        shutil.copyfileobj(stream, file, 1 << 20)
        file.flush()
        os.fsync(file.fileno())
