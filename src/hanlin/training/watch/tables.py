"""The tables of a run: evaluations, the plan, the machine, what happened."""

from collections.abc import Mapping
from typing import Any

from hanlin.reports import Table
from hanlin.reports.words import Words, clock, compact, number
from hanlin.training.watch.curves import STEP
from hanlin.training.watch.history import History


def evaluations(history: History) -> Table:
    rows = tuple(
        (
            one["step"],
            compact(one["tokens"]),
            clock(one["seconds"]),
            compact(one.get("targets", 0)),
            one["loss"],
            one["perplexity"],
            one.get("bits_per_byte"),
            *(one["metrics"].get(name) for name in history.metrics),
            ("best so far", "当时最佳") if one.get("best") else "",
        )
        for one in reversed(history.evaluations)
    )
    columns: tuple[Words, ...] = (
        STEP,
        ("tokens", "词元"),
        ("time", "用时"),
        ("looked at", "评测目标"),
        ("loss", "损失"),
        ("perplexity", "困惑度"),
        ("bits per byte", "每字节比特"),
        *history.metrics,
        "",
    )
    return Table(("Evaluations", "评测"), columns, rows, folded=len(rows) > 12)


def plan_table(plan: Mapping[str, Any]) -> Table:
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
        f"{compact(tokens, 4)} tokens in {documents:,} document{'s' if documents != 1 else ''}",
        f"{compact(tokens, 4)} 词元，{documents:,} 篇文档",
    )


def machine_table(history: History) -> Table:
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


def events(history: History) -> Table:
    rows = tuple(
        (step, _KINDS["resume" if kind == "start" and step else kind], text, moment(when))
        for step, when, kind, text in reversed(history.events)
    )
    columns: tuple[Words, ...] = (STEP, ("event", "事件"), "", ("time (UTC)", "时间 (UTC)"))
    note: Words = ""
    if history.skipped:
        count = f"{history.skipped:,}"
        note = (f"{count} steps were skipped by the guard.", f"共有 {count} 步被守护跳过。")
    return Table(("Events", "事件"), columns, rows, note=note, folded=len(rows) > 12)


def moment(when: str) -> str:
    return when[:19].replace("T", " ")
