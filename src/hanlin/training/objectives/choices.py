"""How far a student's choices are from its teacher's: over tokens, labels, places in a text."""

import torch
import torch.nn.functional as F
from torch import Tensor

from hanlin.data.batch import IGNORE, Batch
from hanlin.kernels.kl import Scores, kl_sum
from hanlin.models.heads import TokenHead, VocabularyHead
from hanlin.models.transformer import Transformer
from hanlin.training.objectives.distilling import Seen, wide


def read(model: Transformer, batch: Batch) -> None:
    """Let a model read a batch as the losses of `of` do; `watched` keeps what comes of it."""
    types = batch.token_types if model.config.token_types > 1 else None
    if model.config.head in ("classify", "extract"):
        model(batch.ids, batch.mask, token_types=types)
        return
    after = None if batch.decoder_ids is None else model.shift(batch.decoder_ids)
    model.hidden(batch.ids, batch.mask, after, segments=batch.segments, token_types=types)


def choices_apart(
    model: Transformer,
    own: Seen,
    teacher: Transformer,
    told: Seen,
    batch: Batch,
    temperature: float,
) -> Tensor:
    """The sum over targets of KL(teacher || student) at a temperature; a scalar."""
    if isinstance(model.head, VocabularyHead):
        assert isinstance(teacher.head, VocabularyHead)
        asked = batch.targets.flatten() != IGNORE
        return kl_sum(
            _scores(model.head, _last(own), asked),
            _scores(teacher.head, _last(told), asked),
            temperature=temperature,
        )
    assert own.logits is not None
    if model.config.head == "tag":
        assert isinstance(teacher.head, TokenHead)
        # Asked of the tokens that have a target only, as the student was.
        asked = batch.targets.flatten() != IGNORE
        shown = teacher.head(_last(told)[asked])
    else:
        assert told.logits is not None
        shown = told.logits
    mine, theirs = wide(own.logits), wide(shown)
    if model.config.head == "extract":
        return _places_apart(mine / temperature, theirs / temperature, batch.mask)
    if model.config.problem == "regression":
        return (mine - theirs).square().sum()
    mine, theirs = mine / temperature, theirs / temperature
    if model.config.problem == "multiple":
        shares = theirs.sigmoid()
        apart = F.binary_cross_entropy_with_logits(mine, shares, reduction="sum")
        return apart - F.binary_cross_entropy_with_logits(theirs, shares, reduction="sum")
    mine, theirs = mine.log_softmax(-1), theirs.log_softmax(-1)
    return F.kl_div(mine, theirs, reduction="sum", log_target=True)


def _places_apart(mine_BT2: Tensor, theirs_BT2: Tensor, mask_BT: Tensor | None) -> Tensor:
    """The sum over rows of the mean of KL(teacher || student) of where an answer begins and of
    where it ends, over the tokens of the row, padding left out; a scalar."""
    padding = torch.zeros_like(mine_BT2, dtype=torch.bool)
    if mask_BT is not None:
        padding = ~mask_BT.bool().unsqueeze(-1).expand_as(padding)
    mine, theirs = (
        logits.masked_fill(padding, float("-inf")).log_softmax(1).masked_fill(padding, 0.0)
        for logits in (mine_BT2, theirs_BT2)
    )
    # At padding both are 0 now, and so is exp(0) * (0 - 0).
    return F.kl_div(mine, theirs, reduction="sum", log_target=True) / 2


def _last(seen: Seen) -> Tensor:
    """What the head stands on, [B * T, D]."""
    return seen.final["decoder" if "decoder" in seen.final else "encoder"].flatten(0, 1)


def _scores(head: VocabularyHead, rows: Tensor, asked: Tensor) -> Scores:
    projection = head.projection
    return Scores(head.states(rows[asked]), projection.weight, projection.bias, head.softcap)
