"""The verbs, each a module of its own that is imported when it is asked for.

So that ``hanlin --help`` answers at once, this module and the one-line helps in it are all that is
read before a verb is chosen.
"""

import importlib
from typing import Any

import click

from hanlin.cli.language import say
from hanlin.errors import nearest

VERBS: dict[str, tuple[str, str]] = {
    "pull": ("Bring a named model here, or list them.", "下载一个具名模型，或列出它们。"),
    "prepare": (
        "Turn raw files into documents or token shards.",
        "把原始文件变成文档或词元分片。",
    ),
    "tokenizer": ("Learn and measure tokenizers.", "训练与评测分词器。"),
    "train": (
        "Train a model from its settings, or go on training.",
        "按设置训练模型，或接着训练。",
    ),
    "generate": ("Continue a text.", "续写一段文字。"),
    "chat": ("Talk with a model.", "与模型对话。"),
    "predict": (
        "Run a model's own task over a file, line by line.",
        "逐行对文件执行模型自身的任务。",
    ),
    "answer": (
        "Answer a question from documents, with its sources.",
        "根据文档回答问题，并注明出处。",
    ),
    "label": (
        "Let a model label texts, and ask about the rest.",
        "让模型给文本打标签，其余的提问。",
    ),
    "augment": (
        "Make more labelled texts: noise, back-translation.",
        "增广带标签的文本：加噪声、回译。",
    ),
    "merge": (
        "Make an adapter (LoRA) a part of its base model.",
        "把适配器（LoRA）并入其基座模型。",
    ),
    "evaluate": (
        "Measure models at their task, beside baselines and each other.",
        "按任务评测模型，并与基线及其他模型比较。",
    ),
    "benchmark": (
        "Ask a language model the field's benchmarks.",
        "用业界基准测试语言模型。",
    ),
    "bench": (
        "Measure speed beside the machine's own limit.",
        "测量速度，并与本机的极限相比。",
    ),
    "doctor": (
        "Show what this machine can do and what is missing.",
        "查看本机能做什么、还缺什么。",
    ),
}
"""Verb -> its help in English and Chinese; the verb is `command` in the module of its name."""


class Verbs(click.Group):
    """A group whose commands are imported one at a time."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        command = importlib.import_module(f"hanlin.cli.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in VERBS:
            ctx.fail(
                f"There is no verb {args[0]!r}.{nearest(args[0], list(VERBS))} See `hanlin --help`."
            )
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section(say("Verbs", "动词")):
            formatter.write_dl([(verb, say(*about)) for verb, about in VERBS.items()])


def show_version(ctx: click.Context, option: click.Parameter, wanted: Any) -> None:
    """Print the version and stop."""
    if wanted and not ctx.resilient_parsing:
        from hanlin import __version__

        click.echo(f"hanlin {__version__}")
        ctx.exit()


@click.command(
    cls=Verbs,
    help=say(
        "The whole life of a language model in one command.\n\n"
        "MODEL is a named model (see `hanlin pull`), a directory, a .gguf file, or a hub id.\n\n"
        "Every verb has --help, and --debug shows where an error came from.",
        "一条命令，语言模型的一生。\n\n"
        "MODEL 可以是具名模型（见 `hanlin pull`）、目录、.gguf 文件或 hub 编号。\n\n"
        "每个动词都有 --help；--debug 显示错误的来处。",
    ),
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=show_version,
    help=say("Show the version and exit.", "显示版本后退出。"),
)
def hanlin() -> None:
    """Hold the verbs."""
