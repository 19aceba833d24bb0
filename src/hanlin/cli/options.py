"""Options that several verbs share."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from hanlin.cli.language import say
from hanlin.cli.output import note

if TYPE_CHECKING:
    from hanlin.generation import Sampling

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

as_json = click.option(
    "--json",
    "as_json",
    is_flag=True,
    help=say("Print the result as JSON.", "以 JSON 输出结果。"),
)

skip_bad = click.option(
    "--skip-bad",
    is_flag=True,
    help=say(
        "Leave rows out that cannot be used, and say how many.",
        "跳过无法使用的行，并报告其数目。",
    ),
)

dtype = click.option(
    "--dtype",
    type=click.Choice(["auto", "float32", "bfloat16", "float16"]),
    default="auto",
    show_default=True,
    help=say(
        "Numbers the model computes in; auto is the fastest that keeps its answers.",
        "计算所用的数值类型；auto 为不改变结果的最快者。",
    ),
)

exact_dtype = click.option(
    "--dtype",
    type=click.Choice(["float32", "auto", "bfloat16", "float16"]),
    default="float32",
    show_default=True,
    help=say(
        "Numbers the model computes in; auto is faster and rounds more.",
        "计算所用的数值类型；auto 更快，舍入更多。",
    ),
)
"""`dtype` for verbs that measure a model."""

text_column = click.option(
    "--column", help=say("The column of the text [default: found].", "文本所在的列 [默认：自动]。")
)

_SAMPLING: tuple[tuple[str, Any, str, str], ...] = (
    ("--max-new-tokens", int, "Stop after this many tokens.", "最多生成这么多词元。"),
    ("--temperature", float, "0 always takes the likeliest token.", "0 表示总取最可能的词元。"),
    ("--top-k", int, "Draw from the k likeliest tokens.", "只从最可能的 k 个词元中抽取。"),
    ("--top-p", float, "Draw from the likeliest tokens of this total probability.",
     "只从累计概率达到此值的词元中抽取。"),
    ("--min-p", float, "Drop tokens less likely than this share of the likeliest.",
     "舍弃概率低于最高者此比例的词元。"),
    ("--repetition-penalty", float, "Above 1 discourages tokens already seen.",
     "大于 1 时抑制出现过的词元。"),
    ("--frequency-penalty", float, "Lowers a token's logit each time it comes (-2 to 2).",
     "词元每出现一次，分数减去此值（-2 至 2）。"),
    ("--presence-penalty", float, "Lowers the logit of tokens that came (-2 to 2).",
     "出现过的词元，分数减去此值（-2 至 2）。"),
    ("--seed", int, "Repeats the draws.", "重现抽样结果的随机种子。"),
)  # fmt: skip

_SEVERAL: tuple[tuple[str, Any, str, str], ...] = (
    ("--n", int, "Sequences to generate.", "生成几段。"),
    ("--beams", int, "Hypotheses of beam search.", "集束搜索的宽度。"),
    ("--length-penalty", float, "Beam search: above 0 favours longer texts.",
     "集束搜索：大于 0 偏向更长的文字。"),
)  # fmt: skip


def sampling(function: Decorated) -> Decorated:
    """Add the settings of generation to a verb; those not given are the model's defaults."""
    function = click.option(
        "--stop",
        multiple=True,
        help=say("End at this text; may be repeated.", "遇到此文字即止；可多次给出。"),
    )(function)
    return _add(_SAMPLING, function)


def several(function: Decorated) -> Decorated:
    """Add the settings that make several sequences, and --ignore-eos."""
    function = click.option(
        "--ignore-eos",
        is_flag=True,
        help=say("Keep going past end tokens.", "遇到结束词元也继续。"),
    )(function)
    return _add(_SEVERAL, function)


def _add(table: tuple[tuple[str, Any, str, str], ...], function: Decorated) -> Decorated:
    for name, kind, english, chinese in reversed(table):
        function = click.option(name, type=kind, help=say(english, chinese))(function)
    return function


def given(settings: dict[str, Any]) -> dict[str, Any]:
    """Keep the settings that were given on the command line."""
    return {
        name: value
        for name, value in settings.items()
        if value is not None and value != () and value is not False
    }


def note_unused_seed(settings: dict[str, Any], sampling: "Sampling") -> None:
    """Say that a given seed changes nothing where no token is drawn by chance."""
    if "seed" in settings and not sampling.draws:
        note(
            say(
                "hanlin: --seed changes nothing: the likeliest token is always taken. "
                "Add --temperature 0.8 to draw.",
                "hanlin: --seed 不起作用：总是取最可能的词元。要抽样请加 --temperature 0.8。",
            )
        )
