"""What an evaluation found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from hanlin.metrics import Score
from hanlin.metrics.comparison import Comparison
from hanlin.reports.part import words_data
from hanlin.reports.words import Words

if TYPE_CHECKING:
    from hanlin.evaluation.contamination import Contamination


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
    behind: Mapping[str, Comparison] = field(default_factory=dict)
    """Of a baseline or another model: by how much metrics of the evaluated model are above its own,
    on the same examples, documents or blocks."""

    def to_dict(self) -> dict[str, Any]:
        """The fields, for JSON."""
        return {
            "name": self.name,
            "metrics": {name: score.to_dict() for name, score in self.metrics.items()},
            "tokens": self.tokens,
            "seconds": self.seconds,
            "training_seconds": self.training_seconds,
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
    contamination: "Contamination | None" = None
    """What of the examples or documents stands in a training text, where that was asked."""

    @property
    def metrics(self) -> Mapping[str, Score]:
        """The model's, by name."""
        return self.model.metrics

    @property
    def short_names(self) -> Mapping[str, str]:
        """What reports call each model: the shortest ends of their paths that tell them apart."""
        names = {one.name for one in (self.model, *self.others, *self.baselines)}
        parts = {name: PurePath(name).parts or (name,) for name in names}
        found = {}
        for name, own in parts.items():
            others = [those for other, those in parts.items() if other != name]
            size = next(
                (n for n in range(1, len(own)) if all(o[-n:] != own[-n:] for o in others)), len(own)
            )
            found[name] = str(PurePath(*own[-size:]))
        return found

    def to_dict(self) -> dict[str, Any]:
        """For JSON: the fields of the model, and the baselines'."""
        overlap = self.contamination
        return {
            "model": self.model.name,
            **{k: v for k, v in self.model.to_dict().items() if k in _SHOWN},
            **({"task": self.task, "examples": self.documents} if self.task else {}),
            **({} if self.task else {"documents": self.documents, "bytes": self.bytes}),
            **({"others": [other.to_dict() for other in self.others]} if self.others else {}),
            **({"verdict": words_data(self.verdict)} if self.verdict else {}),
            "trained_on": list(self.trained_on),
            "baselines": [baseline.to_dict() for baseline in self.baselines],
            **({} if overlap is None else {"contamination": overlap.to_dict()}),
            "notes": list(self.notes),
        }


_SHOWN = ("metrics", "tokens", "seconds")
