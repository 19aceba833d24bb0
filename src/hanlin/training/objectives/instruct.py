"""Instructions: learn the assistant's answers of conversations (Ouyang et al. 2022, section 3.5).

Conversations are rendered by the model's own chat template, and the loss stands on what the
assistant wrote, the end of its turns included (`hanlin.data.turns`). Several conversations may fill
one row: attention stays within each, and positions start anew.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from torch import Tensor

from hanlin.data.batch import IGNORE, Batch
from hanlin.data.conversations import Conversation, columns_of, read_conversations
from hanlin.data.examples import Ids
from hanlin.data.packing import best_fit
from hanlin.data.turns import Turns, chatml, shows_tools, turns_of
from hanlin.errors import ConfigError, InputError
from hanlin.models.transformer import Transformer
from hanlin.tokenizers import Tokenizer
from hanlin.training.objectives.loss import writing
from hanlin.training.objectives.next_token import (
    NextTokens,
    collate_next_tokens,
    next_token_loss,
)

if TYPE_CHECKING:
    from hanlin.models.config import ModelConfig
    from hanlin.training.sections import DataSettings

TemplateChoice = Literal["own", "chatml"]


@dataclass(frozen=True, kw_only=True)
class Instruct:
    """Answer as in the conversations given."""

    name: ClassVar[str] = "instruct"
    shapes: ClassVar[tuple[str, ...]] = ("decoder",)
    records: ClassVar[bool] = True

    template: TemplateChoice = "own"
    """own: the model's chat template; chatml: ChatML, which is written into the output, for a model
    that has none."""
    pack: bool = True
    """Fill rows with several conversations that do not see each other; otherwise each has a row of
    its own, and rows of like length come together."""

    def read(
        self, sources: Sequence[str], data: "DataSettings", *, tell: Callable[[str], None]
    ) -> list[Conversation]:
        """Conversations of alpaca, ShareGPT, messages (OpenAI), prompt and completion."""
        return read_conversations(sources, columns=data.columns, skip_bad=data.skip_bad, tell=tell)

    def columns(self, sources: Sequence[str], data: "DataSettings") -> dict[str, str]:
        """Which column plays which part; what the data section says, completed."""
        return columns_of(sources, columns=data.columns)

    def adapt(self, config: "ModelConfig", records: Sequence[Conversation]) -> "ModelConfig":
        """The model as it is. Raises `ConfigError` for one that cannot write."""
        return writing(config, objective=self.name)

    def remember(self, records: Sequence[Conversation]) -> dict[str, Any]:
        """How many conversations were learnt from, through which template."""
        return {"conversations": len(records), "template": self.template}

    def examples(
        self,
        source: Sequence[Conversation],
        *,
        tokenizer: Tokenizer,
        length: int,
        seed: int,
        validation: bool = False,
    ) -> "InstructExamples":
        """Rows of at most `length` tokens; every epoch has the same rows.

        With template chatml the tokenizer gets that template, and is saved with it. Raises
        `ConfigError` where there is no template, `InputError` where a conversation does not go
        through it.
        """
        set_template(tokenizer, self.template, source)
        return InstructExamples(
            source, tokenizer=tokenizer, length=length, seed=seed, pack=self.pack
        )

    def collate(self, examples: Sequence[NextTokens]) -> Batch:
        """The rows side by side; shorter ones are filled up on the right, where causal attention
        keeps the filling out of sight."""
        return collate_next_tokens(examples)

    def loss(self, model: Transformer, batch: Batch) -> Tensor:
        """The sum of -log p(next token) over what the assistant wrote; a scalar."""
        return next_token_loss(model, batch)


def set_template(
    tokenizer: Tokenizer, choice: TemplateChoice, conversations: Sequence[Any]
) -> None:
    """Give the tokenizer the template that was chosen. Raises `ConfigError` where there is none, or
    it has no place for the tools that are there."""
    if choice == "chatml":
        tools = [c for c in conversations if c.tools]
        if tools:
            raise ConfigError(
                f"{len(tools)} conversations have tools, for which ChatML has no place. Use a "
                "model with a template of its own, or leave them out."
            )
        tokenizer.chat_template = chatml(tokenizer)
    elif tokenizer.chat_template is None:
        raise ConfigError(
            "This model has no chat template. Add objective.template=chatml, which writes one into "
            "the output, or train a model tuned for chat."
        )


class InstructExamples:
    """Rows of conversations as token ids."""

    def __init__(
        self,
        source: Sequence[Conversation],
        *,
        tokenizer: Tokenizer,
        length: int,
        seed: int,
        pack: bool,
    ) -> None:
        self._texts: list[Turns] = []
        self._notes: list[str] = []
        told = dict.fromkeys(("apart", "cut", "dropped", "open", "hidden"), 0)
        for conversation in source:
            texts = turns_of(conversation, tokenizer)
            told["apart"] += len(texts) > 1
            if conversation.tools:
                told["hidden"] += not shows_tools(conversation, tokenizer)
            for text in texts:
                fitting = [end for end in text.ends if end <= length + 1]
                told["open"] += not text.closed
                if not fitting:
                    told["dropped"] += 1
                    continue
                told["cut"] += len(fitting) < len(text.ends)
                stop = fitting[-1]
                self._texts.append(
                    Turns(text.ids[:stop], text.answered[:stop], tuple(fitting), text.closed)
                )
        self._tell(told, len(source), length)
        if not self._texts:
            raise InputError(
                f"No conversation has an answer within {length} tokens. Raise batch.length."
            )
        sizes = np.array([len(text.ids) - 1 for text in self._texts], dtype=np.int64)
        self.lengths: Ids | None = None
        if pack:
            self._order, self._rows = best_fit(sizes, length, seed=seed)
            filled = sizes.sum() / (length * len(self))
            self._notes.append(
                f"{len(sizes)} conversations fill {len(self)} rows of {length} tokens to "
                f"{filled:.1%}."
            )
        else:
            self._order, self._rows = np.arange(len(sizes)), np.arange(len(sizes) + 1)
            self.lengths = sizes
        self._pack = pack

    def _tell(self, told: dict[str, int], conversations: int, length: int) -> None:
        said = {
            "apart": "are rendered otherwise as they go on: each of their answers is learnt from "
            "the conversation up to it.",
            "cut": f"are longer than {length} tokens and end after the last answer within them.",
            "dropped": f"have no answer within {length} tokens and are left out.",
            "open": "have an answer that no special token ends: a model that learns from them may "
            "not know where to stop.",
            "hidden": "have tools, which this template does not show to the model.",
        }
        self._notes += [
            f"{count} of {conversations} conversations {said[name]}"
            for name, count in told.items()
            if count
        ]

    @property
    def notes(self) -> tuple[str, ...]:
        """What was cut, left out or rendered apart, and how full the rows are."""
        return tuple(self._notes)

    def __len__(self) -> int:
        return len(self._rows) - 1

    def example(self, index: int, epoch: int) -> NextTokens:
        """Row `index`, the same in every epoch."""
        texts = [self._texts[n] for n in self._order[self._rows[index] : self._rows[index + 1]]]
        targets = [np.where(t.answered[1:], t.ids[1:], IGNORE) for t in texts]
        segments = None
        if self._pack:
            sizes = [len(t.ids) - 1 for t in texts]
            segments = np.repeat(np.arange(len(texts)), sizes)
        return NextTokens(
            np.concatenate([t.ids[:-1] for t in texts]), np.concatenate(targets), segments
        )
