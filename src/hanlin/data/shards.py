"""Token shards: a prepared text on disk, as trainers read it, without ever holding it in memory.

A directory with ``manifest.json``, the tokenizer in ``tokenizer/``, and shards of two files each:
``NNNNN.tokens.bin`` has the ids as uint16 (uint32 where the vocabulary needs it) and
``NNNNN.index.bin`` a row of two uint64 for each document that ends in the shard: where it ends,
counted in tokens from the start of the shard, and its length in bytes of UTF-8. All numbers are
little endian. Every document ends with the tokenizer's end token; a document may cross shards.
"""

import hashlib
import json
from bisect import bisect_right
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from hanlin.errors import ConfigError, FormatError, InputError, NotFoundError
from hanlin.provenance import file_hash

if TYPE_CHECKING:
    from hanlin.tokenizers import Tokenizer

FORMAT = "hanlin token shards"
LAYOUT = 1
"""Counts changes of the layout that old readers would misread."""
MANIFEST = "manifest.json"
TOKENIZER = "tokenizer"


class TokenShards:
    """The tokens of many documents as one long row, read in place; see `open`.

    Holds one memory map and the document ends of each shard, which are read when first needed.
    """

    def __init__(self, directory: Path, manifest: dict[str, Any]) -> None:
        self.directory = directory
        self.manifest = manifest
        self.hash: str = manifest["hash"]
        self.tokens: int = manifest["tokens"]
        self.documents: int = manifest["kept"]
        self.bytes: int = manifest["bytes"]
        self._dtype = np.dtype(manifest["dtype"]).newbyteorder("<")
        shards = manifest["shards"]
        # Where each shard starts, in tokens and in documents.
        self._starts = np.cumsum([0, *(shard["tokens"] for shard in shards)])
        self._firsts = np.cumsum([0, *(shard["documents"] for shard in shards)])
        self._maps: dict[int, np.ndarray] = {}
        self._indices: dict[int, np.ndarray] = {}

    @classmethod
    def open(cls, path: str | Path, *, verify: bool = False) -> Self:
        """Open the shards in a directory; `verify` also reads every file to compare its SHA-256.

        Raises `NotFoundError` where there are none, and `FormatError` where a file is missing, is
        of the wrong size, or (with `verify`) was changed.
        """
        directory = Path(path).expanduser()
        manifest = read_manifest(directory)
        if manifest is None:
            sides = [name for name in ("train", "validation") if (directory / name).is_dir()]
            hint = f" Open {directory / sides[0]}." if sides else " Make them with hanlin prepare."
            raise NotFoundError(f"There are no token shards in {directory}.{hint}")
        if manifest.get("format") != FORMAT:
            raise FormatError(
                f"{directory} holds {manifest.get('format')}, not token shards. Prepare it with a "
                "tokenizer first."
            )
        if manifest.get("layout") != LAYOUT:
            raise FormatError(
                f"{directory} was written by another version of hanlin "
                f"({manifest.get('hanlin')}). Prepare it again."
            )
        for shard in manifest["shards"]:
            for name, facts in shard["files"].items():
                _check(directory / name, facts, verify=verify)
        return cls(directory, manifest)

    def __len__(self) -> int:
        return self.tokens

    @property
    def len_tokens(self) -> int:
        """How many tokens there are, end tokens included."""
        return self.tokens

    @cached_property
    def tokenizer(self) -> "Tokenizer":
        """The tokenizer that made the ids. Raises `FormatError` where it is not the same any
        more."""
        from hanlin.tokenizers import Tokenizer

        tokenizer = Tokenizer.load(self.directory / TOKENIZER)
        if tokenizer.hash != self.manifest["tokenizer"]["hash"]:
            raise FormatError(
                f"The tokenizer in {self.directory / TOKENIZER} is not the one that made these "
                "shards. Prepare the text again."
            )
        return tokenizer

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return tokens [start, stop) as int64. Raises `InputError` outside of the shards."""
        if not 0 <= start <= stop <= self.tokens:
            raise InputError(
                f"Tokens {start} to {stop} were asked for, of {self.tokens}. Ask within them."
            )
        out = np.empty(stop - start, dtype=np.int64)
        done = start
        while done < stop:
            number = int(np.searchsorted(self._starts, done, side="right")) - 1
            first = int(self._starts[number])
            end = min(stop, int(self._starts[number + 1]))
            out[done - start : end - start] = self._map(number)[done - first : end - first]
            done = end
        return out

    def document_bounds(self, document: int) -> tuple[int, int]:
        """Return where a document's tokens start and stop, its end token included."""
        if not 0 <= document < self.documents:
            raise InputError(
                f"Document {document} was asked for, of {self.documents}. Count from 0."
            )
        start = 0 if document == 0 else self._end(document - 1)
        return start, self._end(document)

    def document_bytes(self, document: int) -> int:
        """Return the length of a document's text in bytes of UTF-8."""
        number, within = self._place(document)
        return int(self._index(number)[within, 1])

    def document_at(self, token: int) -> int:
        """Return the number of the document that a token belongs to."""
        if not 0 <= token < self.tokens:
            raise InputError(f"Token {token} was asked for, of {self.tokens}. Count from 0.")
        number = int(np.searchsorted(self._starts, token, side="right")) - 1
        within = token - int(self._starts[number])
        # What is beyond the last end here belongs to a document that ends in a later shard.
        return int(self._firsts[number]) + self._ended(number, within)

    def bounds_within(self, start: int, stop: int) -> np.ndarray:
        """Return the document ends e with start < e <= stop, ascending, as int64."""
        first = int(np.searchsorted(self._starts, start, side="right")) - 1
        last = int(np.searchsorted(self._starts, stop, side="left"))
        found = []
        for number in range(max(first, 0), min(last, len(self._starts) - 1)):
            offset = int(self._starts[number])
            low, high = self._ended(number, start - offset), self._ended(number, stop - offset)
            found.append(self._index(number)[low:high, 0].astype(np.int64) + offset)
        return np.concatenate(found) if found else np.empty(0, dtype=np.int64)

    def _place(self, document: int) -> tuple[int, int]:
        number = int(np.searchsorted(self._firsts, document, side="right")) - 1
        return number, document - int(self._firsts[number])

    def _end(self, document: int) -> int:
        number, within = self._place(document)
        return int(self._starts[number]) + int(self._index(number)[within, 0])

    def _ended(self, number: int, token: int) -> int:
        """How many documents end in a shard at or before a token of it."""
        # Bisection touches a few pages; searchsorted would copy the column each time.
        return bisect_right(self._index(number)[:, 0], max(token, 0))

    def _map(self, number: int) -> np.ndarray:
        if number not in self._maps:
            path = self.directory / f"{number:05}.tokens.bin"
            self._maps[number] = np.memmap(path, dtype=self._dtype, mode="r").view(np.ndarray)
        return self._maps[number]

    def _index(self, number: int) -> np.ndarray:
        if number not in self._indices:
            path = self.directory / f"{number:05}.index.bin"
            empty = self.manifest["shards"][number]["documents"] == 0
            rows = np.empty(0, "<u8") if empty else np.memmap(path, dtype="<u8", mode="r")
            self._indices[number] = rows.view(np.ndarray).reshape(-1, 2)
        return self._indices[number]

    def __getstate__(self) -> dict[str, Any]:
        """Leave the maps out, so that shards can be sent to another process."""
        return {**self.__dict__, "_maps": {}, "_indices": {}}

    def __repr__(self) -> str:
        return (
            f"TokenShards({str(self.directory)!r}, tokens={self.tokens}, "
            f"documents={self.documents})"
        )


def read_manifest(directory: Path) -> dict[str, Any] | None:
    """Return the manifest of a prepared directory, or None where there is none.

    Raises `FormatError` where it is not JSON.
    """
    path = directory / MANIFEST
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise FormatError(f"{path} is not valid JSON ({error}). Prepare the text again.") from error
    if not isinstance(content, dict):
        raise FormatError(f"{path} is not a manifest. Prepare the text again.")
    return content


def shards_hash(shards: list[dict[str, Any]], tokenizer_hash: str) -> str:
    """Return one hash (SHA-256) for all the tokens, their bounds and the tokenizer."""
    whole = hashlib.sha256(tokenizer_hash.encode())
    for shard in shards:
        for name, facts in sorted(shard["files"].items()):
            whole.update(f"{name} {facts['sha256']}\n".encode())
    return whole.hexdigest()


def token_bytes(tokenizer: "Tokenizer") -> np.ndarray:
    """Return how many bytes of UTF-8 each id stands for within a text, special tokens 0: [V] int64.

    V is one more than the greatest id.
    """
    size = max(tokenizer.backend.get_vocab(with_added_tokens=True).values()) + 1
    lengths = np.zeros(size, dtype=np.int64)
    for token_id in range(size):
        if token_id not in tokenizer.special_ids:
            lengths[token_id] = len(tokenizer.token_bytes(token_id))
    return lengths


def end_token(tokenizer: "Tokenizer") -> int:
    """Return the id that ends a document: the end of sequence, else the separator.

    Raises `ConfigError` for a tokenizer that has neither.
    """
    for token_id in (tokenizer.eos_id, tokenizer.sep_id, tokenizer.id("<|endoftext|>")):
        if token_id is not None:
            return token_id
    raise ConfigError(
        "The tokenizer has no token that ends a document (eos, sep or <|endoftext|>). Train one "
        "with such a special token."
    )


def token_dtype(tokenizer: "Tokenizer") -> np.dtype:
    """Return the narrowest of uint16 and uint32 that holds every id, little endian."""
    greatest = max(tokenizer.backend.get_vocab(with_added_tokens=True).values())
    return np.dtype("<u2" if greatest < 1 << 16 else "<u4")


def _check(path: Path, facts: dict[str, Any], *, verify: bool) -> None:
    if not path.is_file():
        raise FormatError(f"{path} is missing. Prepare the text again.")
    size = path.stat().st_size
    if size != facts["bytes"]:
        raise FormatError(
            f"{path} has {size} bytes, not {facts['bytes']}. It was changed or cut off: prepare "
            "the text again."
        )
    if verify and file_hash(path) != facts["sha256"]:
        raise FormatError(f"{path} was changed since it was written. Prepare the text again.")
