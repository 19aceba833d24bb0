"""The curves of a run as figures: loss, bits per byte, learning rate, gradient norm, speed."""

from hanlin.reports import Axis, Figure, Series
from hanlin.reports.words import Words, compact, percent
from hanlin.training.watch.history import History

STEP: Words = ("step", "步")
VALIDATION: Words = ("validation", "验证")
_DOTS = 60
"""With more evaluations than this their dots would be a thick line."""
_METRICS = 6
"""Metrics of a task that have a figure; the table of evaluations has all of them."""


def figures(history: History) -> list[Figure]:
    """Return a figure for every curve that has points."""
    last = max(history.step.get("step", 0), *(one["step"] for one in history.evaluations[-1:]), 1)
    steps = Axis(STEP, low=0.0, high=float(last))
    marks = tuple((float(step), ("resumed", "继续")) for step, _ in history.starts[-8:] if step > 0)
    train: Words = ("train", "训练")

    def curve(name: str, tone: int) -> tuple[Series, ...]:
        return _raw_and_smooth(history, name, train, tone=tone)

    metrics = [
        Figure(name, _metric(history, name), steps, Axis(""), half=True)
        for name in history.metrics[:_METRICS]
    ]
    lr = history.curves["lr"].means()
    _, peak = mean_speed(history)
    all_of_them = [
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
        *metrics,
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
    return [one for one in all_of_them if any(len(s.x) for s in one.series)]


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
    return (_series(VALIDATION, points, 2, dots=len(points) <= _DOTS),) if points else ()


def _metric(history: History, name: str) -> tuple[Series, ...]:
    points = [
        (float(one["step"]), float(one["metrics"][name]))
        for one in history.evaluations
        if name in one["metrics"]
    ]
    return (_series(VALIDATION, points, 2, dots=len(points) <= _DOTS),)


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


def mean_speed(history: History) -> tuple[str, Words]:
    """Return tokens a second over the run, and what share of the measured peak that is."""
    speeds = [y for _, y in history.curves["tokens_per_second"].means()]
    shares = [y for _, y in history.curves["share_of_peak"].means()]
    note: Words = ""
    if shares:
        share = percent(sum(shares) / len(shares))
        note = (f"{share} of the measured peak", f"实测峰值的 {share}")
    return compact(sum(speeds) / len(speeds)) if speeds else "–", note
