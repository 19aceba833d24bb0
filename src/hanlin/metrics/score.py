"""A measured number that can be compared: its value, how sure it is, and how it was computed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hanlin.errors import ConfigError


@dataclass(frozen=True)
class Score:
    """One metric of one model on one text."""

    value: float
    low: float | None
    """The lower end of the 95 % interval; None, as is `high`, where there is none."""
    high: float | None
    signature: str
    """How it was computed, as ``key:value|key:value``: equal signatures can be compared."""

    def __post_init__(self) -> None:
        if (self.low is None) != (self.high is None):
            raise ConfigError("A score has both ends of its interval or none. Give the other one.")

    def map(self, function: Callable[[float], float]) -> "Score":
        """The score of an increasing function of the value, such as exp."""
        low, high = self.low, self.high
        if low is None or high is None:
            return Score(function(self.value), None, None, self.signature)
        return Score(function(self.value), function(low), function(high), self.signature)

    def to_dict(self) -> dict[str, Any]:
        """The fields, for JSON."""
        return {
            "value": self.value,
            "low": self.low,
            "high": self.high,
            "signature": self.signature,
        }

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return f"{self.value:.4g}"
        return f"{self.value:.4g} [{self.low:.4g}, {self.high:.4g}]"


def signature(**parts: object) -> str:
    """Parts as a signature, in the order given; those that are None are left out."""
    return "|".join(f"{key}:{value}" for key, value in parts.items() if value is not None)
