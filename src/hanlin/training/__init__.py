"""Objectives, optimisers, schedules, the trainer, checkpoints: from a batch to a trained model.

    result = hanlin.train("train.yaml", overrides=["duration=10 minutes"])

`train` is imported, and torch with it, when it is first used.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hanlin.training.run import train

__all__ = ["train"]


def __getattr__(name: str) -> Any:
    if name != "train":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from hanlin.training.run import train

    return train
