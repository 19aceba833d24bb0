"""``hanlin predict``: the model's own task over a file, line by line, as JSON lines."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from hanlin.cli import options
from hanlin.cli.files import whole_file
from hanlin.cli.language import say
from hanlin.cli.output import decode, emit, to_json
from hanlin.errors import ConfigError, InputError, NotFoundError
from hanlin.progress import Progress

if TYPE_CHECKING:
    from hanlin.tasks import Classifier, Extractor, MaskedLanguageModel, Model, Tagger

_BATCH = 256
"""Lines whose results are written together."""

Input = str | dict[str, Any]
"""A line of text, or the object in a line of JSON."""


@dataclass(frozen=True)
class Task:
    """What a kind of model does with the lines."""

    fields: Callable[[Input], Any]
    """What it takes of a line; raises `InputError` where that is not there."""
    run: Callable[[Sequence[Any]], Iterable[dict[str, Any]]]
    """A result for each of several."""


@click.command(
    help=say(
        "Run the task of MODEL over each line of INPUT (`-`: standard input): vectors of an "
        "encoder, guesses for [MASK], labels of a classifier, entities of a tagger, answers of an "
        "extractor, texts of a translator or summariser. Of a .jsonl file the fields are taken: "
        "text; text_pair for a classifier of pairs; tokens for words that are cut already; "
        "question and context for an extractor, which reads nothing else. One JSON object a line, "
        "with the id of the line's object where it has one.",
        "对 INPUT 的每一行执行 MODEL 的任务（`-` 为标准输入）：编码器给出向量，掩码模型填空，"
        "分类器给出标签，标注模型给出实体，抽取模型给出答案，翻译与摘要模型给出译文或摘要。"
        ".jsonl 文件按字段读取：text；成对分类另取 text_pair；已分好的词取 tokens；"
        "抽取模型只读 question 与 context。每行输出一个 JSON 对象，原对象有 id 时一并输出。",
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
@options.dtype
@options.as_json
def command(
    model: str, source: str, output: Path | None, top_k: int | None, dtype: str, as_json: bool
) -> None:
    """Read, predict, write."""
    lines = _lines(source)

    from hanlin.tasks import load

    loaded = load(model, dtype=dtype)
    task = _task(loaded, top_k)
    inputs = _inputs(lines, source, objects=source.endswith(".jsonl") or _asks(loaded))
    taken = _taken(task, inputs, source)
    with _destination(output) as file, Progress("predict", total=len(inputs)) as progress:
        for given, result in zip(inputs, _results(task, taken, source), strict=True):
            named = {"id": given["id"]} if isinstance(given, dict) and "id" in given else {}
            print(to_json(named | result, stream=file), file=file)
            progress.advance()
    if output is not None:
        emit(
            {"path": str(output), "inputs": len(inputs)},
            as_json=as_json,
            text=say(f"{len(inputs)} lines in {output}", f"{len(inputs)} 行已写入 {output}"),
        )


def _taken(task: Task, inputs: list[Input], source: str) -> list[Any]:
    """What the task takes of every line; raises `InputError` naming the line that lacks it."""
    taken = []
    for number, each in enumerate(inputs, 1):
        try:
            taken.append(task.fields(each))
        except InputError as error:
            raise InputError(f"Line {number} of {_named(source)} {error}") from error
    return taken


def _results(task: Task, taken: list[Any], source: str) -> Iterator[dict[str, Any]]:
    done = 0
    try:
        for first in range(0, len(taken), _BATCH):
            for result in task.run(taken[first : first + _BATCH]):
                yield result
                done += 1
    except InputError as error:
        raise InputError(f"Line {done + 1} of {_named(source)}: {error}") from error


def _named(source: str) -> str:
    return "standard input" if source == "-" else source


@contextmanager
def _destination(output: Path | None) -> Iterator[TextIO]:
    if output is None:
        yield sys.stdout
    else:
        with whole_file(output) as file:
            yield file


def _lines(source: str) -> list[str]:
    """The lines of the input; raises `InputError` naming a line that cannot be used."""
    name, path = _named(source), Path(source).expanduser()
    if source == "-":
        data = sys.stdin.buffer.read()
    elif path.is_file():
        data = path.read_bytes()
    else:
        raise NotFoundError(f"There is no file {source!r}. Check the path, or give -.")
    lines = []
    for number, line in enumerate(data.splitlines(), 1):
        where = f"Line {number} of {name}"
        text = decode(line, name=where)
        if not text.strip():
            raise InputError(f"{where} is empty. Remove it.")
        lines.append(text)
    if not lines:
        raise InputError(f"There is nothing in {name}. Give it one text a line.")
    return lines


def _inputs(lines: list[str], source: str, *, objects: bool) -> list[Input]:
    if not objects:
        return list(lines)
    return [
        _object(line, f"Line {number} of {_named(source)}") for number, line in enumerate(lines, 1)
    ]


def _object(line: str, where: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"{where} is not JSON ({error}). Correct it.") from error
    if not isinstance(value, dict):
        raise InputError(f"{where} is not a JSON object. Give each line an object with fields.")
    return value


def _field(given: Input, name: str = "text", *others: str) -> str:
    """The text of an input: the line itself, or the first of these fields that it has."""
    if isinstance(given, str):
        return given
    text = next((given[each] for each in (name, *others) if each in given), None)
    if not isinstance(text, str):
        raise InputError(f'has no "{name}" field. Give each line an object with one.')
    if any(0xD800 <= ord(character) <= 0xDFFF for character in text):
        raise InputError(f'has a lone surrogate in "{name}", which is not text. Correct it.')
    if not text.strip():
        raise InputError(f'has an empty "{name}". Remove it.')
    return text


def _asks(model: "Model") -> bool:
    """Whether the model needs more than one text, so that every line is an object."""
    from hanlin.tasks import Extractor

    return isinstance(model, Extractor)


def _task(model: "Model", top_k: int | None) -> Task:
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
            lambda given: _field(given, "text", "source"),
            lambda texts: [{"text": text} for text in model(texts)],
        )
    if isinstance(model, Classifier):
        return Task(_text_or_pair, lambda texts: _labels(model, texts))
    if isinstance(model, Tagger):
        return Task(_text_or_words, lambda texts: _tags(model, texts))
    if isinstance(model, Extractor):
        return Task(
            lambda given: (_field(given, "question"), _field(given, "context")),
            lambda asked: _answers(model, asked),
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
    if isinstance(given, dict) and "text_pair" in given:
        return _field(given), _field(given, "text_pair")
    return _field(given)


def _labels(
    model: "Classifier", texts: Sequence[str | tuple[str, str]]
) -> Iterator[dict[str, Any]]:
    for label in model(texts):
        found = {"label": label.name, "score": label.score, "scores": dict(label.scores)}
        yield found | ({"labels": list(label.names)} if model.multiple else {})


def _text_or_words(given: Input) -> str | list[str]:
    if not isinstance(given, dict) or "tokens" not in given:
        return _field(given)
    words = given["tokens"]
    if not isinstance(words, list) or not words or not all(isinstance(w, str) for w in words):
        raise InputError('has "tokens" that are no list of texts. Correct it.')
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
