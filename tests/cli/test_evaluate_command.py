"""`hanlin evaluate`: what it prints, and what it refuses."""

import json

import pytest

from tiny_models import CONTEXT, CORPUS


@pytest.fixture
def held(tmp_path):
    file = tmp_path / "held.txt"
    file.write_text("\n".join(text[3:60] for text in CORPUS[:10]), encoding="utf-8")
    return file


@pytest.fixture
def training(tmp_path):
    file = tmp_path / "train.txt"
    file.write_text("\n".join(CORPUS), encoding="utf-8")
    return file


def test_json_has_the_metrics_with_their_intervals(hanlin, tiny_llama, held):
    outcome = hanlin("evaluate", tiny_llama, held, "--split", "line", "--json")
    assert outcome.status == 0, outcome.err
    assert set(outcome.json["metrics"]) == {"loss", "perplexity", "bits_per_byte", "accuracy"}
    for score in outcome.json["metrics"].values():
        assert set(score) == {"value", "low", "high", "signature"}
        assert score["low"] <= score["value"] <= score["high"]
    assert outcome.json["documents"] == 10
    assert outcome.json["baselines"] == []


def test_the_table_has_a_row_for_every_baseline(hanlin, tiny_llama, held, training):
    outcome = hanlin("evaluate", tiny_llama, held, "--baselines", training)
    assert outcome.status == 0, outcome.err
    rows = [line.split()[0] for line in outcome.out.splitlines() if line]
    assert {"model", tiny_llama.name, "xz", "zstd"} <= set(rows)
    assert "-gram of" in outcome.out
    assert "word for word" in outcome.out


@pytest.mark.parametrize("suffix", ["html", "json", "txt"])
def test_a_report_is_written(hanlin, tiny_llama, held, tmp_path, suffix):
    path = tmp_path / f"report.{suffix}"
    outcome = hanlin("evaluate", tiny_llama, held, "-o", path, "--metrics", "loss, bits_per_byte")
    assert outcome.status == 0, outcome.err
    text = path.read_text(encoding="utf-8")
    assert "bits" in text
    if suffix == "html":
        assert "计算方法" in text
        assert "context:96" in text
    if suffix == "json":
        json.loads(text)


def test_a_masked_model(hanlin, tiny_masked, held):
    outcome = hanlin("evaluate", tiny_masked, held, "--json")
    assert set(outcome.json["metrics"]) == {"masked_loss"}


def test_in_chinese(hanlin, tiny_llama, held, monkeypatch):
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    outcome = hanlin("evaluate", tiny_llama, held)
    assert "比特/字节" in outcome.out


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--context", CONTEXT + 1], f"{CONTEXT}"),
        (["--stride", "0"], "--stride"),
        (["--metrics", "bleu"], "bits_per_byte"),
        (["--baselines", "nowhere.txt"], "nowhere.txt"),
        (["--baselines", "x", "--no-baselines"], "contradict"),
        (["-o", "report.pdf"], ".html"),
        (["-o", "nowhere/report.html"], "folder"),
        (["--field", ""], "field"),
        (["--source", "1", "--target", "2"], "pairs"),
        (["--setting", "rouge.stemmer=true"], "metric_settings"),
        (["--setting", "rouge"], "key.path=value"),
        (["--positive", "spam"], "positive"),
        (["--against", "nowhere.txt"], "nowhere.txt"),
    ],
)
def test_what_cannot_be_done_is_one_line(hanlin, tiny_llama, held, arguments, word):
    outcome = hanlin("evaluate", tiny_llama, held, *arguments)
    assert outcome.status == 2
    assert outcome.err.count("\n") == 1, outcome.err
    assert word in outcome.err
    assert outcome.out == ""


def test_a_second_model_is_compared_with_an_interval_and_a_p_value(hanlin, tiny_llama, held):
    outcome = hanlin("evaluate", tiny_llama, tiny_llama, held, "--split", "line")
    assert outcome.status == 0, outcome.err
    head = next(line for line in outcome.out.splitlines() if line.startswith("compared with"))
    assert head.split()[-1] == "p"
    assert "95 % interval" in head


def test_written_texts_are_measured_as_set(hanlin, tiny_llama, tmp_path):
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("source\ttarget\n" + "a word\tThe words\n" * 3, encoding="utf-8")
    outcome = hanlin(
        *("evaluate", tiny_llama, pairs, "--objective", "seq2seq", "--max-new-tokens", 3),
        *("--metrics", "rouge1", "--setting", "rouge.tokenize=characters", "--json"),
    )
    assert outcome.status == 0, outcome.err
    assert "tok:characters" in outcome.json["metrics"]["rouge1"]["signature"]


def test_what_is_not_there_or_empty_is_one_line(hanlin, tiny_llama, tiny_classifier, tmp_path):
    empty = tmp_path / "empty.txt"
    empty.write_text("", encoding="utf-8")
    for model, file, word in (
        (tiny_llama, tmp_path / "none.txt", "none.txt"),
        (tiny_llama, empty, "no text"),
        (tmp_path / "none", empty, "no"),
        (tiny_classifier, tmp_path / "conftest.py", ""),
    ):
        outcome = hanlin("evaluate", model, file)
        assert outcome.status == 2
        assert outcome.err.count("\n") == 1, outcome.err
        assert word in outcome.err
