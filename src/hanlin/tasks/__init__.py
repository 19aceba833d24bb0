"""What people ask of a model: generate, stream, chat, score, embed, fill, classify.

`load` looks at a model's shape and head and gives the object that does what such a model can do.
Everything here is imported when it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hanlin.tasks.classifier import Classifier, Label
    from hanlin.tasks.encoder import Encoder
    from hanlin.tasks.language import LanguageModel
    from hanlin.tasks.loading import load
    from hanlin.tasks.masked import Candidate, MaskedLanguageModel
    from hanlin.tasks.model import Model
    from hanlin.tasks.scoring import Likelihood
    from hanlin.tasks.writing import Seq2SeqModel

__all__ = [
    "Candidate",
    "Classifier",
    "Encoder",
    "Label",
    "LanguageModel",
    "Likelihood",
    "MaskedLanguageModel",
    "Model",
    "Seq2SeqModel",
    "load",
]

_MODULES = {
    "Candidate": "masked",
    "Classifier": "classifier",
    "Encoder": "encoder",
    "Label": "classifier",
    "LanguageModel": "language",
    "Likelihood": "scoring",
    "MaskedLanguageModel": "masked",
    "Model": "model",
    "Seq2SeqModel": "writing",
    "load": "loading",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
