"""``hanlin tokenizer``: results, files with faults, nothing half written."""

import gzip
import json
from pathlib import Path

import pytest

from hanlin.cli import run
from hanlin.tokenizers import Tokenizer

TEXT = "Hello world, hello there.\n你好，世界。你好，翰林。\n" * 30


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


def train(*arguments: object) -> int:
    return run(["tokenizer", "train", *map(str, arguments)])


@pytest.mark.parametrize("kind", ["bpe", "wordpiece", "unigram"])
def test_train_then_measure(
    tmp_path: Path, corpus: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    out = tmp_path / "new" / "tok"
    assert train(corpus, "--kind", kind, "--vocab-size", 330, "-o", out, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["path"], result["vocab_size"]) == (str(out), Tokenizer.load(out).vocab_size)
    assert run(["tokenizer", "measure", str(out), str(corpus), "--json"]) == 0
    measured = json.loads(capsys.readouterr().out)
    assert measured["bytes_per_token"] > 1
    assert measured["round_trip"] == (1.0 if kind == "bpe" else measured["round_trip"])
    assert set(measured["by_language"]) == {"en", "zh"}
    assert run(["tokenizer", "measure", str(out), str(corpus)]) == 0
    assert "Han" in capsys.readouterr().out


def test_of_records_only_the_text_is_read(
    tmp_path: Path, corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = tmp_path / "records.jsonl.gz"
    with gzip.open(records, "wt", encoding="utf-8") as file:
        file.write(json.dumps({"label": "x", "text": TEXT}) + "\n")
        file.write("{broken\n")
    for name, path in (("plain", corpus), ("records", records)):
        assert train(path, "--vocab-size", 330, "-o", tmp_path / name) == 0
    assert "records.jsonl.gz" in capsys.readouterr().err
    plain, read = (Tokenizer.load(tmp_path / name) for name in ("plain", "records"))
    assert read.hash == plain.hash


def test_broken_utf8_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "broken.txt"
    path.write_bytes(b"\xef\xbb\xbfabc \xff def \xef\xbf\xbd \xe4\xbd\n" * 9)
    out = tmp_path / "tok"
    assert train(path, "--vocab-size", 300, "-o", out, "--json") == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["replaced_bytes"] == 18
    assert "18" in captured.err


def test_refusals_leave_nothing_behind(
    tmp_path: Path, corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "tok"
    empty = tmp_path / "empty.txt"
    empty.touch()
    for arguments, words in (
        ((tmp_path / "absent", "--vocab-size", 300, "-o", out), "There is no file"),
        ((tmp_path, "--vocab-size", 300, "-o", out), "is a directory"),
        ((empty, "--vocab-size", 300, "-o", out), "no text"),
        ((corpus, "--vocab-size", 30, "-o", out), "at least 257"),
        ((corpus, "--vocab-size", 300, "-o", out, "--pattern", "("), "pattern"),
        ((corpus, "--vocab-size", 300, "-o", corpus), "exists already"),
        ((corpus, "--vocab-size", 300, "-o", corpus / "below"), "cannot be written"),
    ):
        assert train(*arguments) == 2
        captured = capsys.readouterr()
        assert words in captured.err
        assert captured.out == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["corpus.txt", "empty.txt"]


def test_a_directory_is_replaced_only_when_asked(
    tmp_path: Path, corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "tok"
    assert train(corpus, "--vocab-size", 270, "-o", out) == 0
    assert train(corpus, "--vocab-size", 280, "-o", out) == 2
    assert Tokenizer.load(out).vocab_size == 270
    assert train(corpus, "--vocab-size", 280, "-o", out, "--force") == 0
    assert Tokenizer.load(out).vocab_size == 280
    assert sorted(path.name for path in tmp_path.iterdir()) == ["corpus.txt", "tok"]


def test_a_dry_run_writes_nothing(
    tmp_path: Path, corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(corpus, "--vocab-size", 300, "-o", tmp_path / "t", "--dry-run", "--json") == 0
    assert json.loads(capsys.readouterr().out)["bytes"] == corpus.stat().st_size
    assert not (tmp_path / "t").exists()
