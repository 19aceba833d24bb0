"""Compressed files as streams of bytes: gzip, bzip2, xz, Zstandard; zip with its members."""

import bz2
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, cast

import zstandard

from hanlin.errors import ConfigError, FormatError

COMPRESSIONS = ("gz", "bz2", "xz", "zst", "zip")
_STEP = 1 << 12


def decompressed(stream: BinaryIO, kind: str) -> BinaryIO:
    """Return the stream of what `stream` holds compressed; reading it may raise as `broken` says.

    Raises `ConfigError` for another kind.
    """
    match kind:
        case "gz":
            return cast(BinaryIO, gzip.GzipFile(fileobj=stream))
        case "bz2":
            return cast(BinaryIO, bz2.BZ2File(stream))
        case "xz":
            return cast(BinaryIO, lzma.LZMAFile(stream))
        case "zst":
            return cast(BinaryIO, io.BufferedReader(_Zstandard(stream), 1 << 17))
    raise ConfigError(f"There is no compression {kind!r}. Use one of: {', '.join(COMPRESSIONS)}.")


class _Zstandard(io.RawIOBase):
    """Frames of Zstandard, one after the other; unlike the library's own stream it notices where
    the last one is cut off."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._new = zstandard.ZstdDecompressor().decompressobj
        self._frame: Any = None
        self._rest = b""
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            # Few bytes at a time: they can stand for thirty thousand times as many.
            packed = self._rest or self._stream.read(_STEP)
            if not packed:
                if self._frame is not None:
                    raise EOFError
                return 0
            frame = self._frame or self._new()
            self._ready = memoryview(frame.decompress(packed))
            self._rest = frame.unused_data if frame.eof else b""
            self._frame = None if frame.eof else frame
        size = min(len(buffer), len(self._ready))
        buffer[:size] = self._ready[:size]
        self._ready = self._ready[size:]
        return size


def members(stream: BinaryIO) -> Iterator[tuple[str, BinaryIO]]:
    """Yield the name and content of each file in a zip archive, one open at a time, by name."""
    with zipfile.ZipFile(stream) as archive:
        for entry in sorted(archive.infolist(), key=lambda entry: entry.filename):
            if not entry.is_dir():
                with _failures(entry.filename), archive.open(entry) as member:
                    yield entry.filename, cast(BinaryIO, member)


@contextmanager
def _failures(name: str) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, NotImplementedError) as error:  # encrypted, or an unknown method
        raise FormatError(f"{name} in the archive cannot be read ({error}).") from error


def broken() -> tuple[type[Exception], ...]:
    """Return the exceptions by which a damaged file shows while it is read."""
    kinds = [EOFError, OSError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, FormatError]
    return (*kinds, zstandard.ZstdError)
