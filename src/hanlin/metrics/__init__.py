"""Numbers that say how good a model is, each with its interval and how it was computed.

Everything here is a pure function of plain numbers: no model, no text, no torch.
"""

from hanlin.metrics.bootstrap import interval_of_ratio
from hanlin.metrics.likelihood import accuracy, bits_per_byte, loss, perplexity
from hanlin.metrics.score import Score

__all__ = ["Score", "accuracy", "bits_per_byte", "interval_of_ratio", "loss", "perplexity"]
