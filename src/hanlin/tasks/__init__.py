"""What people ask of a model: generate, chat, score, embed, fill, classify, tag, extract, answer.

`load` looks at a model's shape and head and gives the object that does what such a model can do.
Everything here is imported when it is first used.
"""

from typing import TYPE_CHECKING

from hanlin.lazy import names_of

if TYPE_CHECKING:
    from hanlin.tasks.answering import Answerer, Citation, CitedAnswer
    from hanlin.tasks.classifier import Classifier, Label
    from hanlin.tasks.encoder import Encoder
    from hanlin.tasks.extractor import Answer, Extractor
    from hanlin.tasks.language import LanguageModel
    from hanlin.tasks.loading import load
    from hanlin.tasks.masked import Candidate, MaskedLanguageModel
    from hanlin.tasks.model import Model
    from hanlin.tasks.scoring import Likelihood
    from hanlin.tasks.tagger import Entity, Tagger, WordTag
    from hanlin.tasks.writing import Seq2SeqModel

__all__ = [
    "Answer",
    "Answerer",
    "Candidate",
    "Citation",
    "CitedAnswer",
    "Classifier",
    "Encoder",
    "Entity",
    "Extractor",
    "Label",
    "LanguageModel",
    "Likelihood",
    "MaskedLanguageModel",
    "Model",
    "Seq2SeqModel",
    "Tagger",
    "WordTag",
    "load",
]

__getattr__ = names_of(
    __name__,
    {
        "Answer": "extractor",
        "Answerer": "answering",
        "Candidate": "masked",
        "Citation": "answering",
        "CitedAnswer": "answering",
        "Classifier": "classifier",
        "Encoder": "encoder",
        "Entity": "tagger",
        "Extractor": "extractor",
        "Label": "classifier",
        "LanguageModel": "language",
        "Likelihood": "scoring",
        "MaskedLanguageModel": "masked",
        "Model": "model",
        "Seq2SeqModel": "writing",
        "Tagger": "tagger",
        "WordTag": "tagger",
        "load": "loading",
    },
)
