"""Byte compressors as language models: what the held-out text adds to the compressed training text.

The length of a code is a negative log probability (Shannon 1948), so

    (compressed(training + held-out) - compressed(training)) * 8 / bytes of held-out

is bits per byte of the held-out text given the training text, as a language model's are. A
compressor goes on learning while it reads the held-out text, and a document's share of the result
is not defined: there is no interval.
"""

import lzma
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import zstandard

from hanlin.metrics import Score
from hanlin.metrics.score import signature

_CHUNK = 1 << 18
"""Bytes compressed at a time, so that Ctrl-C is heard."""
_WINDOW = 1 << 27
"""The longest window: xz takes eleven times its size in memory."""

Compress = Callable[[Iterable[bytes], int], tuple[int, str]]
"""Chunks and their bytes -> the compressed length, and the settings."""


def xz(chunks: Iterable[bytes], size: int) -> tuple[int, str]:
    """LZMA2 at its strongest, with a dictionary of the whole text."""
    window = _window(size)
    own = {
        "id": lzma.FILTER_LZMA2,
        "preset": 9 | lzma.PRESET_EXTREME,
        "dict_size": window,
    }
    encoder = lzma.LZMACompressor(lzma.FORMAT_RAW, filters=[own])
    length = sum(len(encoder.compress(chunk)) for chunk in chunks) + len(encoder.flush())
    return length, f"9e,window{window >> 20}M"


def zstd(chunks: Iterable[bytes], size: int) -> tuple[int, str]:
    """Zstandard at level 22 with a window of the whole text."""
    window = _window(size)
    settings = zstandard.ZstdCompressionParameters.from_level(
        22,
        source_size=size,
        window_log=window.bit_length() - 1,
        write_checksum=0,
        write_content_size=0,
    )
    encoder = zstandard.ZstdCompressor(compression_params=settings).compressobj()
    length = sum(len(encoder.compress(chunk)) for chunk in chunks) + len(encoder.flush())
    return length, f"22,window{window >> 20}M"


COMPRESSORS: dict[str, Compress] = {"xz": xz, "zstd": zstd}


@dataclass(frozen=True)
class Compressed:
    """Bits per byte of a held-out text by one compressor."""

    given_training: Score | None
    """After the training text; None where there is none."""
    alone: Score
    """By itself."""


def compressed_size(
    compress: Compress,
    held_out: Sequence[bytes],
    *,
    training: Sequence[bytes] = (),
    progress: Callable[[int], None] | None = None,
) -> Compressed:
    """Compress the documents one after the other; `progress` is called with bytes done."""
    bits = 8 / sum(map(len, held_out))
    alone, settings = _run(compress, held_out, progress)
    own = Score(alone * bits, None, None, signature(settings=settings, given="nothing"))
    if not training:
        return Compressed(None, own)
    before, _ = _run(compress, training, progress, room=sum(map(len, held_out)))
    after, settings = _run(compress, [*training, *held_out], progress)
    about = signature(settings=settings, given="training text", interval="none")
    return Compressed(Score((after - before) * bits, None, None, about), own)


def _run(
    compress: Compress,
    documents: Sequence[bytes],
    progress: Callable[[int], None] | None,
    *,
    room: int = 0,
) -> tuple[int, str]:
    """room: bytes the window must hold beside the documents, to be that of a later run."""

    def chunks() -> Iterable[bytes]:
        for document in documents:
            for start in range(0, len(document), _CHUNK):
                chunk = document[start : start + _CHUNK]
                yield chunk
                if progress is not None:
                    progress(len(chunk))

    return compress(chunks(), sum(map(len, documents)) + room)


def _window(size: int) -> int:
    """The power of two that holds `size` bytes, from 1 MiB to `_WINDOW`."""
    return min(max(1 << 20, 1 << (size - 1).bit_length()), _WINDOW)
