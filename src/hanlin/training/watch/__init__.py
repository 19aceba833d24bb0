"""Watching a run: the live view, the metrics file, the page of curves, TensorBoard.

    told = watchers(config.track)

`watchers` gives what every run has. Their memory is one `History`, filled by the metrics file, so
that a run that goes on shows the whole of its curves. A disk that is full or a terminal that is
gone never ends a run: the watcher says so once and goes on as well as it can.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from hanlin.errors import NotFoundError
from hanlin.reports import Report
from hanlin.reports.words import Language, locale_language
from hanlin.training.events import Watcher
from hanlin.training.watch.board import Board
from hanlin.training.watch.console import Console
from hanlin.training.watch.history import History
from hanlin.training.watch.metrics import METRICS, MetricsLog, read_records
from hanlin.training.watch.page import PAGE, RunPage, run_report

__all__ = [
    "METRICS",
    "PAGE",
    "Board",
    "Console",
    "History",
    "MetricsLog",
    "RunPage",
    "report",
    "run_report",
    "watchers",
]


def watchers(
    track: Sequence[str] = (),
    *,
    stream: TextIO | None = None,
    language: Language | None = None,
) -> list[Watcher]:
    """Return the watchers of a run, in the order they are to be called.

    `track` names further ones: "tensorboard". `stream` is where the live view goes, standard error
    by default; the language is the locale's by default. Raises `ConfigError` where a tracker is
    not installed.
    """
    spoken = language or locale_language()
    history = History()
    console = Console(history, stream=stream or sys.stderr, language=spoken)
    log = MetricsLog(history, problem=console.message)
    page = RunPage(history, language=spoken, problem=console.message)
    boards = [Board() for name in track if name == "tensorboard"]
    return [log, console, page, *boards]


def report(output: str | Path) -> Report:
    """Return the report of a run from the metrics in its directory; raises `NotFoundError`."""
    path = Path(output) / METRICS
    if not path.is_file():
        raise NotFoundError(f"There is no {METRICS} in {output}. Name the directory of a run.")
    history = History()
    for record in read_records(path):
        history.add(record)
    return run_report(history)
