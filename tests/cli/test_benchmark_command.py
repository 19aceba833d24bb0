"""`hanlin benchmark`: what it prints, what it writes, and what it refuses."""

import json

import pytest

from tiny_models import CORPUS


@pytest.fixture
def piqa(tmp_path):
    rows = [{"goal": text[:20], "sol1": text[20:30], "sol2": text[5:12]} for text in CORPUS[:9]]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (tmp_path / "valid.jsonl").write_text(lines, encoding="utf-8")
    (tmp_path / "valid-labels.lst").write_text("0\n1\n1\n" * 3, encoding="utf-8")
    return tmp_path


def test_json_has_the_scores_with_their_intervals(hanlin, tiny_llama, piqa):
    outcome = hanlin("benchmark", tiny_llama, "piqa", piqa, "--json")
    assert outcome.status == 0, outcome.err
    assert list(outcome.json["metrics"]) == ["acc", "acc_norm", "acc_bytes"]
    score = outcome.json["metrics"]["acc"]
    assert score["low"] <= score["value"] <= score["high"]
    assert "benchmark:piqa|shots:0" in score["signature"]
    assert outcome.json["items"] == 9


def test_the_table_shows_the_scores_and_what_stands_in_training_text(
    hanlin, tiny_llama, piqa, tmp_path
):
    training = tmp_path / "training.txt"
    training.write_text("\n".join(CORPUS), encoding="utf-8")
    outcome = hanlin("benchmark", tiny_llama, "piqa", piqa, "--limit", "6", "--against", training)
    assert outcome.status == 0, outcome.err
    assert "PIQA" in outcome.out
    assert "acc_norm" in outcome.out
    assert "in the training text" in outcome.out


@pytest.mark.parametrize("suffix", ["html", "json", "txt", "jsonl"])
def test_a_report_is_written(hanlin, tiny_llama, piqa, suffix):
    path = piqa / f"report.{suffix}"
    outcome = hanlin("benchmark", tiny_llama, "piqa", piqa, "-o", path)
    assert outcome.status == 0, outcome.err
    text = path.read_text(encoding="utf-8")
    if suffix == "jsonl":
        items = [json.loads(line) for line in text.splitlines()]
        assert [item["question"] for item in items] == [goal[:20] for goal in CORPUS[:9]]
        assert all(len(item["scores"]) == 2 for item in items)
    else:
        assert "acc_norm" in text


def test_in_chinese(hanlin, tiny_llama, piqa, monkeypatch):
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    outcome = hanlin("benchmark", tiny_llama, "piqa", piqa)
    assert "物理常识" in outcome.out


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["pika", "."], "'piqa'"),
        (["piqa", "nowhere"], "nowhere"),
        (["piqa", ".", "-o", "report.pdf"], ".html"),
        (["piqa", ".", "-o", "nowhere/report.html"], "folder"),
        (["piqa", ".", "--samples", "2"], "ignored"),
        (["lambada", ".", "--shots", "2"], "fixed"),
    ],
)
def test_what_cannot_be_done_is_one_line(hanlin, tiny_llama, arguments, word):
    outcome = hanlin("benchmark", tiny_llama, *arguments)
    assert outcome.status == 2
    assert outcome.err.count("\n") == 1, outcome.err
    assert word in outcome.err
    assert outcome.out == ""
