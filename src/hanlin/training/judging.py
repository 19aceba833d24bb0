"""What a task's model is worth while it is trained: by whoever knows how to measure the task.

The trainer hands out the model as it stands; which metrics there are is not this room's business.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hanlin.data.records import sampled
from hanlin.models.transformer import Transformer
from hanlin.tokenizers import Tokenizer
from hanlin.training.distributed import World, gather_model

Judge = Callable[[Transformer, Tokenizer, Any, Sequence[Any]], Mapping[str, float]]
"""The model in eval mode, its tokenizer, the objective as fitted, records of the validation part ->
metrics by name."""

GLANCE = 512
"""Records of a look while training goes on, at most; the last look takes all."""


def judging(
    judge: Judge,
    network: Transformer,
    tokenizer: Tokenizer,
    objective: Any,
    records: Sequence[Any],
    world: World,
) -> Callable[[bool], dict[str, float]]:
    """A function that every process calls at every look, with whether all records are to be read;
    the first one gets the metrics."""
    some = sampled(records, GLANCE)

    def look(everything: bool) -> dict[str, float]:
        whole = gather_model(network, world)
        if not world.first:
            return {}
        found = judge(whole, tokenizer, objective, records if everything else some)
        return {name: float(value) for name, value in found.items()}

    return look
