"""A benchmark's result as a report: the scores, each subject's, and items to look at."""

from collections.abc import Mapping, Sequence

from hanlin.evaluation.benchmarks import TITLES
from hanlin.evaluation.benchmarks.result import Answered, BenchmarkResult
from hanlin.evaluation.contamination import Contamination
from hanlin.metrics import Score
from hanlin.reports import Report, Table, Text
from hanlin.reports.words import Words, number

_SHOWN = 20
"""Items and overlaps on a page."""
_LENGTH = 300
"""Characters of a text in a table."""


def report(found: BenchmarkResult, *, brief: bool = False) -> Report:
    """The scores for the terminal and the browser; `brief`: without items and signatures."""
    parts: list[Table | Text] = [_scores(found.metrics)]
    if found.subjects:
        parts.append(_subjects(found.subjects))
    if found.notes:
        parts.append(Text(("Notes", "说明"), "\n".join(found.notes), exact=True))
    if found.contamination is not None:
        parts += contamination_parts(found.contamination, brief=brief)
    if not brief:
        wrong = [item for item in found.items if item.value == 0]
        partly = [item for item in found.items if 0 < item.value < 1]
        right = [item for item in found.items if item.value == 1]
        parts.append(_items(("Wrong answers", "答错的题目"), wrong))
        if partly:
            parts.append(_items(("Right in some samples", "部分样本答对的题目"), partly))
        parts.append(_items(("Right answers", "答对的题目"), right))
        heads: tuple[Words, ...] = (("metric", "指标"), ("how it was computed", "计算方法"))
        how = tuple((name, score.signature) for name, score in found.metrics.items())
        parts.append(Table(("Signatures", "计算方法"), heads, how, folded=True))
    english, chinese = TITLES[found.benchmark]
    count = len(found.items)
    rate = count / max(found.seconds, 1e-9)
    return Report(
        (f"{english}: {found.model}", f"{chinese}：{found.model}"),
        tuple(parts),
        subtitle=(
            f"{count} items, {found.shots} examples before each, {number(rate)} items/s",
            f"{count} 题，每题前 {found.shots} 个示例，每秒 {number(rate)} 题",
        ),
    )


def _scores(metrics: Mapping[str, Score]) -> Table:
    rows = tuple((name, score.value, interval(score)) for name, score in metrics.items())
    return Table("", (("metric", "指标"), ("value", "数值"), _INTERVAL), rows)


_INTERVAL: Words = ("95 % interval", "95% 区间")


def interval(score: Score) -> str:
    """Both ends, or a dash where there are none."""
    if score.low is None or score.high is None:
        return "–"
    return f"{number(score.low)} … {number(score.high)}"


def _subjects(subjects: Mapping[str, Score]) -> Table:
    best = sorted(subjects.items(), key=lambda item: -item[1].value)
    rows = tuple((name, score.value, interval(score)) for name, score in best)
    columns: tuple[Words, ...] = (("subject", "科目"), ("value", "数值"), _INTERVAL)
    return Table(("By subject", "各科目"), columns, rows)


def _items(title: Words, items: Sequence[Answered]) -> Table:
    rows = tuple(
        (_cut(item.question), _cut(item.answer), _cut(item.given)) for item in items[:_SHOWN]
    )
    columns: tuple[Words, ...] = (
        ("question", "题目"),
        ("right answer", "正确答案"),
        ("given", "模型的回答"),
    )
    return Table(title, columns, rows, folded=True)


def contamination_parts(found: Contamination, *, brief: bool = False) -> list[Table | Text]:
    """How much of an evaluation set stands in training text, and the examples with most of it."""
    counts: tuple[tuple[Words, int | float], ...] = (
        (("examples", "样例"), found.examples),
        (("too short to look for", "过短而未查"), found.unchecked),
        (("with something found", "有重合的"), found.touched),
        (("mostly found", "大部分重合的"), found.mostly),
        (("share of all text", "占全部文本"), found.share),
    )
    columns: tuple[Words, ...] = (("in the training text", "在训练文本中"), "")
    note: Words = (
        f"Runs of {found.n} words (of Chinese, characters) that stand in both.",
        f"两边都有的连续 {found.n} 个词（中文按字）。",
    )
    parts: list[Table | Text] = [Table("", columns, counts, note=note)]
    if brief or not found.worst:
        return parts
    rows = tuple(
        (one.share, _cut(one.text), _cut(one.found), one.source) for one in found.worst[:_SHOWN]
    )
    heads: tuple[Words, ...] = (
        ("share", "占比"),
        ("example", "样例"),
        ("in the training text", "训练文本中"),
        ("where", "出处"),
    )
    title: Words = ("Most found in training", "训练文本中重合最多者")
    return [*parts, Table(title, heads, rows, folded=True)]


def _cut(text: str) -> str:
    return text if len(text) <= _LENGTH else text[: _LENGTH - 1] + "…"
