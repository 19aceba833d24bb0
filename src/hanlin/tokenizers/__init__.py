"""Documents to token ids and back: load, train and measure tokenizers; chat templates."""

from hanlin.tokenizers.chat import ChatTemplate
from hanlin.tokenizers.special import SpecialTokens
from hanlin.tokenizers.spelling import Detokeniser
from hanlin.tokenizers.tokenizer import Tokenizer

__all__ = ["ChatTemplate", "Detokeniser", "SpecialTokens", "Tokenizer"]
