"""How long a run, a warm-up or the time between two saves lasts: steps, tokens, epochs or time.

``2000 steps``, ``50M tokens``, ``3 epochs``, ``10 minutes``; several at once as a mapping,
``{steps: 2000, minutes: 10}``, and whichever is over first ends it.
"""

import math
import re
from dataclasses import dataclass
from typing import Any, Self

from hanlin.config import refuse, written_as
from hanlin.errors import ConfigError, nearest

_SECONDS = {"seconds": 1.0, "minutes": 60.0, "hours": 3600.0, "days": 86400.0}
_UNITS = ("steps", "epochs", "tokens", *_SECONDS)
_SHORT = {"s": "seconds", "sec": "seconds", "min": "minutes", "mins": "minutes", "h": "hours",
          "hr": "hours", "hrs": "hours", "d": "days"}  # fmt: skip
_SCALES = {"": 1, "k": 1_000, "m": 1_000_000, "b": 1_000_000_000, "g": 1_000_000_000}
_AMOUNT = re.compile(
    r"([0-9][0-9_,]*\.?[0-9]*|\.[0-9]+)(?:e([+-]?[0-9]{1,2}))?\s*((?:[kmbg](?![a-z]))?)", re.I
)
_PART = re.compile(rf"{_AMOUNT.pattern}\s*([a-z]*)", re.I)
_REMEDY = "Write it like 2000 steps, 3 epochs, 50M tokens or 10 minutes."


def _amount(value: Any, unit: str) -> float:
    if isinstance(value, str) and (match := _AMOUNT.fullmatch(value.strip())):
        digits, power, scale = match.groups()
        return float(digits.replace(",", "").replace("_", "")) * (
            10.0 ** int(power or 0) * _SCALES[scale.lower()]
        )
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ConfigError(f"{value!r} is not a number of {unit}. {_REMEDY}")
    return float(value)


def _fields(amounts: dict[str, Any]) -> dict[str, float]:
    """Units as written, to the fields of a Duration: minutes become seconds."""
    out: dict[str, float] = {}
    for name, value in amounts.items():
        unit = _unit(str(name))
        if value is None:
            continue
        seconds = _SECONDS.get(unit)
        field, amount = ("seconds" if seconds else unit), _amount(value, unit) * (seconds or 1.0)
        if field in out:
            raise ConfigError(f"The time is given twice ({', '.join(amounts)}). Keep one.")
        out[field] = amount
    return out


def _unit(name: str) -> str:
    lower = name.lower()
    unit = _SHORT.get(lower, lower if lower.endswith("s") else f"{lower}s")
    if unit not in _UNITS:
        raise ConfigError(f"{name!r} is no unit of duration.{nearest(unit, [*_UNITS])} {_REMEDY}")
    return unit


def _read(value: Any) -> Any:
    if isinstance(value, dict):
        return _fields(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise ConfigError(f"{value} of what? {_REMEDY}")
    if not isinstance(value, str):
        return value
    match = _PART.fullmatch(value.strip())
    if match is None:
        raise ConfigError(f"{value!r} is not a duration. {_REMEDY}")
    digits, power, scale, unit = match.groups()
    if scale and not unit and scale.lower() == "m":
        raise ConfigError(f"{value!r} may be minutes or millions. {_REMEDY}")
    if not unit:
        raise ConfigError(f"{value} of what? {_REMEDY}")
    return _fields({unit: f"{digits}{'e' + power if power else ''}{scale}"})


@dataclass(frozen=True, kw_only=True)
class Duration:
    """A length of training in one unit, or in several of which the shortest counts."""

    steps: int | None = None
    """Steps of the optimiser."""
    epochs: float | None = None
    """Passes over the training part."""
    tokens: int | None = None
    """Tokens read, padding included; 50M is fifty million."""
    seconds: float | None = None
    """Time spent in training, without saves and evaluations; also minutes, hours, days."""

    def __post_init__(self) -> None:
        given = self.amounts
        problems = [
            f"{amount:g} {name} is no duration; it must be above zero."
            for name, amount in given.items()
            if not amount > 0
        ]
        problems += [
            f"{amount} {name} is not a whole number. Round it."
            for name, amount in given.items()
            if name in ("steps", "tokens") and amount != int(amount)
        ]
        if not given:
            problems.append(f"The duration has no amount. {_REMEDY}")
        refuse(problems)
        for name in ("steps", "tokens"):
            if name in given:
                object.__setattr__(self, name, int(given[name]))

    @classmethod
    def parse(cls, text: str) -> Self:
        """A duration as written: ``2000 steps``, ``1.5 epochs``, ``50M tokens``, ``10 minutes``.

        Raises ConfigError for anything else.
        """
        return cls(**_read(text))

    @property
    def amounts(self) -> dict[str, float]:
        """The units that were given, and how much of each."""
        return {name: value for name, value in vars(self).items() if value is not None}

    def progress(
        self, *, step: float = 0, tokens: float = 0, epochs: float = 0.0, seconds: float = 0.0
    ) -> float:
        """How much of it is over, from 0 to 1, after so many steps, tokens, epochs and seconds."""
        return min(1.0, self.ratio(step=step, tokens=tokens, epochs=epochs, seconds=seconds))

    def ratio(
        self, *, step: float = 0, tokens: float = 0, epochs: float = 0.0, seconds: float = 0.0
    ) -> float:
        """As `progress`, and going on above 1."""
        done = {"steps": step, "tokens": tokens, "epochs": epochs, "seconds": seconds}
        return max(done[name] / amount for name, amount in self.amounts.items())

    def __str__(self) -> str:
        return " or ".join(f"{_short(*_spoken(n, v))}" for n, v in self.amounts.items())


def _spoken(name: str, amount: float) -> tuple[float, str]:
    """Seconds in the largest unit that says them exactly."""
    if name == "seconds":
        for unit in ("hours", "minutes"):
            if amount >= _SECONDS[unit] and (amount / _SECONDS[unit]).is_integer():
                return amount / _SECONDS[unit], unit
    return amount, name


def _short(amount: float, unit: str) -> str:
    shown = repr(float(amount)).removesuffix(".0") if amount < 1e16 else repr(amount)
    if unit == "tokens":
        for scale, letter in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
            brief = f"{amount / scale:g}{letter}"
            # Six digits at most are shown, and none may be lost.
            if amount >= scale and amount * 100 % scale == 0 and _amount(brief, unit) == amount:
                shown = brief
                break
    return f"{shown} {unit.removesuffix('s') if amount == 1 else unit}"


def _write(duration: Duration) -> Any:
    if len(duration.amounts) == 1:
        return str(duration)
    return dict(duration.amounts)


written_as(_read, _write)(Duration)
