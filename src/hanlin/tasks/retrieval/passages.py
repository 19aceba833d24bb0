"""Documents cut into passages that a question can be answered from, each with its place.

A passage is as many whole sentences as fit. It rather ends where a paragraph does; where it must
end inside one, the next begins with the last sentences again, so that nothing is torn apart. Words
are counted as `hanlin.text.words` counts them: in Chinese, characters.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hanlin.errors import ConfigError, InputError
from hanlin.text.read import read_documents
from hanlin.text.words import word_spans

SIZE = 200
"""Words of a passage at most: with a question they fit into what an extractor reads at once."""
OVERLAP = 40
"""Words that two passages of one paragraph share at most."""

_CLOSING = "\"'”’」』）)】》\\]"
_END = re.compile(
    rf"[。！？!?…]+[{_CLOSING}]*\s*|[.]+[{_CLOSING}]*\s+|(?P<paragraph>\n(?:[^\S\n]*\n)+\s*)|\n+\s*"
)

Source = str | Path | Sequence[str | Path] | Mapping[str, str]
"""Files, folders and globs; or texts by name."""


@dataclass(frozen=True)
class Passage:
    """A part of a document."""

    file: str
    document: int
    """Which document of the file it is in, from 1: files of rows hold several."""
    start: int
    """Its first character in the document as it is read (line ends are one character, of HTML and
    the like the text alone)."""
    end: int
    """The character after its last."""
    text: str


@dataclass(frozen=True)
class _Sentence:
    start: int
    end: int
    words: int
    closes: bool
    """Whether a paragraph ends with it."""


def read_passages(documents: Source, *, size: int = SIZE, overlap: int = OVERLAP) -> list[Passage]:
    """The passages of files, or of texts by name, in their order.

    Raises `NotFoundError` for what does not exist, `InputError` where there is no text at all.
    """
    found: list[Passage] = []
    for file, number, text in _documents(documents):
        found += split_passages(text, file=file, document=number, size=size, overlap=overlap)
    if not found:
        raise InputError("There is no text in these documents. Give files that have some.")
    return found


def split_passages(
    text: str,
    *,
    file: str = "",
    document: int = 1,
    size: int = SIZE,
    overlap: int = OVERLAP,
) -> list[Passage]:
    """The passages of one text, of at most `size` words, `overlap` of them shared at most.

    Raises `ConfigError` for sizes that do not get on.
    """
    if size < 1 or not 0 <= overlap < size:
        raise ConfigError(
            f"Passages of {size} words that share {overlap} do not get on. Make size larger."
        )
    sentences = list(_sentences(text, size))
    found = []
    first = 0
    while first < len(sentences):
        last, words, border = first, sentences[first].words, None
        if sentences[first].closes:
            border = first
        while last + 1 < len(sentences) and words + sentences[last + 1].words <= size:
            last += 1
            words += sentences[last].words
            if sentences[last].closes:
                border = last
        whole = last + 1 == len(sentences)
        if not whole and border is not None:
            kept = sum(s.words for s in sentences[first : border + 1])
            if 2 * kept >= size:
                last = border
        start, end = _bare(text, sentences[first].start, sentences[last].end)
        found.append(Passage(file, document, start, end, text[start:end]))
        if whole:
            break
        following = last + 1
        if not sentences[last].closes:
            room = size - sentences[following].words
            following = _again(sentences, first, last, min(overlap, room))
        first = following
    return found


def _again(sentences: Sequence[_Sentence], first: int, last: int, most: int) -> int:
    """Where the next passage begins: so many of the last sentences as have at most `most` words
    together, none of them of a paragraph before, come again."""
    at, words = last + 1, 0
    while at - 1 > first and words + sentences[at - 1].words <= most:
        if sentences[at - 1].closes:
            break
        at -= 1
        words += sentences[at].words
    return at


def _sentences(text: str, size: int) -> Iterator[_Sentence]:
    """The sentences of a text without gaps; one longer than `size` words is cut between words."""
    start = 0
    ends = [(found.end(), found["paragraph"] is not None) for found in _END.finditer(text)]
    for end, closes in [*ends, (len(text), True)]:
        spans = word_spans(text[start:end])
        if not spans:
            continue  # white space and the like go with what follows
        while len(spans) > size:
            border = start + spans[size][0]
            yield _Sentence(start, border, size, False)
            start = border
            spans = word_spans(text[start:end])
        closes = closes or "\n\n" in text[start:end]
        yield _Sentence(start, end, len(spans), closes)
        start = end


def _bare(text: str, start: int, end: int) -> tuple[int, int]:
    while start < end and text[start].isspace():
        start += 1
    while start < end and text[end - 1].isspace():
        end -= 1
    return start, end


def _documents(documents: Source) -> Iterator[tuple[str, int, str]]:
    """File, number and text of each document; one that came in parts is put together."""
    if isinstance(documents, Mapping):
        for name, text in documents.items():
            yield name, 1, text
        return
    number, last, parts = 0, "", []
    for document in read_documents(documents):
        if document.source != last:
            number, last = 0, document.source
        parts.append(document.text)
        if not document.more:
            number += 1
            yield last, number, "".join(parts)
            parts = []
