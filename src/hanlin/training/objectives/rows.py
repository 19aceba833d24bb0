"""Rows of different lengths as one rectangle."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from hanlin.data.examples import Ids


def stacked(rows: Sequence[Ids], fill: int) -> Ids:
    """The rows [B, T], the shorter ones filled up on the right with `fill`."""
    longest = max(len(row) for row in rows)
    if all(len(row) == longest for row in rows):
        return np.stack(rows)
    out = np.full((len(rows), longest), fill, dtype=rows[0].dtype)
    for at, row in enumerate(rows):
        out[at, : len(row)] = row
    return out


def real(rows: Sequence[Ids]) -> Tensor | None:
    """True where the rectangle of `rows` holds a token [B, T]; None where it is all tokens."""
    lengths = np.array([len(row) for row in rows])
    if (lengths == lengths.max()).all():
        return None
    return torch.from_numpy(np.arange(lengths.max()) < lengths[:, None])


def documents(rows: Sequence[Ids | None]) -> Tensor | None:
    """Segments [B, T] of rows that keep their documents apart, -1 where filled up; else None."""
    kept = [row for row in rows if row is not None]
    return torch.from_numpy(stacked(kept, -1)).int() if kept else None
