"""What an evaluation found."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hanlin.metrics import Score


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
    """Of a baseline: bits per byte that the evaluated model needs less, document by document."""

    def to_dict(self) -> dict[str, Any]:
        """The fields, for JSON."""
        return {
            "name": self.name,
            "metrics": {name: score.to_dict() for name, score in self.metrics.items()},
            "tokens": self.tokens,
            "seconds": self.seconds,
            "training_seconds": self.training_seconds,
            "saved": None if self.saved is None else self.saved.to_dict(),
        }


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A model on a text, its baselines on the same text, and what the reader has to know."""

    model: Measured
    baselines: tuple[Measured, ...] = ()
    documents: int
    bytes: int
    """Of the evaluated text, in UTF-8."""
    trained_on: tuple[str, ...] = ()
    """The text that the baselines were trained on."""
    notes: tuple[str, ...] = ()

    @property
    def metrics(self) -> Mapping[str, Score]:
        """The model's, by name."""
        return self.model.metrics

    def to_dict(self) -> dict[str, Any]:
        """For JSON: the fields of the model, and the baselines'."""
        return {
            "model": self.model.name,
            **{k: v for k, v in self.model.to_dict().items() if k in _SHOWN},
            "documents": self.documents,
            "bytes": self.bytes,
            "trained_on": list(self.trained_on),
            "baselines": [baseline.to_dict() for baseline in self.baselines],
            "notes": list(self.notes),
        }


_SHOWN = ("metrics", "tokens", "seconds")
