"""The evaluation of a task as a report: the figures, the verdict, and where the model errs."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from hanlin.evaluation import classification, tagging
from hanlin.evaluation.extraction import Missed
from hanlin.evaluation.result import Evaluation
from hanlin.evaluation.writing import Written
from hanlin.metrics import Score
from hanlin.metrics.labels import Classification, LabelScore
from hanlin.reports import Axis, Figure, Matrix, Sample, Samples, Series, Table, Text
from hanlin.reports.part import Part
from hanlin.reports.parts import Cell
from hanlin.reports.words import Words, number, say

NAMES: dict[str, Words] = {
    "accuracy": ("accuracy", "准确率"),
    "subset_accuracy": ("all labels right", "全部标签正确"),
    "f1": ("F1", "F1"),
    "precision": ("precision", "精确率"),
    "recall": ("recall", "召回率"),
    "f1_macro": ("macro F1", "宏平均 F1"),
    "f1_micro": ("micro F1", "微平均 F1"),
    "mcc": ("MCC", "MCC"),
    "auc": ("AUC", "AUC"),
    "brier": ("Brier", "Brier"),
    "ece": ("calibration error", "校准误差"),
    "log_loss": ("log loss", "对数损失"),
    "exact_match": ("exact match", "完全匹配"),
    "bleu": "BLEU",
    "chrf": "chrF",
    "chrf++": "chrF++",
    "ter": "TER",
    "rouge1": "ROUGE-1",
    "rouge2": "ROUGE-2",
    "rougeL": "ROUGE-L",
    "rougeLsum": "ROUGE-Lsum",
    "distinct1": "distinct-1",
    "distinct2": "distinct-2",
    "spearman": "Spearman",
    "mrr": "MRR",
    "preference_accuracy": ("preference accuracy", "偏好准确率"),
    "reward_margin": ("reward margin", "奖励差"),
    "chosen_likelier": ("chosen likelier", "优选更可能"),
    "chosen_likelier_per_token": ("per token", "按词元"),
}
"""Metrics -> what the head of their column says."""
_COLUMNS = 5
"""Metrics that stand in the table of all models; the others are folded away below."""
_MOST_LABELS = 25
"""Labels of a confusion matrix at most."""
_SHOWN = 20
"""Examples of a list."""
_LONGEST = 400
"""Characters of a text in a list."""
INTERVAL: Words = ("95 % interval", "95% 区间")


def parts(found: Evaluation) -> list[Part]:
    """What the report shows before the notes, the most important first."""
    shown: list[Part] = [_figures(found)]
    if found.verdict:
        shown.append(Text("", found.verdict))
    if (table := compared(found, _heads(found))) is not None:
        shown.append(table)
    return [*shown, *_details(found)]


def _figures(found: Evaluation) -> Table:
    rows = [found.model, *found.others, *found.baselines]
    names, called = columns(found.model.metrics), _heads(found)
    heads: list[Words] = [("model", "模型")]
    for place, name in enumerate(names):
        heads.append(called.get(name, name))
        if place == 0:
            heads.append(INTERVAL)
    heads.append(("examples/s", "样本/秒"))
    body: list[tuple[Cell, ...]] = []
    for row in rows:
        cells: list[Cell] = [found.short_names[row.name]]
        for place, name in enumerate(names):
            score = row.metrics.get(name)
            cells.append(None if score is None else score.value)
            if place == 0:
                cells.append(interval(score))
        cells.append(found.documents / row.seconds if row.seconds else None)
        body.append(tuple(cells))
    return Table("", tuple(heads), tuple(body))


def columns(metrics: Mapping[str, Score]) -> list[str]:
    """The metrics that stand in the table of all models, the main one first."""
    known = [name for name in NAMES if name in metrics]
    first = next(iter(metrics))
    rest = [name for name in (*known, *metrics) if name != first]
    return list(dict.fromkeys([first, *rest]))[:_COLUMNS]


def _heads(found: Evaluation) -> Mapping[str, Words]:
    """What metrics are called; those of the positive label with its name."""
    details = found.details
    positive = details.positive if isinstance(details, classification.Found) else None
    if positive is None:
        return NAMES
    of_label = {
        name: (f"{say(NAMES[name], 'en')} ({positive})", f"{say(NAMES[name], 'zh')}（{positive}）")
        for name in ("f1", "precision", "recall")
    }
    return {**NAMES, **of_label}


def compared(found: Evaluation, called: Mapping[str, Words]) -> Table | None:
    """By how much the model is above each other one, on the same examples; metrics as they are
    `called`."""
    rows: list[tuple[Cell, ...]] = [
        (
            found.short_names[other.name],
            called.get(name, name),
            one.difference.value,
            interval(one.difference),
            one.p_value,
        )
        for other in (*found.others, *found.baselines)
        for name, one in other.behind.items()
    ]
    if not rows:
        return None
    return Table(
        ("Compared on the same examples", "在相同样本上比较"),
        (("compared with", "对照"), ("metric", "指标"), ("difference", "差"), INTERVAL, "p"),
        tuple(rows),
        note=(
            "The model's metric less the other's, the examples drawn again for both together. An "
            "interval that holds 0 tells nothing apart; p is the chance of such a difference "
            "between equal models.",
            "模型的指标减去对照的指标，两者共用同一批重抽样本。区间含 0 表示无法区分；"
            "p 为两个模型同样好时出现这种差别的概率。",
        ),
    )


def _details(found: Evaluation) -> list[Part]:
    details = found.details
    if isinstance(details, classification.Found):
        return _of_labels(details)
    if isinstance(details, tagging.Found):
        return _of_tags(details)
    if details and isinstance(details[0], Missed):
        return [_missed(details)]
    if details and isinstance(details[0], Written):
        return [_written(details)]
    return []


def _of_labels(details: classification.Found) -> list[Part]:
    shown: list[Part] = [_per_label(details.table.labels)]
    if isinstance(details.table, Classification):
        shown.append(_confusion(details.table))
        if details.table.bins:
            shown.append(_reliability(details.table))
    if details.worst:
        rows: list[tuple[Cell, ...]] = [
            (one.right, one.said, one.probability, _short(one.text)) for one in details.worst
        ]
        shown.append(
            Table(
                ("Worst examples", "最差的样本"),
                (
                    ("right", "正确"),
                    ("said", "预测"),
                    ("p(right)", "p(正确)"),
                    ("text", "文本"),
                ),
                tuple(rows[:_SHOWN]),
                note=(
                    "Mistakes, those whose right label the model found least likely first.",
                    "预测错误的样本，模型认为正确标签最不可能者在前。",
                ),
                folded=False,
            )
        )
    return shown


def _per_label(labels: Sequence[LabelScore]) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (one.name, one.precision, one.recall, one.f1, one.support, one.predicted) for one in labels
    ]
    return Table(
        ("By label", "按标签"),
        (
            ("label", "标签"),
            ("precision", "精确率"),
            ("recall", "召回率"),
            "F1",
            ("examples", "样本数"),
            ("predicted", "预测数"),
        ),
        tuple(rows),
        folded=None if len(rows) <= _MOST_LABELS else True,
    )


def _confusion(table: Classification) -> Matrix:
    """Who was taken for whom; of many labels those with the most mistakes, the rest together."""
    counts, names = table.confusion, table.names
    note: Words = ""
    shown: list[Words] = list(names)
    if len(names) > _MOST_LABELS:
        wrong = counts.sum(0) + counts.sum(1) - 2 * counts.diagonal()
        kept = sorted(sorted(range(len(names)), key=lambda i: -wrong[i])[: _MOST_LABELS - 1])
        rest = [i for i in range(len(names)) if i not in kept]
        counts = _merged(counts, kept, rest)
        others: Words = (f"{len(rest)} others", f"其余 {len(rest)} 个")
        shown = [*(names[i] for i in kept), others]
        note = (
            f"The {len(kept)} labels with the most mistakes; the others stand together.",
            f"错误最多的 {len(kept)} 个标签；其余合为一类。",
        )
    return Matrix(
        ("Who is taken for whom", "混淆矩阵"),
        tuple(shown),
        tuple(shown),
        tuple(tuple(int(n) for n in row) for row in counts),
        ("right", "正确"),
        ("said", "预测"),
        note=note,
    )


def _merged(counts: NDArray[np.int64], kept: list[int], rest: list[int]) -> NDArray[np.int64]:
    groups = [[i] for i in kept] + [rest]
    return np.array([[counts[np.ix_(a, b)].sum() for b in groups] for a in groups])


def _reliability(table: Classification) -> Figure:
    """How often the model is right, by how sure it is."""
    filled = [one for one in table.bins if one.count]
    confidence = [one.confidence for one in filled]
    counted = ", ".join(f"{one.confidence:.0%}: {one.count:,}" for one in filled)
    return Figure(
        ("Is it as right as it is sure?", "置信度与正确率"),
        (
            Series(("as it should be", "理想"), (0.0, 1.0), (0.0, 1.0), faint=True, tone=2),
            Series(
                ("model", "模型"),
                confidence,
                [one.accuracy for one in filled],
                dots=True,
                tone=1,
            ),
        ),
        Axis(("mean probability of the label said", "所预测标签的平均概率"), low=0, high=1,
             style="percent"),
        Axis(("right", "正确率"), low=0, high=1, style="percent"),
        note=(f"Examples by probability: {counted}", f"各概率的样本数：{counted}"),
    )  # fmt: skip


def _of_tags(details: tagging.Found) -> list[Part]:
    shown: list[Part] = [_per_label(details.labels)]
    if details.worst:
        rows: list[tuple[Cell, ...]] = [
            (one.wrong, _short(one.shown), _short(one.text)) for one in details.worst
        ]
        heads: tuple[Words, ...] = (
            ("wrong", "错误数"),
            ("word (right → said)", "词（正确 → 预测）"),
            ("text", "文本"),
        )
        shown.append(Table(("Worst examples", "最差的样本"), heads, tuple(rows), folded=False))
    return shown


def _missed(details: Sequence[Missed]) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (one.f1, one.said or "–", " / ".join(dict.fromkeys(one.right)) or "–", _short(one.question))
        for one in details[:_SHOWN]
    ]
    heads: tuple[Words, ...] = (
        "F1",
        ("said", "预测"),
        ("right", "正确"),
        ("question", "问题"),
    )
    return Table(("Worst examples", "最差的样本"), heads, tuple(rows), folded=False)


def _written(details: Sequence[Written]) -> Samples:
    places = np.linspace(0, len(details) - 1, min(len(details), _SHOWN)).round().astype(int)
    return Samples(
        ("Examples, from the worst to the best", "样例，由差到好"),
        tuple(
            Sample(
                _short(one.source) + "\n",
                _short(one.said),
                f"ROUGE-L {number(one.rouge, 3)} ← {_short(' / '.join(one.references))}",
            )
            for one in (details[place] for place in places.tolist())
        ),
        folded=False,
    )


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def interval(score: Score | None) -> str:
    """The two ends of a score's interval."""
    if score is None or score.low is None or score.high is None:
        return "–"
    return f"{number(score.low)} … {number(score.high)}"
