"""What a model learns to do: each objective makes examples of a text, batches of them, and a loss.

An objective's fields are its options. The loss is a sum over targets, so that micro-batches and
ranks add up to one big batch.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeGuard

from torch import Tensor

from hanlin.data.batch import Batch
from hanlin.data.examples import Examples
from hanlin.models.transformer import Transformer
from hanlin.tokenizers import Tokenizer
from hanlin.training.objectives.causal import CausalLM
from hanlin.training.objectives.classify import Classify
from hanlin.training.objectives.denoising import Denoising
from hanlin.training.objectives.distil import Distil
from hanlin.training.objectives.embed import Embed
from hanlin.training.objectives.extract import Extract
from hanlin.training.objectives.instruct import Instruct
from hanlin.training.objectives.masked import MaskedLM
from hanlin.training.objectives.prefer import Prefer
from hanlin.training.objectives.seq2seq import Seq2Seq
from hanlin.training.objectives.spans import SpanCorruption
from hanlin.training.objectives.tag import Tag

if TYPE_CHECKING:
    from hanlin.models.config import ModelConfig
    from hanlin.training.sections import DataSettings


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
        """The examples of a source: `TokenSource` for text, or records.

        length: the most tokens of a sequence. With `validation` what can be fixed is the same in
        every epoch, and nothing is left out.
        """

    def collate(self, examples: Sequence[Any]) -> Batch:
        """One batch of examples."""

    def loss(self, model: Transformer, batch: Batch) -> Tensor:
        """The sum of the losses of the batch's targets; a scalar to call backward on."""


class RecordObjective(Objective, Protocol):
    """A task: it learns from records, which it reads itself, and may give the model a head.

    It may also have `fitted(records, config) -> Self`: itself with what only the training records
    and the model's config decide (the order of the labels, their weights). It is called first. And
    `decoding(examples) -> dict`, how the trained model writes (generation_config.json), and
    `files(config, *, length) -> dict`, further files of JSON for its directory.
    """

    records: ClassVar[bool]
    """True."""

    def read(
        self, sources: Sequence[str], data: "DataSettings", *, tell: Callable[[str], None]
    ) -> list[Any]:
        """The records of files in every layout that the task knows; frozen dataclasses."""

    def columns(self, sources: Sequence[str], data: "DataSettings") -> dict[str, str]:
        """Which column of them plays which part; what the data section says, completed. Nothing of
        files that have none."""

    def adapt(self, config: "ModelConfig", records: Sequence[Any]) -> "ModelConfig":
        """The config of the network that is trained: its head, its labels."""

    def remember(self, records: Sequence[Any]) -> dict[str, Any]:
        """What hanlin.json says of the task beside its name, ready for JSON."""


def on_records(objective: Objective) -> TypeGuard[RecordObjective]:
    """Whether an objective is a task, which reads its records itself."""
    return getattr(objective, "records", False) is True


OBJECTIVES: dict[str, type[Objective]] = {
    objective.name: objective
    for objective in (
        CausalLM,
        MaskedLM,
        SpanCorruption,
        Denoising,
        Seq2Seq,
        Classify,
        Tag,
        Extract,
        Distil,
        Embed,
        Instruct,
        Prefer,
    )
}

__all__ = [
    "OBJECTIVES",
    "CausalLM",
    "Classify",
    "Denoising",
    "Distil",
    "Embed",
    "Extract",
    "Instruct",
    "MaskedLM",
    "Objective",
    "Prefer",
    "RecordObjective",
    "Seq2Seq",
    "SpanCorruption",
    "Tag",
    "on_records",
]
