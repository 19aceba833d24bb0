"""Tables, figures and texts, for the terminal, for programs and as one page for the browser.

A `Report` is a title and a list of parts. Every part is a small frozen dataclass that can render
itself three ways (see `hanlin.reports.part.Part`), so a room that needs another picture writes
another part; `hanlin.reports.plot` has the frame, the ticks and the scales for it. Needs the
standard library only.
"""

from hanlin.reports.figure import Figure, Series
from hanlin.reports.matrix import Matrix
from hanlin.reports.parts import Facts, Sample, Samples, Table, Text
from hanlin.reports.plot import Axis
from hanlin.reports.report import Report

__all__ = [
    "Axis",
    "Facts",
    "Figure",
    "Matrix",
    "Report",
    "Sample",
    "Samples",
    "Series",
    "Table",
    "Text",
]
