"""A document: what the text room yields, lazily, and what every stage of cleaning takes and gives.

A document longer than `PART` characters travels in parts, one after the other from one source, so
that a file of any size passes through bounded memory. Its parts carry ``part`` (0, 1, ...) and
``more`` (False in the last) in their metadata; a whole document carries neither.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

PART = 1 << 20
"""Characters in one part of a document, at most."""

_LINE_END = re.compile(r"(?<=\S)\n(?=\S)")
_SPACE = re.compile(r"(?<=\S)\s(?=\S)")


@dataclass(frozen=True)
class Document:
    """One text and where it came from."""

    text: str
    source: str
    """The file it was read from, with the member of an archive after ``::``."""
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def part(self) -> int:
        """Which part of a long document this is; 0 for the first and for a whole document."""
        return int(self.metadata.get("part", 0))

    @property
    def more(self) -> bool:
        """Whether further parts of the same document follow."""
        return bool(self.metadata.get("more", False))


@dataclass(frozen=True)
class Dropped:
    """What a stage gives instead of a document that it takes out."""

    reason: str
    """A few words, the same for every document dropped for this reason; the manifest counts by
    them."""


def document_hash(text: str) -> int:
    """Return 64 bits (BLAKE2b) that stand for a text wherever it occurs."""
    data = text.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


def chosen(hashed: int, share: float, *, seed: int = 0) -> bool:
    """Whether the document with this `document_hash` belongs to a random `share` (0 to 1) of all.

    The same text is chosen or not whatever else is in the corpus, so a copy of it never stands on
    the other side.
    """
    data = hashed.to_bytes(8, "little") + seed.to_bytes(8, "little", signed=True)
    drawn = int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")
    return drawn < share * 2.0**64


def cut(text: str, *, limit: int = PART) -> int:
    """Return where to end the first part of a text that is longer than `limit`, at most `limit`.

    It is the last end of a line that has no white space beside it: there byte-level BPE and
    WordPiece give the tokens they would give for the whole text. Failing that a single space,
    failing that `limit` itself.
    """
    for place, keep in ((_LINE_END, 1), (_SPACE, 0)):
        for start in (limit - (limit >> 4), limit >> 1):
            places = [found.start() for found in place.finditer(text, start, limit)]
            if places:
                return places[-1] + keep
    return limit


def parts(document: Document, *, limit: int = PART) -> Iterator[Document]:
    """Yield the document, in parts where it is longer than `limit` characters."""
    text, number = document.text, document.part
    if len(text) <= limit:
        yield document
        return
    at = 0
    key = document.metadata.get("document", document_hash(text[:limit]))
    while at < len(text):
        rest = len(text) - at
        size = rest if rest <= limit else cut(text[at : at + limit + 1], limit=limit)
        more = at + size < len(text) or document.more
        metadata = {**document.metadata, "part": number, "more": more, "document": key}
        yield Document(text[at : at + size], document.source, metadata)
        at, number = at + size, number + 1
