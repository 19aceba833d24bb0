"""A LoRA from the command line: trained, gone on with, chatted with, merged, judged."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import hanlin as library
from tiny_models import save_decoder

Command = Callable[..., Any]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return save_decoder(tmp_path / "base", chat=False, initializer_range=0.05)


def settings(tmp_path: Path, base: Path, objective: dict[str, Any], rows: list[Any]) -> Path:
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = {
        "model": str(base),
        "objective": objective,
        "data": {"train": str(tmp_path / "rows.jsonl"), "validation": "25%"},
        "method": {"kind": "lora", "rank": 4},
        "batch": {"sequences": 4, "length": 90},
        "optimizer": {"lr": 0.01, "weight_decay": 0.0},
        "schedule": {"name": "constant", "warmup": 0},
        "duration": "6 steps",
        "evaluate": {"every": "3 steps", "samples": 0},
        "output": str(tmp_path / "run"),
    }
    path = tmp_path / "train.yaml"
    path.write_text(json.dumps(config))
    return path


INSTRUCTIONS = [
    {"instruction": f"What is {n}?", "output": "A number." if n % 2 else "A text."}
    for n in range(12)
]
PAIRS = [
    {"prompt": f"What is {n}?", "chosen": "a number", "rejected": "A NUMBER"} for n in range(12)
]


def test_instructions(hanlin: Command, base: Path, tmp_path: Path) -> None:
    path = settings(tmp_path, base, {"name": "instruct", "template": "chatml"}, INSTRUCTIONS)
    done = hanlin("train", path, "--json")
    assert done.status == 0, done.err
    run = tmp_path / "run"
    assert (run / "adapter_config.json").is_file()
    assert not (run / "model.safetensors").exists()
    evaluations = [
        json.loads(line)
        for line in (run / "metrics.jsonl").read_text().splitlines()
        if "evaluation" in line
    ]
    assert evaluations
    about = json.loads((run / "hanlin.json").read_text())
    assert about["task"] == {"name": "instruct", "conversations": 9, "template": "chatml"}
    answer = library.load(run, dtype="float32").chat("What is 1?", temperature=0, max_new_tokens=5)
    merged = hanlin("merge", run, "-o", tmp_path / "merged", "--json")
    assert merged.status == 0, merged.err
    assert merged.json["bytes"] > 0
    again = library.load(tmp_path / "merged", dtype="float32")
    assert again.chat("What is 1?", temperature=0, max_new_tokens=5).tokens == answer.tokens
    assert json.loads((tmp_path / "merged" / "hanlin.json").read_text()) == about
    refused = hanlin("merge", tmp_path / "merged", "-o", tmp_path / "x")
    assert refused.status == 2
    assert "not the directory of an adapter" in refused.err


def test_a_lora_goes_on_exactly(hanlin: Command, base: Path, tmp_path: Path) -> None:
    path = settings(tmp_path, base, {"name": "instruct", "template": "chatml"}, INSTRUCTIONS)
    assert hanlin("train", path).status == 0
    once = load_file(tmp_path / "run" / "adapter_model.safetensors")
    other = f"output={tmp_path / 'other'}"
    assert hanlin("train", path, other, "duration=3 steps").status == 0
    assert hanlin("train", path, other, "--resume").status == 0
    twice = load_file(tmp_path / "other" / "adapter_model.safetensors")
    assert set(once) == set(twice)
    assert all(torch.equal(once[name], twice[name]) for name in once)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_preferences(hanlin: Command, base: Path, tmp_path: Path, method: str) -> None:
    path = settings(tmp_path, base, {"name": "prefer", "template": "chatml"}, PAIRS)
    changes = () if method == "lora" else ('method={"kind": "full"}', "optimizer.lr=0.003")
    done = hanlin("train", path, "--json", *changes)
    assert done.status == 0, done.err
    run = tmp_path / "run"
    text = (run / "metrics.jsonl").read_text()
    assert "preference_accuracy" in text
    assert "reward_margin" in text
    assert done.json["validation"]["loss"] < 0.693
    assert (run / "model.safetensors").exists() is (method == "full")
    assert library.load(run).chat("What is 1?", max_new_tokens=3).tokens


def test_what_cannot_be_is_said(hanlin: Command, base: Path, tmp_path: Path) -> None:
    path = settings(tmp_path, base, {"name": "instruct"}, INSTRUCTIONS)
    told = hanlin("train", path)
    assert told.status == 2
    assert "objective.template=chatml" in told.err
    told = hanlin("train", path, "objective=prefer")
    assert told.status == 2
    assert "not both chosen and rejected" in told.err
    told = hanlin("train", path, 'method={"kind": "lora", "targets": ["q_porj"]}')
    assert told.status == 2
