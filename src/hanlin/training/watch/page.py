"""``report.html``: a run as one page, written anew as it goes on.

Made from the `History` alone, so it can also be made later from ``metrics.jsonl``.
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hanlin.config.yaml_text import dump_yaml
from hanlin.reports import Axis, Facts, Figure, Report, Sample, Samples, Series, Table, Text
from hanlin.reports.part import Part
from hanlin.reports.report import write_whole
from hanlin.reports.words import Language, Words, clock, compact, number, percent
from hanlin.training.events import EvaluationRecord, Plan, StepRecord, TrainResult
from hanlin.training.watch.history import History

PAGE = "report.html"
"""Name of the file in a run's directory."""
_EVERY = 30.0
"""Seconds between two pages while nothing but steps happen, at least."""
_COST = 400
"""A page that took t to write is not written again before so many t."""
_STEP: Words = ("step", "步")
_VALIDATION: Words = ("validation", "验证")
_DOTS = 60
"""With more evaluations than this their dots would be a thick line."""


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
    parts += _curves(history)
    parts += _samples(history)
    if history.evaluations:
        parts.append(_evaluations(history))
    parts += [_plan_table(plan), _machine_table(history), _events(history)]
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
        note: Words = ("the best so far", "迄今最佳")
        if best is not last:
            note = (f"best {number(best['loss'])} at step {at}",
                    f"最佳 {number(best['loss'])}（第 {at} 步）")  # fmt: skip
        facts.append((("Validation loss", "验证损失"), last["loss"], note))
        if last.get("bits_per_byte") is not None:
            facts.append((("Bits per byte", "每字节比特"), last["bits_per_byte"], _VALIDATION))
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
        facts.append(_speed(history))
    return Facts(tuple(facts))


def _speed(history: History) -> tuple[Words, Any, Words]:
    speeds = [y for _, y in history.curves["tokens_per_second"].means()]
    peaks = [y for _, y in history.curves["share_of_peak"].means()]
    note: Words = ""
    if peaks:
        share = percent(sum(peaks) / len(peaks))
        note = (f"{share} of the measured peak", f"实测峰值的 {share}")
    mean = compact(sum(speeds) / len(speeds)) if speeds else "–"
    return ("Speed", "速度"), (f"{mean} tokens/s", f"{mean} 词元/秒"), note


def _curves(history: History) -> list[Part]:
    last = max(history.step.get("step", 0), *(one["step"] for one in history.evaluations[-1:]), 1)
    steps = Axis(("step", "步"), low=0.0, high=float(last))
    marks = tuple((float(step), ("resumed", "继续")) for step, _ in history.starts[-8:] if step > 0)
    train: Words = ("train", "训练")

    def curve(name: str, tone: int) -> tuple[Series, ...]:
        return _raw_and_smooth(history, name, train, tone=tone)

    lr = history.curves["lr"].means()
    _, _, peak = _speed(history)
    figures = [
        Figure(
            ("Loss", "损失"),
            curve("loss", 1) + _validation(history, "loss"),
            steps,
            Axis(("nats per target", "每目标 nat 数"), log=True),
            marks=marks,
        ),
        Figure(
            ("Bits per byte", "每字节比特"),
            curve("bits_per_byte", 1) + _validation(history, "bits_per_byte"),
            steps,
            Axis("", log=True),
            half=True,
        ),
        Figure(
            ("Learning rate", "学习率"),
            (_series(train, lr, 4),),
            steps,
            Axis("", low=0.0),
            half=True,
        ),
        Figure(
            ("Gradient norm", "梯度范数"),
            curve("grad_norm", 3),
            steps,
            Axis(("before clipping", "裁剪前"), log=True),
            half=True,
        ),
        Figure(
            ("Speed", "速度"),
            curve("tokens_per_second", 5),
            steps,
            Axis(("tokens per second", "词元/秒"), low=0.0),
            note=peak,
            half=True,
        ),
    ]
    return [one for one in figures if any(len(s.x) for s in one.series)]


def _raw_and_smooth(history: History, name: str, words: Words, *, tone: int) -> tuple[Series, ...]:
    curve = history.curves[name]
    if not curve.count and not curve.odd:
        return ()
    raw = sorted(curve.extremes() + curve.odd, key=lambda point: point[0])
    return (_series(words, raw, tone, faint=True), _series(words, curve.smooth(), tone))


def _validation(history: History, name: str) -> tuple[Series, ...]:
    points = [
        (float(one["step"]), float(one[name]))
        for one in history.evaluations
        if one.get(name) is not None
    ]
    return (_series(_VALIDATION, points, 2, dots=len(points) <= _DOTS),) if points else ()


def _series(
    name: Words,
    points: list[tuple[float, float]],
    tone: int,
    *,
    faint: bool = False,
    dots: bool = False,
) -> Series:
    x, y = [point[0] for point in points], [point[1] for point in points]
    return Series(name, x, y, tone=tone, faint=faint, dots=dots)


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


def _evaluations(history: History) -> Table:
    rows = tuple(
        (
            one["step"],
            compact(one["tokens"]),
            clock(one["seconds"]),
            one["loss"],
            one["perplexity"],
            one.get("bits_per_byte"),
            ("best so far", "当时最佳") if one.get("best") else "",
        )
        for one in reversed(history.evaluations)
    )
    columns: tuple[Words, ...] = (
        _STEP,
        ("tokens", "词元"),
        ("time", "用时"),
        ("loss", "损失"),
        ("perplexity", "困惑度"),
        ("bits per byte", "每字节比特"),
        "",
    )
    return Table(("Evaluations", "评估"), columns, rows, folded=len(rows) > 12)


def _plan_table(plan: Mapping[str, Any]) -> Table:
    def count(value: float) -> str:
        return (
            number(value) if isinstance(value, int | float) and value < 1e7 else compact(value, 4)
        )

    rows: list[tuple[Words, Words]] = [
        (("objective", "目标"), str(plan.get("objective", ""))),
        (("shape", "结构"), str(plan.get("shape", ""))),
        (("parameters", "参数"), count(plan.get("parameters", 0))),
        (("duration", "时长"), str(plan.get("duration", ""))),
        (("steps", "步数"), number(plan.get("total_steps"))),
        (("tokens per step", "每步词元"), count(plan.get("tokens_per_step", 0))),
        (("steps per epoch", "每轮步数"), count(plan.get("steps_per_epoch", 0))),
        (("operations per token", "每词元运算"), count(plan.get("flops_per_token", 0))),
        (("training text", "训练文本"), _amount(plan, "train")),
        (("validation text", "验证文本"), _amount(plan, "validation")),
        (("precision", "精度"), str(plan.get("precision", ""))),
        (("seed", "种子"), str(plan.get("seed", ""))),
    ]
    return Table(("Plan", "计划"), ("", ""), tuple(rows), half=True)


def _amount(plan: Mapping[str, Any], part: str) -> Words:
    tokens, documents = plan.get(f"{part}_tokens", 0), plan.get(f"{part}_documents", 0)
    if not tokens:
        return ("none", "无")
    return (
        f"{compact(tokens, 4)} tokens in {documents:,} documents",
        f"{compact(tokens, 4)} 词元，{documents:,} 篇文档",
    )


def _machine_table(history: History) -> Table:
    plan, machine = history.plan, history.machine
    rows: list[tuple[Words, Words]] = [
        (("system", "系统"), str(machine.get("system", ""))),
        (("processor", "处理器"), str(machine.get("cpu", ""))),
        (("cores", "核心"), str(machine.get("cores", ""))),
    ]
    if memory := machine.get("memory_bytes"):
        rows.append((("memory", "内存"), f"{memory / 2**30:.1f} GiB"))
    rows.append((("device", "设备"), str(plan.get("device", ""))))
    rows.append((("processes", "进程"), str(plan.get("world", 1))))
    if peak := plan.get("peak_flops"):
        measured = f"{float(peak) / 1e9:,.0f} GFLOP/s"
        rows.append((("measured peak", "实测峰值"), measured))
    versions = plan.get("versions") or {}
    rows += [(str(name), str(version)) for name, version in versions.items()]
    return Table(("Machine", "机器"), ("", ""), tuple(rows), half=True)


_KINDS: dict[str, Words] = {
    "start": ("start", "开始"),
    "resume": ("resume", "继续"),
    "skip": ("step skipped", "跳过一步"),
    "saved": ("checkpoint", "检查点"),
    "message": ("message", "消息"),
    "end": ("end", "结束"),
}


def _events(history: History) -> Table:
    rows = tuple(
        (step, _KINDS["resume" if kind == "start" and step else kind], text, _local(when))
        for step, when, kind, text in reversed(history.events)
    )
    columns: tuple[Words, ...] = (_STEP, ("event", "事件"), "", ("time (UTC)", "时间 (UTC)"))
    note: Words = ""
    if history.skipped:
        count = f"{history.skipped:,}"
        note = (f"{count} steps were skipped by the guard.", f"共有 {count} 步被守护跳过。")
    return Table(("Events", "事件"), columns, rows, note=note, folded=len(rows) > 12)


def _local(when: str) -> str:
    return when[:19].replace("T", " ")


def _footer(history: History) -> Words:
    if not history.starts:
        return ""
    began = _local(history.starts[0][1])
    return (
        f"Begun {began} UTC. Everything told is in metrics.jsonl beside this page.",
        f"始于 {began} UTC。全部记录见同目录的 metrics.jsonl。",
    )
