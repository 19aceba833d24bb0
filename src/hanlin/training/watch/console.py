"""The live view: a few lines redrawn in place on a terminal, a line now and then elsewhere.

Evaluations, samples and messages go above the view and stay in the scroll-back. The cursor rests on
the line below the view and is never hidden, so that whatever else is printed, an error or the ^C of
a keyboard, finds a terminal in order.
"""

import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from hanlin.reports.cells import cut, plain, width, wrap
from hanlin.reports.words import Language
from hanlin.training.events import EvaluationRecord, Plan, StepRecord, TrainResult
from hanlin.training.watch.history import History
from hanlin.training.watch.view import Paint, Seen, ended_line, evaluation_line, lines, log_line

_REDRAW = 0.2
"""Seconds between two drawings at least; more where drawing is slow."""
_COST = 200
"""A drawing that took t is not repeated before so many t."""
_SAMPLE_LINES = 6


class Console:
    """Draws the view, or writes lines where the stream is no terminal."""

    def __init__(
        self,
        history: History,
        *,
        stream: TextIO,
        language: Language = "en",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._history = history
        self._stream = stream
        self._language = language
        self._clock = clock
        self._live = _is_live(stream)
        self._paint = Paint(colours=self._live and not os.environ.get("NO_COLOR"))
        self._seen: Seen | None = None
        self._drawn: list[str] = []
        self._next = 0.0
        self._began = clock()
        self._gone = False

    def start(self, plan: Plan) -> None:
        """Say what begins."""
        self._began = self._clock()
        self._seen = Seen(plan, self._history)
        self._above(plain(self._seen.headline(self._language)))

    def step(self, record: StepRecord) -> None:
        """Take the numbers in; draw them when it is time."""
        seen = self._seen
        assert seen is not None, "a step before the start"
        seen.take(record)
        now = self._clock()
        if now < self._next:
            return
        if self._live:
            self._draw()
            self._next = now + max(_REDRAW, _COST * (self._clock() - now))
        else:
            self._write(log_line(seen, self._language) + "\n")
            # Every 5 seconds at first; a run of days needs no more than a line a minute.
            self._next = now + min(max((now - self._began) / 20, 5.0), 60.0)

    def evaluation(self, record: EvaluationRecord) -> None:
        """Put a line, and the samples, into the scroll-back."""
        assert self._seen is not None, "an evaluation before the start"
        self._seen.evaluation = record
        columns = self._size()[0] if self._live else 100
        said = [evaluation_line(record, self._language, self._paint)]
        for sample in record.samples:
            rows = wrap((sample.prompt + sample.text).strip("\n"), max(columns - 5, 20))
            kept = rows[:_SAMPLE_LINES]
            if len(rows) > len(kept):
                kept[-1] = cut(kept[-1] + " …", max(columns - 5, 20))
            said += [f"  {self._paint.dim('│')} {row}" for row in kept]
        self._above(*said)

    def saved(self, step: int, path: Path) -> None:
        """Note the checkpoint in the view; elsewhere a line."""
        if self._seen is not None:
            self._seen.saved = step
        if not self._live:
            where = "检查点" if self._language == "zh" else "checkpoint"
            self._above(plain(f"{where} {path}"))

    def message(self, text: str) -> None:
        """Put a line into the scroll-back."""
        self._above(plain(text))

    def end(self, result: TrainResult) -> None:
        """Draw for the last time and say how it ended."""
        if self._live and self._seen is not None and self._seen.step is not None:
            self._draw()
        self._drawn = []
        self._write(ended_line(result, self._language, self._paint) + "\n")

    def _above(self, *said: str) -> None:
        """Write lines that stay, and the view again below them."""
        text = "".join(line + "\n" for line in said)
        if self._live and self._drawn:
            self._draw(above=text)
        else:
            self._write(text)

    def _draw(self, above: str = "") -> None:
        columns, rows = self._size()
        before = self._erasing(columns)
        seen = self._seen
        shown = [] if seen is None else lines(seen, columns - 1, self._language, self._paint)
        self._drawn = shown[: max(rows - 2, 1)]
        self._write(before + above + "".join(line + "\n" for line in self._drawn))

    def _erasing(self, columns: int) -> str:
        """Return what moves to the first line of the view and clears from there.

        A terminal that became narrower has broken the lines anew: each counts for as many rows as
        it takes now.
        """
        if not self._drawn:
            return ""
        rows = sum(max(math.ceil(width(line) / columns), 1) for line in self._drawn)
        return f"\r\x1b[{rows}A\x1b[J"

    def _size(self) -> tuple[int, int]:
        try:
            columns, rows = os.get_terminal_size(self._stream.fileno())
        except (OSError, ValueError):
            columns, rows = 0, 0
        return columns or 80, rows or 24  # a terminal that does not say is 0 × 0

    def _write(self, text: str) -> None:
        if self._gone or not text:
            return
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):
            self._gone = True  # the terminal was closed; the run goes on, metrics.jsonl has it all


def _is_live(stream: TextIO) -> bool:
    """Whether lines can be redrawn and the blocks of a bar shown."""
    encoding = (stream.encoding or "").lower().replace("-", "")
    return stream.isatty() and os.environ.get("TERM", "") != "dumb" and encoding == "utf8"
