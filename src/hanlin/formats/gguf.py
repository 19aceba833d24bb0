"""GGUF files, versions 2 and 3: what they say about themselves and where their tensors lie.

A reader for hostile files: the whole header is checked against the size of the file before anything
is allocated, so a malformed file is refused quickly and in memory proportional to what is really in
it. Tensors stay in the file, memory-mapped; `hanlin.kernels.dequantise` turns them into numbers.

Format: the GGUF specification of the ggml project (docs/gguf.md).
"""

import mmap
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from hanlin.errors import FormatError, NotFoundError
from hanlin.formats.ggml import BLOCKS, GGMLType

__all__ = ["BLOCKS", "GGMLType", "GGUFFile", "TensorInfo"]

MAGIC = b"GGUF"
MAX_DIMENSIONS = 4
MAX_ALIGNMENT = 1 << 16
MAX_KEY_BYTES = (1 << 16) - 1
MAX_ARRAY = 1 << 24
"""Elements of one metadata array; the largest vocabularies in use are below 2^20."""

_STRING, _ARRAY, _BOOL = 8, 9, 7
_SCALARS: dict[int, struct.Struct] = {
    kind: struct.Struct("<" + code)
    for kind, code in zip((0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12), "BbHhIifBQqd", strict=True)
}
"""Metadata value types of fixed size, by id."""
_U32, _U64 = struct.Struct("<I"), struct.Struct("<Q")


@dataclass(frozen=True)
class TensorInfo:
    """Where one tensor lies in the file."""

    name: str
    shape: tuple[int, ...]
    """In torch's order: the last dimension is contiguous."""
    type: GGMLType
    offset: int
    """Bytes from the start of the file."""
    bytes: int


@dataclass(frozen=True)
class GGUFFile:
    """An open GGUF file; the map lasts as long as this object or a view from `raw`."""

    path: Path
    version: int
    metadata: Mapping[str, Any]
    """Numbers, strings, booleans; arrays of strings as lists, other arrays as numpy arrays."""
    tensors: Mapping[str, TensorInfo]
    """By name, in the file's order."""
    _bytes: np.ndarray[tuple[int], np.dtype[np.uint8]]

    @classmethod
    def open(cls, path: str | Path) -> "GGUFFile":
        """Read the header of a file and map its tensors; an unchanged file in use is read once.

        Raises `NotFoundError` when there is no such file, `FormatError` for anything in it that
        contradicts the format or the size of the file.
        """
        path = Path(path)
        if not path.is_file():
            raise NotFoundError(f"There is no file {str(path)!r}. Check the path.")
        try:
            with path.open("rb") as file:
                status = os.fstat(file.fileno())
                identity = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
                if (known := _in_use.get(identity)) is not None:
                    return replace(known, path=path)
                # Copy-on-write: a tensor that is a view of the map can be trained without
                # touching the file.
                size = status.st_size
                data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) if size else b""
        except OSError as error:
            raise FormatError(
                f"{path} cannot be read: {error.strerror or error}. Check its permissions."
            ) from error
        version, metadata, tensors = _Parser(data, path).file()
        opened = cls(path, version, metadata, tensors, np.frombuffer(data, dtype=np.uint8))
        _in_use[identity] = opened
        return opened

    def raw(self, name: str) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
        """Return a tensor's stored bytes, a view of the map; raises `NotFoundError`."""
        info = self.tensors.get(name)
        if info is None:
            raise NotFoundError(
                f"{self.path} has no tensor {name!r}. See `.tensors` for its names."
            )
        return self._bytes[info.offset : info.offset + info.bytes]


_in_use: WeakValueDictionary[tuple[int, int, int, int], GGUFFile] = WeakValueDictionary()
"""Open files: a model and its tokenizer lie in one, whose header takes 50 ms or more to read."""


class _Parser:
    """A cursor over the mapped file that never steps past its end."""

    def __init__(self, data: mmap.mmap | bytes, path: Path) -> None:
        self.data = data
        self.size = len(data)
        self.path = path
        self.at = 0

    def wrong(self, what: str) -> FormatError:
        return FormatError(
            f"{self.path} is not a whole GGUF file: {what}. Download or convert it again."
        )

    def number(self, kind: struct.Struct, what: str) -> Any:
        self.need(kind.size, what)
        value = kind.unpack_from(self.data, self.at)[0]
        self.at += kind.size
        return value

    def need(self, count: int, what: str) -> None:
        if count > self.size - self.at:
            raise self.wrong(
                f"{what} needs {count} bytes at {self.at}, but the file ends at {self.size}"
            )

    def count(self, each: int, limit: int, what: str) -> int:
        """Read how many items follow, of at least `each` bytes, and check that they fit."""
        number: int = self.number(_U64, what)
        if number > limit:
            raise self.wrong(f"{what} is {number}, above the limit of {limit}")
        if number * each > self.size - self.at:
            raise self.wrong(
                f"{what} is {number}, which cannot fit in the {self.size - self.at} bytes left"
            )
        return number

    def string(self, what: str, limit: int) -> str:
        length = self.count(1, limit, f"the length of {what}")
        start, self.at = self.at, self.at + length
        return self.decode(self.data[start : self.at], what)

    def decode(self, raw: bytes, what: str) -> str:
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise self.wrong(f"{what} is not valid UTF-8") from error

    def file(self) -> tuple[int, dict[str, Any], dict[str, TensorInfo]]:
        if self.data[:4] != MAGIC:
            raise FormatError(
                f"{self.path} is not a GGUF file: it does not begin with 'GGUF'. "
                "Give a .gguf file or a model directory."
            )
        self.at = 4
        version: int = self.number(_U32, "the version")
        if version not in (2, 3):
            if version & 0xFFFF == 0 and version:
                raise FormatError(
                    f"{self.path} is a big-endian GGUF file, which is not supported. "
                    "Convert it to little-endian."
                )
            raise FormatError(
                f"{self.path} is GGUF version {version}; versions 2 and 3 are supported. "
                "Convert the model again with a current converter."
            )
        tensor_count = self.number(_U64, "the number of tensors")
        # The shortest entry: key length, one byte of key, type, one byte of value.
        keys = self.count(14, self.size, "the number of metadata entries")
        metadata: dict[str, Any] = {}
        for index in range(keys):
            key = self.string(f"metadata key {index}", MAX_KEY_BYTES)
            if key in metadata:
                raise self.wrong(f"metadata key {key!r} occurs twice")
            metadata[key] = self.value(self.number(_U32, f"the type of {key!r}"), key)
        return version, metadata, self.infos(tensor_count, metadata)

    def value(self, kind: int, key: str) -> Any:
        if kind == _STRING:
            return self.string(f"the value of {key!r}", self.size)
        if kind == _ARRAY:
            return self.array(key)
        if kind not in _SCALARS:
            raise self.wrong(f"metadata key {key!r} has the unknown type {kind}")
        value = self.number(_SCALARS[kind], f"the value of {key!r}")
        if kind != _BOOL:
            return value
        if value > 1:
            raise self.wrong(f"metadata key {key!r} is a truth value of {value}")
        return bool(value)

    def array(self, key: str) -> Any:
        kind: int = self.number(_U32, f"the element type of {key!r}")
        if kind == _STRING:
            return self.strings(self.count(8, MAX_ARRAY, f"the length of {key!r}"), key)
        if kind not in _SCALARS:
            known = "arrays of arrays" if kind == _ARRAY else f"the unknown element type {kind}"
            raise self.wrong(f"metadata key {key!r} has {known}")
        dtype = np.dtype(_SCALARS[kind].format)
        count = self.count(dtype.itemsize, MAX_ARRAY, f"the length of {key!r}")
        # Copied, because arrays in the header are not aligned.
        values = np.frombuffer(self.data, dtype=dtype, count=count, offset=self.at).copy()
        self.at += values.nbytes
        if kind != _BOOL:
            return values
        if count and values.max() > 1:
            raise self.wrong(f"metadata key {key!r} has a truth value of {values.max()}")
        return values.astype(np.bool_)

    def strings(self, count: int, key: str) -> list[str]:
        """Read `count` strings: the hot loop of opening a file (98,000 in a small model)."""
        data, at, size = self.data, self.at, self.size
        length_at = _U64.unpack_from
        out: list[str] = []
        try:
            for _ in range(count):
                start = at + 8
                at = start + length_at(data, at)[0]
                if at > size:
                    break
                out.append(data[start:at].decode("utf-8"))
        except struct.error as error:
            raise self.wrong(f"string {len(out)} of {key!r} lies past the end") from error
        except UnicodeDecodeError as error:
            raise self.wrong(f"string {len(out)} of {key!r} is not valid UTF-8") from error
        if len(out) < count:
            raise self.wrong(f"string {len(out)} of {key!r} lies past the end")
        self.at = at
        return out

    def infos(self, count: int, metadata: dict[str, Any]) -> dict[str, TensorInfo]:
        # The shortest entry: name length, dimension count, type, offset.
        if count * 24 > self.size - self.at:
            raise self.wrong(
                f"the number of tensors is {count}, which cannot fit in the "
                f"{self.size - self.at} bytes left"
            )
        alignment = metadata.get("general.alignment", 32)
        if (
            not isinstance(alignment, int)
            or not 8 <= alignment <= MAX_ALIGNMENT
            or alignment & (alignment - 1)
        ):
            raise self.wrong(f"general.alignment is {alignment!r}, not a power of two from 8 on")
        relative: dict[str, TensorInfo] = {}
        for index in range(count):
            info = self.info(index, alignment)
            if info.name in relative:
                raise self.wrong(f"tensor {info.name!r} occurs twice")
            relative[info.name] = info
        base = -(-self.at // alignment) * alignment
        tensors = {
            name: TensorInfo(name, info.shape, info.type, base + info.offset, info.bytes)
            for name, info in relative.items()
        }
        self.check_places(tensors)
        return tensors

    def info(self, index: int, alignment: int) -> TensorInfo:
        """Read one entry; its offset is still relative to the start of the data."""
        name = self.string(f"the name of tensor {index}", MAX_KEY_BYTES)
        dimensions: int = self.number(_U32, f"tensor {name!r}")
        if dimensions > MAX_DIMENSIONS:
            raise self.wrong(
                f"tensor {name!r} has {dimensions} dimensions, more than {MAX_DIMENSIONS}"
            )
        stored = [self.number(_U64, f"tensor {name!r}") for _ in range(dimensions)]
        number: int = self.number(_U32, f"tensor {name!r}")
        offset: int = self.number(_U64, f"tensor {name!r}")
        try:
            kind = GGMLType(number)
        except ValueError as error:
            raise self.wrong(f"tensor {name!r} is of the unknown type {number}") from error
        block, block_bytes = BLOCKS[kind]
        row = stored[0] if stored else 1
        elements = 1
        for length in stored:
            elements *= length
        if elements == 0:
            raise self.wrong(f"tensor {name!r} has an empty dimension: {stored[::-1]}")
        if row % block:
            raise self.wrong(
                f"tensor {name!r} has rows of {row} weights, not a multiple of the block of "
                f"{block} that {kind.name} stores"
            )
        if offset % alignment:
            raise self.wrong(f"tensor {name!r} begins at {offset}, off the alignment {alignment}")
        return TensorInfo(name, tuple(stored[::-1]), kind, offset, elements // block * block_bytes)

    def check_places(self, tensors: dict[str, TensorInfo]) -> None:
        end, before = 0, ""
        for info in sorted(tensors.values(), key=lambda info: info.offset):
            if info.offset < end:
                raise self.wrong(f"tensors {before!r} and {info.name!r} overlap")
            end, before = info.offset + info.bytes, info.name
            if end > self.size:
                raise self.wrong(
                    f"tensor {info.name!r} ({info.type.name}) ends at {end}, but the file ends "
                    f"at {self.size}"
                )
