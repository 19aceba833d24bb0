"""The directory that preparing writes into: unit after unit, in order, and safe to kill at any
moment.

Each unit's data is appended to the shards, then one line to ``.units.jsonl`` says where it lies.
What stands behind the last whole line was not finished and is cut off when the work goes on. So the
bytes depend on the order of the units alone, and a unit can be copied out again by its key.
"""

import errno
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from hanlin.data.units import Run, TextRun, TokenRun
from hanlin.errors import HanlinError

UNITS = ".units.jsonl"
"""Hidden, so that a pattern for the documents of the folder does not take it for one."""


@dataclass(frozen=True)
class Layout:
    """What decides how units are laid out in files."""

    sides: tuple[str, ...]
    """The folders that units are split into; ``("",)`` is the directory itself."""
    dtype: str | None
    """Of the tokens; None: documents as lines of JSON."""
    shard_size: int
    """A shard takes no more units when it has this many tokens (bytes, of documents)."""

    @property
    def files(self) -> tuple[str, ...]:
        """What the names of a shard's files end in."""
        return (".jsonl",) if self.dtype is None else (".tokens.bin", ".index.bin")

    def header(self) -> dict[str, Any]:
        """Return the first line of ``.units.jsonl``."""
        return {"sides": list(self.sides), "dtype": self.dtype, "shard_size": self.shard_size}


@dataclass(frozen=True)
class Extent:
    """Where one unit lies on one side."""

    shard: int
    start: int
    """In tokens (bytes, of documents) from the start of the shard."""
    stop: int
    first: int
    """Number within the shard of the first document that ends in the unit."""
    last: int
    open: int
    """Bytes of the document that has not ended yet."""
    bytes: int
    """Bytes of the unit's text."""


class Draft:
    """The units written so far and where the next goes; a context manager."""

    def __init__(self, directory: Path, layout: Layout) -> None:
        """Go on with what is in `directory`, if it has the same layout, or begin."""
        self.directory = directory
        self.layout = layout
        self.units: list[dict[str, Any]] = []
        """A record of each unit: ``key``, ``last``, ``account`` and the extent on each side."""
        self._open: dict[Path, BinaryIO] = {}
        self._sides = [Extent(0, 0, 0, 0, 0, 0, 0) for _ in layout.sides]
        with writing(directory):
            for side in layout.sides:
                (directory / side).mkdir(parents=True, exist_ok=True)
            header, units, sizes = read_units(directory / UNITS)
            if header == layout.header():
                while units and not self._has(units[-1]):
                    units.pop()  # a loss of power took its data
                self.units = units
                os.truncate(directory / UNITS, sizes[len(units)])
                self._resume()
            else:
                assert header is None, "a draft of another layout was not moved away"
                (directory / UNITS).write_bytes(b"")
                self._log(layout.header())

    def __enter__(self) -> "Draft":
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._open.values():
            file.close()
        self._open.clear()

    def append(self, key: str, *, last: bool, runs: Sequence[Run], account: dict[str, Any]) -> None:
        """Add a unit; `last` says that it is the last of its file. Raises `HanlinError` where it
        cannot be written; what was written before stays whole."""
        with writing(self.directory):
            placed = [self._place(number, run) for number, run in enumerate(runs)]
            extents = [list(vars(extent).values()) for extent in placed]
            record = {"key": key, "last": last, "account": account, "sides": extents}
            if self.layout.dtype is not None:
                account["kept"] = sum(extent.last - extent.first for extent in placed)
            self._log(record)
        self._sides = placed
        self.units.append(record)

    def sync(self) -> None:
        """Wait until the disk has everything, so that it outlasts a loss of power."""
        with writing(self.directory):
            for file in self._open.values():
                os.fsync(file.fileno())

    def shards(self, side: int) -> list[dict[str, Any]]:
        """Return what each shard of a side holds: tokens (bytes, of documents) and documents."""
        found: list[dict[str, Any]] = []
        for record in self.units:
            extent = Extent(*record["sides"][side])
            if extent.shard == len(found):
                found.append({})
            found[extent.shard] = {"size": extent.stop, "documents": extent.last}
        return found

    def text_bytes(self, side: int) -> int:
        """Return the bytes of the text on a side."""
        return sum(Extent(*record["sides"][side]).bytes for record in self.units)

    def _place(self, number: int, run: Run) -> Extent:
        before = self._sides[number]
        if before.stop >= self.layout.shard_size:
            before = Extent(before.shard + 1, 0, 0, 0, 0, before.open, 0)
        if isinstance(run, TextRun):
            self._write(number, before.shard, ".jsonl", run.data)
            size, documents, still_open = len(run.data), run.documents, 0
        else:
            run = _closed(run, before.open)
            ends = run.ends.copy()
            ends[:, 0] += np.uint64(before.stop)
            self._write(number, before.shard, ".tokens.bin", run.tokens.data)
            self._write(number, before.shard, ".index.bin", ends.tobytes())
            size, documents, still_open = len(run.tokens), len(ends), run.open
        return Extent(
            before.shard,
            before.stop,
            before.stop + size,
            before.last,
            before.last + documents,
            still_open,
            run.bytes,
        )

    def _write(self, side: int, shard: int, name: str, data: bytes | memoryview) -> None:
        path = self.directory / self.layout.sides[side] / f"{shard:05}{name}"
        if path not in self._open:
            for other in [p for p in self._open if p.parent == path.parent and p.name[5:] == name]:
                self._open.pop(other).close()
            self._open[path] = path.open("ab", buffering=0)
        _whole(self._open[path], memoryview(data).cast("B"))

    def _log(self, record: dict[str, Any]) -> None:
        path = self.directory / UNITS
        if path not in self._open:
            self._open[path] = path.open("ab", buffering=0)
        line = json.dumps(record, ensure_ascii=False) + "\n"
        _whole(self._open[path], memoryview(line.encode()))

    def _rows(self, extent: Extent) -> dict[str, int]:
        """How many bytes of each file of the shard the units up to here take."""
        if self.layout.dtype is None:
            return {".jsonl": extent.stop}
        width = np.dtype(self.layout.dtype).itemsize
        return {".tokens.bin": extent.stop * width, ".index.bin": 16 * extent.last}

    def _has(self, record: dict[str, Any]) -> bool:
        for side, values in zip(self.layout.sides, record["sides"], strict=True):
            extent = Extent(*values)
            for name, size in self._rows(extent).items():
                path = self.directory / side / f"{extent.shard:05}{name}"
                if (path.stat().st_size if path.is_file() else 0) < size:
                    return False
        return True

    def _resume(self) -> None:
        """Take the state of the last unit and cut off what stands behind it."""
        if self.units:
            self._sides = [Extent(*extent) for extent in self.units[-1]["sides"]]
        for number, side in enumerate(self.layout.sides):
            extent = self._sides[number]
            for path in sorted((self.directory / side).glob("[0-9]*")):
                shard, name = path.name[:5], path.name[5:]
                if name not in self.layout.files or not shard.isdigit():
                    continue
                if int(shard) > extent.shard:
                    path.unlink()
                elif int(shard) == extent.shard:
                    with suppress(FileNotFoundError):
                        os.truncate(path, self._rows(extent)[name])


def _closed(run: TokenRun, open_bytes: int) -> TokenRun:
    """The run with the bytes of the document that it continues; one that stayed empty is taken
    out."""
    if not run.continued:
        return run
    ends = run.ends.copy()
    if not len(ends):
        return TokenRun(run.tokens, ends, run.open + open_bytes, run.bytes)
    ends[0, 1] += np.uint64(open_bytes)
    if ends[0, 1]:
        return TokenRun(run.tokens, ends, run.open, run.bytes)
    gone = int(ends[0, 0])
    ends[:, 0] -= np.uint64(gone)
    return TokenRun(run.tokens[gone:], ends[1:], run.open, run.bytes)


class Store:
    """The units of a directory, to be copied into another draft."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        header, units, _ = read_units(directory / UNITS)
        self.layout = (
            Layout(tuple(header["sides"]), header["dtype"], header["shard_size"])
            if (header)
            else None
        )
        self.records = units
        self.units = {record["key"]: record for record in units}

    def runs(self, record: dict[str, Any]) -> list[Run] | None:
        """Return the data of a unit, or None where the files do not have it any more."""
        assert self.layout is not None
        found: list[Run] = []
        for side, values in zip(self.layout.sides, record["sides"], strict=True):
            extent = Extent(*values)
            start = self.directory / side / f"{extent.shard:05}"
            try:
                if self.layout.dtype is None:
                    data = _slice(f"{start}.jsonl", extent.start, extent.stop)
                    found.append(TextRun(data, extent.last - extent.first, extent.bytes))
                    continue
                dtype = np.dtype(self.layout.dtype)
                width = dtype.itemsize
                tokens = _slice(f"{start}.tokens.bin", extent.start * width, extent.stop * width)
                rows = _slice(f"{start}.index.bin", 16 * extent.first, 16 * extent.last)
            except (FileNotFoundError, EOFError):
                return None
            ends = np.frombuffer(rows, dtype="<u8").reshape(-1, 2).copy()
            ends[:, 0] -= np.uint64(extent.start)
            # Its document that began before it has its bytes already.
            found.append(TokenRun(np.frombuffer(tokens, dtype), ends, extent.open, extent.bytes))
        return found


def read_units(path: Path) -> tuple[dict[str, Any] | None, list[dict[str, Any]], list[int]]:
    """Return the header and the records of a ``.units.jsonl``, and where in it each of these ends;
    a line that is not whole, and all after it, is left out."""
    lines: list[dict[str, Any]] = []
    sizes: list[int] = []
    size = 0
    if not path.is_file():
        return None, [], []
    with path.open("rb") as file:
        for line in file:
            try:
                record = json.loads(line)
            except ValueError:
                break
            if not line.endswith(b"\n"):
                break
            size += len(line)
            lines.append(record)
            sizes.append(size)
    return (lines[0], lines[1:], sizes) if lines else (None, [], [])


@contextmanager
def writing(place: Path) -> Iterator[None]:
    """Turn what a disk refuses into one sentence with the remedy; raises `HanlinError`."""
    try:
        yield
    except OSError as error:
        remedy = "Check the place."
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            remedy = (
                "Free some space and run the same command again: what was finished is kept, and "
                "it goes on from there."
            )
        reason = error.strerror or str(error)
        raise HanlinError(f"{place} cannot be written: {reason}. {remedy}") from error


def _whole(file: BinaryIO, data: memoryview) -> None:
    while data:
        data = data[file.write(data) :]


def _slice(path: str, start: int, stop: int) -> bytes:
    with open(path, "rb") as file:
        file.seek(start)
        data = file.read(stop - start)
    if len(data) != stop - start:
        raise EOFError
    return data
