"""``report.html``: a run as one page, written anew as it goes on.

Made from the `History` alone, so it can also be made later from ``metrics.jsonl``.
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hanlin.config.yaml_text import dump_yaml
from hanlin.reports import Facts, Report, Sample, Samples, Text
from hanlin.reports.part import Part
from hanlin.reports.report import write_whole
from hanlin.reports.words import Language, Words, clock, compact, number, percent
from hanlin.training.events import EvaluationRecord, Plan, StepRecord, TrainResult
from hanlin.training.watch.curves import VALIDATION, figures, mean_speed
from hanlin.training.watch.history import History
from hanlin.training.watch.tables import evaluations, events, machine_table, moment, plan_table

PAGE = "report.html"
"""Name of the file in a run's directory."""
_EVERY = 30.0
"""Seconds between two pages while nothing but steps happen, at least."""
_COST = 400
"""A page that took t to write is not written again before so many t."""


class RunPage:
    """Writes the page at the start, at evaluations and checkpoints, now and then, at the end."""

    def __init__(
        self, history: History, *, language: Language, problem: Callable[[str], None]
    ) -> None:
        self._history = history
        self._language = language
        self._problem = problem
        self._path = Path()
        self._next = 0.0
        self._failed = False

    def start(self, plan: Plan) -> None:
        """Write it, with the curves of earlier parts of the run."""
        self._path = plan.output / PAGE
        self._write()

    def step(self, record: StepRecord) -> None:
        """Write it if it is time."""
        if time.monotonic() >= self._next:
            self._write()

    def evaluation(self, record: EvaluationRecord) -> None:
        """Write it, with the samples."""
        self._write()

    def saved(self, step: int, path: Path) -> None:
        """Nothing: the next page names the checkpoint."""

    def message(self, text: str) -> None:
        """Nothing: the next page has it among the events."""

    def end(self, result: TrainResult) -> None:
        """Write it for good."""
        self._write()

    def _write(self) -> None:
        began = time.monotonic()
        try:
            write_whole(self._path, run_report(self._history).html(language=self._language))
            self._failed = False
        except OSError as error:
            if not self._failed:
                self._failed = True
                self._problem(f"{self._path} cannot be written: {error}. Make room; it is retried.")
        now = time.monotonic()
        self._next = now + max(_EVERY, _COST * (now - began))


def run_report(history: History) -> Report:
    """Return the report of a run as far as it has told."""
    plan, step, result = history.plan, history.step, history.result
    name = str(plan.get("output", ""))
    parts: list[Part] = []
    if step or history.evaluations:
        parts.append(_facts(history))
    parts += figures(history)
    parts += _samples(history)
    if history.evaluations:
        parts.append(evaluations(history))
    parts += [plan_table(plan), machine_table(history), events(history)]
    if config := plan.get("config"):
        title: Words = ("Configuration", "配置")
        parts.append(Text(title, dump_yaml(config).rstrip(), exact=True, folded=True))
    return Report(
        (f"Training {name}", f"训练 {name}"),
        tuple(parts),
        subtitle=_subtitle(plan, step, result),
        footer=_footer(history),
        reload=0 if result else 30,
    )


def _subtitle(
    plan: Mapping[str, Any], step: Mapping[str, Any], result: Mapping[str, Any] | None
) -> Words:
    kind = f"{plan.get('objective', '')} · {plan.get('shape', '')}"
    size = compact(plan.get("parameters", 0))
    share = percent(float(step.get("progress", 0.0)))
    if result is None:
        state = (f"{share} done", f"已完成 {share}")
    elif result["finished"]:
        state = ("finished", "已完成")
    else:
        state = (f"stopped at {share}, can go on", f"停于 {share}，可继续")
    return (
        f"{kind} · {size} parameters · {plan.get('duration', '')} · {state[0]}",
        f"{kind} · {size} 参数 · {plan.get('duration', '')} · {state[1]}",
    )


def _facts(history: History) -> Facts:
    step, best = history.step, history.best
    facts: list[tuple[Words, Any, Words]] = []
    if best is not None:
        last = history.evaluations[-1]
        at = f"{best['step']:,}"
        targets = compact(last.get("targets", 0))
        note: Words = (f"the best, over {targets} targets", f"最佳，{targets} 个目标")
        if best is not last:
            note = (f"best {number(best['loss'])} at step {at}",
                    f"最佳 {number(best['loss'])}（第 {at} 步）")  # fmt: skip
        facts.append((("Validation loss", "验证损失"), last["loss"], note))
        if last.get("bits_per_byte") is not None:
            facts.append((("Bits per byte", "每字节比特"), last["bits_per_byte"], VALIDATION))
    for name in history.metrics[:3]:
        if history.evaluations and name in history.evaluations[-1]["metrics"]:
            facts.append((name, history.evaluations[-1]["metrics"][name], VALIDATION))
    smooth = history.curves["loss"].smooth()
    if smooth:
        facts.append((("Train loss", "训练损失"), smooth[-1][1], ""))
    if step:
        total = history.plan.get("total_steps")
        of: Words = (f"of {total:,}", f"共 {total:,}") if total else ""
        facts.append((("Steps", "步数"), step["step"], of))
        epochs = f"{step['epoch']:.2f}"
        facts.append((("Tokens", "词元"), compact(step["tokens"]),
                      (f"{epochs} epochs", f"{epochs} 轮")))  # fmt: skip
        left = clock(step.get("eta_seconds"))
        note = (f"{left} left", f"剩余 {left}") if history.result is None else ""
        facts.append((("Time", "用时"), clock(step["seconds"]), note))
        speed, share = mean_speed(history)
        facts.append((("Speed", "速度"), (f"{speed} tokens/s", f"{speed} 词元/秒"), share))
    return Facts(tuple(facts))


def _samples(history: History) -> list[Part]:
    """Return the newest samples open, the earlier ones folded, newest first."""
    told = [
        (evaluation["step"], evaluation["loss"], samples)
        for evaluation, samples in reversed(history.samples)
    ]
    parts: list[Part] = []
    for title, group, folded in (
        (("Samples", "样例"), told[:1], None),
        (("Earlier samples", "早先的样例"), told[1:], True),
    ):
        shown = tuple(
            Sample(
                sample["prompt"],
                sample["text"],
                (f"step {step:,}, validation {number(loss)}",
                 f"第 {step:,} 步，验证 {number(loss)}"),
            )
            for step, loss, samples in group
            for sample in samples
        )  # fmt: skip
        if shown:
            parts.append(Samples(title, shown, folded=folded))
    return parts


def _footer(history: History) -> Words:
    if not history.starts:
        return ""
    began = moment(history.starts[0][1])
    return (
        f"Begun {began} UTC. Everything told is in metrics.jsonl beside this page.",
        f"始于 {began} UTC。全部记录见同目录的 metrics.jsonl。",
    )
