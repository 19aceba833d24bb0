"""``hanlin predict``: the model's own task over the lines or rows of a file, as JSON lines."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from hanlin.cli import options
from hanlin.cli.files import whole_file
from hanlin.cli.language import say
from hanlin.cli.output import emit, note, to_json
from hanlin.cli.rows import columns_in, read_inputs
from hanlin.errors import ConfigError, InputError
from hanlin.progress import Progress
from hanlin.text.tables import USUAL, BadRow, Row

if TYPE_CHECKING:
    from hanlin.tasks import Classifier, Extractor, MaskedLanguageModel, Model, Tagger

_BATCH = 256
"""Rows whose results are written together."""
_TEXT = {"text": USUAL["text"]}

Input = Mapping[str, Any]
"""A row, by the parts that its columns play; of a line of text its "text" alone."""


@dataclass(frozen=True)
class Task:
    """What a kind of model does with the rows."""

    fields: Callable[[Input], Any]
    """What it takes of a row; raises `InputError` where that is not there."""
    run: Callable[[Sequence[Any]], Iterable[dict[str, Any]]]
    """A result for each of several."""
    roles: Mapping[str, Sequence[str]] = field(default_factory=lambda: _TEXT)
    """The parts that columns play -> what they are usually called."""


@dataclass(frozen=True)
class Taken:
    """What the model is given of a row, and what it is told by."""

    what: Any
    row: Row
    id: Any
    """None where the row has none."""


@click.command(
    help=say(
        "Run the task of MODEL over INPUT: vectors of an encoder, guesses for [MASK], labels of a "
        "classifier, entities of a tagger, answers of an extractor, texts of a translator or "
        "summariser. INPUT is a text a line (`-`: standard input), or a table (.csv, .tsv, .jsonl, "
        ".json, .parquet), of which the columns are taken: text; text_pair for a classifier of "
        "pairs; tokens for words that are cut already; question and context for an extractor, "
        "which reads nothing else. Either may be compressed. One JSON object a row, with its id "
        "where it has one.",
        "对 INPUT 执行 MODEL 的任务：编码器给出向量，掩码模型填空，分类器给出标签，"
        "标注模型给出实体，抽取模型给出答案，翻译与摘要模型给出译文或摘要。"
        "INPUT 为每行一条文本（`-` 为标准输入），或表格（.csv、.tsv、.jsonl、.json、.parquet），"
        "按列读取：text；成对分类另取 text_pair；已分好的词取 tokens；"
        "抽取模型只读 question 与 context。两者均可为压缩文件。"
        "每行输出一个 JSON 对象，原行有 id 时一并输出。",
    )
)
@click.argument("model")
@click.argument("source", metavar="INPUT")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help=say("Write here, whole or not at all.", "写入此文件；要么完整，要么不写。"),
)
@click.option("--top-k", type=int, help=say("Guesses for each [MASK].", "每个 [MASK] 的候选数。"))
@options.text_column
@options.skip_bad
@options.dtype
@options.as_json
def command(
    model: str,
    source: str,
    output: Path | None,
    top_k: int | None,
    column: str | None,
    skip_bad: bool,
    dtype: str,
    as_json: bool,
) -> None:
    """Read, predict, write."""
    rows, table = read_inputs(source, column)

    from hanlin.tasks import load

    loaded = load(model, dtype=dtype)
    task = _task(loaded, top_k)
    if column is not None and "text" not in task.roles:
        raise ConfigError(
            f"--column names the text, and {loaded.name} is {loaded.kind}, which reads "
            f"{' and '.join(task.roles)}. Call the columns so, and leave --column out."
        )
    if not table and "text" not in task.roles:
        rows, table = [_object(row) for row in rows], True
    taken = _taken(task, rows, column, table=table, skip_bad=skip_bad)
    with _destination(output) as file, Progress("predict", total=len(taken)) as progress:
        for given, result in zip(taken, _results(task, taken), strict=True):
            named = {} if given.id is None else {"id": given.id}
            print(to_json(named | result, stream=file), file=file)
            progress.advance()
    if output is not None:
        emit(
            {"path": str(output), "inputs": len(taken)},
            as_json=as_json,
            text=say(f"{len(taken)} lines in {output}", f"{len(taken)} 行已写入 {output}"),
        )


def _taken(
    task: Task, rows: list[Row | BadRow], column: str | None, *, table: bool, skip_bad: bool
) -> list[Taken]:
    """What the task takes of every row; raises `InputError` naming the first that lacks it."""
    from hanlin.data.records import BadRowError, collect

    places = _places(task, rows, column) if table else {"text": "text"}

    def parse(row: Row) -> Taken:
        played = {role: row.values[name] for role, name in places.items() if name in row.values}
        given = {role: value for role, value in played.items() if value is not None}
        try:
            what = task.fields(given)
        except InputError as error:
            raise BadRowError(f"it {error}") from error
        number = row.values.get("id")
        plain = number is None or isinstance(number, str | int | float)
        return Taken(what, row, number if plain else str(number))

    return collect(rows, parse, skip_bad=skip_bad, tell=note)


def _places(task: Task, rows: list[Row | BadRow], column: str | None) -> dict[str, str]:
    """Which column plays which part."""
    names = {name for row in rows if isinstance(row, Row) for name in row.values}
    if column is None and "text" not in names and "source" in task.roles.get("text", ()):
        column = "source" if "source" in names else None  # whatever else may be a text
    optional = set(task.roles)
    if "text" in optional and not names & {"tokens", *task.roles.get("tokens", ())}:
        optional.remove("text")
    return columns_in(rows, task.roles, column, optional=optional)


def _results(task: Task, taken: list[Taken]) -> Iterator[dict[str, Any]]:
    done = 0
    try:
        for first in range(0, len(taken), _BATCH):
            for result in task.run([one.what for one in taken[first : first + _BATCH]]):
                yield result
                done += 1
    except InputError as error:
        row = taken[done].row
        raise InputError(f"{row.file}, row {row.number}: {error}") from error


@contextmanager
def _destination(output: Path | None) -> Iterator[TextIO]:
    if output is None:
        yield sys.stdout
    else:
        with whole_file(output) as file:
            yield file


def _object(row: Row | BadRow) -> Row | BadRow:
    """A line as the object that is written in it."""
    if isinstance(row, BadRow):
        return row
    try:
        value = json.loads(row.values["text"])
    except (json.JSONDecodeError, RecursionError) as error:
        return BadRow(row.file, row.number, f"it is not JSON ({error}).")
    if not isinstance(value, dict):
        return BadRow(row.file, row.number, "it is not an object with fields.")
    return Row(value, row.file, row.number)


def _field(given: Input, name: str = "text") -> str:
    """A text of a row. Raises `InputError`."""
    text = given.get(name)
    if not isinstance(text, str):
        raise InputError(f'has no "{name}" field that is a text.')
    if any(0xD800 <= ord(character) <= 0xDFFF for character in text):
        raise InputError(f'has a lone surrogate in "{name}", which is not text.')
    if not text.strip():
        raise InputError(f'has an empty "{name}".')
    return text


def _task(model: "Model", top_k: int | None) -> Task:
    from hanlin.data.pairs import ROLES as SIDES
    from hanlin.data.squad import ROLES as QUESTIONS
    from hanlin.tasks import (
        Classifier,
        Extractor,
        LanguageModel,
        MaskedLanguageModel,
        Seq2SeqModel,
        Tagger,
    )

    if isinstance(model, MaskedLanguageModel):
        wanted = 5 if top_k is None else top_k
        return Task(_field, lambda texts: _fill(model, texts, wanted))
    if isinstance(model, LanguageModel) and not isinstance(model, Seq2SeqModel):
        raise InputError(
            f"{model.name} is a language model, which continues text. Use `hanlin generate` or "
            "`hanlin chat`."
        )
    if top_k is not None:
        raise ConfigError(
            f"{model.name} is {model.kind}, for which --top-k would be ignored. Leave it out."
        )
    if isinstance(model, Seq2SeqModel):
        return Task(
            _field,
            lambda texts: [{"text": text} for text in model(texts)],
            {"text": (*USUAL["text"], *SIDES["source"])},
        )
    if isinstance(model, Classifier):
        pair = {"text_pair": USUAL["text_pair"]}
        return Task(_text_or_pair, lambda texts: _labels(model, texts), _TEXT | pair)
    if isinstance(model, Tagger):
        words = {"tokens": USUAL["tokens"]}
        return Task(_text_or_words, lambda texts: _tags(model, texts), _TEXT | words)
    if isinstance(model, Extractor):
        return Task(
            lambda given: (_field(given, "question"), _field(given, "context")),
            lambda asked: _answers(model, asked),
            {role: QUESTIONS[role] for role in ("question", "context")},
        )
    return Task(
        _field,
        lambda texts: [{"embedding": vector.tolist()} for vector in model.embed(texts)],
    )


def _fill(
    model: "MaskedLanguageModel", texts: Sequence[str], top_k: int
) -> Iterator[dict[str, Any]]:
    for text in texts:
        yield {
            "fill": [
                [{"token": c.token, "score": c.score, "text": c.text} for c in candidates]
                for candidates in model.fill(text, top_k=top_k)
            ]
        }


def _text_or_pair(given: Input) -> str | tuple[str, str]:
    if "text_pair" in given:
        return _field(given), _field(given, "text_pair")
    return _field(given)


def _labels(
    model: "Classifier", texts: Sequence[str | tuple[str, str]]
) -> Iterator[dict[str, Any]]:
    for label in model(texts):
        found = {"label": label.name, "score": label.score, "scores": dict(label.scores)}
        yield found | ({"labels": list(label.names)} if model.multiple else {})


def _text_or_words(given: Input) -> str | list[str]:
    if "tokens" not in given:
        return _field(given)
    words = given["tokens"]
    if not isinstance(words, list) or not words or not all(isinstance(w, str) for w in words):
        raise InputError('has "tokens" that are no list of texts.')
    return words


def _tags(model: "Tagger", texts: Sequence[str | list[str]]) -> Iterator[dict[str, Any]]:
    """Entities of raw texts; of words that are cut already, the tag of each."""
    raw = iter(model([text for text in texts if isinstance(text, str)]))
    cut = iter(model.tag([words for words in texts if not isinstance(words, str)]))
    for text in texts:
        if isinstance(text, str):
            yield {"entities": [asdict(entity) for entity in next(raw)]}
        else:
            tags = next(cut)
            yield {"tags": [tag.tag for tag in tags], "scores": [tag.score for tag in tags]}


def _answers(model: "Extractor", asked: Sequence[tuple[str, str]]) -> Iterator[dict[str, Any]]:
    questions, contexts = (list(side) for side in zip(*asked, strict=True))
    for answer in model(questions, contexts):
        yield {
            "answer": answer.text,
            "start": answer.start,
            "end": answer.end,
            "score": answer.score,
        }
