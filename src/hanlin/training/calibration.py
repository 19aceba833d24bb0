"""Temperature scaling: a trained classifier's probabilities made honest (Guo et al. 2017).

After a run, one number T is fitted on the validation part so that softmax(logits / T) (for several
labels: sigmoid) makes its labels likeliest. It is folded into the last linear layer, whose weight
and bias are divided by T: every reader of the model's directory then gets the calibrated
probabilities, and no label changes, as T is positive.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hanlin.data.batch import Batch
from hanlin.errors import ConfigError
from hanlin.models.heads import ClassifyHead
from hanlin.models.transformer import Transformer

FEWEST = 50
"""Of fewer validation examples no temperature is fitted: it would follow chance."""
_BINS = 15
_STEPS = 100
_PRECISE = 1e-10

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Calibration:
    """What was fitted, on how much, and what it did to the part it was fitted on."""

    temperature: float
    """What the logits were divided by; 1 where nothing was changed."""
    examples: int
    """Of the validation part."""
    nll_before: float
    """Mean -log p of the right label (of several labels: of each answer yes or no), in nats."""
    nll_after: float
    ece_before: float
    """Expected calibration error, 15 bins of equal width: mean distance of confidence and share
    of right answers."""
    ece_after: float
    left: str | None = None
    """Why nothing was changed, where that is so."""

    def __str__(self) -> str:
        if self.left is not None:
            return f"Probabilities are as trained. {self.left}"
        return (
            f"Calibrated on {self.examples} validation examples: temperature "
            f"{self.temperature:.3g}, calibration error {self.ece_before:.2%} before, "
            f"{self.ece_after:.2%} after."
        )

    def to_dict(self) -> dict[str, Any]:
        """For hanlin.json."""
        return {name: value for name, value in vars(self).items() if value is not None}


def calibrate(network: Transformer, batches: Iterable[Batch]) -> Calibration:
    """Fit a temperature on batches of the validation part and fold it into the network's head.

    The network must have a classify head for one or several labels; it is read in eval mode and
    left in the mode it was in. A head that the run did not train (an adapter's base has it) is left
    as it is, as the run's output does not hold it. Raises `ConfigError` for another head.
    """
    head = network.head
    problem = network.config.problem
    if not isinstance(head, ClassifyHead) or problem not in ("single", "multiple"):
        raise ConfigError("Only a classifier of labels has probabilities to calibrate.")
    multiple = problem == "multiple"
    logits, right = _predicted(network, batches, multiple=multiple)
    projection = head.projection
    temperature, left = fit_temperature(logits, right)
    if not projection.weight.requires_grad:
        temperature, left = 1.0, "The run did not train the model's head."
    if left is None:
        with torch.no_grad():
            for parameter in projection.parameters():
                parameter.div_(temperature)
    return Calibration(
        temperature=temperature,
        examples=len(logits),
        nll_before=_nll(logits, right, 1.0),
        nll_after=_nll(logits, right, 1 / temperature),
        ece_before=_ece(logits, right),
        ece_after=_ece(logits / temperature, right),
        left=left,
    )


def fit_temperature(logits: Floats, right: NDArray[Any]) -> tuple[float, str | None]:
    """The temperature that makes the right labels likeliest, and why there is none (then it is 1).

    logits: [N, L]. right: [N] integers, the label of each row (softmax); or [N, L] of 0 and 1, the
    labels that each has (sigmoid). The loss is convex in s = 1 / T, so Newton's method within a
    bracket finds its only minimum; computed in float64.
    """
    if len(logits) < FEWEST:
        return 1.0, f"{len(logits)} validation examples are too few; it takes {FEWEST}."
    slope_at_zero, _ = _slopes(logits, right, 0.0)
    if slope_at_zero >= 0:
        return 1.0, "The validation part is predicted no better than by chance."
    if not _mistaken(logits, right):
        return 1.0, "Every validation example is right, so that no temperature is the best."
    high = 1.0
    while _slopes(logits, right, high)[0] <= 0:
        high *= 2
    low, s = 0.0, min(1.0, high)
    for _ in range(_STEPS):
        slope, curve = _slopes(logits, right, s)
        low, high = (s, high) if slope < 0 else (low, s)
        step = s - slope / curve if curve > 0 else s
        following = step if low < step < high else (low + high) / 2
        if abs(following - s) <= _PRECISE * s:
            s = following
            break
        s = following
    return 1 / s, None


def _mistaken(logits: Floats, right: NDArray[Any]) -> bool:
    """Whether some wrong answer has the higher logit: then the loss grows as s does, at last."""
    if right.ndim == 2:
        return bool((logits * (1 - 2 * right) > 0).any())
    return bool((logits.max(1) > logits[np.arange(len(logits)), right]).any())


def _slopes(logits: Floats, right: NDArray[Any], s: float) -> tuple[float, float]:
    """First and second derivative by s of the mean loss of s * logits."""
    if right.ndim == 2:
        p = _sigmoid(s * logits)
        return (
            float(((p - right) * logits).mean()),
            float((p * (1 - p) * logits**2).mean()),
        )
    p = _softmax(s * logits)
    mean = (p * logits).sum(1)
    spread = (p * logits**2).sum(1) - mean**2
    own = logits[np.arange(len(logits)), right]
    return float((mean - own).mean()), float(spread.mean())


def _nll(logits: Floats, right: NDArray[Any], s: float) -> float:
    scaled = logits * s
    if right.ndim == 2:
        return float((np.logaddexp(0, scaled) - right * scaled).mean())
    highest = scaled.max(1)
    total = np.log(np.exp(scaled - highest[:, None]).sum(1)) + highest
    return float((total - scaled[np.arange(len(scaled)), right]).mean())


def _ece(logits: Floats, right: NDArray[Any]) -> float:
    """Of several labels every answer yes or no counts as one."""
    if right.ndim == 2:
        p = _sigmoid(logits)
        sure, good = np.maximum(p, 1 - p).ravel(), ((p > 0.5) == (right > 0.5)).ravel()
    else:
        p = _softmax(logits)
        sure, good = p.max(1), p.argmax(1) == right
    number = np.minimum((sure * _BINS).astype(int), _BINS - 1)
    gaps = np.bincount(number, sure - good, minlength=_BINS)
    return float(np.abs(gaps).sum() / len(sure))


def _softmax(logits: Floats) -> Floats:
    p = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(p / p.sum(1, keepdims=True))


def _sigmoid(logits: Floats) -> Floats:
    return np.exp(-np.logaddexp(0, -logits))


@torch.no_grad()
def _predicted(
    network: Transformer, batches: Iterable[Batch], *, multiple: bool
) -> tuple[Floats, NDArray[Any]]:
    training = network.training
    network.eval()
    logits, right = [], []
    try:
        for batch in batches:
            own = batch.to(network.device)
            types = own.token_types if network.config.token_types > 1 else None
            output = network(own.ids, own.mask, token_types=types)
            logits.append(output.logits.double().cpu())
            target = own.scores if multiple else own.targets
            assert target is not None
            right.append(target.cpu())
    finally:
        network.train(training)
    if not logits:
        return np.zeros((0, len(network.config.labels))), np.zeros(0, dtype=np.int64)
    return torch.cat(logits).numpy(), torch.cat(right).numpy()
