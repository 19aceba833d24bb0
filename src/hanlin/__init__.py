"""hanlin: the whole life of a language model in one library and one command.

    lm = hanlin.load("smollm2-135m")
    lm.generate("The world is a", n=3, max_new_tokens=50)

Importing hanlin is quick; torch is imported when something first needs it.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hanlin import errors, generation, metrics, models, tokenizers
    from hanlin.data.prepare import prepare
    from hanlin.evaluation import evaluate
    from hanlin.evaluation.training import train
    from hanlin.tasks import load

__version__ = "0.1.0"

__all__ = [
    "__version__",
    "errors",
    "evaluate",
    "generation",
    "load",
    "metrics",
    "models",
    "prepare",
    "tokenizers",
    "train",
]

_FUNCTIONS = {
    "evaluate": "hanlin.evaluation",
    "load": "hanlin.tasks",
    "prepare": "hanlin.data.prepare",
    "train": "hanlin.evaluation.training",
}
"""Public function -> the room it lives in."""
_ROOMS = ("errors", "generation", "metrics", "models", "tokenizers")


def __getattr__(name: str) -> Any:
    if name in _FUNCTIONS:
        return getattr(importlib.import_module(_FUNCTIONS[name]), name)
    if name in _ROOMS:
        return importlib.import_module(f"hanlin.{name}")
    raise AttributeError(f"module 'hanlin' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
