"""How good a model is on a text, beside what simpler models make of the same text.

Everything here is imported when it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hanlin.evaluation.ngram import NgramModel
    from hanlin.evaluation.result import Evaluation, Measured
    from hanlin.evaluation.running import evaluate

__all__ = ["Evaluation", "Measured", "NgramModel", "evaluate"]

_MODULES = {
    "Evaluation": "result",
    "Measured": "result",
    "NgramModel": "ngram",
    "evaluate": "running",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
