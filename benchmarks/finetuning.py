"""Fine-tuning a classifier beside transformers' Trainer: same weights, same data, same passes.

    python benchmarks/finetuning.py DATA [--seeds 3] [--epochs 3] [--lr 1e-4] [--json]

DATA holds train.tsv and test.tsv of SST-2 (sentence, label; no header). For every seed ours and
theirs run one after the other in processes of their own, each from the files to a saved model; the
time is of all that, without the imports. Theirs is `Trainer` as its documentation shows it: dynamic
padding (`DataCollatorWithPadding`), float32; and, as a second one, the best its settings offer:
bfloat16 and batches of like lengths. Ours is `hanlin.train` in the precision that the quickstart
chooses on this machine. All three take AdamW, the same learning rate, a linear schedule with a
tenth of warm-up, and 32 sentences a step. Beside them TF-IDF with logistic regression.
Needs the `dev` extra.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SEQUENCES, LENGTH, WARMUP = 32, 64, 0.1


def rows(path: Path) -> tuple[list[str], list[int]]:
    """Sentences and their labels."""
    lines = path.read_text(encoding="utf-8").splitlines()
    pairs = [line.split("\t") for line in lines if line]
    return [pair[0] for pair in pairs], [int(pair[1]) for pair in pairs]


def ours(data: Path, output: Path, job: dict[str, Any]) -> dict[str, Any]:
    """Train by `hanlin.train`, predict by calling what it made."""
    import torch

    import hanlin
    from hanlin.training.cost import machine_peak
    from hanlin.training.run import train

    torch.zeros(8, 8) @ torch.zeros(8, 8)
    precision = job.get("precision") or (
        "bf16" if machine_peak("bf16", seconds=0.3) > 1.5 * machine_peak("fp32", seconds=0.3)
        else "fp32"
    )  # fmt: skip
    settings = {
        "model": job["model"],
        "objective": "classify",
        "data": {"train": str(data / "train.tsv"), "validation": []},
        "batch": {"sequences": SEQUENCES, "length": LENGTH},
        "optimizer": {
            "name": "adamw", "lr": job["lr"], "weight_decay": 0.01, "betas": [0.9, 0.999]},
        "schedule": {"name": "linear", "warmup": WARMUP},
        "duration": f"{job['epochs']} epochs",
        "precision": precision,
        "seed": job["seed"],
        "output": str(output),
    }  # fmt: skip
    begin = time.perf_counter()
    train(settings, watchers=[])
    seconds = time.perf_counter() - begin
    texts, labels = rows(data / "test.tsv")
    found = hanlin.load(output)(texts)
    right = sum(int(label.name) == wanted for label, wanted in zip(found, labels, strict=True))
    return {"seconds": seconds, "accuracy": right / len(labels), "precision": precision}


def theirs(data: Path, output: Path, job: dict[str, Any]) -> dict[str, Any]:
    """Train and predict by transformers' Trainer."""
    import numpy as np
    import torch
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
        set_seed,
    )
    from transformers.utils import logging

    logging.set_verbosity_error()
    torch.zeros(8, 8) @ torch.zeros(8, 8)

    class Rows(torch.utils.data.Dataset[dict[str, Any]]):
        def __init__(self, texts: list[str], labels: list[int]) -> None:
            self.encoded = tokenizer(texts, truncation=True, max_length=LENGTH)
            self.labels = labels

        def __len__(self) -> int:
            return len(self.labels)

        def __getitem__(self, index: int) -> dict[str, Any]:
            return {**{k: v[index] for k, v in self.encoded.items()}, "labels": self.labels[index]}

    begin = time.perf_counter()
    set_seed(job["seed"])
    tokenizer = AutoTokenizer.from_pretrained(job["model"])
    model = AutoModelForSequenceClassification.from_pretrained(job["model"], num_labels=2)
    best: dict[str, Any] = {}
    if job["best"]:
        best = {"bf16": True}
        fields = TrainingArguments.__dataclass_fields__
        if "train_sampling_strategy" in fields:
            best["train_sampling_strategy"] = "group_by_length"
        else:
            best["group_by_length"] = True
    arguments = TrainingArguments(
        output_dir=str(output),
        num_train_epochs=job["epochs"],
        per_device_train_batch_size=SEQUENCES,
        per_device_eval_batch_size=SEQUENCES,
        learning_rate=job["lr"],
        weight_decay=0.01,
        lr_scheduler_type="linear",
        warmup_steps=WARMUP,
        seed=job["seed"],
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
        **best,
    )
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=Rows(*rows(data / "train.tsv")),
        data_collator=DataCollatorWithPadding(tokenizer),
        processing_class=tokenizer,
    )
    trainer.train()
    trainer.save_model(str(output))
    seconds = time.perf_counter() - begin
    texts, labels = rows(data / "test.tsv")
    scores = trainer.predict(Rows(texts, labels)).predictions
    right = int((np.argmax(scores, -1) == np.array(labels)).sum())
    return {"seconds": seconds, "accuracy": right / len(labels)}


def baseline(data: Path) -> dict[str, Any]:
    """TF-IDF of words and pairs of them, with logistic regression."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    begin = time.perf_counter()
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    made = make_pipeline(words, LogisticRegression(C=10, max_iter=1000))
    made.fit(*rows(data / "train.tsv"))
    seconds = time.perf_counter() - begin
    return {"seconds": seconds, "accuracy": float(made.score(*rows(data / "test.tsv")))}


def apart(name: str, data: Path, job: dict[str, Any]) -> dict[str, Any]:
    """One run in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        told = json.dumps({"name": name, "data": str(data), "output": f"{folder}/out", **job})
        done = subprocess.run(
            [sys.executable, __file__, "--one", told], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(done.stderr[-3000:])
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--lr", type=float, default=1e-4)
    parser.add_argument("--precision", choices=["fp32", "bf16"], help="of ours; chosen without")
    parser.add_argument("--without-best", action="store_true", help="only their plain settings")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        job = json.loads(given.one)
        run = ours if job.pop("name") == "ours" else theirs
        print(json.dumps(run(Path(job.pop("data")), Path(job.pop("output")), job)))
        return
    if given.data is None:
        parser.error("name the folder with train.tsv and test.tsv")
    from hanlin.models.named import resolve

    job = {"model": str(resolve("minilm")), "epochs": given.epochs, "lr": given.lr, "best": False}
    kinds = {"hanlin": ("ours", {"precision": given.precision}), "transformers": ("theirs", {})}
    if not given.without_best:
        kinds["transformers, bf16, by length"] = ("theirs", {"best": True})
    found: dict[str, list[dict[str, Any]]] = {kind: [] for kind in kinds}
    for seed in range(given.seeds):
        for kind, (name, how) in kinds.items():
            result = apart(name, given.data, {**job, **how, "seed": seed})
            found[kind].append(result)
            print(f"seed {seed}  {kind}: {json.dumps(result)}", file=sys.stderr, flush=True)
    ratios = {
        kind: [a["seconds"] / b["seconds"] for a, b in zip(runs, found["hanlin"], strict=True)]
        for kind, runs in found.items()
        if kind != "hanlin"
    }
    plain = baseline(given.data)
    if given.json:
        about = {"machine": platform.processor(), "cores": os.cpu_count(), **vars(given)}
        about |= {"runs": found, "ratios": ratios, "baseline": plain}
        print(json.dumps(about, default=str))
        return
    print(f"{'':32}{'accuracy':>22}{'seconds':>10}{'times hanlin':>14}")
    for kind, runs in found.items():
        right = [run["accuracy"] for run in runs]
        seconds = statistics.median(run["seconds"] for run in runs)
        ratio = f"{statistics.median(ratios[kind]):.2f}" if kind in ratios else ""
        span = f"{statistics.mean(right):.4f} ({min(right):.4f} to {max(right):.4f})"
        print(f"{kind:32}{span:>26}{seconds:10.1f}{ratio:>10}")
    name, share, seconds = "TF-IDF, logistic regression", plain["accuracy"], plain["seconds"]
    print(f"{name:32}{share:>12.4f}{'':14}{seconds:10.1f}")


if __name__ == "__main__":
    main()
