"""An evaluation as a report: one table of all models, and what the figures mean."""

from dataclasses import replace

from hanlin.evaluation import task_page
from hanlin.evaluation.benchmarks.page import contamination_parts
from hanlin.evaluation.result import Evaluation, Measured
from hanlin.evaluation.task_page import INTERVAL, interval
from hanlin.reports import Report, Table, Text
from hanlin.reports.part import Part
from hanlin.reports.parts import Cell
from hanlin.reports.words import Words

COLUMNS: dict[str, Words] = {
    "loss": ("loss", "损失"),
    "perplexity": ("perplexity", "困惑度"),
    "bits_per_byte": ("bits/byte", "比特/字节"),
    "masked_loss": ("masked loss", "掩码损失"),
    "span_corruption_loss": ("span corruption loss", "片段损坏损失"),
    "denoising_loss": ("denoising loss", "去噪损失"),
    "pseudo_perplexity": ("pseudo perplexity", "伪困惑度"),
    "pseudo_bits_per_byte": ("pseudo bits/byte", "伪比特/字节"),
}
"""Metrics that have a column -> its head; the others are listed below the table."""


def report(found: Evaluation) -> Report:
    """The figures of a model and its baselines, for the terminal and the browser."""
    rows = [found.model, *found.others, *found.baselines]
    parts: list[Part] = task_page.parts(found) if found.task else _of_text(found, rows)
    if found.contamination is not None:
        parts += contamination_parts(found.contamination)
    if found.notes:
        parts.append(Text(("Notes", "说明"), "\n".join(found.notes), exact=True))
    every = tuple(
        (row.name, name, score.value, interval(score), score.signature)
        for row in rows
        for name, score in row.metrics.items()
    )
    heads: tuple[Words, ...] = (
        ("model", "模型"),
        ("metric", "指标"),
        ("value", "数值"),
        INTERVAL,
        ("how it was computed", "计算方法"),
    )
    parts.append(Table(("Every figure", "全部数值"), heads, every, folded=True))
    size, plural = f"{found.bytes:,}", "s" * (found.documents > 1)
    subtitle: Words = (
        f"{found.documents} document{plural}, {size} bytes",
        f"{found.documents} 篇文档，{size} 字节",
    )
    if found.task:
        subtitle = (
            f"{found.task}, {found.documents:,} example{plural}",
            f"{found.task}，{found.documents:,} 个样本",
        )
    return Report(
        (f"Evaluation of {found.model.name}", f"{found.model.name} 的评测"),
        tuple(parts),
        subtitle=subtitle,
    )


def summary(found: Evaluation) -> Report:
    """As `report`, without how each figure was computed and without examples: for the terminal."""
    whole = report(found)
    return replace(whole, parts=tuple(part for part in whole.parts if not _closed(part)))


def _closed(part: Part) -> bool:
    """Whether the page can fold it away."""
    return getattr(part, "folded", None) is not None


def _of_text(found: Evaluation, rows: list[Measured]) -> list[Part]:
    compared = task_page.compared(found, COLUMNS)
    return [_table(found, rows), *([] if compared is None else [compared])]


def _table(found: Evaluation, rows: list[Measured]) -> Table:
    names = [name for name in COLUMNS if any(name in row.metrics for row in rows)]
    columns: list[Words] = [("model", "模型")]
    for name in names:
        columns.append(COLUMNS[name])
        if name == "bits_per_byte":
            columns.append(INTERVAL)
    columns.append(("kB/s", "千字节/秒"))
    body: list[tuple[Cell, ...]] = []
    for row in rows:
        cells: list[Cell] = [found.short_names[row.name]]
        for name in names:
            score = row.metrics.get(name)
            cells.append(None if score is None else score.value)
            if name == "bits_per_byte":
                cells.append(interval(score))
        cells.append(found.bytes / 1000 / max(row.seconds, 1e-9))
        body.append(tuple(cells))
    note: Words = ""
    if len(rows) > 1:
        note = (
            "Loss and perplexity are per token of each model's own; bits per byte compare them.",
            "损失与困惑度按各模型自己的词元计；每字节比特数可互相比较。",
        )
    return Table("", tuple(columns), tuple(body), note=note)
