"""`hanlin.train`: the trainer, with a judge that knows the metrics of every task."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hanlin.training.config import TrainConfig
    from hanlin.training.events import TrainResult, Watcher


def train(
    config: "str | Path | Mapping[str, Any] | TrainConfig",
    *,
    overrides: Sequence[str] = (),
    resume: bool = False,
    watchers: "Sequence[Watcher] | None" = None,
) -> "TrainResult":
    """Train a model; its directory is `TrainResult.output`, which `hanlin.load` takes.

    config: a YAML file, a mapping, or a `TrainConfig`; overrides: ``key.path=value``. With `resume`
    an earlier run in the same output goes on where its newest whole checkpoint is. watchers: told
    what happens; those of `hanlin.training.watch` when None. At every look at the validation part
    the model of a task is judged at it (accuracy, BLEU ...); at the end it is measured what was
    forgotten of `evaluate.remember` (`hanlin.evaluation.forgetting`). SIGINT and SIGTERM save a
    checkpoint and return a result that is not `finished`.

    Raises `ConfigError` for settings that are wrong, an output that holds another run, or a resumed
    run that is not the same; `HanlinError` where the disk is full or the guard gives up.
    """
    from hanlin.evaluation.judging import judge
    from hanlin.training.run import train as run

    result = run(config, overrides=overrides, resume=resume, watchers=watchers, judge=judge)
    if result.finished and os.environ.get("RANK", "0") == "0":
        from hanlin.evaluation.forgetting import after_training

        after_training(result.output)
    return result
