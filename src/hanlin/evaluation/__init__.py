"""How good a model is on a text, beside what simpler models make of the same text.

Everything here is imported when it is first used.
"""

from typing import TYPE_CHECKING

from hanlin.lazy import names_of

if TYPE_CHECKING:
    from hanlin.evaluation.ngram import NgramModel
    from hanlin.evaluation.result import Evaluation, Measured
    from hanlin.evaluation.running import evaluate

__all__ = ["Evaluation", "Measured", "NgramModel", "evaluate"]

__getattr__ = names_of(
    __name__,
    {
        "Evaluation": "result",
        "Measured": "result",
        "NgramModel": "ngram",
        "evaluate": "running",
    },
)
