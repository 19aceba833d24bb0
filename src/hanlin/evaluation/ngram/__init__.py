"""The n-gram model that stands beside every language model: counting, smoothing, choosing."""

from hanlin.evaluation.ngram.kneser_ney import KneserNey
from hanlin.evaluation.ngram.model import NgramModel

__all__ = ["KneserNey", "NgramModel"]
