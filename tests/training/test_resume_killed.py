"""A run that is killed at random moments ends in the very same weights as one that never was."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from kill_worker import KEEP

from hanlin.tokenizers import train as learn
from tiny_models import CORPUS, save_encoder, word_tokenizer

KILLS = 8

COMMON: dict[str, Any] = {
    "batch": {"sequences": 4, "length": 24, "micro": 2},
    "checkpoint": {"every": "3 steps", "keep": KEEP},
    "evaluate": {"every": "11 steps"},
    "seed": 5,
}
TINY = {"hidden_size": 32, "num_layers": 2, "num_heads": 4, "max_context": 96, "dropout": 0.1}

RUNS: dict[str, dict[str, Any]] = {
    "decoder": {
        "model": {"family": "gpt2", **TINY},
        "objective": "causal-lm",
        "duration": "30 steps",
        "schedule": {"name": "cosine", "warmup": "5 steps"},
        "average": 0.9,
    },
    "encoder": {
        "model": {"family": "bert", **TINY},
        "objective": "masked-lm",
        "duration": "3k tokens",
        "optimizer": {"name": "muon"},
        "precision": "bf16",
    },
    "encoder-decoder": {
        "model": {"family": "bart", **TINY},
        "objective": "denoising",
        "duration": "3 epochs",
        "optimizer": {"name": "sgd", "lr": 0.05},
        "schedule": {"name": "warmup-stable-decay"},
    },
    "classifier": {
        "model": "reference",
        "objective": {"name": "classify", "weights": "balanced", "dropout": 0.1},
        "duration": "3 epochs",
        "schedule": {"name": "linear", "warmup": 0.1},
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("shape", RUNS)
def test_a_run_killed_again_and_again_gives_the_same_bits(shape: str, tmp_path: Path) -> None:
    text = tmp_path / "text.jsonl"
    text.write_text("\n".join(json.dumps({"text": line}) for line in CORPUS * 2))
    special = ["<|endoftext|>", "<pad>", "<mask>"]
    tokenizer = learn(CORPUS, kind="bpe", vocab_size=400, special_tokens=special)
    if shape == "encoder":
        tokenizer = word_tokenizer()
    tokenizer.save(tmp_path / "tokenizer")
    config = {
        **COMMON,
        **RUNS[shape],
        "tokenizer": str(tmp_path / "tokenizer"),
        "data": {"train": str(text), "validation": "20%"},
    }
    if shape == "classifier":
        rows = [{"text": line, "label": n % 3} for n, line in enumerate(CORPUS * 2)]
        text.write_text("\n".join(map(json.dumps, rows)))
        config["model"] = str(save_encoder(tmp_path / "reference", head="none"))
        del config["tokenizer"]
    seed = random.randrange(10**6)
    print("seed", seed)
    order = {"config": config, "folder": str(tmp_path), "seed": seed, "kills": KILLS}
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("kill_worker.py"))],
        input=json.dumps(order),
        capture_output=True,
        text=True,
        timeout=400,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    told = json.loads(done.stdout.splitlines()[-1])
    print(told)
    assert told["killed"] == KILLS + 3
    assert told["terminated"] >= 2
