"""``hanlin train``: a model from its settings; saved when it is interrupted, and gone on with."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hanlin.cli import options
from hanlin.cli.language import say
from hanlin.cli.output import emit

if TYPE_CHECKING:
    from hanlin.training.events import TrainResult


@click.command(
    help=say(
        "Train a model as CONFIG says: a YAML file, `-` for standard input, or the directory of an "
        "earlier run. key.path=value changes a setting.\n\n"
        "Ctrl-C saves and leaves; --resume goes on. Several processes: "
        "`torchrun --nproc-per-node N -m hanlin.cli train ...`",
        "按 CONFIG 训练模型：YAML 文件、`-`（标准输入），或先前一次训练的目录。"
        "key.path=value 改动其中一项设置。\n\n"
        "Ctrl-C 保存后退出；--resume 接着训练。多进程："
        "`torchrun --nproc-per-node N -m hanlin.cli train ...`",
    )
)
@click.argument("config")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option(
    "--resume",
    is_flag=True,
    help=say(
        "Go on from the newest checkpoint in the output.", "从输出目录中最新的检查点接着训练。"
    ),
)
@click.option(
    "--dry-run",
    is_flag=True,
    help=say(
        "Only show the settings and forecast parameters, memory, time and loss.",
        "只显示设置，并预测参数量、内存、时间与损失。",
    ),
)
@click.option(
    "--budget",
    metavar="TEXT",
    help=say(
        'Choose what is not set for such as "2 cores, 30 minutes".',
        "按预算（如 “2 cores, 30 minutes”）选定未给出的设置。",
    ),
)
@options.as_json
@click.pass_context
def command(
    context: click.Context,
    config: str,
    overrides: tuple[str, ...],
    resume: bool,
    dry_run: bool,
    budget: str | None,
    as_json: bool,
) -> None:
    """Train, or forecast."""
    source = str(Path(config) / "config.yaml") if Path(config).is_dir() else config
    changes = [*overrides, *([f"budget={budget}"] if budget else [])]
    first = os.environ.get("RANK", "0") == "0"

    if dry_run:
        _forecast(source, changes, as_json=as_json)
        return
    from hanlin.training import train

    result = train(source, overrides=changes, resume=resume)
    if first:
        emit(result.as_json(), as_json=as_json, text=_told(result))
    if result.signal is not None:
        context.exit(128 + result.signal)


def _forecast(source: str, changes: list[str], *, as_json: bool) -> None:
    from hanlin.config import to_plain, write_config
    from hanlin.reports.words import locale_language
    from hanlin.training.budget import settle
    from hanlin.training.forecast import forecast
    from hanlin.training.surveying import model_of, survey

    settings, choice = settle(source, changes)
    facts, tokenizer = survey(settings)
    told = forecast(settings, model_of(settings, tokenizer), facts)
    language = locale_language()
    reasons = choice.lines(language) if choice else []
    data = {"config": to_plain(settings), "forecast": told.to_dict(), "reasons": reasons}
    lines = [write_config(settings, comments=False), *reasons, *told.lines(language)]
    emit(data, as_json=as_json, text="\n".join(lines))


def _told(result: "TrainResult") -> str:
    rows: list[tuple[str, Any]] = [
        (say("output", "输出"), result.output),
        (say("steps", "步数"), result.steps),
        (say("training loss", "训练损失"), f"{result.train_loss:.4f}"),
    ]
    if result.validation:
        rows.append((say("validation loss", "验证损失"), f"{result.validation['loss']:.4f}"))
    if "bits_per_byte" in result.validation:
        rows.append(
            (say("bits per byte", "每字节比特"), f"{result.validation['bits_per_byte']:.4f}")
        )
    return "\n".join(f"{name}: {value}" for name, value in rows)
