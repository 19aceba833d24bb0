"""What the live view says: the numbers of a moment as lines of text.

Lines are made of fields that are set side by side as long as there is room, so the view grows
longer on a narrow terminal and loses nothing.
"""

import math
import signal
from dataclasses import dataclass

from hanlin.reports.cells import cut, plain, spark, width
from hanlin.reports.words import Language, clock, compact, number, percent, say
from hanlin.training.events import EvaluationRecord, Plan, StepRecord, TrainResult
from hanlin.training.watch.history import History

_SMOOTH = 0.95
"""How much of the shown loss comes from before the last step."""
_SPARK = 28
"""Cells of the curve at most; a quarter of a narrow terminal."""


@dataclass(frozen=True)
class Paint:
    """Colours, or none."""

    colours: bool

    def dim(self, text: str) -> str:
        """Return it pale."""
        return self._in("2", text)

    def bold(self, text: str) -> str:
        """Return it strong."""
        return self._in("1", text)

    def blue(self, text: str) -> str:
        """Return it in the colour of training."""
        return self._in("34", text)

    def green(self, text: str) -> str:
        """Return it in the colour of what is good."""
        return self._in("32", text)

    def yellow(self, text: str) -> str:
        """Return it in the colour of what wants a look."""
        return self._in("33", text)

    def _in(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.colours and text else text


class Seen:
    """What the view needs to remember of a run."""

    def __init__(self, plan: Plan, history: History) -> None:
        self.plan = plan
        self.history = history
        self.step: StepRecord | None = None
        self.evaluation: EvaluationRecord | None = None
        self.saved: int | None = None
        self.loss = math.nan
        """Smoothed over some twenty steps."""
        self.speed = math.nan
        """Tokens a second, smoothed alike."""
        self._weight = 0.0
        self._loss = self._speed = 0.0

    def take(self, record: StepRecord) -> None:
        """Take a step in."""
        self.step = record
        if not math.isfinite(record.loss):
            return
        keep = _SMOOTH
        self._weight = keep * self._weight + 1 - keep
        self._loss = keep * self._loss + (1 - keep) * record.loss
        self._speed = keep * self._speed + (1 - keep) * record.tokens_per_second
        self.loss, self.speed = self._loss / self._weight, self._speed / self._weight

    def headline(self, language: Language) -> str:
        """Return what the run is, in a line."""
        plan = self.plan
        parts = [
            str(plan.output),
            plan.objective,
            say((f"{compact(plan.parameters)} parameters", f"{compact(plan.parameters)} 参数"),
                language),
            say((f"{compact(plan.train_tokens)} tokens", f"{compact(plan.train_tokens)} 词元"),
                language),
            plan.duration,
            plan.precision,
        ]  # fmt: skip
        if plan.world > 1:
            parts.append(say((f"{plan.world} processes", f"{plan.world} 个进程"), language))
        return " · ".join(parts)


def lines(seen: Seen, columns: int, language: Language, paint: Paint) -> list[str]:
    """Return the view, every line at most `columns` cells wide."""
    step = seen.step
    if step is None:
        return []
    rows = [_bar(seen, step, columns, language, paint)]
    curve = min(columns // 4, _SPARK)
    rows += _flow(_learning(seen, step, language, paint, curve=curve), columns)
    rows += _flow(_pace(seen, step, language, paint), columns)
    rows += _flow(_state(seen, language, paint), columns)
    return rows


def log_line(seen: Seen, language: Language) -> str:
    """Return the moment as one line without colours."""
    step, paint = seen.step, Paint(colours=False)
    assert step is not None
    total = f"/{seen.plan.total_steps}" if seen.plan.total_steps else ""
    head = say((f"step {step.step}{total}", f"第 {step.step}{total} 步"), language)
    fields = _learning(seen, step, language, paint)
    fields += _pace(seen, step, language, paint)
    if step.eta_seconds is not None:
        left = clock(step.eta_seconds)
        fields.append(say((f"{left} left", f"剩余 {left}"), language))
    if seen.history.skipped:
        fields.append(_skipped(seen, language))
    return f"{head} ({percent(step.progress)})  {'  '.join(fields)}"


def evaluation_line(record: EvaluationRecord, language: Language, paint: Paint) -> str:
    """Return what an evaluation found."""
    words = say((f"step {record.step:,}  validation", f"第 {record.step:,} 步  验证"), language)
    fields = [f"{words} {paint.bold(number(record.loss))}"]
    fields += [f"{name} {paint.bold(number(value))}" for name, value in record.metrics.items()]
    if record.bits_per_byte is not None:
        fields.append(_named(("bits/byte", "比特/字节"), number(record.bits_per_byte), language))
    fields.append(_named(("perplexity", "困惑度"), number(record.perplexity), language))
    if record.best:
        fields.append(paint.green(say(("best so far", "迄今最佳"), language)))
    return "  ".join(fields)


def ended_line(result: TrainResult, language: Language, paint: Paint) -> str:
    """Return how the run ended."""
    took, steps, tokens = clock(result.seconds), f"{result.steps:,}", compact(result.tokens)
    fields = [
        say((f"{steps} steps", f"{steps} 步"), language),
        say((f"{tokens} tokens", f"{tokens} 词元"), language),
        _named(("train loss", "训练损失"), number(result.train_loss), language),
    ]
    if "loss" in result.validation:
        loss = number(result.validation["loss"])
        fields.append(_named(("validation", "验证"), loss, language))
    if "bits_per_byte" in result.validation:
        bits = number(result.validation["bits_per_byte"])
        fields.append(_named(("bits/byte", "比特/字节"), bits, language))
    told = f"{took}  {'  '.join(fields)}  → {plain(str(result.output))}"
    if result.finished:
        return f"{paint.green(say(('done', '完成'), language))} {told}"
    by = signal.Signals(result.signal).name if result.signal is not None else ""
    stopped = say((f"stopped {by}".strip(), f"中断 {by}".strip()), language)
    return f"{paint.yellow(stopped)} {told}"


def _bar(seen: Seen, step: StepRecord, columns: int, language: Language, paint: Paint) -> str:
    """Return the bar with how far and how long; it takes what room the words leave."""
    total = f" / {seen.plan.total_steps:,}" if seen.plan.total_steps else ""
    share = min(max(step.progress, 0.0), 1.0) if math.isfinite(step.progress) else 0.0
    count = f"{step.step:,}{total}"
    right = [f"{share:4.0%}", say((f"step {count}", f"第 {count} 步"), language)]
    if step.eta_seconds is not None:
        left = clock(step.eta_seconds)
        right.append(say((f"{left} left", f"剩余 {left}"), language))
    words = "  ".join(right)
    room = min(columns - width(words) - 2, 48)
    if room < 8:
        return cut(words.lstrip(), columns)
    full = round(share * room)
    return f"{paint.blue('━' * full)}{paint.dim('─' * (room - full))}  {words}"


def _learning(
    seen: Seen, step: StepRecord, language: Language, paint: Paint, *, curve: int = 0
) -> list[str]:
    loss = _named(("loss", "损失"), paint.bold(number(seen.loss)), language, paint)
    fields = [loss]
    if curve:
        values = [y for _, y in seen.history.curves["loss"].means()]
        fields[0] += "  " + paint.blue(spark(values, curve, log=True))
    if step.bits_per_byte is not None and step.loss:
        bits = seen.loss * step.bits_per_byte / step.loss  # smoothed like the loss
        fields.append(_named(("bits/byte", "比特/字节"), number(bits), language, paint))
    fields.append(_named(("lr", "学习率"), number(step.lr, 3), language, paint))
    fields.append(_named(("gradient", "梯度"), number(step.grad_norm, 3), language, paint))
    return fields


def _pace(seen: Seen, step: StepRecord, language: Language, paint: Paint) -> list[str]:
    speed = f"{compact(seen.speed)} {paint.dim(say(('tokens/s', '词元/秒'), language))}"
    fields = [speed]
    if step.share_of_peak is not None and step.tokens_per_second:
        of = paint.dim(say(("of peak", "峰值占比"), language))
        share = step.share_of_peak * seen.speed / step.tokens_per_second  # smoothed like the speed
        fields.append(f"{percent(share)} {of}")
    fields.append(_named(("epoch", "轮次"), f"{step.epoch:.2f}", language, paint))
    fields.append(f"{compact(step.tokens)} {paint.dim(say(('tokens', '词元'), language))}")
    fields.append(_named(("time", "用时"), clock(step.seconds), language, paint))
    return fields


def _state(seen: Seen, language: Language, paint: Paint) -> list[str]:
    fields = []
    evaluations, best = seen.history.evaluations, seen.history.best
    if evaluations:
        last = evaluations[-1]
        fields.append(_named(("validation", "验证"), number(last["loss"]), language, paint))
        if best is not None and best is not last:
            at = f"{best['step']:,}"
            shown = f"{number(best['loss'])} " + say((f"at {at}", f"（第 {at} 步）"), language)
            fields.append(_named(("best", "最佳"), shown, language, paint))
    if seen.saved is not None:
        at = f"{seen.saved:,}"
        fields.append(paint.dim(say((f"saved at {at}", f"已存于第 {at} 步"), language)))
    if seen.history.skipped:
        fields.append(paint.yellow(_skipped(seen, language)))
    return fields


def _skipped(seen: Seen, language: Language) -> str:
    count = f"{seen.history.skipped:,}"
    return say((f"{count} skipped", f"跳过 {count} 步"), language)


def _named(
    name: tuple[str, str], value: str, language: Language, paint: Paint | None = None
) -> str:
    label = say(name, language)
    return f"{paint.dim(label) if paint else label} {value}"


def _flow(fields: list[str], columns: int) -> list[str]:
    """Set fields side by side, a new line where the next has no room."""
    rows: list[str] = []
    for field in fields:
        if rows and width(rows[-1]) + 3 + width(field) <= columns:
            rows[-1] += "   " + field
        else:
            rows.append(field)
    return [cut(row, columns) for row in rows]
