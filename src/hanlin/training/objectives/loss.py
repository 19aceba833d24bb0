"""The loss that every objective shares: cross-entropy over the vocabulary, summed over targets."""

from torch import Tensor

from hanlin.data.batch import IGNORE
from hanlin.errors import ConfigError
from hanlin.kernels.cross_entropy import cross_entropy_sum
from hanlin.models.config import ModelConfig
from hanlin.models.heads import VocabularyHead
from hanlin.models.transformer import Transformer


def writing(config: ModelConfig, *, objective: str) -> ModelConfig:
    """`config` of a language model as it is. Raises `ConfigError` for a model that cannot write."""
    if config.head != "language-model":
        raise ConfigError(
            f"The model has the head {config.head!r}, and {objective} needs one that writes. Name "
            "a language model."
        )
    return config


def vocabulary_loss(
    model: Transformer, hidden: Tensor, targets: Tensor, *, smoothing: float = 0.0
) -> Tensor:
    """The sum of -log p(target) over targets that are not `IGNORE`; a scalar.

    hidden: [B, T, D]; targets: [B, T]. States and logits are made only where a target is asked for.
    smoothing: share of each target's weight that is spread evenly over the vocabulary (Szegedy et
    al. 2016).
    """
    head = model.head
    assert isinstance(head, VocabularyHead)
    rows, targets = hidden.flatten(0, 1), targets.flatten()
    if head.transform is not None or smoothing:
        # A dense layer over all tokens would cost more than picking the few that are asked for.
        asked = targets != IGNORE
        rows, targets = rows[asked], targets[asked]
    states = head.states(rows)
    weight, bias = head.projection.weight, head.projection.bias
    loss = cross_entropy_sum(
        states, weight, targets, bias=bias, softcap=head.softcap, compiled=model.compiled
    )
    if not smoothing:
        return loss
    if head.softcap is not None:
        raise ConfigError(
            "Label smoothing does not go with logits that are capped (logit_softcap). Set "
            "objective.smoothing to 0."
        )
    # -mean(log p) differs from -log p(target) by the target's logit less the mean logit, and the
    # mean logit is the product with the mean row: no logits over the vocabulary are needed.
    away = weight[targets] - weight.mean(0)
    gap = (states * away).sum()
    if bias is not None:
        gap = gap + (bias[targets] - bias.mean()).sum()
    return loss + smoothing * gap
