"""What objectives that write one text given another share: an input, a target, and the loss of one
given the other."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hanlin.data.batch import IGNORE, Batch
from hanlin.data.examples import Ids
from hanlin.models.transformer import Transformer
from hanlin.training.objectives.loss import vocabulary_loss
from hanlin.training.objectives.rows import real, stacked


@dataclass(frozen=True)
class PairExample:
    """What a model reads and what it has to write."""

    ids: Ids
    """[T]."""
    targets: Ids
    """[U]."""


def collate_pairs(examples: Sequence[PairExample]) -> Batch:
    """For an encoder-decoder: inputs [B, T] and targets [B, U], padded on the right."""
    targets = [e.targets for e in examples]
    return Batch(
        ids=torch.from_numpy(stacked([e.ids for e in examples], 0)),
        mask=real([e.ids for e in examples]),
        decoder_ids=torch.from_numpy(stacked(targets, 0)),
        targets=torch.from_numpy(stacked(targets, IGNORE)),
        target_tokens=sum(len(row) for row in targets),
    )


def collate_continuations(examples: Sequence[PairExample]) -> Batch:
    """For a decoder: each input with its target behind it, of which alone the loss is taken.

    ids, targets: [B, T + U - 1], padded on the right, where causal attention keeps the padding out
    of sight.
    """
    rows = [np.concatenate([e.ids, e.targets]) for e in examples]
    asked = [np.concatenate([np.full(len(e.ids) - 1, IGNORE), e.targets]) for e in examples]
    return Batch(
        ids=torch.from_numpy(stacked([row[:-1] for row in rows], 0)),
        targets=torch.from_numpy(stacked(asked, IGNORE)),
        target_tokens=sum(len(e.targets) for e in examples),
    )


def pair_loss(model: Transformer, batch: Batch, *, smoothing: float = 0.0) -> Tensor:
    """The sum of the losses of the targets given the inputs; a scalar.

    Targets are padded on the right, where causal attention keeps the padding out of sight.
    """
    if batch.decoder_ids is None:
        hidden = model.hidden(batch.ids)
    else:
        hidden = model.hidden(batch.ids, batch.mask, model.shift(batch.decoder_ids))
    return vocabulary_loss(model, hidden, batch.targets, smoothing=smoothing)
