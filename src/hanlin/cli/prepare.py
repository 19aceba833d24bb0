"""``hanlin prepare``: raw files to token shards, or to clean documents."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hanlin.cli import options
from hanlin.cli.language import say
from hanlin.cli.output import emit, note
from hanlin.errors import ConfigError

if TYPE_CHECKING:
    from hanlin.data.forecast import Forecast
    from hanlin.data.manifest import Prepared

_SHOWN = 10
"""Problems with single files that are shown; all of them are in the manifest."""


def _share(context: click.Context, option: click.Parameter, value: str | None) -> float:
    """Read ``5%`` or ``0.05``."""
    if value is None:
        return 0.0
    text = value.strip()
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = -1.0
    if not 0 < share < 1:
        raise click.BadParameter(f"{value!r} is no share. Give one such as 5% or 0.05.")
    return share


@click.command(
    help=say(
        "Read SOURCE (files, folders, globs; `-`: standard input) into clean documents, "
        "DIR/*.jsonl, or with --tokenizer into token shards to train on.\n\n"
        "Text, Markdown, HTML, JSON (lines), CSV, TSV, Parquet and gettext .po, also as .gz, "
        ".bz2, .xz, .zst and .zip. A run that was stopped goes on with the same command.",
        "把 SOURCE（文件、文件夹、通配符；`-` 为标准输入）读成干净的文档 DIR/*.jsonl；"
        "给出 --tokenizer 则写成可供训练的词元分片。\n\n"
        "可读纯文本、Markdown、HTML、JSON、JSON lines、CSV、TSV、Parquet、gettext .po，及其 "
        ".gz、.bz2、.xz、.zst、.zip。中断后，用同一命令接着做。",
    )
)
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    metavar="DIR",
    help=say("The directory to write.", "写入的目录。"),
)
@click.option(
    "--tokenizer",
    help=say(
        "Write token shards with it: a directory, a file or a named model.",
        "用它写成词元分片：目录、文件或具名模型。",
    ),
)
@click.option(
    "--field",
    "--column",
    "field",
    help=say(
        "Which field or column has the text (a number counts columns from 1; .po: msgid or "
        "msgstr). [default: text; .po: msgstr]",
        "文本所在的字段或列（数字表示从 1 数起的列；.po 为 msgid 或 msgstr）。"
        "[默认：text；.po 为 msgstr]",
    ),
)
@click.option(
    "--format",
    help=say(
        "Read every file as this, such as jsonl or csv.gz. [default: by the name]",
        "把每个文件都当作此格式，如 jsonl、csv.gz。[默认：看文件名]",
    ),
)
@click.option(
    "--split",
    default="file",
    show_default=True,
    help=say(
        "Plain text is cut into documents by file, paragraph, line, or at this text, such as "
        "'<|endoftext|>'.",
        "纯文本切分为文档的方式：file（整个文件）、paragraph（空行）、line（每行），"
        "或在此文字处，如 '<|endoftext|>'。",
    ),
)
@click.option(
    "--header/--no-header",
    default=None,
    help=say("Whether the first row of CSV names the columns.", "CSV 首行是否为列名。"),
)
@click.option(
    "--encoding",
    help=say("The encoding of every file. [default: found]", "所有文件的编码。[默认：自动识别]"),
)
@click.option(
    "--normalise",
    is_flag=True,
    help=say("Unicode NFC, no control characters.", "统一为 Unicode NFC，去除控制字符。"),
)
@click.option(
    "--min-length",
    type=click.IntRange(min=1),
    help=say("Drop documents of fewer characters.", "舍弃少于此字符数的文档。"),
)
@click.option(
    "--validation",
    callback=_share,
    metavar="SHARE",
    help=say(
        "Hold out this share of the documents: DIR/train and DIR/validation.",
        "留出此比例的文档：DIR/train 与 DIR/validation。",
    ),
)
@click.option(
    "--seed",
    type=int,
    help=say("Another choice of what is held out.", "换一种留出的选法。"),
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    help=say("Processes. [default: all cores]", "进程数。[默认：全部核心]"),
)
@click.option(
    "--licence", help=say("Of the sources, for the manifest.", "来源的许可证，记入清单。")
)
@click.option(
    "--dry-run",
    is_flag=True,
    help=say(
        "Only forecast documents, time and disk, from a sample.",
        "只取样预测文档数、时间与磁盘用量。",
    ),
)
@options.as_json
def command(
    sources: tuple[str, ...],
    output: Path,
    tokenizer: str | None,
    normalise: bool,
    min_length: int | None,
    validation: float,
    seed: int | None,
    workers: int | None,
    licence: str | None,
    dry_run: bool,
    as_json: bool,
    **reading: Any,
) -> None:
    """Prepare, or forecast."""
    from hanlin.data.prepare import check_output, load_tokenizer, prepare
    from hanlin.text.reading import ReadSettings
    from hanlin.text.stages import MinimumLength, Normalise, Stage

    if seed is not None and not validation:
        raise ConfigError("--seed chooses what --validation holds out. Give both, or neither.")
    stages: list[Stage] = [Normalise()] if normalise else []
    if min_length is not None:
        stages.append(MinimumLength(min_length))
    if dry_run:
        from hanlin.data.forecast import forecast

        check_output(output.expanduser())
        told = forecast(
            sources,
            output,
            read=ReadSettings(**reading),
            tokenizer=load_tokenizer(tokenizer),
            stages=stages,
            workers=workers,
        )
        _complain(told.problems)
        emit(told.to_dict(), as_json=as_json, text=_forecast_table(told))
        return
    try:
        made = prepare(
            sources,
            output,
            tokenizer=tokenizer,
            stages=stages,
            validation=validation,
            seed=seed or 0,
            workers=workers,
            licence=licence,
            progress=True,
            **reading,
        )
    except KeyboardInterrupt:
        note(say("Stopped. The same command goes on from here.", "已停止。用同一命令可接着做。"))
        raise
    if made.hidden:
        note(
            say(
                f"hanlin: {made.hidden} hidden files and folders were left out.",
                f"hanlin: 跳过了 {made.hidden} 个隐藏的文件和文件夹。",
            )
        )
    _complain(made.problems)
    emit(made.to_dict(), as_json=as_json, text=_table(made))


def _complain(problems: tuple[str, ...]) -> None:
    for problem in problems[:_SHOWN]:
        note(f"hanlin: {problem}")
    if len(problems) > _SHOWN:
        more = len(problems) - _SHOWN
        note(
            say(
                f"hanlin: and {more} more; manifest.json has them all.",
                f"hanlin: 另有 {more} 处，全部记在 manifest.json。",
            )
        )


def _table(made: "Prepared") -> str:
    rows = [
        (say("documents", "文档"), f"{made.documents:,}"),
        (say("kept", "保留"), f"{made.kept:,}"),
    ]
    rows += [(f"  {say('dropped', '舍弃')}: {why}", f"{n:,}") for why, n in made.dropped.items()]
    rows.append((say("text", "文本"), f"{made.bytes / 1e6:,.2f} MB"))
    if made.tokens is not None:
        rows += [
            (say("tokens", "词元"), f"{made.tokens:,}"),
            (say("bytes per token", "每词元字节数"), f"{made.bytes / made.tokens:.3f}"),
        ]
    if made.replaced:
        rows.append((say("broken, now U+FFFD", "损坏，已换为 U+FFFD"), f"{made.replaced:,}"))
    for side, held in made.sides.items():
        what = held["bytes"] if made.tokens is None else held["tokens"]
        unit = say("bytes", "字节") if made.tokens is None else say("tokens", "词元")
        rows.append((f"  {side}", f"{held['kept']:,}, {what:,} {unit}"))
    rows.append((say("time", "用时"), f"{made.seconds:.1f} s"))
    if not made.made:
        rows.append((say("new", "新做"), say("nothing: it was there already", "无：早已做好")))
    return _columns([*rows, (say("in", "位于"), str(made.path))])


def _forecast_table(told: "Forecast") -> str:
    rows = [
        (say("files", "文件"), f"{told.files:,}, {told.source_bytes / 1e6:,.2f} MB"),
        (say("documents, about", "文档，约"), f"{told.documents:,}"),
        (say("text, about", "文本，约"), f"{told.bytes / 1e6:,.2f} MB"),
    ]
    if told.tokens is not None:
        rows.append((say("tokens, about", "词元，约"), f"{told.tokens:,}"))
    rows += [
        (say("time, about", "用时，约"), f"{told.seconds:,.0f} s"),
        (say("disk, about", "磁盘，约"), f"{told.disk_bytes / 1e6:,.2f} MB"),
        (say("disk that is free", "磁盘可用"), f"{told.free_bytes / 1e6:,.0f} MB"),
    ]
    return _columns(rows)


def _columns(rows: list[tuple[str, str]]) -> str:
    return "\n".join(f"{name}{' ' * max(1, 26 - _width(name))}{value}" for name, value in rows)


def _width(text: str) -> int:
    """Columns of a terminal: Chinese characters take two."""
    import unicodedata

    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
