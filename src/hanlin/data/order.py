"""Which example comes when: orders that can be read at any place, randomness that needs no history.

Everything random in data is a pure function of a seed, an epoch and an index, so that a run can
start anywhere, on any number of machines, and read what it would have read.
"""

import math

import numpy as np
import numpy.typing as npt

from hanlin.errors import ConfigError

Indices = npt.NDArray[np.int64]

_ROUNDS = 8
"""Four make a Feistel network a strong pseudo-random permutation (Luby and Rackoff 1988); small
domains need a few more."""

ORDER, OFFSET, SPLIT, PACK = 1, 2, 3, 4
"""Purposes of `rng` beside an example's own (0)."""


def rng(seed: int, epoch: int, index: int, *, purpose: int = 0) -> np.random.Generator:
    """The generator of one example in one epoch (Philox, Salmon et al. 2011).

    Generators of different arguments are independent; making one takes microseconds.
    """
    if not 0 <= seed < 1 << 63:
        raise ConfigError(f"seed is {seed}; it must be from 0 to 2**63 - 1.")
    key = np.array([seed, epoch], dtype=np.uint64)
    # The first two words of the counter are left to the draws.
    counter = np.array([0, 0, purpose, index], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


class Permutation:
    """A pseudo-random order of range(size) that takes no memory: place in, number out.

    A Feistel network over pairs of digits, of bases whose product is `size` or little more; what
    falls outside goes through it again (Black and Rogaway 2002, "Ciphers with arbitrary finite
    domains").
    """

    def __init__(self, size: int, *, seed: int, epoch: int) -> None:
        if not 1 <= size < 1 << 62:
            raise ConfigError(f"There are {size} examples to put in order; there must be some.")
        self.size = size
        low = math.isqrt(size - 1) + 1
        self._bases = np.uint64(low), np.uint64(-(-size // low))
        keys = rng(seed, epoch, 0, purpose=ORDER).integers(0, 1 << 64, _ROUNDS, dtype=np.uint64)
        self._keys = list(keys)

    def at(self, places: Indices) -> Indices:
        """The numbers that stand at `places` (any shape), each from 0 to size - 1."""
        out = self._once(np.atleast_1d(np.asarray(places, dtype=np.uint64)))
        while (outside := out >= self.size).any():
            out[outside] = self._once(out[outside])
        return out.astype(np.int64).reshape(np.shape(places))

    def _once(self, x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
        low = self._bases[0]
        right, left = np.divmod(x, low)
        for turn, key in enumerate(self._keys):
            # The rounds are even in number, so both digits end in the base they began with.
            base = self._bases[turn % 2]
            left, right = right, (left + _mixed(right ^ key) % base) % base
        return right * low + left


def _mixed(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele et al. 2014): every bit of x moves every bit of it."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
