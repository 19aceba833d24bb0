"""``hanlin prepare``: what it prints, what it refuses, how it is stopped."""

import gzip
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from hanlin.data.shards import TokenShards
from hanlin.tokenizers import train


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "corpus"
    folder.mkdir()
    lines = [{"text": f"document number {n} of many 第{n}篇"} for n in range(100)]
    content = "\n".join(json.dumps(line) for line in lines) + "\n{\n"
    (folder / "a.jsonl.gz").write_bytes(gzip.compress(content.encode()))
    (folder / "b.txt").write_bytes(b"broken \xff\xfe bytes, " + "翰林学士 ok".encode())
    (folder / ".hidden").write_text("x")
    return folder


@pytest.fixture
def tokenizer(tmp_path):
    train(["document number of many 第篇"] * 9, kind="bpe", vocab_size=300).save(tmp_path / "tok")
    return tmp_path / "tok"


def test_shards_and_what_is_said_about_them(hanlin, folder, tokenizer, tmp_path):
    out = tmp_path / "out"
    outcome = hanlin("prepare", folder, "--tokenizer", tokenizer, "-o", out, "--json")
    assert outcome.status == 0
    data = outcome.json
    shards = TokenShards.open(out, verify=True)
    assert data["kept"] == shards.documents == 101
    assert data["documents"] == 102
    assert data["dropped"] == {"not JSON": 1}
    assert data["tokens"] == shards.tokens
    assert data["bytes"] == shards.bytes
    assert data["replaced"] == 2
    assert data["path"] == str(out)
    assert "line 101 is not JSON" in outcome.err
    assert "1 hidden" in outcome.err

    again = hanlin("prepare", folder, "--tokenizer", tokenizer, "-o", out)
    assert again.status == 0
    assert "there already" in again.out
    assert "not JSON" in again.out


def test_documents_a_split_and_chinese(hanlin, folder, tmp_path, monkeypatch):
    out = tmp_path / "out"
    outcome = hanlin("prepare", folder, "-o", out, "--validation", "20%", "--seed", 4, "--json")
    sides = outcome.json["sides"]
    for side in ("train", "validation"):
        lines = (out / side / "00000.jsonl").read_text(encoding="utf-8").splitlines()
        assert len(lines) == sides[side]["kept"] > 5
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    from hanlin.cli.prepare import _table
    from hanlin.data.prepare import prepare

    text = _table(prepare(folder, tmp_path / "zh"))
    assert "文档" in text
    assert "位于" in text


def test_stages_columns_and_standard_input(hanlin, tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("1\te\u0301tude\n2\tx\n", encoding="utf-8")
    outcome = hanlin(
        "prepare", path, "--column", "2", "--normalise", "--min-length", "2", "-o",
        tmp_path / "out", "--json",
    )  # fmt: skip
    assert outcome.json["dropped"] == {"shorter than 2 characters": 1}
    line = json.loads((tmp_path / "out" / "00000.jsonl").read_text(encoding="utf-8"))
    assert line["text"] == "étude"
    outcome = hanlin(
        "prepare", "-", "--split", "<|endoftext|>", "-o", tmp_path / "in", "--json",
        stdin=b"one\n<|endoftext|>\ntwo\n<|endoftext|>",
    )  # fmt: skip
    assert outcome.json["kept"] == 2


def test_a_forecast_comes_close_and_writes_nothing(hanlin, folder, tokenizer, tmp_path):
    before = sorted(tmp_path.iterdir())
    arguments = ("prepare", folder, "--tokenizer", tokenizer, "-o", tmp_path / "out", "--json")
    told = hanlin(*arguments, "--dry-run").json
    assert sorted(tmp_path.iterdir()) == before
    made = hanlin(*arguments).json
    for name in ("documents", "bytes", "tokens"):
        assert told[name] == pytest.approx(made[name], rel=0.05)
    assert told["files"] == 2
    assert told["disk_bytes"] > 2 * made["tokens"]
    assert told["free_bytes"] > 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere", "-o", "out"], ["no file or folder 'nowhere'"]),
        (["a.txt"], ["--output"]),
        (["-o", "out"], ["SOURCE"]),
        (["a.txt", "-o", "a.txt"], ["is a file"]),
        (["a.txt", "-o", "full"], ["did not make"]),
        (["a.txt", "-o", "out", "--tokenizer", "full"], ["tokenizer"]),
        (["a.txt", "-o", "out", "--validation", "5"], ["no share"]),
        (["a.txt", "-o", "out", "--validation", "lots"], ["'lots'"]),
        (["a.txt", "-o", "out", "--seed", "3"], ["--validation"]),
        (["a.txt", "-o", "out", "--workers", "0"], ["--workers"]),
        (["a.txt", "-o", "out", "--format", "docx"], ["docx", "jsonl"]),
        (["a.csv", "-o", "out"], ["no column 'text'", "label, body"]),
        (["a.csv", "-o", "out", "--dry-run"], ["no column 'text'"]),
        (["empty.txt", "-o", "out"], ["empty"]),
    ],
)
def test_bad_input_is_one_line(hanlin, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("text\n")
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "a.csv").write_text("label,body\n1,x\n")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes").write_text("x")
    before = sorted(tmp_path.iterdir())
    outcome = hanlin("prepare", *arguments)
    assert outcome.status == 2
    assert outcome.out == ""
    assert outcome.err.startswith("hanlin: ")
    assert outcome.err.count("\n") == 1, outcome.err
    for word in words:
        assert word in outcome.err
    assert sorted(tmp_path.iterdir()) == before


def test_ctrl_c_leaves_cleanly_and_the_command_goes_on(folder, tokenizer, tmp_path):
    code = (
        "import time\n"
        "from hanlin.data import draft\n"
        "real = draft.Draft.append\n"
        "def slowly(self, *args, **kwargs):\n"
        "    real(self, *args, **kwargs)\n"
        "    print('one', flush=True)\n"
        "    time.sleep(60)\n"
        "draft.Draft.append = slowly\n"
        "from hanlin.cli import main; main()\n"
    )
    arguments = ["prepare", folder, "--tokenizer", tokenizer, "-o", tmp_path / "out"]
    arguments = [str(argument) for argument in arguments]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments, "--workers", "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"one\n"
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == b"Stopped. The same command goes on from here.\n"
    assert not (tmp_path / "out").exists()
    done = subprocess.run(
        [sys.executable, "-c", "from hanlin.cli import main; main()", *arguments, "--json"],
        capture_output=True,
        timeout=120,
    )
    assert json.loads(done.stdout)["made"] == 1
