"""What this machine can do, measured: how fast it reads memory and how fast it multiplies.

The two limits of a Transformer on a CPU: writing a token reads every weight once; reading a prompt
multiplies by every weight once per token.
"""

import time
from collections.abc import Callable

import torch

_READ_BYTES = 256 * 2**20
"""Far beyond any processor's cache."""
_SIDE = 1024


def read_bandwidth(*, seconds: float = 0.6) -> float:
    """Return bytes per second that a matrix-vector product reads from memory; the best run."""
    columns = 8192
    matrix = torch.ones(_READ_BYTES // 4 // columns, columns)
    vector = torch.ones(columns)
    return _READ_BYTES / _best(lambda: torch.mv(matrix, vector), seconds=seconds)


def matmul_peak(dtype: torch.dtype = torch.float32, *, seconds: float = 0.4) -> float:
    """Return floating-point operations per second of a large product in `dtype`; the best run."""
    left = torch.ones(_SIDE, _SIDE, dtype=dtype)
    right = torch.ones(_SIDE, _SIDE, dtype=dtype)
    return 2 * _SIDE**3 / _best(lambda: torch.mm(left, right), seconds=seconds)


def _best(work: Callable[[], object], *, seconds: float) -> float:
    """Seconds of the fastest of several runs, after one to warm up."""
    work()
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end or best == float("inf"):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best
