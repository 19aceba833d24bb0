"""A run of embed leaves a directory that sentence-transformers loads with the same vectors."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hanlin
from hanlin.errors import ConfigError
from hanlin.tasks import Encoder
from hanlin.training.run import train
from tiny_models import CORPUS, save_decoder, save_encoder

TEXTS = ["What is a token?", "翰林院的学士", "A language model continues a text " * 8]


def config(folder: Path, base: Path, **changes: Any) -> dict[str, Any]:
    rows = [
        {"anchor": text, "positive": text[::-1], "negative": other}
        for text, other in zip(CORPUS[:5] * 3, CORPUS[1:6] * 3, strict=True)
    ]
    (folder / "pairs.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8"
    )
    return {
        "model": str(base),
        "objective": {"name": "embed", "dimensions": [8]},
        "data": {"train": str(folder / "pairs.jsonl"), "validation": "20%"},
        "batch": {"sequences": 4, "length": 24},
        "duration": "4 steps",
        "output": str(folder / "run"),
        **changes,
    }


@pytest.mark.parametrize("head", ["none", "masked-lm"])
def test_sentence_transformers_loads_what_was_trained(head: str, tmp_path: Path) -> None:
    library = pytest.importorskip("sentence_transformers")
    base = save_encoder(tmp_path / "base", head=head)
    train(config(tmp_path, base), watchers=[])
    model = hanlin.load(tmp_path / "run", dtype="float32")
    assert isinstance(model, Encoder)
    ours = model.embed(TEXTS)
    np.testing.assert_allclose(np.linalg.norm(ours, axis=1), 1, atol=1e-5)
    theirs = library.SentenceTransformer(str(tmp_path / "run"), device="cpu").encode(TEXTS)
    np.testing.assert_allclose(ours, theirs, atol=2e-5)
    before = hanlin.load(base).embed(TEXTS)
    assert np.abs(ours - before / np.linalg.norm(before, axis=1, keepdims=True)).max() > 1e-3
    task = json.loads((tmp_path / "run" / "hanlin.json").read_text())["task"]
    assert (task["name"], task["pairs"], task["dimensions"]) == ("embed", 12, [8])


def test_a_longer_run_writes_the_directory_again(tmp_path: Path) -> None:
    base = save_encoder(tmp_path / "base")
    train(config(tmp_path, base), watchers=[])
    first = hanlin.load(tmp_path / "run").embed(TEXTS)
    train(config(tmp_path, base, duration="8 steps"), watchers=[], resume=True)
    second = hanlin.load(tmp_path / "run").embed(TEXTS)
    assert np.abs(first - second).max() > 1e-4


def test_a_decoder_learns_to_embed(tmp_path: Path) -> None:
    base = save_decoder(tmp_path / "base")
    train(config(tmp_path, base), watchers=[])
    model = hanlin.load(tmp_path / "run", dtype="float32")
    assert model.pooling.modes == ("lasttoken",)
    assert model.embed(TEXTS).shape == (3, 32)


def test_micro_batches_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="against each other"):
        train(
            config(tmp_path, tmp_path, batch={"sequences": 4, "length": 24, "micro": 2}),
            watchers=[],
        )
