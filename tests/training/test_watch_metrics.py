"""metrics.jsonl holds every step once, in order, however often a run was killed and went on."""

import json
import math
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import watched_run as run

from hanlin.training.watch.history import CURVES, History
from hanlin.training.watch.metrics import METRICS, MetricsLog, read_records


def log(history: History | None = None, said: list[str] | None = None) -> MetricsLog:
    return MetricsLog(history or History(), problem=(said if said is not None else []).append)


def records(output: Path, kind: str | None = None) -> list[dict[str, Any]]:
    """The records of the file, each line read by a strict reader of JSON."""
    lines = (output / METRICS).read_text().split("\n")
    assert lines.pop() == "", "the last line is whole"
    read = [json.loads(line, parse_constant=pytest.fail) for line in lines]
    return [one for one in read if kind is None or one["kind"] == kind]


def steps(output: Path) -> list[int]:
    return [one["step"] for one in records(output, "step")]


def test_every_record_is_a_line(tmp_path: Path) -> None:
    run.tell([log()], tmp_path, 0, 120, end=True)
    assert steps(tmp_path) == list(range(1, 121))
    assert [one["step"] for one in records(tmp_path, "evaluation")] == [50, 100]
    assert [one["path"] for one in records(tmp_path, "saved")] == [
        "checkpoints/step-00000050",
        "checkpoints/step-00000100",
    ]
    first = records(tmp_path, "step")[0]
    assert first["loss"] == run.step(1).loss, "a loss is written exactly"
    assert records(tmp_path)[0]["plan"]["config"]["data"]["train"] == ["红楼梦.txt"]
    assert records(tmp_path)[-1]["result"]["finished"] is True
    assert records(tmp_path, "evaluation")[0]["samples"][1] == {"prompt": "话说", "text": "宝玉"}


def test_a_resumed_run_has_every_step_once(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    run.tell([log()], whole, 0, 200, end=True)
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    rng = random.Random(seed)
    for case in range(20):
        output = tmp_path / str(case)
        saved = 0
        for _ in range(rng.randrange(1, 6)):
            reached = rng.randrange(saved, 200)
            run.tell([log()], output, saved, reached)
            with (output / METRICS).open("rb+") as file:  # the last line may be half there
                file.truncate(file.seek(0, os.SEEK_END) - rng.randrange(3) * 20)
            saved = rng.choice(range(0, reached + 1, 50)) if reached >= 50 else 0
        kept = [one for one in records_or_none(output) if one["step"] <= saved]
        history = History()
        run.tell([log(history)], output, saved, 200, end=True)
        lost = {one["step"] for one in kept if one["kind"] == "step"} ^ set(range(1, saved + 1))
        assert steps(output) == [n for n in range(1, 201) if n not in lost]
        if not lost:
            assert records(output, "step") == records(whole, "step")
            seen = [one["step"] for one in records(output, "evaluation")]
            assert seen == sorted(set(seen))


def records_or_none(output: Path) -> list[dict[str, Any]]:
    return list(read_records(output / METRICS))


def test_a_resumed_run_remembers_its_curves(tmp_path: Path) -> None:
    whole, resumed = History(), History()
    run.tell([log(whole)], tmp_path / "whole", 0, 200, end=True)
    run.tell([log()], tmp_path / "cut", 0, 130)
    run.tell([log(resumed)], tmp_path / "cut", 100, 200, end=True)
    for name in CURVES:
        assert resumed.curves[name].extremes() == whole.curves[name].extremes()
        assert resumed.curves[name].smooth() == whole.curves[name].smooth()
    strip = [{k: v for k, v in one.items() if k != "time"} for one in resumed.evaluations]
    assert strip == [{k: v for k, v in one.items() if k != "time"} for one in whole.evaluations]
    assert [step for step, _ in resumed.starts] == [0, 100]


def test_an_evaluation_made_again_stands_there_once(tmp_path: Path) -> None:
    run.tell([log()], tmp_path, 0, 100)
    again = log()
    again.start(run.plan(tmp_path, start=100))
    again.evaluation(run.evaluation(100))
    again.evaluation(run.evaluation(101))
    assert [one["step"] for one in records(tmp_path, "evaluation")] == [50, 100, 101]


def test_a_run_from_the_beginning_begins_a_new_file(tmp_path: Path) -> None:
    run.tell([log()], tmp_path, 0, 100)
    run.tell([log()], tmp_path, 0, 30)
    assert steps(tmp_path) == list(range(1, 31))


def test_broken_lines_in_the_middle_are_let_go(tmp_path: Path) -> None:
    run.tell([log()], tmp_path, 0, 60)
    path = tmp_path / METRICS
    lines = path.read_bytes().splitlines(keepends=True)
    for place, junk in ((10, b"\x00" * 50 + b"\n"), (20, b'{"kind":"st\n'), (30, b"[1]\n"),
                        (35, b'{"kind":"step","step":"x"}\n'), (36, b"\xff\xfe\n")):  # fmt: skip
        lines.insert(place, junk)
    path.write_bytes(b"".join(lines))
    run.tell([log()], tmp_path, 50, 70)
    assert steps(tmp_path) == list(range(1, 71))
    assert [one.name for one in tmp_path.iterdir()] == [METRICS]


def test_numbers_that_are_none_are_strict_json(tmp_path: Path) -> None:
    history = History()
    one = log(history)
    one.start(run.plan(tmp_path))
    bad = run.step(1, loss=math.nan, grad_norm=math.inf, bits_per_byte=None, skipped=True,
                   reason="the loss is not a number")  # fmt: skip
    one.step(bad)
    one.evaluation(run.evaluation(1, loss=math.nan, perplexity=math.inf))
    told, looked = records(tmp_path, "step")[0], records(tmp_path, "evaluation")[0]
    assert (told["loss"], told["grad_norm"], told["skipped"]) == ("NaN", "Infinity", True)
    assert "bits_per_byte" not in told
    assert (looked["loss"], looked["perplexity"]) == ("NaN", "Infinity")
    assert history.skipped == 1
    assert history.curves["loss"].odd_count == 1
    assert math.isnan(history.evaluations[0]["loss"])


def test_half_a_surrogate_in_a_sample_does_no_harm(tmp_path: Path) -> None:
    one = log()
    one.start(run.plan(tmp_path))
    one.evaluation(run.evaluation(1, samples=(run.Sample("\ud83d", "\x00\u2028\n"),)))
    assert records(tmp_path, "evaluation")[0]["samples"] == [
        {"prompt": "\ud83d", "text": "\x00\u2028\n"}
    ]


def test_messages_from_before_the_start_are_kept(tmp_path: Path) -> None:
    one = log()
    one.message("Going on from step 50")
    one.start(run.plan(tmp_path, start=50))
    one.message("later")
    assert [(m["step"], m["text"]) for m in records(tmp_path, "message")] == [
        (50, "Going on from step 50"),
        (50, "later"),
    ]


def test_a_full_disk_holds_records_back_and_loses_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    one = log(said=said)
    one.start(run.plan(tmp_path))
    one.step(run.step(1))
    write = os.write

    def full(file: int, data: bytes) -> int:
        return write(file, data[:10])  # half a line fits

    monkeypatch.setattr(os, "write", full)
    for n in range(2, 20):
        one.step(run.step(n))
    assert steps(tmp_path) == [1]
    assert len(said) == 1
    assert "Make room" in said[0]
    monkeypatch.undo()
    one.step(run.step(20))
    assert steps(tmp_path) == list(range(1, 21))


KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, {here!r})
import watched_run as run
from hanlin.training.watch.history import History
from hanlin.training.watch.metrics import MetricsLog
one, output = MetricsLog(History(), problem=print), Path({output!r})
one.start(run.plan(output, start={start}))
for n in range({start} + 1, 10**9):
    one.step(run.step(n))
    print(n, flush=True)
"""


def test_a_killed_process_loses_no_step_it_was_told(tmp_path: Path) -> None:
    start = 0
    for _ in range(3):
        code = KILLED.format(here=str(Path(__file__).parent), output=str(tmp_path), start=start)
        child = subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, bufsize=1
        )
        assert child.stdout is not None
        told = [int(next(child.stdout)) for _ in range(random.randrange(20, 200))]
        child.send_signal(signal.SIGKILL)
        told += [int(line) for line in child.stdout if line.strip().isdigit()]
        child.wait()
        kept = [one["step"] for one in records_or_none(tmp_path) if one["kind"] == "step"]
        assert kept[: told[-1]] == list(range(1, told[-1] + 1))
        start = told[-1] - 10
    run.tell([log()], tmp_path, start, start + 5)
    assert steps(tmp_path) == list(range(1, start + 6))
