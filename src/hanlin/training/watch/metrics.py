"""``metrics.jsonl``: everything a run told, one JSON object a line, in the order of its steps.

Each object has a `kind` (start, step, evaluation, saved, message, end) and the `step` it belongs
to. A line is handed to the system as soon as it is known, so a killed process loses none, and to
the disk at every checkpoint. A run that goes on from step n keeps the lines up to n and drops what
came later, which will come again; no step stands there twice. Numbers that are not finite are
written "NaN", "Infinity", "-Infinity" (see `hanlin.reports.part.jsonable`).
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hanlin import provenance
from hanlin.reports.part import jsonable
from hanlin.training.events import EvaluationRecord, Plan, StepRecord, TrainResult
from hanlin.training.watch.history import History

METRICS = "metrics.jsonl"
"""Name of the file in a run's directory."""
_WAITING = 4 << 20
"""Bytes held back while the disk is full."""
_PLACES = {"tokens_per_second": 1, "seconds": 3, "progress": 6, "eta_seconds": 1, "epoch": 6}
"""Decimals of what is measured by the clock; losses are written exactly."""
_NEEDED = {
    "start": ("time", "plan", "machine"),
    "step": ("loss",),
    "evaluation": ("loss", "samples"),
    "saved": ("path",),
    "message": ("text",),
    "end": ("result",),
}
"""What a record of each kind must have to be one; records of other kinds are left as they are."""
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
_STEP_FIELDS = tuple(field.name for field in fields(StepRecord))
_EVALUATION_FIELDS = tuple(field.name for field in fields(EvaluationRecord))


class MetricsLog:
    """Keeps the file and fills the history, from the file first where a run goes on."""

    def __init__(self, history: History, *, problem: Callable[[str], None]) -> None:
        self._history = history
        self._problem = problem
        self._path = Path()
        self._file: int | None = None
        self._size = 0
        self._waiting = b""
        self._failed = False
        self._evaluated = -1
        """The step last evaluated: one that is evaluated again after a resume stands there once."""
        self._step = 0
        self._early: list[str] = []
        """Messages from before the start."""

    def start(self, plan: Plan) -> None:
        """Open the file, keep what is valid, say what begins; raises `OSError`."""
        self._path = plan.output / METRICS
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._step = plan.start_step
        for record in keep_until(self._path, plan.start_step):
            self._history.add(record)
            if record["kind"] == "evaluation":
                self._evaluated = record["step"]
        self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._size = os.fstat(self._file).st_size
        told = {field.name: getattr(plan, field.name) for field in fields(Plan)}
        record = {"kind": "start", "step": plan.start_step, "time": _now(), "plan": told}
        self._write({**record, "machine": provenance.machine()})
        for text in self._early:
            self.message(text)

    def step(self, record: StepRecord) -> None:
        """Write one line for the step."""
        self._step = record.step
        self._write(step_line(record))

    def evaluation(self, record: EvaluationRecord) -> None:
        """Write one line, with the samples."""
        if record.step == self._evaluated:
            return
        self._evaluated = record.step
        told = {name: getattr(record, name) for name in _EVALUATION_FIELDS}
        if not record.metrics:
            del told["metrics"]
        told["samples"] = [{"prompt": one.prompt, "text": one.text} for one in record.samples]
        self._write({"kind": "evaluation", "time": _now(), **told})

    def saved(self, step: int, path: Path) -> None:
        """Write one line, and see that the disk has all of them before the run relies on it."""
        name = (
            path.relative_to(self._path.parent) if path.is_relative_to(self._path.parent) else path
        )
        self._write({"kind": "saved", "step": step, "time": _now(), "path": str(name)})
        self._sync()

    def message(self, text: str) -> None:
        """Write one line; before the start it waits for it."""
        if self._file is None:
            self._early.append(text)
            return
        self._write({"kind": "message", "step": self._step, "time": _now(), "text": text})

    def end(self, result: TrainResult) -> None:
        """Write how it ended, and close."""
        told = {**result.as_json(), "signal": result.signal}
        self._write({"kind": "end", "step": result.steps, "time": _now(), "result": told})
        self._sync()
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _write(self, record: Mapping[str, Any]) -> None:
        try:
            line = _ENCODER.encode(record)
        except (TypeError, ValueError):  # a path, a NaN; seldom, and a search costs at every step
            record = jsonable(record)
            line = _ENCODER.encode(record)
        self._history.add(record)
        data = self._waiting + line.encode("utf-8", "backslashreplace") + b"\n"
        assert self._file is not None, "a record before the start"
        try:
            written = os.write(self._file, data)
            if written < len(data):
                raise OSError(f"{written} of {len(data)} bytes were written")
        except OSError as error:
            self._repair()
            if not self._failed:
                self._failed = True
                self._problem(f"{self._path} cannot be written: {error}. Make room; it is retried.")
            self._waiting = data if len(data) <= _WAITING else b""
            return
        self._size += len(data)
        self._waiting, self._failed = b"", False

    def _repair(self) -> None:
        """Take back half a line."""
        assert self._file is not None
        try:
            os.ftruncate(self._file, self._size)
        except OSError as error:
            self._problem(f"{self._path} may hold half a line: {error}.")

    def _sync(self) -> None:
        if self._file is None:
            return
        try:
            os.fsync(self._file)
        except OSError as error:
            self._problem(f"{self._path} may not be on the disk yet: {error}.")


def step_line(record: StepRecord) -> dict[str, Any]:
    """Return what the file keeps of a step; what is empty is left out."""
    told: dict[str, Any] = {"kind": "step"}
    for name in _STEP_FIELDS:
        value = getattr(record, name)
        if value is None or value is False or value == "":
            continue
        told[name] = round(value, _PLACES[name]) if name in _PLACES else value
    return told


def read_records(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of a metrics file, passing over a line that is none; raises `OSError`."""
    with path.open("rb") as file:
        for line in file:
            if (record := _record(line)) is not None:
                yield record


def keep_until(path: Path, step: int) -> Iterator[dict[str, Any]]:
    """Yield the records of steps up to `step`, and when all are taken cut the file to just those.

    Nothing is kept at step 0: the run begins anew. A line cut short by a crash goes too. Raises
    `OSError`.
    """
    if not path.exists():
        return
    if step == 0:
        os.truncate(path, 0)
        return
    end, whole = 0, True  # the lines kept are the first `end` bytes, as long as `whole`
    with path.open("rb") as file:
        for line in file:
            record = _record(line)
            if record is not None and record["step"] <= step:
                whole = whole and file.tell() - len(line) == end
                end += len(line)
                yield record
    if whole:
        os.truncate(path, end)
    else:  # a broken line in the middle, as after a power failure
        _rewrite(path, step)


def _rewrite(path: Path, step: int) -> None:
    draft = path.with_name(f".{path.name}.draft")
    with path.open("rb") as old, draft.open("wb") as new:
        for line in old:
            record = _record(line)
            if record is not None and record["step"] <= step:
                new.write(line)
        new.flush()
        os.fsync(new.fileno())
    os.replace(draft, path)


def _record(line: bytes) -> dict[str, Any] | None:
    """Return the object of a line, or None where it is not a whole record."""
    if not line.endswith(b"\n"):
        return None
    try:
        record = json.loads(line)
    except ValueError:  # not JSON, or not UTF-8
        return None
    if not isinstance(record, dict) or not isinstance(record.get("step"), int):
        return None
    needed = _NEEDED.get(record.get("kind", ""), ("kind",))
    return record if all(name in record for name in needed) else None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
