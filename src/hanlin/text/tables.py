"""Files to rows of named values: JSON lines, JSON arrays, CSV, TSV, Parquet, lines of text.

What a task learns from and is measured on. What is wrong with a row comes in its place as a
`BadRow`; what is wrong with a whole file is an error.
"""

import csv
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from hanlin.errors import ConfigError, FormatError
from hanlin.text.compression import broken, decompressed, members
from hanlin.text.encodings import BinaryError, Decoder
from hanlin.text.reading import RECORD, Reading
from hanlin.text.records import array_values, numbered_lines
from hanlin.text.sources import SourceFile, find, kind_of

Tell = Callable[[str], None]

USUAL: Mapping[str, tuple[str, ...]] = {
    "text": ("text", "sentence", "sentence1", "text1", "review", "content", "comment", "message",
             "title", "premise", "question1", "query", "文本", "文字", "句子", "评论", "内容",
             "正文", "标题", "短信"),
    "text_pair": ("text_pair", "sentence2", "text2", "hypothesis", "question2", "文本2", "句子2"),
    "label": ("label", "labels", "category", "class", "sentiment", "topic", "intent", "标签",
              "类别", "分类", "情感", "意图", "主题"),
    "source": ("source", "src", "原文", "源文"),
    "target": ("target", "tgt", "translation", "summary", "译文", "摘要"),
    "question": ("question", "问题"),
    "context": ("context", "passage", "document", "段落", "篇章", "材料"),
    "answer": ("answer", "answers", "答案", "回答"),
    "instruction": ("instruction", "prompt", "指令", "提示"),
    "input": ("input", "输入"),
    "output": ("output", "response", "completion", "输出", "回复"),
    "chosen": ("chosen", "preferred", "优选"),
    "rejected": ("rejected", "dispreferred", "拒绝"),
    "tokens": ("tokens", "words", "词"),
    "tags": ("tags", "ner_tags", "标注"),
    "score": ("score", "similarity", "分数", "相似度"),
    "positive": ("positive",),
    "negative": ("negative",),
    "anchor": ("anchor",),
    "messages": ("messages", "conversations", "conversation", "对话"),
}  # fmt: skip
"""What columns are usually called -> by the part they play; lower case."""

_USUAL_NAMES = frozenset(name for names in USUAL.values() for name in names)
_LOOK = 50  # rows looked at to tell whether the first one names the columns


@dataclass(frozen=True)
class Row:
    """One record."""

    values: Mapping[str, Any]
    """Column -> value: text from CSV, whatever it is from JSON and Parquet."""
    file: str
    number: int
    """From 1: of the line where the row begins; of the element or row in JSON arrays and
    Parquet."""


@dataclass(frozen=True)
class BadRow:
    """What stands where a record should, and is none."""

    file: str
    number: int
    reason: str


def read_rows(
    sources: str | Path | Sequence[str | Path],
    *,
    header: bool | None = None,
    tell: Tell = lambda text: None,
) -> Iterator[Row | BadRow]:
    """Yield the rows of files, folders and globs, each compressed or not, in order of their names.

    A line of plain text is a row with the column "text", unless all lines have the same number of
    tabs: then the file is a table. header: whether the first row of a table names its columns;
    without one they are "1", "2" ...; None: told by how the first row looks, and `tell` hears what
    was found. Raises `FormatError` for a file that cannot be read as rows.
    """
    listed = [sources] if isinstance(sources, str | Path) else list(sources)
    for file in find(listed).files:
        yield from _of_file(file, header, tell)


def _of_file(file: SourceFile, header: bool | None, tell: Tell) -> Iterator[Row | BadRow]:
    try:
        with file.path.open("rb") as raw:
            for name, format, stream in _streams(file, raw):
                yield from _rows(stream, format, name, header, tell)
    except BinaryError as error:
        raise FormatError(f"{file.name} is no text: {error}") from error
    except FormatError:
        raise
    except broken() as error:
        raise FormatError(
            f"{file.name} cannot be read to its end ({str(error) or 'it is cut off'}). Fetch or "
            "write it again."
        ) from error


def _streams(file: SourceFile, raw: BinaryIO) -> Iterator[tuple[str, str, BinaryIO]]:
    """The name, format and bytes of a file, or of each one in an archive."""
    if file.compression != "zip":
        stream = decompressed(raw, file.compression) if file.compression else raw
        yield file.name, file.format, stream
        return
    for name, member in members(raw):
        format, packed = kind_of(name)
        inside = decompressed(member, packed) if packed and packed != "zip" else member
        yield f"{file.name}::{name}", format, inside


def _rows(
    stream: BinaryIO, format: str, name: str, header: bool | None, tell: Tell
) -> Iterator[Row | BadRow]:
    if format == "parquet":
        yield from _parquet(stream, name)
        return
    if format not in ("jsonl", "json", "csv", "tsv", "text", "markdown"):
        raise FormatError(
            f"{name} is {format}, which has no rows. Give JSON lines, CSV, TSV, Parquet or lines "
            "of text."
        )
    chunks = Decoder().decode(stream.read)
    if format == "json":
        for number, value in _named(array_values(chunks), name):
            yield _record(value, name, number)
        return
    reading = Reading(name)
    lines = numbered_lines(chunks, reading)
    if format == "jsonl":
        yield from _json_lines(lines, name)
    else:
        if format in ("text", "markdown"):
            first = list(itertools.islice(lines, _LOOK))
            lines = itertools.chain(first, lines)
            format = "tsv" if _tabs(line for _, line in first) else "text"
        if format == "text":
            yield from (Row({"text": line}, name, n) for n, line in lines if line.strip())
        else:
            yield from _separated(lines, "," if format == "csv" else "\t", name, header, tell)
    for problem in reading.problems:  # a line too long to be held
        yield BadRow(name, 0, problem)


def _named(values: Iterator[tuple[int, Any]], name: str) -> Iterator[tuple[int, Any]]:
    try:
        yield from values
    except FormatError as error:
        raise FormatError(f"{name}: {error}") from error


def _json_lines(lines: Iterable[tuple[int, str]], name: str) -> Iterator[Row | BadRow]:
    decode = json.JSONDecoder().decode
    for number, line in lines:
        if not line or line.isspace():
            continue
        try:
            value = decode(line)
        except (ValueError, RecursionError) as error:
            yield BadRow(name, number, f"it is not JSON ({error}).")
            continue
        yield _record(value, name, number)


def _record(value: Any, name: str, number: int) -> Row | BadRow:
    if isinstance(value, dict):
        return Row(value, name, number)
    if isinstance(value, str):
        return Row({"text": value}, name, number)
    return BadRow(name, number, "it is not an object with fields.")


def _tabs(lines: Iterable[str]) -> bool:
    """Whether lines are rows with tabs between: all with as many, one at least."""
    counts = {line.count("\t") for line in lines if line.strip()}
    return len(counts) == 1 and counts != {0}


def _separated(
    lines: Iterable[tuple[int, str]], delimiter: str, name: str, header: bool | None, tell: Tell
) -> Iterator[Row | BadRow]:
    """The rows of CSV, or of TSV, in which quotes mean nothing."""
    csv.field_size_limit(RECORD)
    texts = (f"{line}\n" for _, line in lines)
    if delimiter == "\t":
        reader = csv.reader(texts, delimiter=delimiter, quoting=csv.QUOTE_NONE)
    else:
        reader = csv.reader(texts, delimiter=delimiter)
    rows = _numbered(reader, name)
    first = list(itertools.islice(rows, _LOOK))
    if not first:
        return
    headed = _looks_headed([cells for _, cells in first]) if header is None else header
    width = len(first[0][1])
    names = [str(number) for number in range(1, width + 1)]
    if headed:
        names = [cell.strip() or names[at] for at, cell in enumerate(first.pop(0)[1])]
        if len(set(names)) < width:
            raise FormatError(
                f"{name} has two columns of one name: {', '.join(names)}. Rename one."
            )
    if header is None:
        shown = ", ".join(names)
        tell(
            f"{name}: the first row names the columns: {shown}."
            if headed
            else f"{name}: the first row is data, so the columns are {shown}."
        )
    for number, cells in itertools.chain(first, rows):
        if len(cells) == width:
            yield Row(dict(zip(names, cells, strict=True)), name, number)
        else:
            yield BadRow(name, number, f"it has {len(cells)} columns, the first row has {width}.")


def _numbered(reader: Any, name: str) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not blank, each with the line it begins in."""
    line = 0
    try:
        for cells in reader:
            if any(cells):
                yield line + 1, cells
            line = reader.line_num
    except csv.Error as error:
        raise FormatError(
            f"{name}: line {reader.line_num} is not CSV ({error}). Correct it."
        ) from error


def _looks_headed(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first row looks like names: short, different, none a number; and one is a usual
    name, or stands above numbers or above a few labels that it is not one of."""
    first, rest = [cell.strip() for cell in rows[0]], rows[1:]
    named = [cell for cell in first if cell]
    if any(_number(cell) or len(cell) > 30 for cell in named) or len(set(named)) < len(named):
        return False
    if any(cell.casefold() in _USUAL_NAMES for cell in named):
        return True
    for at, cell in enumerate(first):
        below = [row[at].strip() for row in rest if at < len(row)]
        few = len(below) >= 10 and len(set(below)) <= max(2, len(below) // 5)
        if below and (all(map(_number, below)) or (few and cell not in below)):
            return True
    return False


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _parquet(stream: BinaryIO, name: str) -> Iterator[Row]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ConfigError(
            "Reading Parquet needs the library pyarrow. Install it: pip install 'hanlin[data]'."
        ) from error
    number = 0
    try:
        for batch in pyarrow.parquet.ParquetFile(stream).iter_batches(batch_size=512):
            for values in batch.to_pylist():
                number += 1
                yield Row(values, name, number)
    except (pyarrow.ArrowException, OSError) as error:
        said = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise FormatError(
            f"{name} is not a whole Parquet file ({said}). Fetch it again."
        ) from error
