"""Small labelled texts, and classifiers of a few thousand weights that learnt from them."""

import csv
import random
from pathlib import Path
from typing import Any

from tiny_models import save_encoder

GOOD = "fine lovely moving bright good 干净".split()
BAD = "dull silly long dark bad 脏".split()
OTHER = "the film a story word token academy 学士".split()


def rows(count: int, *, seed: int, noise: float = 0.15) -> list[tuple[str, str]]:
    """Texts whose words say the label, mostly."""
    rng = random.Random(seed)
    found = []
    for _ in range(count):
        good = rng.random() < 0.5
        words = [rng.choice(OTHER) for _ in range(5)]
        for _ in range(2):
            words.append(rng.choice(GOOD if (rng.random() >= noise) == good else BAD))
        rng.shuffle(words)
        found.append((" ".join(words), "positive" if good else "negative"))
    return found


def write_table(path: Path, table: list[tuple[str, str]]) -> Path:
    """A CSV of reviews and labels."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["review", "label"])
        writer.writerows(table)
    return path


def settings(folder: Path, **changes: Any) -> dict[str, Any]:
    """Of a run that learns to classify in two seconds."""
    if not (folder / "base").exists():
        save_encoder(folder / "base")
        write_table(folder / "train.csv", rows(400, seed=0))
        write_table(folder / "test.csv", rows(160, seed=1))
    return {
        "model": str(folder / "base"),
        "objective": "classify",
        "data": {"train": str(folder / "train.csv"), "validation": "20%"},
        "batch": {"sequences": 16, "length": 32},
        "optimizer": {"name": "adamw", "lr": 3e-3},
        "duration": "3 epochs",
        "evaluate": "2 epochs",
        "output": str(folder / "run"),
    } | changes
