"""A task's metrics reach everyone who watches: the file, the terminal, the page."""

import io
import json
from pathlib import Path

import pytest
from watched_run import evaluation, plan, result, step

from hanlin.training.watch import METRICS, report, watchers


def watched(output: Path, *, judged: bool) -> str:
    """Tell a short run with two evaluations; returns what stood on the terminal."""
    stream = io.StringIO()
    told = watchers(stream=stream, language="en")
    for watcher in told:
        watcher.start(plan(output))
    for n in (1, 2):
        found = {"accuracy": 0.5 + n / 10, "macro F1": float("nan")} if judged else {}
        for watcher in told:
            watcher.step(step(n))
            watcher.evaluation(evaluation(n, metrics=found))
    for watcher in told:
        watcher.end(result(output, 2))
    return stream.getvalue()


def test_metrics_are_kept_and_shown(tmp_path: Path) -> None:
    shown = watched(tmp_path, judged=True)
    assert "accuracy 0.7" in shown
    lines = [json.loads(line) for line in (tmp_path / METRICS).read_text().splitlines()]
    kept = [line["metrics"] for line in lines if line["kind"] == "evaluation"]
    assert kept == [{"accuracy": 0.6, "macro F1": "NaN"}, {"accuracy": 0.7, "macro F1": "NaN"}]
    told = report(tmp_path)
    page = told.html(language="en")
    assert page.count("accuracy") >= 3  # a fact, a figure, a column
    terminal = "\n".join(told.terminal(language="zh", width=100).splitlines())
    assert "accuracy" in terminal


def test_a_run_that_nobody_judges_says_nothing_of_metrics(tmp_path: Path) -> None:
    watched(tmp_path, judged=False)
    assert "metrics" not in (tmp_path / METRICS).read_text().split('"evaluation"')[1].split("\n")[0]


def test_a_file_from_before_there_were_metrics_is_read(tmp_path: Path) -> None:
    watched(tmp_path, judged=False)
    assert "accuracy" not in report(tmp_path).html(language="en")


@pytest.mark.parametrize("name", ["accuracy", "macro F1"])
def test_a_resumed_run_has_the_whole_curve(name: str, tmp_path: Path) -> None:
    watched(tmp_path, judged=True)
    told = watchers(stream=io.StringIO(), language="en")
    for watcher in told:
        watcher.start(plan(tmp_path, start=2))
        watcher.step(step(3))
        watcher.evaluation(evaluation(3, metrics={"accuracy": 0.9, "macro F1": 0.2}))
        watcher.end(result(tmp_path, 3))
    lines = [json.loads(line) for line in (tmp_path / METRICS).read_text().splitlines()]
    assert [line["step"] for line in lines if name in line.get("metrics", {})] == [1, 2, 3]
