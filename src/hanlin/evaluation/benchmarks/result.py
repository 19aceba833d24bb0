"""What a benchmark found."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hanlin.metrics import Score

if TYPE_CHECKING:
    from hanlin.evaluation.contamination import Contamination


@dataclass(frozen=True, kw_only=True)
class Answered:
    """One item of a benchmark, and what the model made of it."""

    question: str
    """Without the examples before it and without what all questions share."""
    answer: str
    """The right one."""
    given: str
    """The model's."""
    value: float
    """Of the benchmark's first metric, from 0 (wrong) to 1 (right); of programs, the share that
    passed."""
    subject: str = ""
    scores: tuple[float, ...] = ()
    """Of a choice: the log likelihood of every option."""

    def to_dict(self) -> dict[str, Any]:
        """The fields, for JSON."""
        return {
            "subject": self.subject,
            "question": self.question,
            "answer": self.answer,
            "given": self.given,
            "value": self.value,
            "scores": list(self.scores),
        }


@dataclass(frozen=True)
class Found:
    """What measuring gave: between `running` and the kinds of benchmarks."""

    metrics: Mapping[str, Score]
    """The first is the one that is compared."""
    items: tuple[Answered, ...]
    notes: tuple[str, ...] = ()
    subjects: Mapping[str, Score] = field(default_factory=dict)
    """The first metric of each subject, where there are several."""


@dataclass(frozen=True, kw_only=True)
class BenchmarkResult:
    """A model on a benchmark."""

    benchmark: str
    model: str
    metrics: Mapping[str, Score]
    items: tuple[Answered, ...]
    seconds: float
    """That answering took; reading and loading are not in it."""
    shots: int
    """Examples that stood before each question."""
    subjects: Mapping[str, Score] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    contamination: "Contamination | None" = None
    """How much of the benchmark stands in the training text that was given."""

    def to_dict(self) -> dict[str, Any]:
        """The fields but the items, for JSON."""
        found = self.contamination
        return {
            "benchmark": self.benchmark,
            "model": self.model,
            "metrics": {name: score.to_dict() for name, score in self.metrics.items()},
            "items": len(self.items),
            "shots": self.shots,
            "seconds": self.seconds,
            "subjects": {name: score.to_dict() for name, score in self.subjects.items()},
            "notes": list(self.notes),
            "contamination": None if found is None else found.to_dict(),
        }
