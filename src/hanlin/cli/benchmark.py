"""``hanlin benchmark``: a language model on a local copy of one of the field's benchmarks."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hanlin.cli import options
from hanlin.cli.files import REPORTS, check_report, whole_file
from hanlin.cli.language import say
from hanlin.cli.output import emit, note
from hanlin.evaluation.benchmarks import TITLES

if TYPE_CHECKING:
    from hanlin.evaluation.benchmarks import BenchmarkResult

_NAMES = ", ".join(TITLES)


@click.command(
    help=say(
        "Ask the language model MODEL the benchmark NAME, whose files lie at PATH (its file or its "
        f"folder): {_NAMES}.\n\n"
        "Prompts and scores are those of lm-evaluation-harness, each score with its 95 % interval. "
        "Programs that the model writes run in a sandbox without network, files and processes.",
        "用 PATH（文件或目录）处的基准 NAME 测试语言模型 MODEL："
        f"{_NAMES}。\n\n"
        "提示与评分同 lm-evaluation-harness，各附 95% 置信区间。"
        "模型写出的程序在沙箱中运行，不能联网、读写文件或启动进程。",
    )
)
@click.argument("model")
@click.argument("name")
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    metavar="ITEMS",
    help=say(
        "Ask only the first so many (of CMMLU, of each subject).",
        "只测前若干题（CMMLU 按科目计）。",
    ),
)
@click.option(
    "--shots",
    type=click.IntRange(min=0),
    help=say(
        "Examples before each question [default: 5 of cmmlu and gsm8k, else 0].",
        "每题之前的示例数 [默认：cmmlu 与 gsm8k 为 5，其余为 0]。",
    ),
)
@click.option(
    "--samples",
    type=click.IntRange(min=1),
    help=say(
        "Programs: draw so many of each for pass@k [default: one, greedy].",
        "程序题：每题抽取若干份以计 pass@k [默认：一份，贪心]。",
    ),
)
@click.option(
    "--against",
    multiple=True,
    metavar="TRAINING",
    help=say(
        "Look for the items in this training text or these token shards; may be repeated.",
        "在此训练文本或词元分片中查找题目；可多次给出。",
    ),
)
@click.option(
    "--batch",
    type=click.IntRange(min=1),
    default=32,
    show_default=True,
    help=say("Rows computed together.", "同时计算的行数。"),
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help=say("Of the intervals and of samples.", "置信区间与抽样的随机种子。"),
)
@options.exact_dtype
@click.option(
    "--weak-sandbox",
    is_flag=True,
    help=say(
        "Programs: where this machine cannot confine them, run them with limits of time and "
        "memory alone.",
        "程序题：本机无法隔离程序时，只以时间与内存限制运行。",
    ),
)
@click.option(
    "--mode",
    type=click.Choice(["psm", "spm"]),
    help=say(
        "Gaps: read the text before the gap first (psm) or that after it (spm) [default: psm].",
        "填空：先读空缺之前的文字（psm）或之后的（spm）[默认：psm]。",
    ),
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help=say(
        "Write a report here (.html, .json or .txt), or every item with its answer (.jsonl).",
        "写入报告（.html、.json 或 .txt），或逐题写出答案（.jsonl）。",
    ),
)
@options.as_json
def command(
    model: str,
    name: str,
    path: Path,
    output: Path | None,
    as_json: bool,
    against: tuple[str, ...],
    **settings: Any,
) -> None:
    """Run a benchmark and print its scores."""
    if output is not None:
        check_report(output, (*REPORTS, ".jsonl"))

    from hanlin.evaluation.benchmarks import report, run
    from hanlin.reports.part import jsonable

    found = run(model, name, path, against=list(against) or None, **settings)
    if output is not None:
        _write(found, output)
        note(say(f"Report: {output}", f"报告：{output}"))
    emit(
        jsonable(found.to_dict()),
        as_json=as_json,
        text=report(found, brief=True).terminal().rstrip(),
    )


def _write(found: "BenchmarkResult", output: Path) -> None:
    from hanlin.evaluation.benchmarks import report

    if output.suffix != ".jsonl":
        report(found).write(output.expanduser())
        return
    with whole_file(output) as file:
        for item in found.items:
            file.write(json.dumps(item.to_dict(), ensure_ascii=False) + "\n")
