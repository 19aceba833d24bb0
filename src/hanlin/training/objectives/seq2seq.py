"""Sequence to sequence: write one text given another (Sutskever et al. 2014; Vaswani et al. 2017).

An encoder-decoder reads the source and writes the target; a decoder goes on from a template with
the source in it, and the loss is taken on the target alone. Pairs of like length come together (see
`Loader`), so that little is padded.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from torch import Tensor

from hanlin.data.batch import Batch
from hanlin.data.examples import Ids
from hanlin.data.framing import Frame
from hanlin.data.pairs import PairRecord, columns_of, read_pair_records
from hanlin.data.shards import end_token
from hanlin.data.template import Template
from hanlin.data.tokens import TokenArray
from hanlin.errors import ConfigError
from hanlin.models.config import ModelConfig
from hanlin.models.transformer import Transformer
from hanlin.tokenizers import Tokenizer
from hanlin.training.objectives.loss import writing
from hanlin.training.objectives.pairing import (
    PairExample,
    collate_continuations,
    collate_pairs,
    pair_loss,
)

if TYPE_CHECKING:
    from hanlin.training.sections import DataSettings

_FOR_A_DECODER = "{source}\n=> {target}"
_LONGEST = 0.995
"""The share of the training targets that a trained model has room to write."""


@dataclass(frozen=True, kw_only=True)
class Seq2Seq:
    """Write a text given another."""

    name: ClassVar[str] = "seq2seq"
    shapes: ClassVar[tuple[str, ...]] = ("encoder-decoder", "decoder")
    records: ClassVar[bool] = True

    template: str | None = None
    """What stands around a source: "translate English to German: {source}"; for a decoder with
    {target} at its end, where it goes on: "{source}\\n=> {target}", which is the default there. The
    trained model remembers it."""
    smoothing: float = 0.0
    """Label smoothing: share of each target's weight that is spread over the vocabulary (0.1 in the
    original Transformer). The training loss that is told is the smoothed one; validation is not
    smoothed."""
    target_length: int | None = None
    """Most tokens of a target; as batch.length when not given. A decoder's batch.length is that of
    both together."""
    beams: int = 4
    """Hypotheses that the trained model keeps when it writes (1: the likeliest token each time);
    remembered in generation_config.json."""
    length_penalty: float = 1.0
    """Of the trained model's beam search: above 0 favours the longer; remembered likewise."""

    def __post_init__(self) -> None:
        if not 0 <= self.smoothing < 1:
            raise ConfigError(
                f"objective.smoothing is {self.smoothing}; it must be from 0 to below 1."
            )
        if self.target_length is not None and self.target_length < 2:
            raise ConfigError(
                f"objective.target_length is {self.target_length}; it must be at least 2."
            )
        if self.beams < 1:
            raise ConfigError(f"objective.beams is {self.beams}; it must be at least 1.")
        if self.template is not None:
            Template(self.template)

    @property
    def around(self) -> Template:
        """The template, which `fitted` decides where none is given."""
        return Template() if self.template is None else Template(self.template)

    def read(
        self, sources: Sequence[str], data: "DataSettings", *, tell: Callable[[str], None]
    ) -> list[PairRecord]:
        """Pairs from tables, .po files, or two files whose lines belong together."""
        named = {"source": data.source, "target": data.target}
        columns = {role: name for role, name in named.items() if name is not None}
        return read_pair_records(
            sources, columns={**data.columns, **columns}, skip_bad=data.skip_bad, tell=tell
        )

    def columns(self, sources: Sequence[str], data: "DataSettings") -> dict[str, str]:
        """Which column plays which part; what the data section says, completed."""
        return {} if data.source else columns_of(sources, columns=data.columns)

    def fitted(self, records: Sequence[PairRecord], config: ModelConfig) -> Self:
        """With the template that suits the model. Raises `ConfigError` where the given one does
        not."""
        decoder = config.shape == "decoder"
        if self.template is None:
            return replace(self, template=_FOR_A_DECODER if decoder else Template().text)
        if self.around.goes_on != decoder:
            raise ConfigError(
                f"objective.template is {self.template!r}, and the model is a {config.shape}. "
                + (
                    "A decoder goes on from its template: end it with {target}."
                    if decoder
                    else "An encoder-decoder reads its template only: leave {target} out."
                )
            )
        return self

    def adapt(self, config: ModelConfig, records: Sequence[PairRecord]) -> ModelConfig:
        """As it is. Raises `ConfigError` for a model that cannot write."""
        return writing(config, objective=self.name)

    def remember(self, records: Sequence[PairRecord]) -> dict[str, Any]:
        """The template, and how many pairs were learnt from."""
        return {"template": self.around.text, "pairs": len(records)}

    def decoding(self, examples: "PairExamples") -> dict[str, Any]:
        """How the trained model writes, as generation_config.json says it.

        No longer than all but a few of the targets that were learnt from.
        """
        return {
            "do_sample": False,
            "num_beams": self.beams,
            **({"length_penalty": self.length_penalty} if self.beams > 1 else {}),
            "max_new_tokens": examples.longest_targets(_LONGEST),
        }

    def examples(
        self,
        source: Sequence[PairRecord],
        *,
        tokenizer: Tokenizer,
        length: int,
        seed: int,
        validation: bool = False,
    ) -> "PairExamples":
        """Pairs with sources of at most `length` tokens; what is longer loses its end. Nothing is
        drawn, so `seed` and `validation` change nothing."""
        return PairExamples(
            source,
            template=self.around,
            tokenizer=tokenizer,
            length=length,
            target_length=self.target_length,
        )

    def collate(self, examples: Sequence[PairExample]) -> Batch:
        """Sources and targets side by side or one behind the other, padded on the right."""
        if self.around.goes_on:
            return collate_continuations(examples)
        return collate_pairs(examples)

    def loss(self, model: Transformer, batch: Batch) -> Tensor:
        """The sum of -log p(target token) over the targets, smoothed; a scalar."""
        return pair_loss(model, batch, smoothing=self.smoothing if model.training else 0.0)


class PairExamples:
    """Pairs in their template, with the special tokens of their tokenizer around them, cut to
    length; in memory, about four bytes a token."""

    def __init__(
        self,
        records: Sequence[PairRecord],
        *,
        template: Template,
        tokenizer: Tokenizer,
        length: int,
        target_length: int | None,
    ) -> None:
        """length: the most tokens of a source, of a decoder of both sides together."""
        end = end_token(tokenizer)
        frame = Frame((), (end,)) if template.goes_on else Frame.of(tokenizer.target)
        self._length, self._target_length = length, target_length or length
        least = len(template.read([""], tokenizer)[0]) + 1
        if length <= least + (frame.size if template.goes_on else 0) or (
            self._target_length <= frame.size
        ):
            raise ConfigError(
                f"A text of {min(length, self._target_length)} tokens has no room beside the "
                "special tokens and the template. Raise batch.length."
            )
        room = self._target_length - frame.size
        bare = tokenizer.target.encode_batch(
            (template.lead + record.target for record in records), add_special_tokens=False
        )
        targets = [[*frame.before, *ids[:room], *frame.after] for ids in bare]
        over = {at for at, ids in enumerate(bare) if len(ids) > room}
        sources = template.read([record.source for record in records], tokenizer)
        for at, (record, ids) in enumerate(zip(records, sources, strict=True)):
            limit = length
            if template.goes_on:
                limit = max(length - len(targets[at]), length // 2, least)
            if len(ids) > limit:
                over.add(at)
                sources[at] = template.cut(record.source, tokenizer, length=limit)
            if template.goes_on and len(sources[at]) + len(targets[at]) > length:
                over.add(at)
                targets[at] = [*targets[at][: length - len(sources[at]) - 1], end]
        self.truncated = len(over)
        """Pairs of which a side was cut off."""
        self._sources, self._targets = TokenArray(sources), TokenArray(targets)
        self._goes_on = template.goes_on
        sides = [np.diff(side.ends, prepend=0) for side in (self._sources, self._targets)]
        self._target_sizes = sides[1]
        self.lengths: Ids = sides[0] + sides[1] if template.goes_on else np.stack(sides, 1)

    def longest_targets(self, share: float) -> int:
        """Tokens that this share of the targets does not exceed, the end token included."""
        return int(np.quantile(self._target_sizes, share, method="higher"))

    @property
    def notes(self) -> tuple[str, ...]:
        """How many pairs were cut, where some were."""
        if not self.truncated:
            return ()
        most = f"{self._length} or {self._target_length} tokens"
        if self._goes_on:
            most = f"{self._length} tokens together"
        return (
            f"{self.truncated} of {len(self)} pairs are longer than {most} and lose their end.",
        )

    def __len__(self) -> int:
        return self._sources.documents

    def example(self, index: int, epoch: int) -> PairExample:
        """Pair `index`, the same in every epoch."""
        return PairExample(
            self._sources.read(*self._sources.document_bounds(index)),
            self._targets.read(*self._targets.document_bounds(index)),
        )
