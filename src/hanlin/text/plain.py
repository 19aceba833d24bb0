"""Plain text, Markdown and source code to documents: a whole file, its paragraphs, or its lines."""

import re
from collections.abc import Iterable, Iterator

from hanlin.text.documents import PART, Document, cut, document_hash

FILE, PARAGRAPH, LINE = "file", "paragraph", "line"
"""How a file is split; any other string is itself what stands between two documents."""

_BLANK = re.compile(r"\n(?:[^\S\n]*\n)+")


def documents(chunks: Iterable[str], *, source: str, split: str = FILE) -> Iterator[Document]:
    """Yield the documents of a text that comes in chunks; ends of lines become \\n.

    `split` is "file" (all of it is one), "paragraph" (at blank lines), "line", or a separator of
    one's own such as ``<|endoftext|>``. What is longer than `PART` characters comes in parts.
    White space around the pieces between separators is taken off.
    """
    if split == FILE:
        yield from _Document(source).whole(unix_lines(chunks))
        return
    separator = {PARAGRAPH: _BLANK, LINE: re.compile("\n")}.get(split, re.compile(re.escape(split)))
    strip = "\n" if split in (PARAGRAPH, LINE) else None
    current = _Document(source)
    rest = ""
    for chunk in unix_lines(chunks):
        *finished, rest = separator.split(rest + chunk)
        for piece in finished:
            yield from current.close(piece.strip(strip) if not current.part else piece.rstrip())
        while len(rest) > 2 * PART:
            # Twice, so that no separator is cut in two.
            size = cut(rest[: PART + 1], limit=PART)
            yield from current.add(rest[:size])
            rest = rest[size:]
    yield from current.close(rest.strip(strip) if not current.part else rest.rstrip())


class _Document:
    """The document that is being read, part by part."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.part = 0
        self.key = 0

    def whole(self, chunks: Iterator[str]) -> Iterator[Document]:
        rest = ""
        for chunk in chunks:
            rest += chunk
            while len(rest) > PART:
                size = cut(rest[: PART + 1], limit=PART)
                yield from self.add(rest[:size])
                rest = rest[size:]
        yield from self.close(rest)

    def add(self, text: str) -> Iterator[Document]:
        """A part that more will follow."""
        if not self.part:
            self.key = document_hash(text)
        yield self._document(text, more=True)
        self.part += 1

    def close(self, text: str) -> Iterator[Document]:
        """The end of the document; nothing where nothing was read."""
        if self.part:
            yield self._document(text, more=False)
        elif text and not text.isspace():
            yield Document(text, self.source)
        self.part = 0

    def _document(self, text: str, *, more: bool) -> Document:
        return Document(text, self.source, {"part": self.part, "more": more, "document": self.key})


def unix_lines(chunks: Iterable[str]) -> Iterator[str]:
    """Yield the chunks with \\r\\n and \\r turned into \\n."""
    held = ""
    for chunk in chunks:
        if held or "\r" in chunk:
            chunk = held + chunk
            # A \r at the end may have its \n in the next chunk.
            held = "\r" if chunk.endswith("\r") else ""
            chunk = chunk[: len(chunk) - len(held)].replace("\r\n", "\n").replace("\r", "\n")
        if chunk:
            yield chunk
    if held:
        yield "\n"
