"""Preferences: make answers that were preferred likelier than those that were not.

DPO (Rafailov et al. 2023). With p the model and r a reference that stays as it was, and sums of log
probabilities over an answer's tokens, the end of the turn included,

    h = log p(chosen) - log p(rejected) - (log r(chosen) - log r(rejected))

    sigmoid   -(1 - e) log sigmoid(beta h) - e log sigmoid(-beta h)      e: share of wrong pairs
    ipo       (h - 1 / (2 beta))^2                                       (Azar et al. 2023)

e above zero is the conservative DPO of Mitchell 2023. beta times log p / r is called the reward of
an answer. With LoRA the reference is the network without it; else a frozen copy.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from hanlin.data.batch import IGNORE, Batch
from hanlin.data.conversations import columns_of
from hanlin.data.examples import Ids
from hanlin.data.preferences import PAIR_ROLES, Preference, read_preferences
from hanlin.data.turns import answer_to
from hanlin.errors import ConfigError, InputError
from hanlin.models.heads import VocabularyHead
from hanlin.models.lora import disabled
from hanlin.models.transformer import Transformer
from hanlin.tokenizers import Tokenizer
from hanlin.training.objectives.instruct import TemplateChoice, set_template
from hanlin.training.objectives.loss import writing
from hanlin.training.objectives.rows import stacked

if TYPE_CHECKING:
    from hanlin.models.config import ModelConfig
    from hanlin.training.sections import DataSettings

_CHUNK = 256
"""Answer tokens whose logits are held at a time: 50 MB at 49,152 tokens of vocabulary."""


@dataclass(frozen=True)
class PreferExample:
    """A conversation with two answers."""

    chosen: Ids
    """[T]."""
    rejected: Ids
    """[U]."""
    begins: tuple[int, int]
    """How many tokens come before each answer."""


@dataclass(frozen=True, kw_only=True)
class Prefer:
    """Prefer the answers that were chosen."""

    name: ClassVar[str] = "prefer"
    shapes: ClassVar[tuple[str, ...]] = ("decoder",)
    records: ClassVar[bool] = True
    measures: ClassVar[tuple[str, ...]] = ("preference_accuracy", "reward_margin")
    """What a look at the validation part says beside the loss, which the same passes give."""
    _reference: ClassVar[Transformer | None] = None

    beta: float = 0.1
    """How dear it is to move away from the reference: the higher, the nearer the model stays."""
    variant: Literal["sigmoid", "ipo"] = "sigmoid"
    """sigmoid: DPO's own loss; ipo: a squared one, which does not push on what is settled."""
    smoothing: float = 0.0
    """sigmoid: the share of pairs that are taken to be labelled the wrong way round."""
    template: TemplateChoice = "own"
    """own: the model's chat template; chatml: ChatML, which is written into the output, for a model
    that has none."""

    def __post_init__(self) -> None:
        if not (self.beta > 0 and math.isfinite(self.beta)):
            raise ConfigError(f"objective.beta is {self.beta:g}; it must be above zero.")
        if not 0 <= self.smoothing < 0.5:
            raise ConfigError(
                f"objective.smoothing is {self.smoothing:g}; it must be from 0 to below 0.5."
            )
        if self.smoothing and self.variant == "ipo":
            raise ConfigError("objective.smoothing has no effect with variant ipo. Remove it.")

    def read(
        self, sources: Sequence[str], data: "DataSettings", *, tell: Callable[[str], None]
    ) -> list[Preference]:
        """Pairs of TRL's layouts, of ShareGPT's and of alpaca's."""
        return read_preferences(sources, columns=data.columns, skip_bad=data.skip_bad, tell=tell)

    def columns(self, sources: Sequence[str], data: "DataSettings") -> dict[str, str]:
        """Which column plays which part; what the data section says, completed."""
        return columns_of(sources, columns=data.columns, roles=PAIR_ROLES)

    def adapt(self, config: "ModelConfig", records: Sequence[Preference]) -> "ModelConfig":
        """The model as it is. Raises `ConfigError` for one that cannot write."""
        return writing(config, objective=self.name)

    def remember(self, records: Sequence[Preference]) -> dict[str, Any]:
        """How many pairs were learnt from, and how."""
        return {"pairs": len(records), "beta": self.beta, "variant": self.variant}

    def against(self, reference: Transformer) -> Self:
        """The same, with a reference that is not to change: for training without LoRA."""
        bound = replace(self)
        object.__setattr__(bound, "_reference", reference.eval().requires_grad_(False))
        return bound

    def examples(
        self,
        source: Sequence[Preference],
        *,
        tokenizer: Tokenizer,
        length: int,
        seed: int,
        validation: bool = False,
    ) -> "PreferExamples":
        """Pairs of which neither conversation is longer than `length` tokens. Nothing is drawn, so
        `seed` changes nothing. Raises as `Instruct.examples` does."""
        set_template(tokenizer, self.template, source)
        return PreferExamples(source, tokenizer=tokenizer, length=length)

    def collate(self, examples: Sequence[PreferExample]) -> Batch:
        """All chosen conversations, then all rejected ones [2B, T], padded on the right."""
        rows = [e.chosen for e in examples] + [e.rejected for e in examples]
        begins = [e.begins[0] for e in examples] + [e.begins[1] for e in examples]
        targets = [
            np.concatenate([np.full(begin - 1, IGNORE, dtype=np.int64), row[begin:]])
            for row, begin in zip(rows, begins, strict=True)
        ]
        return Batch(
            ids=torch.from_numpy(stacked([row[:-1] for row in rows], 0)),
            targets=torch.from_numpy(stacked(targets, IGNORE)),
            target_tokens=len(examples),
        )

    def loss(self, model: Transformer, batch: Batch) -> Tensor:
        """The sum of the pairs' losses; a scalar. Raises `ConfigError` without a reference."""
        return self.losses(answers(model, batch), self._of_reference(model, batch)).sum()

    def losses(self, policy: Tensor, reference: Tensor) -> Tensor:
        """The loss of each pair [B], of the answers' log probabilities [2B], chosen ones first."""
        h = _gap(policy) - _gap(reference)
        if self.variant == "ipo":
            return (h - 1 / (2 * self.beta)).square()
        right, wrong = F.logsigmoid(self.beta * h), F.logsigmoid(-self.beta * h)
        return -(1 - self.smoothing) * right - self.smoothing * wrong

    def measure(self, model: Transformer, batch: Batch) -> Tensor:
        """The sums over the pairs [3] of their losses and of `measures`: whether the chosen answer
        has the higher reward, of equal ones half, as all are before the first step; and by how much
        (nats)."""
        policy, reference = answers(model, batch), self._of_reference(model, batch)
        margins = (self.beta * (_gap(policy) - _gap(reference))).double()
        right = torch.heaviside(margins, margins.new_tensor(0.5))
        losses = self.losses(policy, reference).double()
        return torch.stack([losses.sum(), right.sum(), margins.sum()])

    def _of_reference(self, model: Transformer, batch: Batch) -> Tensor:
        """The answers' log probabilities under the reference [2B], without gradients.

        Made in the caller's grad mode, by the same kernels as those of the model: those of
        `torch.no_grad` round otherwise, in bfloat16 by as much as an answer gains in an epoch.
        """
        if self._reference is not None:
            return answers(self._reference.to(batch.ids.device), batch).detach()
        if model.adapters is None or model.adapters.active is None:
            raise ConfigError(
                "Preferences are learnt against a model that does not change, and there is none. "
                "Set method: lora, or start from a model (Prefer.against)."
            )
        with disabled(model), _still(model):
            return answers(model, batch).detach()


def answers(model: Transformer, batch: Batch) -> Tensor:
    """The log probability of each row's targets under `model` [R], in float32 or wider."""
    head = model.head
    assert isinstance(head, VocabularyHead)
    hidden = model.hidden(batch.ids)
    asked = batch.targets != IGNORE
    states, targets = head.states(hidden[asked]), batch.targets[asked]
    losses = [
        checkpoint(_cross_entropy, head, part, target, use_reentrant=False)
        for part, target in zip(
            torch.split(states, _CHUNK), torch.split(targets, _CHUNK), strict=True
        )
    ]
    row = asked.nonzero()[:, 0]
    tokens = torch.cat(losses)
    return -tokens.new_zeros(len(batch.ids)).index_add(0, row, tokens)


def _cross_entropy(head: VocabularyHead, states: Tensor, targets: Tensor) -> Tensor:
    """-log p of each target [N]; the logits are made again for the gradient."""
    logits: Tensor = head.projection(states)
    logits = logits if logits.dtype == torch.float64 else logits.float()
    if head.softcap is not None:
        logits = torch.tanh(logits / head.softcap) * head.softcap
    return F.cross_entropy(logits, targets, reduction="none")


def _gap(answered: Tensor) -> Tensor:
    """Chosen less rejected [B], of log probabilities [2B]."""
    chosen, rejected = answered.chunk(2)
    return chosen - rejected


@contextmanager
def _still(model: Transformer) -> Iterator[None]:
    """Without dropout."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


class PreferExamples:
    """Pairs as token ids."""

    def __init__(self, source: Sequence[Preference], *, tokenizer: Tokenizer, length: int) -> None:
        self._pairs: list[PreferExample] = []
        for pair in source:
            shown = {"tools": list(pair.tools)} if pair.tools else {}
            try:
                both = [
                    answer_to(pair.messages, answer, tokenizer, **shown)
                    for answer in (pair.chosen, pair.rejected)
                ]
            except InputError as error:
                raise InputError(f"{pair.where}: {error}" if pair.where else str(error)) from error
            (chosen, first), (rejected, second) = both
            if max(len(chosen), len(rejected)) <= length + 1:
                self._pairs.append(PreferExample(chosen, rejected, (first, second)))
        if not self._pairs:
            raise InputError(f"No pair is within {length} tokens. Raise batch.length.")
        self._dropped, self._length = len(source) - len(self._pairs), length
        # What a pair takes of a step: two rows, both as long as the longer one.
        sizes = [2 * (max(len(p.chosen), len(p.rejected)) - 1) for p in self._pairs]
        self.lengths: Ids = np.array(sizes, dtype=np.int64)

    @property
    def notes(self) -> tuple[str, ...]:
        """How many pairs were left out, where some were."""
        if not self._dropped:
            return ()
        every = self._dropped + len(self)
        return (
            f"{self._dropped} of {every} pairs are longer than {self._length} tokens and are left "
            "out.",
        )

    def __len__(self) -> int:
        return len(self._pairs)

    def example(self, index: int, epoch: int) -> PreferExample:
        """Pair `index`, the same in every epoch."""
        return self._pairs[index]
