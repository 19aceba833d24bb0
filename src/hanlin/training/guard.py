"""Steps that would harm: a loss or gradient that is not a number, or a loss far above the recent.

Such a step is left out (its batch is passed over, no weight changes); when they come one after the
other the run must stop. "Far above" is measured by the median and the median absolute deviation of
the recent losses (Iglewicz & Hoaglin 1993), which a spike itself cannot move.
"""

import math
from collections import deque
from statistics import median
from typing import Any

from hanlin.training.config import GuardSettings

_FEWEST = 16  # losses before spikes are judged
_LEAST_SCALE = 0.1  # nats; else a run that is nearly done would trip over its own smoothness
_NORMAL = 1.4826  # median absolute deviation -> standard deviation of a normal distribution


class Guard:
    """Judges each step by its loss and gradient norm; its state travels in checkpoints."""

    def __init__(self, settings: GuardSettings) -> None:
        self.settings = settings
        self.skipped = 0
        """Steps left out so far."""
        self.row = 0
        """Of these, the ones that came last without an accepted step between."""
        self._recent: deque[float] = deque(maxlen=settings.window)

    def check(self, loss: float, grad_norm: float) -> str:
        """Why this step must be left out, or an empty text; counts it either way."""
        reason = self._judge(loss, grad_norm)
        if reason:
            self.skipped += 1
            self.row += 1
        else:
            self.row = 0
            self._recent.append(loss)
        return reason

    @property
    def exhausted(self) -> bool:
        """Whether so many steps were left out in a row that the run must stop."""
        return self.row >= self.settings.patience

    def _judge(self, loss: float, grad_norm: float) -> str:
        if not math.isfinite(loss):
            return f"the loss is {loss}"
        if not math.isfinite(grad_norm):
            return f"the gradient's norm is {grad_norm}"
        if self.settings.spike is None or len(self._recent) < min(_FEWEST, self.settings.window):
            return ""
        middle = median(self._recent)
        deviation = median(abs(value - middle) for value in self._recent)
        score = (loss - middle) / max(_NORMAL * deviation, _LEAST_SCALE)
        if score > self.settings.spike:
            return f"the loss {loss:.4g} is {score:.1f} deviations above the recent {middle:.4g}"
        return ""

    def state(self) -> dict[str, Any]:
        """What `restore` needs, ready for JSON."""
        return {"skipped": self.skipped, "row": self.row, "recent": list(self._recent)}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave."""
        self.skipped, self.row = int(state["skipped"]), int(state["row"])
        self._recent = deque(map(float, state["recent"]), maxlen=self.settings.window)
