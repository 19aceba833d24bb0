"""``hanlin tokenizer train`` and ``hanlin tokenizer measure``."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import click

from hanlin.cli import options
from hanlin.cli.language import say
from hanlin.cli.output import emit, note
from hanlin.errors import ConfigError, HanlinError, NotFoundError
from hanlin.progress import Progress
from hanlin.text.read import read_documents
from hanlin.text.reading import Reading
from hanlin.text.sources import kind_of

_PLAIN = {("text", None), ("markdown", None), ("html", None), ("po", None)}
"""What a tokenizer meets as it stands in the file."""
_BLOCK = 1 << 16  # bytes read at once; bounds memory
_RATES = {"bpe": 7e5, "wordpiece": 7e5, "unigram": 2e5}
"""Bytes a second that training reads on two cores, measured on 8 MB of English and Chinese."""


@click.group(help=say("Learn and measure tokenizers.", "训练与评测分词器。"))
def command() -> None:
    """Hold the two verbs."""


_FILES = click.argument("files", nargs=-1, required=True, metavar="FILE...")


@command.command(
    help=say(
        "Learn a vocabulary from text files and write it as a directory.",
        "从文本文件学习词表，并写成一个目录。",
    )
)
@_FILES
@click.option(
    "--kind",
    type=click.Choice(["bpe", "wordpiece", "unigram"]),
    default="bpe",
    show_default=True,
    help=say("How words are cut.", "切词的方法。"),
)
@click.option(
    "--vocab-size",
    type=click.IntRange(min=1),
    required=True,
    help=say("At most this many tokens.", "词元数的上限。"),
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help=say("The directory to write.", "写入的目录。"),
)
@click.option(
    "--pattern",
    help=say(
        "bpe: hanlin, gpt2, gpt4 or a regular expression that cuts words.",
        "bpe：hanlin、gpt2、gpt4，或自定的切词正则表达式。",
    ),
)
@click.option(
    "--special",
    multiple=True,
    help=say("A special token; may be repeated.", "特殊词元；可多次给出。"),
)
@click.option(
    "--min-frequency",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    help=say("A pair must occur this often.", "词对至少出现的次数。"),
)
@click.option(
    "--force",
    is_flag=True,
    help=say("Replace a directory that is there.", "替换已有的目录。"),
)
@click.option(
    "--dry-run",
    is_flag=True,
    help=say("Only say what would be done.", "只说明将要做什么。"),
)
@options.as_json
def train(
    files: tuple[str, ...],
    kind: Literal["bpe", "wordpiece", "unigram"],
    vocab_size: int,
    output: Path,
    pattern: str | None,
    special: tuple[str, ...],
    min_frequency: int,
    force: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Train on the files and write the directory, whole or not at all."""
    texts = _Texts(files)
    if output.exists() and not force and (not output.is_dir() or any(output.iterdir())):
        raise ConfigError(f"{output} exists already. Name another directory, or add --force.")
    if dry_run:
        plan: dict[str, Any] = {
            "kind": kind,
            "vocab_size": vocab_size,
            "path": str(output),
            "files": len(texts.paths),
            "bytes": texts.bytes,
            "seconds": round(texts.bytes / _RATES[kind], 1),
        }
        emit(plan, as_json=as_json, text="\n".join(f"{key}: {x}" for key, x in plan.items()))
        return
    from hanlin.tokenizers import train as learn

    with Progress("reading", total=texts.bytes, unit="B") as progress:
        learnt = learn(
            texts.read(progress, lines=False),
            kind=kind,
            vocab_size=vocab_size,
            special_tokens=special or None,
            pattern=pattern,
            min_frequency=min_frequency,
        )
    texts.report()
    with _whole_directory(output) as draft:
        learnt.save(draft)
    data = {
        "vocab_size": learnt.vocab_size,
        "path": str(output),
        "kind": kind,
        "bytes": texts.bytes,
        "replaced_bytes": texts.broken,
        "hash": learnt.hash,
    }
    text = say(
        f"{output}: {learnt.vocab_size} tokens from {texts.bytes / 1e6:.1f} MB",
        f"{output}：由 {texts.bytes / 1e6:.1f} MB 文本得到 {learnt.vocab_size} 个词元",
    )
    emit(data, as_json=as_json, text=text)


@command.command(
    help=say(
        "Measure a tokenizer on text files: bytes per token, exactness, speed.\n\n"
        "TOKENIZER is a directory, a file of a tokenizer, a .gguf file or a named model.",
        "用文本文件评测分词器：每词元字节数、还原度与速度。\n\n"
        "TOKENIZER 可以是目录、分词器文件、.gguf 文件或具名模型。",
    )
)
@click.argument("tokenizer")
@_FILES
@options.as_json
def measure(tokenizer: str, files: tuple[str, ...], as_json: bool) -> None:
    """Measure and print a table."""
    from hanlin.models.named import resolve
    from hanlin.tokenizers import Tokenizer
    from hanlin.tokenizers import measure as take

    texts = _Texts(files)
    loaded = Tokenizer.load(resolve(tokenizer))
    with Progress("measuring", total=texts.bytes, unit="B") as progress:
        measured = take(loaded, texts.read(progress, lines=True)).to_dict()
    texts.report()
    data = {"tokenizer": tokenizer, "vocab_size": loaded.vocab_size, **measured}
    data["replaced_bytes"] = texts.broken
    emit(data, as_json=as_json, text=_table(data))


def _table(data: dict[str, Any]) -> str:
    rows = [
        (say("bytes per token", "每词元字节数"), f"{data['bytes_per_token']:.3f}"),
        *((f"  {name}", f"{x:.3f}") for name, x in data["by_language"].items()),
        *((f"  {name}", f"{x:.3f}") for name, x in data["by_script"].items()),
        (say("tokens per character", "每字符词元数"), f"{data['tokens_per_character']:.3f}"),
        (say("lines given back exactly", "原样还原的行"), f"{data['round_trip']:.2%}"),
        (say("unknown tokens", "未知词元"), f"{data['unknown']:.2%}"),
        (say("encoding", "编码速度"), f"{data['megabytes_per_second']:.2f} MB/s"),
    ]
    lines = [f"{name:<28} {value:>12}" for name, value in rows]
    if data["first_failure"]:
        before, after = data["first_failure"]
        lines.append(say("first difference", "首处不同") + f": {before!r} -> {after!r}")
    return "\n".join(lines)


class _Texts:
    """The text of several files, read bit by bit; broken UTF-8 is replaced and counted.

    Of tables, JSON and compressed files the text of their documents, as `hanlin prepare` reads it.
    """

    def __init__(self, files: tuple[str, ...]) -> None:
        self.paths = [Path(file).expanduser() for file in files]
        for path in self.paths:
            if path.is_dir():
                raise NotFoundError(f"{path} is a directory. Name the text files in it.")
            if not path.is_file():
                raise NotFoundError(f"There is no file {str(path)!r}. Check the path.")
        self.bytes = sum(path.stat().st_size for path in self.paths)
        self.broken = 0
        self.readings: list[Reading] = []

    def read(self, progress: Progress, *, lines: bool) -> Iterator[str]:
        """Yield the text in blocks of whole lines, or line by line."""
        for path in self.paths:
            if kind_of(path.name) not in _PLAIN:
                for document in read_documents(path, report=self.readings.append):
                    yield from document.text.splitlines(keepends=True) if lines else [document.text]
                progress.advance(path.stat().st_size)
                continue
            first = True
            with path.open("rb") as file:
                while block := file.readlines(_BLOCK):
                    data = b"".join(block)
                    text = data.decode("utf-8", "replace")
                    if first:
                        text, first = text.removeprefix("\ufeff"), False
                    self.broken += text.count("\ufffd") - data.count("\ufffd".encode())
                    if lines:
                        yield from text.splitlines(keepends=True)
                    else:
                        yield text
                    progress.advance(len(data))

    def report(self) -> None:
        """Say on standard error how much was replaced, if anything was."""
        if self.broken:
            note(
                say(
                    f"hanlin: {self.broken} places are not UTF-8 and were read as U+FFFD.",
                    f"hanlin: 有 {self.broken} 处不是 UTF-8，已按 U+FFFD 读入。",
                )
            )
        for reading in self.readings:
            for problem in reading.problems:
                note(f"hanlin: {problem}")


@contextmanager
def _whole_directory(path: Path) -> Iterator[Path]:
    """Give a draft directory beside `path` that takes its place when the block ends well."""
    target = path.expanduser().absolute()
    draft: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        draft.chmod(0o755)
        yield draft
        if target.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
            target.rename(old / target.name)
            draft.rename(target)
            shutil.rmtree(old)
        else:
            draft.rename(target)
    except OSError as error:
        raise HanlinError(
            f"{path} cannot be written: {error.strerror or error}. Name another place."
        ) from error
    finally:
        if draft is not None:
            shutil.rmtree(draft, ignore_errors=True)
