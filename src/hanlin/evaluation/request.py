"""How a model is to be measured, and what came of it: between `running` and those that measure."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from hanlin.errors import ConfigError, nearest
from hanlin.evaluation.result import Measured
from hanlin.evaluation.scores import Totals
from hanlin.metrics.units import Units

if TYPE_CHECKING:
    from hanlin.tasks import Model


@dataclass(frozen=True, kw_only=True)
class Request:
    """The settings of one evaluation; None where the measure has a default of its own."""

    context: int | None = None
    stride: int | None = None
    stream: bool = False
    metrics: tuple[str, ...] | None = None
    seed: int = 0

    def refuse(self, what: str, *names: str) -> None:
        """Raise `ConfigError` where one of these settings is given, which mean nothing here."""
        for name in names:
            if getattr(self, name) not in (None, False):
                raise ConfigError(f"For {what}, {name} would be ignored. Leave it out.")

    def wanted(self, known: Sequence[str], *, default: Sequence[str], name: str) -> tuple[str, ...]:
        """The metrics to compute, of those that are known. Raises `ConfigError` for another."""
        for metric in self.metrics or ():
            if metric not in known:
                raise ConfigError(
                    f"There is no metric {metric!r} of {name}.{nearest(metric, list(known))} "
                    f"Choose among {', '.join(known)}."
                )
        return self.metrics or tuple(default)

    def only(self, measured: Measured) -> Measured:
        """With the metrics that were asked for. Raises `ConfigError` for one that is not there."""
        known = list(measured.metrics)
        wanted = self.wanted(known, default=known, name=measured.name)
        return replace(measured, metrics={name: measured.metrics[name] for name in wanted})


@dataclass(frozen=True)
class Found:
    """What measuring gave."""

    measured: Measured
    documents: int
    bytes: int
    notes: tuple[str, ...] = ()
    totals: Totals | None = None
    """Where the model gave the text a probability, which baselines can be compared with."""
    units: Mapping[str, Units] = field(default_factory=dict)
    """What some metrics are computed from, unit by unit."""
    scored: Hashable = None
    """What these units are of: those of another model can be compared where it is the same."""


def about(lm: "Model") -> dict[str, object]:
    """The tokenizer and the numbers of a model, for signatures."""
    from hanlin.kernels.packed import PackedLinear

    packed = any(isinstance(module, PackedLinear) for module in lm.network.modules())
    numbers = "packed" if packed else str(lm.network.dtype).removeprefix("torch.")
    return {"tokenizer": lm.tokenizer.hash[:8], "dtype": numbers}
