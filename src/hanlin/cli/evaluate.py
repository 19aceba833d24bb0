"""``hanlin evaluate``: how likely a model finds a text, beside an n-gram model and compressors."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hanlin.cli import options
from hanlin.cli.language import say
from hanlin.cli.output import emit, note
from hanlin.errors import ConfigError

if TYPE_CHECKING:
    from hanlin.evaluation import Evaluation


@click.command(
    help=say(
        "Measure MODEL on the text of DATA (files, folders, globs): loss, perplexity and bits per "
        "byte, each with its 95 % interval. Bits per byte compare models of any tokenizer; loss "
        "and perplexity are per token.\n\n"
        "With --baselines an n-gram model and the compressors xz and zstd are trained on that text "
        "and measured on the same DATA; for a model that hanlin trained its own training text is "
        "the default. Of masked models and denoisers the loss of their objective is measured, of "
        "other encoder-decoders that of targets given sources.",
        "在 DATA（文件、文件夹或通配符）的文本上评测 MODEL：损失、困惑度与每字节比特数，"
        "各附 95% 置信区间。每字节比特数可在不同分词器的模型之间比较；损失与困惑度按词元计。\n\n"
        "给出 --baselines 时，用该文本训练 n 元模型与压缩程序 xz、zstd，并在同一 DATA 上评测；"
        "由 hanlin 训练的模型默认用其训练文本。掩码模型与去噪模型评测其训练目标的损失，"
        "其他编码器-解码器评测给定源文时目标文本的损失。",
    )
)
@click.argument("model")
@click.argument("data", nargs=-1, required=True, metavar="DATA...")
@click.option(
    "--baselines",
    multiple=True,
    metavar="TEXT",
    help=say(
        "Text that the baselines are trained on; may be repeated.",
        "训练基线所用的文本；可多次给出。",
    ),
)
@click.option(
    "--no-baselines",
    is_flag=True,
    help=say("Only the model.", "只评测模型。"),
)
@click.option(
    "--objective",
    type=click.Choice(["causal-lm", "masked-lm", "span-corruption", "denoising", "seq2seq"]),
    help=say(
        "What the model is asked to do [default: what it was trained for].",
        "要求模型做什么 [默认：其训练目标]。",
    ),
)
@click.option(
    "--source",
    help=say("Pairs: the column of what is read.", "成对文本：读入的列。"),
)
@click.option(
    "--target",
    help=say("Pairs: the column of what is scored.", "成对文本：被评的列。"),
)
@click.option(
    "--context",
    type=click.IntRange(min=1),
    help=say(
        "Tokens before a scored one, at most [default: the model's limit, 4096 at most].",
        "被评词元之前至多有多少词元 [默认：模型上限，至多 4096]。",
    ),
)
@click.option(
    "--stride",
    type=click.IntRange(min=1),
    help=say(
        "Tokens that each further window scores [default: half the context].",
        "后续每个窗口所评的词元数 [默认：上下文的一半]。",
    ),
)
@click.option(
    "--stream",
    is_flag=True,
    help=say(
        "Read all documents as one text; without it each stands alone.",
        "把所有文档连成一篇；否则各篇独立。",
    ),
)
@click.option(
    "--metrics",
    help=say("Only these, with commas between.", "只要这些指标，以逗号分隔。"),
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    metavar="BYTES",
    help=say("Read only so many bytes.", "只读这么多字节。"),
)
@click.option(
    "--field",
    help=say("JSON, CSV, Parquet: where the text is.", "JSON、CSV、Parquet：文本所在的字段。"),
)
@click.option(
    "--split",
    default="file",
    show_default=True,
    help=say(
        "Plain text: what is one document: file, paragraph, line, or what stands between two.",
        "纯文本：一篇文档的范围：file、paragraph、line，或两篇之间的分隔文字。",
    ),
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help=say("Of the intervals.", "置信区间的随机种子。"),
)
@click.option(
    "--dtype",
    type=click.Choice(["float32", "auto", "bfloat16", "float16"]),
    default="float32",
    show_default=True,
    help=say(
        "Numbers the model computes in; auto is faster and rounds more.",
        "计算所用的数值类型；auto 更快，舍入更多。",
    ),
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help=say("Write a report here (.html, .json or .txt).", "写入报告（.html、.json 或 .txt）。"),
)
@options.as_json
def command(
    model: str,
    data: tuple[str, ...],
    metrics: str | None,
    output: Path | None,
    as_json: bool,
    field: str | None,
    split: str,
    baselines: tuple[str, ...],
    no_baselines: bool,
    **settings: Any,
) -> None:
    """Evaluate and print."""
    if baselines and no_baselines:
        raise ConfigError("--baselines and --no-baselines contradict each other. Give one of them.")
    if output is not None:
        if output.suffix not in (".html", ".json", ".txt"):
            raise ConfigError(f"{output} is no report. Give a name ending in .html, .json or .txt.")
        if not output.expanduser().parent.is_dir():
            raise ConfigError(f"There is no folder {str(output.parent)!r}. Make it first.")

    from hanlin.evaluation import evaluate
    from hanlin.evaluation.page import report, summary
    from hanlin.text.reading import ReadSettings

    found = evaluate(
        model,
        list(data),
        metrics=None if metrics is None else [name.strip() for name in metrics.split(",")],
        baselines=() if no_baselines else list(baselines) or None,
        settings=ReadSettings(field=field, split=split),
        **settings,
    )
    if output is not None:
        report(found).write(output.expanduser())
        note(say(f"Report: {output}", f"报告：{output}"))
    emit(_content(found), as_json=as_json, text=summary(found).terminal(width=_width()).rstrip())


def _content(found: "Evaluation") -> dict[str, Any]:
    from hanlin.reports.part import jsonable

    content = jsonable(found.to_dict())
    assert isinstance(content, dict)
    return content


def _width() -> int:
    import shutil

    return max(shutil.get_terminal_size((100, 24)).columns, 40)
