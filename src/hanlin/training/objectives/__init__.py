"""What a model learns to do: each objective makes examples of a text, batches of them, and a loss.

An objective's fields are its options. The loss is a sum over targets, so that micro-batches and
ranks add up to one big batch.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Protocol

from torch import Tensor

from hanlin.data.batch import Batch
from hanlin.data.examples import Examples
from hanlin.models.transformer import Transformer
from hanlin.tokenizers import Tokenizer
from hanlin.training.objectives.causal import CausalLM
from hanlin.training.objectives.denoising import Denoising
from hanlin.training.objectives.masked import MaskedLM
from hanlin.training.objectives.seq2seq import Seq2Seq
from hanlin.training.objectives.spans import SpanCorruption


class Objective(Protocol):
    """One thing a model can learn to do; a frozen dataclass of its options."""

    name: ClassVar[str]
    shapes: ClassVar[tuple[str, ...]]
    """Which shapes of model it trains."""

    def examples(
        self,
        source: Any,
        *,
        tokenizer: Tokenizer,
        length: int,
        seed: int,
        validation: bool = False,
    ) -> Examples:
        """The examples of a source: `TokenSource` for text, `Pairs` for seq2seq.

        length: the most tokens of a sequence. With `validation` what can be fixed is the same in
        every epoch, and nothing is left out.
        """

    def collate(self, examples: Sequence[Any]) -> Batch:
        """One batch of examples."""

    def loss(self, model: Transformer, batch: Batch) -> Tensor:
        """The sum of the losses of the batch's targets; a scalar to call backward on."""


OBJECTIVES: dict[str, type[Objective]] = {
    objective.name: objective
    for objective in (CausalLM, MaskedLM, SpanCorruption, Denoising, Seq2Seq)
}

__all__ = [
    "OBJECTIVES",
    "CausalLM",
    "Denoising",
    "MaskedLM",
    "Objective",
    "Seq2Seq",
    "SpanCorruption",
]
