"""The scripts that measure beside peers still run, on data and models made here, untimed."""

import csv
import importlib.util
import json
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

import hanlin
from chat_cases import CHATML, tokenizer_with
from hanlin.models.directory import save_directory
from hanlin.models.new import new_config
from hanlin.models.transformer import Transformer
from hanlin.tokenizers import train
from tiny_models import CORPUS, save_decoder, save_encoder

SCRIPTS = Path(__file__).parents[2] / "benchmarks"
GOOD, BAD = "a fine and moving film", "a dull and silly film"


def script(name: str) -> ModuleType:
    """A script as a module; nothing is measured by loading it."""
    spec = importlib.util.spec_from_file_location(f"measuring_{name}", SCRIPTS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def called(monkeypatch: pytest.MonkeyPatch, module: ModuleType, *arguments: object) -> None:
    """Its main function, as from a shell."""
    monkeypatch.setattr(sys, "argv", [module.__name__, *map(str, arguments)])
    module.main()


def jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def test_choices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("lm_eval.models.huggingface")
    options = {"text": ["words", "a token"], "label": ["A", "B"]}
    asked = [{"question": text[:20], "choices": options, "answerKey": "B"} for text in CORPUS[:3]]
    jsonl(tmp_path / "arc/ARC-Easy/test.jsonl", asked)
    goals = [{"goal": t[:20], "sol1": "words", "sol2": "a token", "label": 1} for t in CORPUS[:3]]
    jsonl(tmp_path / "piqa/valid.jsonl", goals)
    for split in ("dev", "test"):
        file = tmp_path / "cmmlu" / split / "arts.csv"
        file.parent.mkdir(parents=True)
        with file.open("w", encoding="utf-8", newline="") as out:
            rows = [["Question", *"ABCD", "Answer"], *[["词元", *"1234", "B"]] * 5]
            csv.writer(out).writerows(rows)
    model = save_decoder(tmp_path / "model", max_context=512)
    monkeypatch.setattr("hanlin.models.named.pull", lambda name: model)
    called(monkeypatch, script("choices"), tmp_path, "--items", 2, "--rounds", 1, "--batches", 1, 2)
    told = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in told] == ["arc-easy", "piqa", "cmmlu"]
    assert all(float(line.rpartition(" ")[2]) < 1e-3 for line in told)


def test_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rouge_score")
    pytest.importorskip("sklearn")
    monkeypatch.setenv("OMP_NUM_THREADS", os.environ.get("OMP_NUM_THREADS", "1"))  # it sets it
    for ours, theirs in script("metrics").cases(texts=3, rows=300, resamples=3).values():
        ours()
        theirs()


def test_translation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["<|endoftext|>", "<pad>"]
    tokenizer = train(CORPUS, kind="bpe", vocab_size=400, special_tokens=names)
    sizes = {"hidden_size": 16, "num_layers": 1, "num_heads": 2, "max_context": 64}
    torch.manual_seed(0)
    network = Transformer(new_config("marian", tokenizer=tokenizer, **sizes)).eval()
    model = save_directory(
        network, tmp_path / "model", tokenizer=tokenizer, generation={"max_new_tokens": 8}
    )
    for side, texts in (("a", CORPUS[:4]), ("b", CORPUS[1:5])):
        lines = "".join(f"{text[:24]}\n" for text in texts)
        (tmp_path / f"{side}.txt").write_text(lines, encoding="utf-8")
    sides = tmp_path / "a.txt", tmp_path / "b.txt"
    called(monkeypatch, script("translation"), model, *sides, "--rounds", 1, "--beams", 2, "--json")
    found = json.loads(capsys.readouterr().out)
    assert found["sentences"] == found["same_texts"] == 4


def test_following(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tokenizer = tokenizer_with(CHATML)
    sizes = {"hidden_size": 32, "num_layers": 2, "num_heads": 4, "max_context": 256}
    torch.manual_seed(0)
    network = Transformer(new_config("llama", tokenizer=tokenizer, **sizes)).eval()
    base = save_directory(network, tmp_path / "base", tokenizer=tokenizer)
    rows = [{"instruction": text[:20], "input": "", "output": text[20:40]} for text in CORPUS[:5]]
    jsonl(tmp_path / "rows.jsonl", rows)
    hanlin.train(
        {
            "model": str(base), "objective": "instruct", "method": {"kind": "lora", "rank": 4},
            "data": {"train": str(tmp_path / "rows.jsonl"), "validation": []},
            "batch": {"sequences": 4, "length": 128}, "duration": "3 steps",
            "output": str(tmp_path / "adapter"),
        },
        watchers=[],
    )  # fmt: skip
    capsys.readouterr()
    sources = tmp_path / "adapter", tmp_path / "rows.jsonl"
    called(monkeypatch, script("following"), *sources, "--new-tokens", 6, "--json")
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [count for name, count in found.items() if name.startswith("prompts")] == [5]
    assert found["answers equal with the adapter and merged"] == 5
    assert found["answers equal merged and in transformers"] == 5
    assert found["answers that end"] + found["answers cut at the limit"] == 5


def test_few_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("sklearn")
    for name, text in (("good", GOOD), ("bad", BAD)):
        lines = "".join(f"{text} number {n}\n" for n in range(20))
        (tmp_path / f"{name}.txt").write_text(lines, encoding="utf-8")
    sources = [f"{name}={tmp_path / name}.txt" for name in ("good", "bad")]
    called(
        monkeypatch, script("few_labels"), "files", *sources, "--labels", 16, "--draws", 1,
        "--sure", 0.6, "--json",
    )  # fmt: skip
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert list(found)[:2] == ["labelled", "labelled + noise"]
    assert found["labelled"] == [[1.0, 1.0]]


@pytest.mark.parametrize("side", ["ours", "theirs"])
def test_finetuning(side: str, tmp_path: Path) -> None:
    for part, count in (("train", 32), ("test", 6)):
        lines = (f"{(BAD, GOOD)[n % 2]} {n}\t{n % 2}\n" for n in range(count))
        (tmp_path / f"{part}.tsv").write_text("".join(lines), encoding="utf-8")
    job = {
        "model": str(save_encoder(tmp_path / "model")), "lr": 1e-3, "epochs": 1, "seed": 0,
        "best": False, "precision": "fp32",
    }  # fmt: skip
    if side == "theirs":
        pytest.importorskip("accelerate")
    module = script("finetuning")
    found = getattr(module, side)(tmp_path, tmp_path / "out", job)
    assert found["accuracy"] in {n / 6 for n in range(7)}
    assert module.baseline(tmp_path)["accuracy"] == 1.0
