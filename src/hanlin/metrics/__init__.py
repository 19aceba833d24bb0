"""Numbers that say how good a model is, each with its interval and how it was computed.

Everything here is a pure function of predictions and what was wanted, numbers or texts: no model,
no torch.
"""

from hanlin.metrics.answers import exact_match, squad, squad_values
from hanlin.metrics.bootstrap import interval_of_ratio
from hanlin.metrics.comparison import Comparison, compare, mcnemar
from hanlin.metrics.correlations import pearson, spearman
from hanlin.metrics.indicators import MultiLabel, multilabel
from hanlin.metrics.labels import Classification, LabelScore, classification
from hanlin.metrics.likelihood import accuracy, bits_per_byte, loss, perplexity
from hanlin.metrics.mixed_answers import cmrc, cmrc_values
from hanlin.metrics.probabilities import Bin
from hanlin.metrics.samples import distinct, pass_at_k
from hanlin.metrics.score import Score
from hanlin.metrics.searches import retrieval
from hanlin.metrics.summaries import rouge, rouge_values
from hanlin.metrics.tags import Tagging, entities, tagging
from hanlin.metrics.translations import bleu, chrf, ter
from hanlin.metrics.units import Units, mean

__all__ = [
    "Bin",
    "Classification",
    "Comparison",
    "LabelScore",
    "MultiLabel",
    "Score",
    "Tagging",
    "Units",
    "accuracy",
    "bits_per_byte",
    "bleu",
    "chrf",
    "classification",
    "cmrc",
    "cmrc_values",
    "compare",
    "distinct",
    "entities",
    "exact_match",
    "interval_of_ratio",
    "loss",
    "mcnemar",
    "mean",
    "multilabel",
    "pass_at_k",
    "pearson",
    "perplexity",
    "retrieval",
    "rouge",
    "rouge_values",
    "spearman",
    "squad",
    "squad_values",
    "tagging",
    "ter",
]
