"""What a run has told so far, in bounded memory however long it is.

Fed with the records of ``metrics.jsonl``, from the file or as they come; the same records give the
same history, so the page of a resumed run is that of one that was never stopped.
"""

import math
from collections import deque
from collections.abc import Mapping
from typing import Any

from hanlin.reports.part import number_from_json
from hanlin.reports.thinning import Curve

CURVES = ("loss", "bits_per_byte", "lr", "grad_norm", "tokens_per_second", "share_of_peak")
"""Fields of a step that a curve is kept of."""
_SAMPLES = 48
"""Evaluations whose samples are kept; beyond that every second is let go."""
_EVENTS = 400


class History:
    """Curves, evaluations and events of a run."""

    def __init__(self) -> None:
        self.curves = {name: Curve() for name in CURVES}
        self.plan: Mapping[str, Any] = {}
        """Of the last start."""
        self.machine: Mapping[str, Any] = {}
        self.starts: list[tuple[int, str]] = []
        """Step and time of every start."""
        self.evaluations: list[Mapping[str, Any]] = []
        """Without their samples; `metrics` is empty where nobody judged."""
        self.samples: list[tuple[Mapping[str, Any], list[Mapping[str, str]]]] = []
        """Evaluations with the samples taken then."""
        self.best: Mapping[str, Any] | None = None
        """The lowest loss of those over as much text as the last: others are no comparison."""
        self.events: deque[tuple[int, str, str, str]] = deque(maxlen=_EVENTS)
        """Step, time, kind (start, skip, saved, message, end) and text of what happened."""
        self.skipped = 0
        self.step: Mapping[str, Any] = {}
        """The last step's record."""
        self.result: Mapping[str, Any] | None = None
        """How the run ended; None while it goes on."""
        self._every = 1
        self._sampled = 0

    @property
    def metrics(self) -> list[str]:
        """Names of the task's metrics, in the order they were told."""
        return list(dict.fromkeys(name for one in self.evaluations for name in one["metrics"]))

    def add(self, record: Mapping[str, Any]) -> None:
        """Take one record of the metrics file; kinds that are not known are passed over."""
        kind = record["kind"]
        if kind == "step":
            self._add_step(record)
        elif kind == "evaluation":
            self._add_evaluation(record)
        elif kind == "start":
            self.plan, self.machine = record["plan"], record["machine"]
            self.starts.append((record["step"], record["time"]))
            self.result = None
            self._event(record, "")
        elif kind == "saved":
            self._event(record, record["path"])
        elif kind == "message":
            self._event(record, record["text"])
        elif kind == "end":
            self.result = record["result"]
            self._event(record, "")

    def _add_step(self, record: Mapping[str, Any]) -> None:
        self.step = record
        step = record["step"]
        for name, curve in self.curves.items():
            value = record.get(name)
            if value is not None:
                curve.add(step, float(value))
        if record.get("skipped"):
            self.skipped += 1
            self._event({**record, "kind": "skip"}, record.get("reason", ""))

    def _add_evaluation(self, record: Mapping[str, Any]) -> None:
        told = {
            name: number_from_json(value) for name, value in record.items() if name != "samples"
        }
        told["metrics"] = {
            name: number_from_json(value) for name, value in record.get("metrics", {}).items()
        }
        self.evaluations.append(told)
        best = self.best
        alike = best is not None and best.get("targets") == told.get("targets")
        if best is None or not alike or told["loss"] < best["loss"] or math.isnan(best["loss"]):
            self.best = told
        if not record["samples"]:
            return
        # The newest is always there; of those before it every `_every`-th stays.
        if self.samples and (self._sampled - 1) % self._every:
            self.samples.pop()
        self.samples.append((told, record["samples"]))
        self._sampled += 1
        if len(self.samples) > _SAMPLES:
            self._every *= 2
            self.samples = self.samples[:-1][::2] + self.samples[-1:]

    def _event(self, record: Mapping[str, Any], text: str) -> None:
        self.events.append((record["step"], record.get("time", ""), record["kind"], text))
