"""What an n-gram model counts: bytes, characters, or the tokens of a small BPE.

Whatever the unit, a text's cost is that of all its bytes, so that bits per byte can be compared.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import tokenizers as rust
from numpy.typing import NDArray

from hanlin.evaluation.scores import byte_ends
from hanlin.tokenizers import Tokenizer, train

Unit = Literal["bytes", "characters", "tokens"]
_CODE_POINTS = 0x110000 - 0x800
"""Unicode's characters: all code points but the surrogates."""
_BPE_TEXT = 1 << 20
"""Bytes that a BPE is learnt from: enough for the few thousand tokens it has."""


@dataclass(frozen=True)
class Symbols:
    """A text as the symbols of an alphabet [T]."""

    ids: NDArray[np.int32]
    ends: NDArray[np.int64]
    """The byte of the text before which each ends."""
    extra: NDArray[np.float64] | float = 0.0
    """Nats that spelling out a symbol costs beyond the symbol itself."""


class Alphabet(Protocol):
    """Texts to symbols 0 to `size` - 1, and back."""

    @property
    def name(self) -> str:
        """For signatures and tables."""
        ...

    @property
    def size(self) -> int:
        """How many symbols there are."""
        ...

    def symbols(self, text: str) -> Symbols:
        """The symbols of a text, without a mark at its beginning."""
        ...

    def ids(self, texts: Sequence[str]) -> list[NDArray[np.int32]]:
        """The ids of many texts, as `symbols` gives them."""
        ...

    def text(self, ids: Sequence[int]) -> str:
        """What symbols spell."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """What `alphabet_from` makes it again from."""
        ...


@dataclass(frozen=True)
class Bytes:
    """The 256 bytes of UTF-8."""

    name: str = "bytes"
    size: int = 256

    def symbols(self, text: str) -> Symbols:
        ids = np.frombuffer(text.encode(), dtype=np.uint8).astype(np.int32)
        return Symbols(ids, np.arange(1, len(ids) + 1))

    def ids(self, texts: Sequence[str]) -> list[NDArray[np.int32]]:
        return [self.symbols(text).ids for text in texts]

    def text(self, ids: Sequence[int]) -> str:
        return bytes(ids).decode("utf-8", "replace")

    def to_dict(self) -> dict[str, Any]:
        return {"unit": "bytes"}


class Characters:
    """The characters of the training text, and one symbol for all others.

    Which of the others it is costs the logarithm of their number, so that the probabilities of all
    characters of Unicode sum to one.
    """

    name = "characters"

    def __init__(self, points: NDArray[np.uint32]) -> None:
        self.points = points
        """Sorted code points."""
        self._unknown = float(np.log(_CODE_POINTS - len(points)))

    @classmethod
    def of(cls, texts: Sequence[str]) -> "Characters":
        """The alphabet of all characters in `texts`."""
        found = [np.unique(_points(text)) for text in texts]
        return cls(np.unique(np.concatenate(found)))

    @property
    def size(self) -> int:
        return len(self.points) + 1

    def symbols(self, text: str) -> Symbols:
        [ids] = self.ids([text])
        ends = byte_ends(text, np.arange(1, len(ids) + 1))
        return Symbols(ids, ends, np.where(ids < len(self.points), 0.0, self._unknown))

    def ids(self, texts: Sequence[str]) -> list[NDArray[np.int32]]:
        found = []
        for text in texts:
            points = _points(text)
            places = np.searchsorted(self.points, points)
            places[places == len(self.points)] = 0
            known = self.points[places] == points
            found.append(np.where(known, places, len(self.points)).astype(np.int32))
        return found

    def text(self, ids: Sequence[int]) -> str:
        known = [chr(int(self.points[i])) if i < len(self.points) else "\ufffd" for i in ids]
        return "".join(known)

    def to_dict(self) -> dict[str, Any]:
        return {"unit": "characters", "points": "".join(map(chr, self.points.tolist()))}


class Tokens:
    """The tokens of a byte-level tokenizer."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.size = tokenizer.vocab_size
        self.name = f"tokens({self.size})"

    @classmethod
    def of(cls, texts: Sequence[str], *, sizes: Sequence[int]) -> list["Tokens"]:
        """Byte-level BPEs of several vocabulary sizes, learnt at once from the first of the text.

        Merges are learnt one after the other, so a smaller BPE is the beginning of a larger one.
        """
        sample, room = [], _BPE_TEXT
        for text in texts:
            if room <= 0:
                break
            sample.append(text.encode()[:room].decode("utf-8", "ignore"))
            room -= len(sample[-1].encode())
        largest = train(sample, kind="bpe", vocab_size=max(sizes))
        return [cls(_smaller(largest, size)) for size in sorted(set(sizes))]

    def symbols(self, text: str) -> Symbols:
        ids, offsets = self.tokenizer.encode_offsets(text, add_special_tokens=False)
        ends = byte_ends(text, [end for _, end in offsets])
        return Symbols(np.array(ids, dtype=np.int32), ends)

    def ids(self, texts: Sequence[str]) -> list[NDArray[np.int32]]:
        encoded = self.tokenizer.encode_batch(texts, add_special_tokens=False)
        return [np.array(ids, dtype=np.int32) for ids in encoded]

    def text(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(ids)

    def to_dict(self) -> dict[str, Any]:
        return {"unit": "tokens", "tokenizer": self.tokenizer.backend.to_str()}


def alphabet_from(content: dict[str, Any]) -> Alphabet:
    """The alphabet whose `to_dict` gave `content`."""
    if content["unit"] == "bytes":
        return Bytes()
    if content["unit"] == "characters":
        return Characters(_points(content["points"]))
    return Tokens(Tokenizer(rust.Tokenizer.from_str(content["tokenizer"])))


def _points(text: str) -> NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)


def _smaller(tokenizer: Tokenizer, size: int) -> Tokenizer:
    content = json.loads(tokenizer.backend.to_str())
    model = content["model"]
    more = max(0, len(model["vocab"]) - size)
    model["vocab"] = {token: i for token, i in model["vocab"].items() if i < size}
    model["merges"] = model["merges"][: max(0, len(model["merges"]) - more)]
    return Tokenizer(rust.Tokenizer.from_str(json.dumps(content)), special=tokenizer.special)
