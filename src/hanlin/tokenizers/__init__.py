"""Documents to token ids and back: load, train and measure tokenizers; chat templates."""

from hanlin.tokenizers.chat import ChatTemplate
from hanlin.tokenizers.measure import Measurement, measure
from hanlin.tokenizers.special import SpecialTokens
from hanlin.tokenizers.spelling import Detokeniser
from hanlin.tokenizers.tokenizer import Tokenizer
from hanlin.tokenizers.train import train

__all__ = [
    "ChatTemplate",
    "Detokeniser",
    "Measurement",
    "SpecialTokens",
    "Tokenizer",
    "measure",
    "train",
]
