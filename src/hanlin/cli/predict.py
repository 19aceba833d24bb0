"""``hanlin predict``: the model's own task over a file, line by line, as JSON lines."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
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
    from hanlin.tasks import MaskedLanguageModel, Model

_BATCH = 256
"""Lines whose results are written together."""

Task = Callable[[Sequence[str]], Iterable[dict[str, Any]]]


@click.command(
    help=say(
        "Run the task of MODEL over each line of INPUT (`-`: standard input; of a .jsonl file the "
        '"text" of each line): vectors of an encoder, guesses for [MASK], labels of a classifier. '
        "One JSON object a line.",
        "对 INPUT 的每一行执行 MODEL 的任务（`-` 为标准输入；.jsonl 文件取每行的 text 字段）："
        "编码器给出向量，掩码模型填空，分类器给出标签。每行输出一个 JSON 对象。",
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
    texts = _texts(source)

    from hanlin.tasks import load

    task = _task(load(model, dtype=dtype), top_k)
    with _destination(output) as file, Progress("predict", total=len(texts)) as progress:
        for result in _results(task, texts, source):
            print(to_json(result, stream=file), file=file)
            progress.advance()
    if output is not None:
        emit(
            {"path": str(output), "inputs": len(texts)},
            as_json=as_json,
            text=say(f"{len(texts)} lines in {output}", f"{len(texts)} 行已写入 {output}"),
        )


def _results(task: Task, texts: list[str], source: str) -> Iterator[dict[str, Any]]:
    done = 0
    try:
        for first in range(0, len(texts), _BATCH):
            for result in task(texts[first : first + _BATCH]):
                yield result
                done += 1
    except InputError as error:
        raise InputError(f"Line {done + 1} of {source}: {error}") from error


@contextmanager
def _destination(output: Path | None) -> Iterator[TextIO]:
    if output is None:
        yield sys.stdout
    else:
        with whole_file(output) as file:
            yield file


def _texts(source: str) -> list[str]:
    """The lines of the input; raises `InputError` naming a line that cannot be used."""
    if source == "-":
        name, data = "standard input", sys.stdin.buffer.read()
    else:
        path = Path(source).expanduser()
        if not path.is_file():
            raise NotFoundError(f"There is no file {source!r}. Check the path, or give -.")
        name, data = source, path.read_bytes()
    texts = []
    for number, line in enumerate(data.splitlines(), 1):
        where = f"Line {number} of {name}"
        text = decode(line, name=where)
        if source.endswith(".jsonl"):
            text = _field(text, where)
        if not text.strip():
            raise InputError(f"{where} is empty. Remove it.")
        texts.append(text)
    if not texts:
        raise InputError(f"There is nothing in {name}. Give it one text a line.")
    return texts


def _field(line: str, where: str) -> str:
    try:
        value = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"{where} is not JSON ({error}). Correct it.") from error
    text = value.get("text") if isinstance(value, dict) else None
    if not isinstance(text, str):
        raise InputError(f'{where} has no "text" field. Give each line an object with one.')
    if any(0xD800 <= ord(character) <= 0xDFFF for character in text):
        raise InputError(f"{where} holds a lone surrogate, which is not text. Correct it.")
    return text


def _task(model: "Model", top_k: int | None) -> Task:
    from hanlin.tasks import Classifier, LanguageModel, MaskedLanguageModel

    if isinstance(model, LanguageModel):
        raise InputError(
            f"{model.name} is a language model, which continues text. Use `hanlin generate` or "
            "`hanlin chat`."
        )
    if isinstance(model, MaskedLanguageModel):
        return lambda texts: _fill(model, texts, 5 if top_k is None else top_k)
    if top_k is not None:
        raise ConfigError(
            f"{model.name} is {model.kind}, for which --top-k would be ignored. Leave it out."
        )
    if isinstance(model, Classifier):
        return lambda texts: [
            {"label": label.name, "score": label.score, "scores": dict(label.scores)}
            for label in model(texts)
        ]
    return lambda texts: [{"embedding": vector.tolist()} for vector in model.embed(texts)]


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
