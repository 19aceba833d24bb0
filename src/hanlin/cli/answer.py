"""``hanlin answer``: answer a question from documents, with the passages the answer stands in."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hanlin.cli import options
from hanlin.cli.language import say
from hanlin.cli.output import check_text, coloured, emit, note, read_stdin
from hanlin.progress import Progress

if TYPE_CHECKING:
    from hanlin.tasks.answering import Citation, CitedAnswer

_SHOWN = 300
"""Characters of a passage that are printed, without --json."""


@click.command(
    help=say(
        "Answer QUESTION (`-`: standard input) from the documents in DOCS (files, folders, globs), "
        "and cite the passages. A reader is an extractor or a language model; without one the best "
        "passages are the result. Nothing is downloaded for that.",
        "根据 DOCS（文件、文件夹、通配符）中的文档回答 QUESTION（`-` 为标准输入），并注明出处。"
        "阅读模型可以是抽取模型或语言模型；不给出时输出最相关的段落，无需下载任何东西。",
    )
)
@click.argument("question")
@click.argument("documents", metavar="DOCS...", nargs=-1, required=True)
@click.option("--reader", metavar="MODEL", help=say("What reads the passages.", "阅读段落的模型。"))
@click.option(
    "--embed",
    metavar="MODEL",
    help=say(
        "An encoder that helps to find passages, beside their words.",
        "除词语匹配外，帮助寻找段落的编码器。",
    ),
)
@click.option(
    "--top",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help=say("Passages to find and to read.", "查找并阅读几个段落。"),
)
@click.option("--max-new-tokens", type=int, help=say(
    "Tokens of a language model's answer at most.", "语言模型的回答最多多少个词元。"
))  # fmt: skip
@options.as_json
def command(
    question: str,
    documents: tuple[str, ...],
    reader: str | None,
    embed: str | None,
    top: int,
    max_new_tokens: int | None,
    as_json: bool,
) -> None:
    """Find, read, print."""
    question = read_stdin() if question == "-" else check_text(question, name="QUESTION")
    places = [Path(check_text(document, name="DOCS")) for document in documents]

    from hanlin.tasks.answering import Answerer

    steps = {
        "index": say("indexing passages", "为段落建立索引"),
        "embed": say("embedding passages", "计算段落向量"),
    }
    shown: dict[str, Progress] = {}

    def progress(what: str, done: int, total: int) -> None:
        if what not in shown:
            shown[what] = Progress(steps[what], total=total)
            shown[what].__enter__()
        shown[what].update(done)

    try:
        answerer = Answerer(places, reader=reader, embedder=embed, progress=progress)
    finally:
        for bar in shown.values():
            bar.__exit__(None, None, None)
    settings = options.given({"max_new_tokens": max_new_tokens})
    found = answerer.answer(question, top, **settings)
    if not found.passages:
        note(
            say(
                f"None of the {len(answerer.passages)} passages shares a word with the question.",
                f"{len(answerer.passages)} 个段落都不含问题中的词。",
            )
        )
    emit(asdict(found), as_json=as_json, text=_text(found, read=reader is not None))


def _text(found: "CitedAnswer", *, read: bool) -> str:
    lines = []
    if read and found.passages:
        answer = found.answer or say("The passages do not answer it.", "这些段落没有给出答案。")
        lines += [answer, ""]
    cited = found.citations or found.passages
    return "\n".join([*lines, *(_cited(number, each) for number, each in enumerate(cited, 1))])


def _cited(number: int, citation: "Citation") -> str:
    """A passage with its place; the answer in it in colour."""
    place = citation.file if citation.document == 1 else f"{citation.file} #{citation.document}"
    start, end = citation.start, citation.end
    text, first, last = citation.text, 0, 0
    if citation.answer_start is not None and citation.answer_end is not None:
        start, end = citation.answer_start, citation.answer_end
        first, last = start - citation.start, end - citation.start
    begin = max(0, min(first - _SHOWN // 2, len(text) - _SHOWN))
    until = min(len(text), begin + max(_SHOWN, last - begin))
    before, answer, after = text[begin:first], text[first:last], text[last:until]
    shown = before + (coloured(answer, "1;32") if answer else "") + after
    flat = " ".join(shown.split())
    return (
        f"[{number}] {place}: {start}-{end}\n    "
        f"{'… ' if begin else ''}{flat}{' …' if until < len(text) else ''}"
    )
