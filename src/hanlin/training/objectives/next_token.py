"""What objectives share that predict each token from those before it: a row, its batch, a loss."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hanlin.data.batch import IGNORE, Batch
from hanlin.data.examples import Ids
from hanlin.models.transformer import Transformer
from hanlin.training.objectives.loss import vocabulary_loss
from hanlin.training.objectives.rows import documents, stacked


@dataclass(frozen=True)
class NextTokens:
    """One row: what is read, and what comes next."""

    ids: Ids
    """[T]."""
    targets: Ids
    """[T]; `IGNORE` where nothing is asked."""
    segments: Ids | None
    """[T]: which document of the row each token belongs to; None where they may see each other."""
    bytes: int = 0
    """UTF-8 bytes the targets stand for; 0 where that has no meaning."""


def collate_next_tokens(examples: Sequence[NextTokens]) -> Batch:
    """The rows side by side; shorter ones are filled up on the right, where causal attention keeps
    the filling out of sight."""
    targets = stacked([e.targets for e in examples], IGNORE)
    return Batch(
        ids=torch.from_numpy(stacked([e.ids for e in examples], 0)),
        targets=torch.from_numpy(targets),
        segments=documents([e.segments for e in examples]),
        target_tokens=int((targets != IGNORE).sum()),
        target_bytes=sum(e.bytes for e in examples),
    )


def next_token_loss(model: Transformer, batch: Batch) -> Tensor:
    """The sum of -log p(next token) over the targets; a scalar."""
    hidden = model.hidden(batch.ids, segments=batch.segments)
    return vocabulary_loss(model, hidden, batch.targets)
