"""Distillation: a student learns from what its teacher would say (Hinton et al. 2015).

What is read and asked for is another objective's (`of`); to its loss comes how far the student's
choice is from the teacher's at every target (KL at a temperature, times its square, so that the
gradient keeps its size), and, where `hidden` says so, how far their states are apart. All of it is
a sum over targets, as every loss here. The teacher is never trained and never saved with the
student.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from torch import Tensor

from hanlin.config import refuse, written_as
from hanlin.data.batch import IGNORE, Batch
from hanlin.data.examples import Examples
from hanlin.errors import ConfigError
from hanlin.models.config import ModelConfig
from hanlin.models.named import resolve
from hanlin.models.transformer import Transformer
from hanlin.tokenizers import Tokenizer
from hanlin.training.objectives.choices import choices_apart, read
from hanlin.training.objectives.distilling import (
    Distance,
    Lesson,
    Lessons,
    layer_pairs,
    shortened,
    states_apart,
    teacher_of,
    watched,
    with_layers,
)
from hanlin.training.sections import DataSettings, ObjectiveSettings

if TYPE_CHECKING:
    from hanlin.training.objectives import Objective

_BY_HEAD = {name: name for name in ("classify", "tag", "extract", "masked-lm")}
_BY_SHAPE = {"decoder": "causal-lm", "encoder-decoder": "seq2seq"}
_REFUSED = {
    "distil": "Name what is learnt, such as causal-lm.",
    "embed": "Its vectors make no choice that could be compared. Train a small model with "
    "objective: embed.",
    "prefer": "It compares the model with a reference of its own already. Distil instruct first.",
}
"""What no teacher can show, and what to do instead."""


def _read_hidden(value: Any) -> Any:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return {"weight": value} if number else value


@dataclass(frozen=True, kw_only=True)
class Hidden:
    """How closely the student's states follow the teacher's; a number alone is the weight."""

    weight: float = 1.0
    """Of the distance of a target's states, beside the losses of the target."""
    distance: Distance = "cosine"
    """cosine: of directions (DistilBERT); mse: of the numbers themselves (TinyBERT)."""
    layers: str | dict[int, int] = "every"
    """every: each layer of the student follows the teacher's at the same share of the depth; last:
    only the last one; or a mapping from the student's layers to the teacher's, from 1."""

    def __post_init__(self) -> None:
        problems = []
        if self.weight <= 0:
            problems.append(f"weight is {self.weight:g}; it must be above zero. Or remove hidden.")
        if isinstance(self.layers, str) and self.layers not in ("every", "last"):
            problems.append(f"layers is {self.layers!r}; write every, last, or a mapping.")
        if self.layers == {}:
            problems.append("layers pairs nothing. Write every, last, or {1: 2, 2: 4}.")
        refuse(problems)


written_as(_read_hidden)(Hidden)


@dataclass(frozen=True, kw_only=True)
class Student:
    """Which layers of `model` the student is made of, counted from 0."""

    layers: tuple[int, ...]
    """Of the stack; of an encoder-decoder, of the encoder."""
    decoder_layers: tuple[int, ...] | None = None
    """Of an encoder-decoder's decoder; all when not given."""


@dataclass(frozen=True, kw_only=True)
class Distil:
    """Learn from a teacher."""

    name: ClassVar[str] = "distil"
    shapes: ClassVar[tuple[str, ...]] = ("decoder", "encoder", "encoder-decoder")

    teacher: str
    """The model to learn from: a name, a directory; it has the student's tokenizer."""
    of: ObjectiveSettings | None = None
    """What is learnt, with its options: causal-lm, masked-lm, seq2seq, classify ...; what suits the
    teacher when not given. Not embed or prefer."""
    temperature: float = 2.0
    """Above 1 the teacher's second thoughts count for more."""
    alpha: float = 0.5
    """Share of the teacher's choice in the loss; the rest is that of the right targets."""
    hidden: Hidden | None = None
    """Also follow the teacher's hidden states; not when not given."""
    student: Student | None = None
    """Start from some layers of `model` (the teacher, as a rule): {layers: [0, 2, 4]}."""

    def __post_init__(self) -> None:
        problems = []
        if self.temperature <= 0:
            problems.append(
                f"objective.temperature is {self.temperature:g}; it must be above zero."
            )
        if not 0 < self.alpha <= 1:
            problems.append(
                f"objective.alpha is {self.alpha:g}; it must be above 0 and at most 1. Without the "
                "teacher's choice there is nothing to distil."
            )
        if self.of is not None and self.of.name in _REFUSED:
            problems.append(f"objective.of is {self.of.name}. {_REFUSED[self.of.name]}")
        refuse(problems)

    @cached_property
    def task(self) -> "Objective":
        """What the student learns to do, whoever teaches it."""
        from hanlin.training.objectives import OBJECTIVES

        if self.of is not None:
            return self.of.build()
        config = _config_of(self.teacher)
        name = _BY_HEAD.get(config.head) or _BY_SHAPE.get(config.shape)
        if name is None or name not in OBJECTIVES:
            raise ConfigError(
                f"{self.teacher} is {'an' if config.shape[0] == 'e' else 'a'} {config.shape} with "
                f"the head {config.head!r}, which says nothing to learn from. Name a language "
                "model or a classifier."
            )
        return OBJECTIVES[name]()

    @property
    def records(self) -> bool:
        """Whether the source is a list of records, as the task says."""
        return bool(getattr(self.task, "records", False))

    def fitted(self, records: Any, config: ModelConfig) -> Self:
        """Itself, with a task that knows what the training records decide."""
        task: Any = self.task
        return self._learning(task.fitted(records, config) if hasattr(task, "fitted") else task)

    def without_states(self) -> Self:
        """The same, which does not follow the teacher's states."""
        return self._learning(self.task, hidden=None)

    def _learning(self, task: "Objective", **changes: Any) -> Self:
        made = replace(self, **changes)
        vars(made)["task"] = task  # where `task` keeps what it found
        return made

    def read(
        self, sources: Sequence[str], data: DataSettings, *, tell: Callable[[str], None]
    ) -> Any:
        """The records of the task."""
        task: Any = self.task
        return task.read(sources, data, tell=tell)

    def adapt(self, config: ModelConfig, records: Any) -> ModelConfig:
        """The student's network, with the head that the task needs."""
        task: Any = self.task
        adapted: ModelConfig = task.adapt(config, records)
        return adapted

    def remember(self, records: Any) -> dict[str, Any]:
        """What the task keeps with the model."""
        task: Any = self.task
        kept: dict[str, Any] = task.remember(records)
        return kept

    def begin(self, network: Transformer) -> Transformer:
        """The student as it starts, made of the network that `model` names.

        Raises `ConfigError` for layers that are not there.
        """
        if self.student is None:
            return network
        return with_layers(network, self.student.layers, self.student.decoder_layers)

    def started(self, config: ModelConfig) -> ModelConfig:
        """The config of what `begin` makes of a network of `config`."""
        if self.student is None:
            return config
        return shortened(config, self.student.layers, self.student.decoder_layers)

    def examples(
        self,
        source: Any,
        *,
        tokenizer: Tokenizer,
        length: int,
        seed: int,
        validation: bool = False,
    ) -> Examples:
        """Those of the task. Raises `ConfigError` where the teacher reads other tokens."""
        theirs = Tokenizer.load(resolve(self.teacher))
        if theirs.hash != tokenizer.hash:
            raise ConfigError(
                f"{self.teacher} reads other tokens than the student, and their choices cannot be "
                f"compared. Set tokenizer: {self.teacher}, or start from a model that has it."
            )
        made = self.task.examples(
            source, tokenizer=tokenizer, length=length, seed=seed, validation=validation
        )
        return made if validation else Lessons(made)

    def collate(self, examples: Sequence[Any]) -> Batch:
        """One batch of the task; of lessons no bytes are counted, since what their loss adds up to
        is no code length."""
        if not isinstance(examples[0], Lesson):
            return self.task.collate(examples)
        return replace(self.task.collate([lesson.example for lesson in examples]), target_bytes=0)

    def loss(self, model: Transformer, batch: Batch) -> Tensor:
        """The sum over targets of the student's loss and its distance from the teacher; a scalar.

        In eval mode the loss of the task alone, which can be compared with that of other students.
        """
        if not model.training:
            return self.task.loss(model, batch)
        teacher = teacher_of(self.teacher, batch.ids.device)
        self._check(model.config, teacher.config)
        layers = self.hidden is not None
        with watched(model, layers=layers) as own:
            right = self.task.loss(model, batch)
        with torch.no_grad(), watched(teacher, layers=layers) as told:
            read(teacher, batch)
        soft = choices_apart(model, own, teacher, told, batch, self.temperature)
        total = (1 - self.alpha) * right + self.alpha * self.temperature**2 * soft
        if self.hidden is None:
            return total
        for stack, states in own.layers.items():
            theirs = told.layers[stack]
            pairs = layer_pairs(len(states), len(theirs), self.hidden.layers)
            weights = _weights(batch, stack, states[0])
            apart = states_apart(states, theirs, pairs, weights, self.hidden.distance)
            total = total + self.hidden.weight / len(own.layers) * apart
        return total

    def _check(self, student: ModelConfig, teacher: ModelConfig) -> None:
        names = ["shape", "head", "labels", "problem"]
        if student.head in ("language-model", "masked-lm"):
            names.append("vocab_size")
        for name in names:
            mine, theirs = getattr(student, name), getattr(teacher, name)
            if mine != theirs:
                raise ConfigError(
                    f"The student's {name} is {mine!r} and the teacher's is {theirs!r}: their "
                    "choices cannot be compared. Make them the same."
                )


def _config_of(ref: str) -> ModelConfig:
    path = resolve(ref)
    if path.is_dir():
        from hanlin.models.directory import read_config

        return read_config(path)
    return teacher_of(ref, torch.device("cpu")).config


def _weights(batch: Batch, stack: str, states: Tensor) -> Tensor:
    """How much the states of each token count [B, T]: together as much as the targets.

    A decoder's count where they are asked for a target; else the targets of a row are spread evenly
    over its real tokens. A label or a span is asked of a row as a whole, of each alike.
    """
    B, T = states.shape[:2]
    asked = batch.targets != IGNORE
    if stack == "decoder" and asked.shape == (B, T):
        return asked.to(states.dtype)
    real = batch.mask if batch.mask is not None else torch.ones_like(batch.ids, dtype=torch.bool)
    if asked.shape[:2] != batch.ids.shape and batch.decoder_ids is None:
        counts = torch.full((B,), batch.target_tokens / B, device=states.device)
    else:
        counts = asked.reshape(B, -1).sum(1)
    share = counts / real.sum(1)
    return (real * share[:, None]).to(states.dtype)
