"""What each token of each text cost, and the units its sums are resampled by.

Every model, whatever its tokens, is measured over the same texts and the same units, so their
figures can be compared and subtracted.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from hanlin.metrics import Score, accuracy, bits_per_byte, loss, perplexity
from hanlin.metrics.bootstrap import FEWEST, ratio
from hanlin.metrics.comparison import Comparison, compare_units
from hanlin.metrics.units import Units as MetricUnits

METRICS = ("loss", "perplexity", "bits_per_byte", "accuracy")
"""Of a model that gives a text a probability."""
BLOCK = 4096
"""Bytes of a block, where there are too few documents to resample. Neighbouring blocks are alike,
so an interval over blocks is narrower than one over as many documents; the signature says which."""


@dataclass(frozen=True)
class TextScore:
    """What a model made of one text, token by token [T]."""

    nats: NDArray[np.float64]
    """The negative log probability of each scored token."""
    ends: NDArray[np.int64]
    """The byte of the text before which each ends."""
    begin: int = 0
    """Bytes at the beginning that were not scored."""
    right: NDArray[np.bool_] | None = None
    """Whether each was the model's first choice, where that is known."""


def byte_ends(text: str, ends: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
    """Places in characters as places in bytes of UTF-8."""
    points = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
    sizes = 1 + (points >= 0x80).astype(np.int64) + (points >= 0x800) + (points >= 0x10000)
    before = np.concatenate([[0], np.cumsum(sizes)])
    return before[np.asarray(ends, dtype=np.int64)]


class Units:
    """What is drawn again for the intervals: the documents, or blocks where these are too few."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.sizes = np.array([len(text.encode()) for text in texts], dtype=np.int64)
        self.blocks = int((self.sizes > 0).sum()) < FEWEST
        counts = -(-self.sizes // BLOCK) if self.blocks else np.ones_like(self.sizes)
        self._starts = np.concatenate([[0], np.cumsum(counts)])

    @property
    def over(self) -> str:
        """For signatures."""
        return f"blocks({BLOCK}B)" if self.blocks else "documents"

    @cached_property
    def bytes(self) -> NDArray[np.float64]:
        """Of each unit [units]."""
        sizes = np.zeros(int(self._starts[-1]))
        for i, size in enumerate(self.sizes):
            own = sizes[self._starts[i] : self._starts[i + 1]]
            own[:] = BLOCK if self.blocks else size
            if self.blocks and len(own):
                own[-1] = size - BLOCK * (len(own) - 1)
        return sizes

    def of(self, text: int, ends: NDArray[np.int64]) -> NDArray[np.int64]:
        """The unit of each token of a text, by where it ends."""
        first, after = int(self._starts[text]), int(self._starts[text + 1])
        if not self.blocks:
            return np.full(len(ends), first)
        return np.clip(first + (ends - 1) // BLOCK, first, max(after - 1, first))


@dataclass(frozen=True)
class Totals:
    """The sums of every unit [units]."""

    units: Units
    nats: NDArray[np.float64]
    tokens: NDArray[np.float64]
    bytes: NDArray[np.float64]
    right: NDArray[np.float64] | None

    @classmethod
    def of(cls, units: Units, scores: Sequence[TextScore]) -> "Totals":
        """Add up what the tokens of every text cost."""
        count = len(units.bytes)
        nats, tokens, sizes = np.zeros(count), np.zeros(count), units.bytes.copy()
        right = np.zeros(count) if all(score.right is not None for score in scores) else None
        for number, score in enumerate(scores):
            unit = units.of(number, score.ends)
            np.add.at(nats, unit, score.nats)
            np.add.at(tokens, unit, 1)
            if right is not None and score.right is not None:
                np.add.at(right, unit, score.right)
            if score.begin:
                sizes[units.of(number, np.array([score.begin]))] -= score.begin
        return cls(units, nats, tokens, sizes, right)

    def metrics(self, about: dict[str, object], *, seed: int) -> dict[str, Score]:
        """Loss, perplexity, bits per byte, and accuracy where first choices are known."""
        about = {**about, "over": self.units.over}
        found = {
            "loss": loss(self.nats, self.tokens, seed=seed, **about),
            "perplexity": perplexity(self.nats, self.tokens, seed=seed, **about),
            "bits_per_byte": bits_per_byte(self.nats, self.bytes, seed=seed, **about),
        }
        if self.right is not None:
            found["accuracy"] = accuracy(self.right, self.tokens, seed=seed, **about)
        return found

    @property
    def bits(self) -> MetricUnits:
        """What bits per byte are computed from, unit by unit."""
        statistics = np.stack([self.nats / math.log(2), self.bytes], axis=1)
        return MetricUnits(statistics, ratio, f"unit:bits|over:{self.units.over}")

    @property
    def scored(self) -> Hashable:
        """Which bytes of the text were scored: equal where two models scored the same."""
        return self.bytes.tobytes()

    def behind(self, other: "Totals", *, seed: int) -> Mapping[str, Comparison]:
        """Bits per byte of this model less the other's, unit by unit; none where they did not score
        the same bytes."""
        if self.scored != other.scored:
            return {}
        name = "bits_per_byte"
        return {name: compare_units(other.bits, self.bits, name, seed=seed)}
