"""Tagged words: CoNLL columns, CoNLL-U, and rows with lists of tokens and tags.

CoNLL (Tjong Kim Sang and De Meulder 2003): a word a line with its tags in columns beside it, a
blank line after each sentence. CoNLL-U (Universal Dependencies): ten named columns, comments with
the raw text. Tables (JSON lines, Parquet ...): one row a sentence, with lists of equal length.
"""

import re
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hanlin.data.columns import check_columns, check_roles, shared_columns, tell_columns
from hanlin.data.records import BadRowError, collect
from hanlin.metrics.tags import conlleval, place_of
from hanlin.text.compression import decompressed
from hanlin.text.encodings import Decoder
from hanlin.text.plain import unix_lines
from hanlin.text.sources import SourceFile, find
from hanlin.text.tables import BadRow, Row, read_rows
from hanlin.text.words import joined, word_spans

CONLLU = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
"""The columns of CoNLL-U by name."""
SEGMENTS = "segments"
"""Instead of a column of tags: where words begin and go on, for learning to cut text into words."""
WORD = "word"
"""What `SEGMENTS` calls every word: B-word where one begins, I-word where it goes on."""

_USUAL = {
    "tokens": ("tokens", "words", "form", "token", "word", "词", "词语", "字"),
    "tags": ("tags", "ner_tags", "labels", "tag", "pos_tags", "label", "upos", "标签", "标注"),
}
_TABLES = ("jsonl", "json", "parquet")
_PLAIN = re.compile(r"[BIESLUMO](-.+)?")


@dataclass(frozen=True)
class TaggedText:
    """A text, its words and the tag of each."""

    words: tuple[str, ...]
    tags: tuple[str, ...]
    """One a word."""
    text: str
    """As it is read: the raw text where the source has it, else the words put together."""
    spans: tuple[tuple[int, int], ...]
    """The characters [start, end) of each word in `text`."""

    @property
    def texts(self) -> tuple[str]:
        """What is text in it, and not a tag."""
        return (self.text,)

    @property
    def group(self) -> str:
        """What is read: its copies stand on one side of a split."""
        return self.text


@dataclass(frozen=True)
class Chunk:
    """Some words in a row that one label stands for."""

    label: str
    first: int
    last: int
    """The last of its words, included."""


def tagged(words: Sequence[str], tags: Sequence[str], *, text: str | None = None) -> TaggedText:
    """Words and tags as one record; in `text` where its words are found there in order.

    Raises `ValueError` where there are not as many tags as words.
    """
    if len(words) != len(tags):
        raise ValueError(f"{len(words)} words and {len(tags)} tags")
    whole, spans = joined(tuple(words))
    found = None if text is None else _places(words, text)
    if text is not None and found is not None:
        whole, spans = text, found
    return TaggedText(tuple(words), tuple(tags), whole, tuple(spans))


def read_tagged(
    sources: Sequence[str],
    *,
    columns: Mapping[str, str] | None = None,
    skip_bad: bool = False,
    tell: Callable[[str], None],
) -> list[TaggedText]:
    """The sentences of files of any of the layouts, by the ends of their names.

    columns: `tokens` and `tags`, by name (tables, CoNLL-U) or number from 1 (CoNLL); without them
    the usual names, the first column and the last, or form and upos. `tags: segments` takes the
    borders of the words for tags. Raises `ConfigError` for a column that no row has, `InputError`
    for rows that cannot be used.
    """
    given = dict(columns or {})
    rows = _rows(sources, given)
    tell_columns(_columns(rows, given), given, tell)
    return collect(rows, lambda row: _record(row, given), skip_bad=skip_bad, tell=tell)


def columns_of(sources: Sequence[str], *, columns: Mapping[str, str]) -> dict[str, str]:
    """Where the words and their tags stand, as `read_tagged` finds them."""
    return _columns(_rows(sources, columns), columns)


def _rows(sources: Sequence[str], given: Mapping[str, str]) -> list[Row | BadRow]:
    """All rows; raises `ConfigError` for a column that none has."""
    check_roles(given, _USUAL)
    rows: list[Row | BadRow] = []
    for file in find(sources).files:
        if file.format in _TABLES:
            rows += read_rows(str(file.path))
        else:
            rows += _conllu(file) if _named(file, "conllu") else _conll(file)
    good = [row for row in rows if isinstance(row, Row)]
    if good:
        names = dict.fromkeys(name for row in good for name in _lists(row.values))
        check_columns({k: v for k, v in given.items() if (k, v) != ("tags", SEGMENTS)}, names)
    return rows


def _columns(rows: Sequence[Row | BadRow], given: Mapping[str, str]) -> dict[str, str]:
    """What was given, and the other part where one column plays it in every row."""

    def plays(row: Row) -> dict[str, str]:
        names = {role: _usual(row.values, role) for role in _USUAL}
        return {role: name for role, name in names.items() if name is not None}

    found = shared_columns(plays(row) for row in rows if isinstance(row, Row))
    return {**found, **given}


def labels_of(records: Sequence[TaggedText]) -> tuple[str, ...]:
    """Every tag there is, O first, B- before I- of a kind, in order."""
    names = {tag for record in records for tag in record.tags}
    return tuple(sorted(names, key=lambda tag: (tag != "O", tag.partition("-")[2] or tag, tag)))


def marks_entities(labels: Sequence[str]) -> bool:
    """Whether the labels are BIO, BIOES or their like, and not tags of single words."""
    return all(_PLAIN.fullmatch(label) for label in labels)


def chunks(tags: Sequence[str], *, marks: bool = True) -> list[Chunk]:
    """The chunks (entities) that tags spell, as conlleval reads them.

    BIO, IOB1, BIOES, BILOU and BMES alike: B, S and U begin a chunk, E, L, S and U end it, and I
    or M that does not go on a chunk of its label begins one. Without `marks` every word is a chunk
    of its tag.
    """
    if not marks:
        return [Chunk(tag, at, at) for at, tag in enumerate(tags)]
    places = (place_of(tag) if tag[0] != "O" else ("O", "") for tag in tags)
    return [Chunk(*found) for found in conlleval(places)]


def segments(words: Sequence[str], text: str | None = None) -> TaggedText:
    """The borders of `words` as tags over the units that `word_spans` finds in them."""
    units: list[str] = []
    tags: list[str] = []
    for word in words:
        inside = [word[start:end] for start, end in word_spans(word)]
        units += inside
        tags += [f"B-{WORD}", *[f"I-{WORD}"] * (len(inside) - 1)][: len(inside)]
    return tagged(units, tags, text=text if text is not None else joined(tuple(words))[0])


def _record(row: Row, given: Mapping[str, str]) -> TaggedText:
    values = row.values
    tokens = _column(values, "tokens", given)
    words = _texts(values[tokens], tokens)
    text = values.get("text")
    text = text if isinstance(text, str) else None
    if given.get("tags") == SEGMENTS:
        return _checked(segments(words, text))
    column = _column(values, "tags", given)
    tags = _texts(values[column], column)
    if len(words) != len(tags):
        raise BadRowError(f"it has {len(words)} tokens and {len(tags)} tags.")
    if "" in tags:
        raise BadRowError("a word of it has no tag.")
    return _checked(tagged(words, tags, text=text))


def _checked(record: TaggedText) -> TaggedText:
    if not record.words:
        raise BadRowError("it has no words.")
    return record


def _column(values: Mapping[str, Any], role: str, given: Mapping[str, str]) -> str:
    """Where the tokens or the tags stand."""
    if role in given:
        if given[role] not in (names := _lists(values)):
            there = ", ".join(names) or "none"
            raise BadRowError(f"it has no list {given[role]!r} of {role}; there are: {there}.")
        return given[role]
    if (found := _usual(values, role)) is None:
        raise BadRowError(f"it has no list of {role} ({', '.join(values) or 'nothing'} is there).")
    return found


def _usual(values: Mapping[str, Any], role: str) -> str | None:
    """The column that is usually called so; of numbered ones the first and the last."""
    names = _lists(values)
    for name in _USUAL[role]:
        if name in names:
            return name
    if names and all(name.isdigit() for name in names):
        return names[0] if role == "tokens" else names[-1]
    return None


def _lists(values: Mapping[str, Any]) -> list[str]:
    return [name for name, value in values.items() if isinstance(value, list | tuple)]


def _texts(value: Any, column: str) -> list[str]:
    if any(not isinstance(item, str | int) or isinstance(item, bool) for item in value):
        raise BadRowError(f"{column} holds something that is not text.")
    found = [str(item) for item in value]
    if any("\ud800" <= character <= "\udfff" for text in found for character in text):
        raise BadRowError(f"{column} has half a character (a lone surrogate).")
    return found


def _places(words: Sequence[str], text: str) -> list[tuple[int, int]] | None:
    """Where the words stand in `text`, one after the other; None where one is not found."""
    spans: list[tuple[int, int]] = []
    at = 0
    for word in words:
        start = text.find(word, at)
        if start < 0 or text[at:start].strip():
            return None
        at = start + len(word)
        spans.append((start, at))
    return spans


def _named(file: SourceFile, suffix: str) -> bool:
    return f".{suffix}" in file.path.name.lower()


def _conll(file: SourceFile) -> Iterator[Row | BadRow]:
    """Sentences of any number of columns; every line of a file must have as many."""
    width: int | None = None
    for number, lines in _sentences(file):
        rows = [line.split("\t") if "\t" in line else line.split() for _, line in lines]
        rows = [[cell.strip() for cell in row] for row in rows]
        if rows[0][0] == "-DOCSTART-":
            continue
        width = width or len(rows[0])
        wrong = [at for at, row in enumerate(rows) if len(row) != width]
        if width < 2 or wrong:
            at = wrong[0] if wrong else 0
            what = f"line {lines[at][0]} has {len(rows[at])} columns"
            needed = "it needs a word and a tag" if width < 2 else f"the first has {width}"
            yield BadRow(file.name, number, f"{what}; {needed}.")
            continue
        columns = zip(*rows, strict=True)
        yield Row({str(n): list(column) for n, column in enumerate(columns, 1)}, file.name, number)


def _conllu(file: SourceFile) -> Iterator[Row | BadRow]:
    """Sentences with CoNLL-U's columns; lines of several words (1-2) and empty nodes are left."""
    for number, lines in _sentences(file):
        said = [line for _, line in lines if line.startswith("# text =")]
        rows = [(at, line.split("\t")) for at, line in lines if not line.startswith("#")]
        if wrong := [at for at, row in rows if len(row) != len(CONLLU)]:
            yield BadRow(file.name, number, f"line {wrong[0]} has not the ten columns of CoNLL-U.")
            continue
        words = [row for _, row in rows if row[0].isdigit()]
        values: dict[str, Any] = {
            name: [row[at] for row in words] for at, name in enumerate(CONLLU)
        }
        if said:
            values["text"] = said[0].partition("=")[2].strip()
        yield Row(values, file.name, number)


def _sentences(file: SourceFile) -> Iterator[tuple[int, list[tuple[int, str]]]]:
    """The numbered lines between blank lines, with the number of each group, from 1."""
    count = 0
    lines: list[tuple[int, str]] = []
    for at, line in enumerate(_lines(file), 1):
        if line.strip():
            lines.append((at, line))
        elif lines:
            count += 1
            yield count, lines
            lines = []
    if lines:
        yield count + 1, lines


def _lines(file: SourceFile) -> Generator[str, None, None]:
    with file.path.open("rb") as raw:
        stream = decompressed(raw, file.compression) if file.compression else raw
        rest = ""
        for chunk in unix_lines(Decoder().decode(stream.read)):
            *lines, rest = (rest + chunk).split("\n")
            yield from lines
        if rest:
            yield rest
