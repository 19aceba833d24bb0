"""``hanlin evaluate``: how good models are at their task, or how likely they find a text."""

from pathlib import Path
from typing import Any

import click

from hanlin.cli import options
from hanlin.cli.files import check_report
from hanlin.cli.language import say
from hanlin.cli.output import emit, note
from hanlin.errors import ConfigError


@click.command(
    help=say(
        "Measure MODEL on DATA (files, folders, globs).\n\n"
        "A model that learnt a task is measured at it: classify, tag, extract, seq2seq, instruct, "
        "embed, prefer, each by the metrics of its field with 95 % intervals. Beside a classifier "
        "stand the commonest label and TF-IDF with logistic regression, trained on its training "
        "rows or on --baselines. Further models before DATA are compared with the first one on the "
        "same examples: hanlin evaluate A B DATA.\n\n"
        "Of language models: loss, perplexity and bits per byte of the text. Bits per byte compare "
        "models of any tokenizer; loss and perplexity are per token. With --baselines an n-gram "
        "model and the compressors xz and zstd are trained on that text and measured on the same "
        "DATA; for a model that hanlin trained its own training text is the default. Of masked "
        "models and denoisers the loss of their objective is measured, of other encoder-decoders "
        "that of targets given sources.",
        "在 DATA（文件、文件夹或通配符）上评测 MODEL。\n\n"
        "学过某项任务的模型按该任务评测：classify、tag、extract、seq2seq、instruct、embed、prefer，"
        "采用各领域的指标，附 95% 置信区间。分类器旁列出最常见标签与 TF-IDF 加逻辑回归两个基线，"
        "它们在模型的训练数据或 --baselines 上训练。DATA 之前的其他模型与第一个模型"
        "在相同样本上比较：hanlin evaluate A B DATA。\n\n"
        "语言模型：文本的损失、困惑度与每字节比特数。每字节比特数可在不同分词器的模型之间比较；"
        "损失与困惑度按词元计。给出 --baselines 时，用该文本训练 n 元模型与压缩程序 xz、zstd，"
        "并在同一 DATA 上评测；由 hanlin 训练的模型默认用其训练文本。掩码模型与去噪模型评测其"
        "训练目标的损失，其他编码器-解码器评测给定源文时目标文本的损失。",
    )
)
@click.argument("model")
@click.argument("data", nargs=-1, required=True, metavar="[MODEL...] DATA...")
@click.option(
    "--baselines",
    multiple=True,
    metavar="TEXT",
    help=say(
        "What the baselines are trained on; may be repeated.",
        "训练基线所用的数据；可多次给出。",
    ),
)
@click.option(
    "--no-baselines",
    is_flag=True,
    help=say("Only the model.", "只评测模型。"),
)
@click.option(
    "--objective",
    type=click.Choice(
        [
            *("causal-lm", "masked-lm", "span-corruption", "denoising", "seq2seq"),
            *("instruct", "classify", "tag", "extract", "embed", "prefer"),
        ]
    ),
    help=say(
        "What the model is asked to do [default: what it was trained for].",
        "要求模型做什么 [默认：其训练目标]。",
    ),
)
@click.option(
    "--column",
    "columns",
    multiple=True,
    metavar="ROLE=NAME",
    help=say(
        "Tasks: which column plays which part, such as text=review; may be repeated.",
        "任务：哪一列是什么，如 text=review；可多次给出。",
    ),
)
@click.option(
    "--skip-bad",
    is_flag=True,
    help=say("Tasks: leave out rows that cannot be used.", "任务：略过无法使用的行。"),
)
@click.option(
    "--beams",
    type=click.IntRange(min=1),
    help=say(
        "Written texts: hypotheses of beam search [default: the model's own].",
        "写出的文本：集束搜索的宽度 [默认：模型自己的设置]。",
    ),
)
@click.option(
    "--max-new-tokens",
    type=click.IntRange(min=1),
    help=say(
        "Written texts: stop after so many tokens [default: the model's own].",
        "写出的文本：至多这么多词元 [默认：模型自己的设置]。",
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
    "--setting",
    "metric_settings",
    multiple=True,
    metavar="METRIC.NAME=VALUE",
    help=say(
        "Written texts: how a metric is computed, such as rouge.stemmer=true or "
        "bleu.tokenize=intl; may be repeated.",
        "写出的文本：指标的算法设置，如 rouge.stemmer=true 或 bleu.tokenize=intl；可多次给出。",
    ),
)
@click.option(
    "--positive",
    metavar="LABEL",
    help=say(
        "Two labels: the one that F1, precision and recall are of [default: a known name such as "
        "spam or 正面, else the last].",
        "两个标签时：F1、精确率、召回率针对哪一个 [默认：已知的名称，如 spam、正面，"
        "否则为最后一个]。",
    ),
)
@click.option(
    "--against",
    "training_text",
    multiple=True,
    metavar="TRAINING",
    help=say(
        "Look for DATA in this training text or these token shards; may be repeated.",
        "在此训练文本或词元分片中查找 DATA；可多次给出。",
    ),
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
@options.exact_dtype
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
    columns: tuple[str, ...],
    beams: int | None,
    max_new_tokens: int | None,
    metric_settings: tuple[str, ...],
    training_text: tuple[str, ...],
    **settings: Any,
) -> None:
    """Evaluate and print."""
    if baselines and no_baselines:
        raise ConfigError("--baselines and --no-baselines contradict each other. Give one of them.")
    if output is not None:
        check_report(output)

    others, rest = models_before(data)
    if not rest:
        raise ConfigError(
            f"{data[-1]} is a model, and there is nothing to measure it on. Name the data after it."
        )

    from hanlin.config import read_mapping
    from hanlin.evaluation import evaluate
    from hanlin.evaluation.page import report, summary
    from hanlin.evaluation.written_metrics import MetricSettings
    from hanlin.reports.part import jsonable
    from hanlin.text.reading import ReadSettings

    plain = field is None and split == "file"
    decoding = {"beams": beams, "max_new_tokens": max_new_tokens}
    found = evaluate(
        model,
        list(rest),
        against=list(others),
        training_text=list(training_text) or None,
        metric_settings=read_mapping({}, metric_settings, into=MetricSettings),
        metrics=None if metrics is None else [name.strip() for name in metrics.split(",")],
        baselines=() if no_baselines else list(baselines) or None,
        columns=_columns(columns),
        decoding={name: value for name, value in decoding.items() if value is not None},
        settings=None if plain else ReadSettings(field=field, split=split),
        **settings,
    )
    if output is not None:
        report(found).write(output.expanduser())
        note(say(f"Report: {output}", f"报告：{output}"))
    text = summary(found).terminal(width=_width()).rstrip()
    emit(jsonable(found.to_dict()), as_json=as_json, text=text)


def models_before(data: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The models that stand before the data, and the data."""
    from hanlin.models.named import NAMED

    for at, name in enumerate(data):
        path = Path(name).expanduser()
        files = ("config.json", "adapter_config.json")
        model = name in NAMED or path.suffix == ".gguf" or any((path / f).is_file() for f in files)
        if not model:
            return data[:at], data[at:]
    return data, ()


def _columns(given: tuple[str, ...]) -> dict[str, str]:
    columns = {}
    for pair in given:
        role, equals, name = pair.partition("=")
        if not equals or not role.strip() or not name:
            raise ConfigError(f"--column {pair} names no column. Write --column text=review.")
        columns[role.strip()] = name
    return columns


def _width() -> int:
    import shutil

    return max(shutil.get_terminal_size((100, 24)).columns, 40)
