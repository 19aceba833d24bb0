"""How the learning rate goes over a run: pure functions of how much of the run is over.

A schedule knows neither steps nor time, only progress from 0 to 1; whichever duration ends the run
drives it. Cosine: Loshchilov & Hutter 2017; inverse square root: Vaswani et al. 2017;
warm-up-stable-decay: Hu et al. 2024 (MiniCPM), with the 1 - sqrt decay of Hagele et al. 2024.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

from hanlin.config import refuse, written_as
from hanlin.config.plain import name_or_mapping
from hanlin.errors import ConfigError
from hanlin.training.durations import Duration

ScheduleName = Literal["constant", "linear", "cosine", "inverse-sqrt", "warmup-stable-decay"]
Decay = Literal["sqrt", "linear"]


@dataclass(frozen=True, kw_only=True)
class Warmup:
    """The time in which the learning rate rises from zero: a duration, or a share of the run."""

    duration: Duration | None = None
    share: float | None = None

    def __post_init__(self) -> None:
        if (self.duration is None) == (self.share is None):
            raise ConfigError("A warm-up is a duration or a share of the run. Give one of them.")
        if self.share is not None and not 0 <= self.share < 1:
            raise ConfigError(
                f"A warm-up of {self.share:g} is no share of the run; it must be at least 0 and "
                "below 1. For steps, write a duration such as 100 steps."
            )


def _read_warmup(value: Any) -> Any:
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return {"share": float(value)}
    if isinstance(value, str) and value.strip().endswith("%"):
        return {"share": _percent(value)}
    if isinstance(value, str):
        return {"duration": Duration.parse(value)}
    if isinstance(value, dict) and not set(value) & {"duration", "share"}:
        return {"duration": value}
    return value


def _percent(text: str) -> float:
    try:
        return float(text.strip().removesuffix("%")) / 100
    except ValueError:
        raise ConfigError(f"{text!r} is not a share. Write it like 5%.") from None


def _write_warmup(warmup: Warmup) -> Any:
    return warmup.share if warmup.duration is None else warmup.duration


written_as(_read_warmup, _write_warmup)(Warmup)


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How the learning rate goes, as a factor of its highest value."""

    name: ScheduleName = "cosine"
    """constant, linear, cosine, inverse-sqrt, or warmup-stable-decay."""
    warmup: Warmup = Warmup(share=0.02)
    """Rise from zero before anything else: "100 steps", "2M tokens", 5% or 0.05 of the run."""
    floor: float | None = None
    """Factor at the end of the run (linear, cosine, warmup-stable-decay); 0.1 with cosine, 0 with
    the others when not given."""
    decay: float | None = None
    """warmup-stable-decay: the share of the run at its end in which the rate falls; 0.2 when not
    given."""
    decay_shape: Decay | None = None
    """warmup-stable-decay: "sqrt" (1 - sqrt of the share, the default) or "linear"."""

    def __post_init__(self) -> None:
        problems = []
        if self.floor is not None and not 0 <= self.floor <= 1:
            problems.append(f"floor is {self.floor:g}; it must be from 0 to 1.")
        if self.floor is not None and self.name in ("constant", "inverse-sqrt"):
            problems.append(f"floor has no effect on a {self.name} schedule. Remove it.")
        if self.name != "warmup-stable-decay":
            problems += [
                f"{name} has no effect on a {self.name} schedule; it belongs to "
                "warmup-stable-decay. Remove it."
                for name in ("decay", "decay_shape")
                if getattr(self, name) is not None
            ]
        elif self.decay is not None and not 0 < self.decay <= 1:
            problems.append(f"decay is {self.decay:g}; it must be above 0 and at most 1.")
        if (
            self.name == "warmup-stable-decay"
            and self.warmup.share is not None
            and self.warmup.share + self._decay > 1
        ):
            problems.append(
                f"The warm-up ({self.warmup.share:g}) and the decay ({self._decay:g}) are longer "
                "than the run together. Shorten one."
            )
        if self.name == "inverse-sqrt" and self.warmup.share == 0:
            problems.append("An inverse-sqrt schedule falls from its warm-up on. Give it one.")
        refuse(problems)

    @property
    def _decay(self) -> float:
        return 0.2 if self.decay is None else self.decay

    @property
    def _floor(self) -> float:
        if self.floor is None:
            return 0.1 if self.name == "cosine" else 0.0
        return self.floor

    def factor(self, progress: float, *, warmup: float) -> float:
        """What the highest learning rate is multiplied by.

        progress: how much of the run is over, 0 to 1. warmup: the share of the run that the warm-up
        takes.
        """
        progress = min(max(progress, 0.0), 1.0)
        if progress < warmup:
            return progress / warmup
        if self.name == "constant":
            return 1.0
        if self.name == "inverse-sqrt":
            return math.sqrt(warmup / progress) if progress > 0 else 1.0
        start = warmup
        if self.name == "warmup-stable-decay":
            start = max(warmup, 1.0 - self._decay)
        if progress <= start or start >= 1.0:
            return 1.0
        x = (progress - start) / (1.0 - start)
        if self.name == "cosine":
            fall = 0.5 * (1.0 + math.cos(math.pi * x))
        elif self.name == "warmup-stable-decay" and self.decay_shape != "linear":
            fall = 1.0 - math.sqrt(x)
        else:
            fall = 1.0 - x
        return self._floor + (1.0 - self._floor) * fall

    def at(
        self,
        run: Duration,
        *,
        step: float = 0,
        tokens: float = 0,
        epochs: float = 0.0,
        seconds: float = 0.0,
    ) -> float:
        """The factor for the step in whose middle these counts stand (the first has step 0.5).

        A warm-up in another unit than the run's takes the share of the run that its progress so far
        implies, so that the factor depends on nothing but the counts, and is continuous in them.
        """
        now = {"step": step, "tokens": tokens, "epochs": epochs, "seconds": seconds}
        progress = run.progress(**now)
        if self.warmup.duration is None:
            assert self.warmup.share is not None
            return self.factor(progress, warmup=self.warmup.share)
        warmed = self.warmup.duration.ratio(**now)
        return warmed if warmed < 1.0 else self.factor(progress, warmup=progress / warmed)


written_as(name_or_mapping())(Schedule)
