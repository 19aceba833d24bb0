"""The live view stays in its place, fits the terminal, and leaves what should stay above it."""

import io
import math
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import watched_run as run
from terminal_screen import Pty, Screen, cells

from hanlin.training.watch.console import Console
from hanlin.training.watch.history import History
from hanlin.training.watch.metrics import MetricsLog
from hanlin.training.watch.view import Paint, Seen, lines

COLOURS = re.compile(r"\x1b\[[\d;]*m")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    """A stream that says it is a terminal of so many columns."""

    encoding = "utf-8"

    def __init__(self, columns: int = 80) -> None:
        super().__init__()
        self.screen = Screen(columns)

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.screen.feed(text)
        return super().write(text)


@pytest.fixture(autouse=True)
def _terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)


def watched(
    stream: io.StringIO, output: Path, *, stop: int = 200, language: str = "en", end: bool = True
) -> Console:
    """A run of a quarter of a second a step, told to a console that writes to `stream`."""
    clock = Clock()
    history = History()
    console = Console(history, stream=stream, clock=clock, language=language)  # type: ignore[arg-type]
    both = [MetricsLog(history, problem=console.message), console]
    for one in both:
        one.start(run.plan(output))
    for n in range(1, stop + 1):
        clock.now += 0.25
        for one in both:
            one.step(run.step(n))
        if n % 50 == 0:
            for one in both:
                one.saved(n, output / "checkpoints" / f"step-{n:08}")
            for one in both:
                one.evaluation(run.evaluation(n))
        if n == 60:
            console.message("a word from the trainer")
    if end:
        for one in both:
            one.end(run.result(output))
    return console


def resize(stream: Terminal, monkeypatch: pytest.MonkeyPatch, columns: int, rows: int = 24) -> None:
    stream.screen.columns = columns
    size = os.terminal_size((columns, rows))
    monkeypatch.setattr(Console, "_size", lambda self: (size.columns, size.lines))


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("columns", [30, 48, 80, 140])
def test_the_view_is_redrawn_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, columns: int, language: str
) -> None:
    stream = Terminal(columns)
    resize(stream, monkeypatch, columns)
    watched(stream, tmp_path, language=language)
    text = stream.screen.text
    word = {"en": "validation 3.", "zh": "验证 3."}[language]
    assert text.count(word) == 1, "the evaluation at step 50 stays, once"
    assert text.count("upon step") == 4, "every sample stays, once"
    assert text.count("a word from the trainer") == 1
    assert len(re.findall(r"[━─]{8,}", text)) <= 1, "one view is left"
    assert stream.screen.lines[-1] == "", "the cursor rests below"
    assert ("done" if language == "en" else "完成") in stream.screen.lines[-2]


def test_the_view_says_what_matters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal(100)
    resize(stream, monkeypatch, 100)
    watched(stream, tmp_path, stop=150, end=False)
    view = "\n".join(stream.screen.lines[-6:])
    for word in ("75%", "step 150 / 200", "0:12 left", "loss 1.", "bits/byte", "lr 7.5e-4",
                 "gradient", "34.1k tokens/s", "41% of peak", "epoch 0.15", "1.23M tokens",
                 "time 0:38", "validation 1.6", "saved at 150"):  # fmt: skip
        assert word in view, word
    assert any(mark in view for mark in "▁▂▃▄▅▆▇█")


@pytest.mark.parametrize("columns", range(12, 130, 9))
@pytest.mark.parametrize("language", ["en", "zh"])
def test_no_line_of_the_view_is_wider_than_the_terminal(columns: int, language: str) -> None:
    seen = Seen(run.plan(Path("out"), total=None), History())
    odd = run.step(7, loss=math.nan, grad_norm=math.inf, eta_seconds=math.inf, progress=math.nan,
                   tokens_per_second=math.inf, bits_per_byte=math.nan)  # fmt: skip
    for record in (run.step(1), odd, run.step(10**9), run.step(2, share_of_peak=None, lr=0.0)):
        seen.take(record)
        for line in lines(seen, columns, language, Paint(colours=True)):  # type: ignore[arg-type]
            assert cells(COLOURS.sub("", line)) <= columns


def test_a_terminal_that_is_resized_keeps_one_view(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = Terminal(100)
    resize(stream, monkeypatch, 100)
    history, clock = History(), Clock()
    console = Console(history, stream=stream, clock=clock)
    console.start(run.plan(tmp_path))
    for n in range(1, 100):
        clock.now += 1
        console.step(run.step(n))
        if n % 10 == 0:
            resize(stream, monkeypatch, (100, 40, 120, 61, 33)[n // 10 % 5])
    assert len(re.findall("of peak", stream.screen.text)) == 1
    assert len(re.findall("gradient", stream.screen.text)) == 1


def test_a_low_terminal_is_not_overrun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal(30)
    resize(stream, monkeypatch, 30, rows=5)
    watched(stream, tmp_path, stop=40, end=False)
    # More than the screen holds cannot be moved over: the headline's rows, then 3 of the view.
    assert len(stream.screen.lines) == 1 + 3 + 1


def test_colours_only_where_they_are_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    coloured = Terminal()
    watched(coloured, tmp_path / "a")
    assert COLOURS.search(coloured.getvalue())
    monkeypatch.setenv("NO_COLOR", "1")
    plain = Terminal()
    watched(plain, tmp_path / "b")
    assert not COLOURS.search(plain.getvalue())
    assert "\x1b[" in plain.getvalue(), "but it is still redrawn"


@pytest.mark.parametrize("kind", ["pipe", "dumb", "latin"])
def test_elsewhere_there_are_lines_now_and_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    stream: io.StringIO = io.StringIO() if kind == "pipe" else Terminal()
    if kind == "dumb":
        monkeypatch.setenv("TERM", "dumb")
    if kind == "latin":
        monkeypatch.setattr(Terminal, "encoding", "latin-1")
    watched(stream, tmp_path)
    text = stream.getvalue()
    assert "\x1b" not in text
    assert "\r" not in text
    told = [line for line in text.splitlines() if line.startswith("step") and "left" in line]
    assert 8 <= len(told) <= 11, "50 seconds, a line every 5"
    assert "(1" in told[1]
    assert text.count("checkpoint") >= 4
    assert text.count("validation") >= 4


def test_nothing_hostile_reaches_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = Terminal(80)
    console = Console(History(), stream=stream)
    console.start(run.plan(Path("\x1b]0;evil\x07")))
    console.step(run.step(1))
    bad = "\x1b[2J\x1b]52;c;AAAA\x07\u202e\r\x9b31m"
    console.evaluation(run.evaluation(1, samples=(run.Sample(bad, bad),)))
    console.message(bad)
    console.end(run.result(Path("\x1b[2J")))
    text = COLOURS.sub("", re.sub(r"\r\x1b\[\d+A\x1b\[J", "", stream.getvalue()))
    assert all(c == "\n" or c.isprintable() for c in text)


def test_a_terminal_that_went_away_does_not_end_the_run(tmp_path: Path) -> None:
    class Gone(Terminal):
        def write(self, text: str) -> int:
            raise OSError(5, "Input/output error")

    watched(Gone(), tmp_path)


def test_on_a_real_terminal_of_another_size(tmp_path: Path) -> None:
    pty = Pty(52)
    with os.fdopen(os.dup(pty.side), "w", encoding="utf-8") as stream:
        watched(stream, tmp_path)  # type: ignore[arg-type]
    text = pty.close()
    screen = Screen(52)
    screen.feed(text)
    assert screen.text.count("upon step") == 4
    assert len(re.findall("of peak", screen.text)) == 1
    assert max(cells(line) for line in screen.lines if "peak" in line or "━" in line) < 52


INTERRUPTED = """
import sys, time
from pathlib import Path
sys.path.insert(0, {here!r})
import watched_run as run
from hanlin.training.watch import watchers
output = Path({output!r})
told = watchers(language="en")
n = 0
try:
    for one in told: one.start(run.plan(output))
    while True:
        n += 1
        for one in told: one.step(run.step(n, total=10**6))
        if n == 20: print("running", flush=True)
        time.sleep(0.002)
except KeyboardInterrupt:
    for one in told: one.end(run.result(output, n, finished=False, signal=2))
"""


def test_control_c_leaves_the_terminal_in_order(tmp_path: Path) -> None:
    pty = Pty(80)
    code = INTERRUPTED.format(here=str(Path(__file__).parent), output=str(tmp_path))
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=pty.side, text=True
    )
    assert child.stdout is not None
    assert next(child.stdout) == "running\n"
    time.sleep(0.3)
    child.send_signal(signal.SIGINT)
    assert child.wait(20) == 0
    text = pty.close()
    screen = Screen(80)
    screen.feed(text)
    assert "stopped SIGINT" in screen.text
    assert len(re.findall("of peak", screen.text)) == 1
    assert "\x1b[?" not in text, "no mode of the terminal was changed, so none is left behind"


def test_a_run_that_goes_on_shows_its_past(tmp_path: Path) -> None:
    history = History()
    one = MetricsLog(history, problem=print)
    run.tell([one], tmp_path, 0, 100)
    again = History()
    MetricsLog(again, problem=print).start(run.plan(tmp_path, start=100))
    seen = Seen(run.plan(tmp_path, start=100), again)
    seen.take(run.step(101))
    assert "█▇" in "".join(lines(seen, 100, "en", Paint(colours=False)))
