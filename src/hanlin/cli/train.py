"""``hanlin train``: a model from its settings; saved when it is interrupted, and gone on with."""

import json
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
        "Without CONFIG: `--task classify --model minilm --data reviews.csv` finds columns and "
        "labels, chooses the settings and says why.\n\n"
        "Ctrl-C saves and leaves; --resume goes on. Several processes: "
        "`torchrun --nproc-per-node N -m hanlin.cli train ...`",
        "按 CONFIG 训练模型：YAML 文件、`-`（标准输入），或先前一次训练的目录。"
        "key.path=value 改动其中一项设置。\n\n"
        "不写 CONFIG 时：`--task classify --model minilm --data reviews.csv` "
        "自动找出各列与标签，选定设置并说明理由。\n\n"
        "Ctrl-C 保存后退出；--resume 接着训练。多进程："
        "`torchrun --nproc-per-node N -m hanlin.cli train ...`",
    )
)
@click.argument("arguments", nargs=-1, metavar="[CONFIG] [KEY=VALUE]...")
@click.option(
    "--task",
    metavar="NAME",
    help=say("Learn this task: classify ...", "学习此任务：classify 等。"),
)
@click.option("--model", help=say("The model to begin with.", "起始模型。"))
@click.option(
    "--data",
    multiple=True,
    metavar="FILE | LABEL=FILE",
    help=say(
        "What to learn from; LABEL=FILE gives every line of a file a label. May be repeated.",
        "训练数据；LABEL=FILE 给文件的每一行一个标签。可多次给出。",
    ),
)
@click.option(
    "--validation",
    multiple=True,
    metavar="FILE",
    help=say(
        "What to look at while training; a share of the data when not given.",
        "训练中用于评测的数据；不给出则从数据中留出一部分。",
    ),
)
@click.option("--output", metavar="DIR", help=say("Where the model goes.", "模型的输出目录。"))
@click.option(
    "--skip-bad",
    is_flag=True,
    help=say("Leave out rows that cannot be used.", "略过无法使用的行。"),
)
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
    arguments: tuple[str, ...],
    task: str | None,
    model: str | None,
    data: tuple[str, ...],
    validation: tuple[str, ...],
    output: str | None,
    skip_bad: bool,
    resume: bool,
    dry_run: bool,
    budget: str | None,
    as_json: bool,
) -> None:
    """Train, or forecast."""
    changes = [f"budget={budget}"] if budget else []
    changes += ["data.skip_bad=true"] if skip_bad else []
    source: str | dict[str, Any]
    if task is not None:
        source = {"task": task, "model": model}
        if data:
            source["data"] = {"train": _sources(data)}
        if validation:
            source["validation"] = _sources(validation)
        if output is not None:
            source["output"] = output
        changes = [*arguments, *changes]
    else:
        source = _config(arguments, model=model, data=data, validation=validation)
        changes = [*arguments[1:], *changes, *([f"output={output}"] if output else [])]
    first = os.environ.get("RANK", "0") == "0"

    if dry_run:
        _forecast(source, changes, as_json=as_json)
        return
    from hanlin.evaluation.training import train

    result = train(source, overrides=changes, resume=resume)
    if first:
        forgotten = _forgotten(result)
        told = {**result.as_json(), **({"forgotten": forgotten} if forgotten else {})}
        emit(told, as_json=as_json, text=_told(result, forgotten))
    if result.signal is not None:
        context.exit(128 + result.signal)


def _config(arguments: tuple[str, ...], **quick: Any) -> str:
    """The configuration that is named."""
    if given := [f"--{name}" for name, value in quick.items() if value]:
        raise click.UsageError(
            say(
                f"{', '.join(given)} goes with --task. Name the task, such as --task classify.",
                f"{', '.join(given)} 须与 --task 同用。请给出任务，如 --task classify。",
            )
        )
    if not arguments:
        raise click.UsageError(
            say(
                "There is nothing to train. Name a CONFIG, or a --task with --model and --data.",
                "没有可训练的内容。请给出 CONFIG，或 --task 加 --model 与 --data。",
            )
        )
    config = arguments[0]
    return str(Path(config) / "config.yaml") if Path(config).is_dir() else config


def _sources(given: tuple[str, ...]) -> list[str] | dict[str, list[str]]:
    """Files, or the files of each label."""
    labelled = [one.partition("=") for one in given]
    if not given or not all(sign and not Path(whole).exists() for whole, (_, sign, _) in
                            zip(given, labelled, strict=True)):  # fmt: skip
        return list(given)
    files: dict[str, list[str]] = {}
    for label, _, file in labelled:
        files.setdefault(label, []).append(file)
    return files


def _forecast(source: str | dict[str, Any], changes: list[str], *, as_json: bool) -> None:
    from hanlin.config import to_plain, write_config
    from hanlin.reports.words import locale_language
    from hanlin.training.budget import settle
    from hanlin.training.foreseeing import foresee

    settings, choice = settle(source, changes)
    told = foresee(settings)
    language = locale_language()
    reasons = choice.lines(language) if choice else []
    data = {"config": to_plain(settings), "forecast": told.to_dict(), "reasons": reasons}
    lines = [write_config(settings, comments=False), *reasons, *told.lines(language)]
    emit(data, as_json=as_json, text="\n".join(lines))


def _forgotten(result: "TrainResult") -> list[dict[str, Any]]:
    """What a run that is over says of old text."""
    from hanlin.evaluation.forgetting import DATA

    place = result.output / DATA
    if not result.finished or not place.is_file():
        return []
    found: list[dict[str, Any]] = json.loads(place.read_text(encoding="utf-8"))
    return found


def _told(result: "TrainResult", forgotten: list[dict[str, Any]]) -> str:
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
    known = ("loss", "perplexity", "targets", "bits_per_byte")
    rows += [(n, f"{v:.4g}") for n, v in result.validation.items() if n not in known]
    for one in forgotten:
        before, after, change = (one[name]["value"] for name in ("before", "after", "change"))
        interval = one["change"]["low"], one["change"]["high"]
        sure = "" if None in interval else " [{:+.3f}, {:+.3f}]".format(*interval)
        told = f"{one['metric']} {before:.4f} → {after:.4f}, {change:+.4f}{sure}"
        rows.append((say(f"remembers {one['name']}", f"旧文本 {one['name']}"), told))
    return "\n".join(f"{name}: {value}" for name, value in rows)
