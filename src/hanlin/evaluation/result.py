"""What an evaluation found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hanlin.metrics import Score
from hanlin.metrics.comparison import Comparison
from hanlin.reports.part import words_data
from hanlin.reports.words import Words


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One model on one text."""

    name: str
    metrics: Mapping[str, Score]
    tokens: int | None
    """Scored tokens, in the model's own; None for a compressor."""
    seconds: float
    """That scoring took."""
    training_seconds: float | None = None
    """That a baseline took to train."""
    saved: Score | None = None
    """Of a baseline or another model: bits per byte that the evaluated model needs less, document
    by document."""
    behind: Mapping[str, Comparison] = field(default_factory=dict)
    """Of a baseline or another model at a task: by how much each metric of the evaluated model is
    above its own, on the same examples."""

    def to_dict(self) -> dict[str, Any]:
        """The fields, for JSON."""
        return {
            "name": self.name,
            "metrics": {name: score.to_dict() for name, score in self.metrics.items()},
            "tokens": self.tokens,
            "seconds": self.seconds,
            "training_seconds": self.training_seconds,
            "saved": None if self.saved is None else self.saved.to_dict(),
            "behind": {name: found.to_dict() for name, found in self.behind.items()},
        }


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A model on a text, its baselines on the same text, and what the reader has to know."""

    model: Measured
    others: tuple[Measured, ...] = ()
    """Other models on the same data."""
    baselines: tuple[Measured, ...] = ()
    documents: int
    """Documents, or examples of a task."""
    bytes: int = 0
    """Of the evaluated text, in UTF-8; 0 of a task's examples."""
    task: str | None = None
    """What the model was asked to do; None of text that was given a probability."""
    verdict: Words = ""
    """Whether the model is worth its cost beside the strongest baseline."""
    trained_on: tuple[str, ...] = ()
    """The text that the baselines were trained on."""
    notes: tuple[str, ...] = ()
    predictions: Sequence[Any] = ()
    """Of a task: what the model said to each example."""
    details: Any = None
    """Of a task: what its report shows beside the metrics."""

    @property
    def metrics(self) -> Mapping[str, Score]:
        """The model's, by name."""
        return self.model.metrics

    def to_dict(self) -> dict[str, Any]:
        """For JSON: the fields of the model, and the baselines'."""
        return {
            "model": self.model.name,
            **{k: v for k, v in self.model.to_dict().items() if k in _SHOWN},
            **({"task": self.task, "examples": self.documents} if self.task else {}),
            **({} if self.task else {"documents": self.documents, "bytes": self.bytes}),
            **({"others": [other.to_dict() for other in self.others]} if self.others else {}),
            **({"verdict": words_data(self.verdict)} if self.verdict else {}),
            "trained_on": list(self.trained_on),
            "baselines": [baseline.to_dict() for baseline in self.baselines],
            "notes": list(self.notes),
        }


_SHOWN = ("metrics", "tokens", "seconds")
