"""What measuring a model on the records of a task gives."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from hanlin.errors import ConfigError, InputError, nearest
from hanlin.metrics import Score
from hanlin.metrics.units import Units

if TYPE_CHECKING:
    from hanlin.tasks.model import Model


def refuse_kind(model: "Model", kind: "type[Model]", *, lacks: str, remedy: str) -> None:
    """Raise `InputError` for a model that is not of the kind that a task needs."""
    if not isinstance(model, kind):
        raise InputError(f"{model.name} is {model.kind}, which {lacks}. {remedy}")


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One model, or baseline, on the records of a task."""

    name: str
    metrics: Mapping[str, Score]
    """By name, the main one first."""
    units: Mapping[str, Units]
    """What some of the metrics are computed from, example by example: another model's on the same
    records can be compared with them."""
    predictions: Sequence[Any]
    """What the model said to each record, as JSON has it."""
    details: Any = None
    """What the report of this task shows beside the metrics."""
    seconds: float = 0.0
    """That predicting took."""
    training_seconds: float | None = None
    """That a baseline took to train."""
    notes: tuple[str, ...] = field(default=())

    @property
    def main(self) -> str:
        """The metric that the task is judged by first."""
        return next(iter(self.metrics))

    def only(self, names: Sequence[str] | None) -> "Judged":
        """With these metrics alone. Raises `ConfigError` for one that the task does not have."""
        if names is None:
            return self
        for name in names:
            if name not in self.metrics:
                raise ConfigError(
                    f"There is no metric {name!r} of {self.name}."
                    f"{nearest(name, list(self.metrics))} Choose among {', '.join(self.metrics)}."
                )
        return replace(
            self,
            metrics={name: self.metrics[name] for name in names},
            units={name: self.units[name] for name in names if name in self.units},
        )
