"""A run told to its watchers without being trained: the same steps give the same records."""

import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hanlin.training.events import (
    EvaluationRecord,
    Plan,
    Sample,
    StepRecord,
    TrainResult,
    Watcher,
)


def plan(output: Path, *, start: int = 0, total: int | None = 200, **changes: Any) -> Plan:
    """The plan of a small run in `output`."""
    told: dict[str, Any] = {
        "output": output,
        "config": {"model": {"family": "llama"}, "data": {"train": ["红楼梦.txt"]}},
        "objective": "causal-lm",
        "shape": "decoder",
        "parameters": 12_345_678,
        "flops_per_token": 7.4e7,
        "train_tokens": 8_000_000,
        "train_documents": 1234,
        "validation_tokens": 400_000,
        "validation_documents": 65,
        "tokens_per_step": 8192,
        "steps_per_epoch": 976.6,
        "duration": "200 steps",
        "total_steps": total,
        "start_step": start,
        "start_tokens": start * 8192,
        "start_seconds": start * 0.25,
        "peak_flops": 3.27e11,
        "versions": {"python": "3.11", "torch": "2.13"},
    }
    return Plan(**{**told, **changes})


def step(n: int, *, total: int = 200, **changes: Any) -> StepRecord:
    """The record of step n, the same whenever it is asked for."""
    loss = 1.5 + 7.5 * math.exp(-n / 30) + random.Random(n).gauss(0, 0.05)
    told: dict[str, Any] = {
        "step": n,
        "tokens": n * 8192,
        "epoch": n / 976.6,
        "loss": loss,
        "bits_per_byte": loss / math.log(2) / 4,
        "lr": 1e-3 * n / total,
        "grad_norm": random.Random(-n).random() + 0.5,
        "tokens_per_second": 34_000.0 + n,
        "share_of_peak": 0.41,
        "seconds": n * 0.25,
        "progress": n / total,
        "eta_seconds": (total - n) * 0.25,
        "targets": 8192,
    }
    return StepRecord(**{**told, **changes})


def evaluation(n: int, **changes: Any) -> EvaluationRecord:
    """The record of an evaluation after step n."""
    loss = 1.6 + 7.5 * math.exp(-n / 30)
    told: dict[str, Any] = {
        "step": n,
        "tokens": n * 8192,
        "loss": loss,
        "perplexity": math.exp(loss),
        "bits_per_byte": loss / math.log(2) / 4,
        "seconds": n * 0.25,
        "samples": (Sample("Once", f" upon step {n}"), Sample("话说", "宝玉")),
        "targets": 400_000,
        "best": True,
    }
    return EvaluationRecord(**{**told, **changes})


def result(output: Path, steps: int = 200, **changes: Any) -> TrainResult:
    """How it ended."""
    told: dict[str, Any] = {
        "output": output,
        "steps": steps,
        "tokens": steps * 8192,
        "train_loss": 1.56,
        "validation": {"loss": 1.63, "perplexity": 5.1, "bits_per_byte": 0.57},
        "seconds": steps * 0.25,
    }
    return TrainResult(**{**told, **changes})


def tell(
    watchers: Sequence[Watcher],
    output: Path,
    start: int,
    stop: int,
    *,
    every: int = 50,
    end: bool = False,
) -> None:
    """Tell the steps after `start` up to `stop`, with a checkpoint and evaluation now and then."""
    for watcher in watchers:
        watcher.start(plan(output, start=start))
    for n in range(start + 1, stop + 1):
        for watcher in watchers:
            watcher.step(step(n))
        if n % every == 0:
            for watcher in watchers:
                watcher.saved(n, output / "checkpoints" / f"step-{n:08}")
            for watcher in watchers:
                watcher.evaluation(evaluation(n))
    if end:
        for watcher in watchers:
            watcher.end(result(output, stop))
