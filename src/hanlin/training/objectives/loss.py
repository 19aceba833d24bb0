"""The loss that every objective shares: cross-entropy over the vocabulary, summed over targets."""

from torch import Tensor

from hanlin.data.batch import IGNORE
from hanlin.kernels.cross_entropy import cross_entropy_sum
from hanlin.models.heads import VocabularyHead
from hanlin.models.transformer import Transformer


def vocabulary_loss(model: Transformer, hidden: Tensor, targets: Tensor) -> Tensor:
    """The sum of -log p(target) over targets that are not `IGNORE`; a scalar.

    hidden: [B, T, D]; targets: [B, T]. States and logits are made only where a target is asked for.
    """
    head = model.head
    assert isinstance(head, VocabularyHead)
    rows, targets = hidden.flatten(0, 1), targets.flatten()
    if head.transform is not None:
        # A dense layer over all tokens would cost more than picking the few that are asked for.
        asked = targets != IGNORE
        rows, targets = rows[asked], targets[asked]
    return cross_entropy_sum(
        head.states(rows),
        head.projection.weight,
        targets,
        bias=head.projection.bias,
        softcap=head.softcap,
    )
