"""How far along something long is: on a terminal a bar with the time left, elsewhere a few lines.

Anything that takes less than two seconds stays silent.
"""

import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from types import TracebackType
from typing import Self, TextIO, TypeVar

T = TypeVar("T")


class Progress:
    """Reports on standard error while a piece of work goes on; a context manager.

        with Progress("tokenizing", total=len(files), unit="files") as progress:
            for file in files:
                ...
                progress.advance()

    Without `total` it counts, with the rate instead of the time left. Unit ``"B"`` shows bytes.
    """

    def __init__(
        self,
        title: str,
        *,
        total: float | None = None,
        unit: str = "",
        stream: TextIO | None = None,
        silent_for: float = 2.0,
        line_every: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.title = title
        self.total = total
        self.unit = unit
        self.done = 0.0
        self.note = ""
        self._stream = stream or sys.stderr
        self._terminal = self._stream.isatty()
        self._every = 0.1 if self._terminal else line_every
        self._clock = clock
        self._start = clock()
        self._next = self._start + silent_for
        self._shown = False

    def advance(self, amount: float = 1, *, note: str = "") -> None:
        """Count `amount` more as done; `note` (a loss, a file) stands at the end of the line."""
        self.update(self.done + amount, note=note)

    def update(self, done: float, *, note: str = "") -> None:
        """Set how much is done, in the unit of `total`."""
        self.done = done
        self.note = note or self.note
        now = self._clock()
        if now >= self._next:
            self._next = now + self._every
            self._show(self.line(now - self._start))

    def line(self, elapsed: float) -> str:
        """Return the line as it would be shown after `elapsed` seconds."""
        rate = self.done / elapsed if elapsed > 0 else 0.0
        counted = f"{_amount(self.done, self.unit)}"
        if self.total:
            share = min(self.done / self.total, 1.0)
            counted = f"{share:4.0%} {counted}/{_amount(self.total, self.unit)}"
            if self._terminal:
                full = int(share * 24)
                counted = f"[{'█' * full}{'·' * (24 - full)}] {counted}"
            left = (self.total - self.done) / rate if rate > 0 else None
            tail = f"{_time(max(left, 0.0))} left" if left is not None else ""
        else:
            tail = f"{_amount(rate, self.unit)}/s"
        parts = [f"{self.title}: {counted}", tail, self.note]
        return ", ".join(part for part in parts if part)

    def close(self) -> None:
        """End the line; what was shown last is the final state."""
        if self._shown:
            self._show(self.line(self._clock() - self._start))
            if self._terminal:
                self._stream.write("\n")
                self._stream.flush()
        self._shown = False

    def _show(self, line: str) -> None:
        self._shown = True
        if self._terminal:
            width = shutil.get_terminal_size().columns - 1
            self._stream.write(f"\r\x1b[K{line[:width]}")
        else:
            self._stream.write(line + "\n")
        self._stream.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def track(
    items: Iterable[T], title: str, *, total: int | None = None, unit: str = ""
) -> Iterator[T]:
    """Yield the items, reporting how many have been taken (of `total`, else of their length)."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    with Progress(title, total=total, unit=unit) as progress:
        for item in items:
            yield item
            progress.advance()


def _amount(value: float, unit: str) -> str:
    scaled, prefix = value, ""
    for larger in ("k", "M", "G", "T"):
        if abs(scaled) < 1000:
            break
        scaled, prefix = scaled / 1000, larger
    number = f"{scaled:.3g}" if prefix or scaled != int(scaled) else f"{int(scaled)}"
    return f"{number}{f' {prefix}{unit}' if unit == 'B' else prefix + (f' {unit}' if unit else '')}"


def _time(seconds: float) -> str:
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02} h"
