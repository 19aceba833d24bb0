"""Progress is silent when quick, a bar on a terminal and lines elsewhere."""

import io

import pytest

from hanlin.progress import Progress, track


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def run(stream: io.StringIO, *, seconds: int, total: float | None = 100) -> str:
    clock = Clock()
    with Progress("reading", total=total, unit="B", stream=stream, clock=clock) as progress:
        for _ in range(seconds):
            clock.now += 1
            progress.advance(10, note="file")
    return stream.getvalue()


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()])
def test_what_is_quick_is_silent(stream: io.StringIO) -> None:
    assert run(stream, seconds=1) == ""


def test_elsewhere_a_line_every_few_seconds_and_one_at_the_end() -> None:
    lines = run(io.StringIO(), seconds=10).splitlines()
    assert lines == [
        "reading:  20% 20 B/100 B, 8 s left, file",
        "reading:  70% 70 B/100 B, 3 s left, file",
        "reading: 100% 100 B/100 B, 0 s left, file",
    ]


def test_on_a_terminal_one_line_is_drawn_over() -> None:
    shown = run(Terminal(), seconds=5)
    assert shown.endswith("\n")
    assert shown.count("\n") == 1
    assert "[" + "█" * 12 + "·" * 12 + "]  50%" in shown.rpartition("\r")[2]


def test_without_a_total_it_counts() -> None:
    assert run(io.StringIO(), seconds=3, total=None).splitlines()[0] == (
        "reading: 20 B, 10 B/s, file"
    )


@pytest.mark.parametrize(
    ("seconds", "shown"), [(59, "59 s"), (61, "1:01 min"), (3_700, "1:01 h"), (90_000, "25:00 h")]
)
def test_the_time_left_is_readable(seconds: int, shown: str) -> None:
    progress = Progress("x", total=1 + seconds, stream=io.StringIO())
    progress.done = 1
    assert f"{shown} left" in progress.line(1)


@pytest.mark.parametrize(
    ("amount", "unit", "shown"),
    [(0, "", "0"), (999, "B", "999 B"), (92_871_040, "B", "92.9 MB"),
     (1500, "tokens", "1.5k tokens"),
     (2.5, "", "2.5"), (3_000_000_000_000_000, "", "3e+03T")],
)  # fmt: skip
def test_amounts_are_short(amount: float, unit: str, shown: str) -> None:
    progress = Progress("x", unit=unit, stream=io.StringIO())
    progress.done = amount
    assert progress.line(1).startswith(f"x: {shown},")


def test_track_yields_every_item_and_knows_how_many_there_are() -> None:
    assert list(track([1, 2, 3], "counting")) == [1, 2, 3]
    assert list(track((n for n in range(3)), "counting")) == [0, 1, 2]
