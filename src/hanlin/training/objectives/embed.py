"""Sentence embeddings by contrast: texts that belong together come near, all others far.

In-batch negatives (Henderson et al. 2017; sentence-transformers' MultipleNegativesRankingLoss):
each anchor of a batch has to find its own positive among those of all, and among the hard negatives
that are given. The loss is summed over anchors, but what stands in the sum depends on who else is
in the batch: two micro-batches of 16 have 15 wrong answers an anchor, one batch of 32 has 31. So
batch.micro would change what is learnt, and is refused; where memory is short,
checkpoint.activation saves it exactly. Several processes contrast each its own part.

Matryoshka dimensions: Kusupati et al. 2022.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from hanlin.data.batch import Batch
from hanlin.data.columns import open_table, tell_columns
from hanlin.data.examples import Ids
from hanlin.data.records import BadRowError, collect, text_in
from hanlin.data.tokens import TokenArray
from hanlin.errors import ConfigError, InputError
from hanlin.models.config import ModelConfig
from hanlin.models.heading import with_head
from hanlin.models.pooling import MODES, Pooling
from hanlin.models.transformer import Transformer
from hanlin.text.tables import USUAL, BadRow, Row
from hanlin.tokenizers import Tokenizer
from hanlin.training.objectives.rows import real, stacked

if TYPE_CHECKING:
    from hanlin.training.sections import DataSettings

ROLES: Mapping[str, tuple[str, ...]] = {
    "anchor": (*USUAL["anchor"], *USUAL["question"], "sentence1", "query"),
    "positive": (*USUAL["positive"], *USUAL["answer"], "sentence2", "passage"),
    "negative": USUAL["negative"],
    "score": USUAL["score"],
}
"""The parts that columns play -> what they are usually called."""


@dataclass(frozen=True)
class EmbedRecord:
    """A text, one that belongs to it, perhaps one that does not; or two with how alike they are."""

    anchor: str
    positive: str
    negative: str | None = None
    score: float | None = None
    """How alike the two are, on whatever scale; only for measuring."""

    @property
    def group(self) -> str:
        """The text that others belong to: all of them stand on one side of a split."""
        return self.anchor


@dataclass(frozen=True)
class EmbedExample:
    """The texts of a record as ids, each with a number that equal texts share."""

    texts: tuple[Ids, ...]
    """Anchor, positive, perhaps negative."""
    numbers: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Embed:
    """Give texts that belong together vectors that are alike."""

    name: ClassVar[str] = "embed"
    shapes: ClassVar[tuple[str, ...]] = ("encoder", "decoder")
    records: ClassVar[bool] = True
    _base: ClassVar[Pooling | None] = None

    scale: float = 20.0
    """What cosines are multiplied by before the softmax: one over the temperature."""
    symmetric: bool = False
    """Whether each positive has to find its anchor too."""
    pooling: str | None = None
    """How the states of tokens become one vector: mean, cls, max, lasttoken ... When not given: as
    the model's files of sentence-transformers say; without them the mean for an encoder and the
    last token for a decoder."""
    dimensions: tuple[int, ...] = ()
    """Matryoshka: the first so many numbers of a vector are to be a good vector by themselves; the
    whole one always is. The loss is the mean over all of them."""

    def __post_init__(self) -> None:
        if self.scale <= 0:
            raise ConfigError(f"objective.scale is {self.scale:g}; it must be above zero.")
        if self.pooling is not None and self.pooling not in MODES:
            raise ConfigError(
                f"objective.pooling is {self.pooling!r}; it must be one of {', '.join(MODES)}."
            )
        if any(size < 1 for size in self.dimensions):
            raise ConfigError("objective.dimensions must be whole numbers of at least 1.")

    def pooler(self, *, max_length: int | None = None) -> Pooling:
        """How the trained model pools; its vectors have length 1. max_length: tokens it reads."""
        base = self._base or Pooling(modes=(self.pooling or "mean",))
        return replace(base, normalise=True, max_length=max_length)

    def following(self, base: Pooling) -> Self:
        """The same, which pools as the model it starts from does. Raises `ConfigError` where that
        model puts a prompt before its texts, which the trained one could not say."""
        if base.prompt:
            raise ConfigError(
                f"The model reads every text behind the prompt {base.prompt!r}, which its trained "
                f"copy could not say. Set objective.pooling: {base.modes[0]} to train it without."
            )
        bound = replace(self)
        object.__setattr__(bound, "_base", base)
        return bound

    def read(
        self, sources: Sequence[str], data: "DataSettings", *, tell: Callable[[str], None]
    ) -> list[EmbedRecord]:
        """Rows with the columns anchor and positive, perhaps negative or score."""
        return read_embed_records(sources, columns=data.columns, skip_bad=data.skip_bad, tell=tell)

    def columns(self, sources: Sequence[str], data: "DataSettings") -> dict[str, str]:
        """Which column plays which part; what the data section says, completed."""
        return _open(sources, data.columns, lambda text: None)[1]

    def fitted(self, records: Sequence[EmbedRecord], config: ModelConfig) -> Self:
        """With the pooling that suits the model. Raises `ConfigError` for dimensions it lacks."""
        if wrong := [size for size in self.dimensions if size >= config.hidden_size]:
            raise ConfigError(
                f"objective.dimensions has {wrong[0]}, and the model's vectors have "
                f"{config.hidden_size} numbers. Name smaller ones."
            )
        if self.pooling is not None or self._base is not None:
            return self
        return replace(self, pooling="lasttoken" if config.shape == "decoder" else "mean")

    def adapt(self, config: ModelConfig, records: Sequence[EmbedRecord]) -> ModelConfig:
        """The model without a head."""
        return config if config.head == "none" else with_head(config, "none")

    def remember(self, records: Sequence[EmbedRecord]) -> dict[str, Any]:
        """How it was learnt; how vectors are made is in the files of sentence-transformers."""
        return {"pairs": len(records), "scale": self.scale, "dimensions": list(self.dimensions)}

    def files(self, config: ModelConfig, *, length: int) -> dict[str, Any]:
        """The files of sentence-transformers, for the model's directory."""
        return self.pooler(max_length=length).files(config.hidden_size)

    def examples(
        self,
        source: Sequence[EmbedRecord],
        *,
        tokenizer: Tokenizer,
        length: int,
        seed: int,
        validation: bool = False,
    ) -> "EmbedExamples":
        """Texts of at most `length` tokens. Nothing is drawn, so `seed` changes nothing.

        Raises `InputError` for records with a score, which are for measuring.
        """
        if any(record.score is not None for record in source):
            raise InputError(
                "These pairs have a score, which measures and does not teach: of two texts that "
                "are not alike none is the other's positive. Learn from anchor and positive, and "
                "give these to hanlin evaluate."
            )
        lower = self.pooler().lower
        return EmbedExamples(source, tokenizer=tokenizer, length=length, lower=lower)

    def collate(self, examples: Sequence[EmbedExample]) -> Batch:
        """Anchors [B, T] as ids; positives, then negatives [B + M, U] as decoder_ids.

        targets [2B + M]: the number of each text, anchors first.
        """
        anchors = [e.texts[0] for e in examples]
        others = [e.texts[1] for e in examples] + [t for e in examples for t in e.texts[2:]]
        numbers = [
            *(e.numbers[0] for e in examples),
            *(e.numbers[1] for e in examples),
            *(number for e in examples for number in e.numbers[2:]),
        ]
        return Batch(
            ids=torch.from_numpy(stacked(anchors, 0)),
            mask=real(anchors),
            decoder_ids=torch.from_numpy(stacked(others, 0)),
            decoder_mask=real(others),
            targets=torch.tensor(numbers),
            target_tokens=len(examples),
        )

    def loss(self, model: Transformer, batch: Batch) -> Tensor:
        """The sum over anchors of -log p(own positive), among all that are not equal to it; a
        scalar."""
        assert batch.decoder_ids is not None
        pooling = replace(self.pooler(), normalise=False)
        anchors = _pooled(model, pooling, batch.ids, batch.mask)
        others = _pooled(model, pooling, batch.decoder_ids, batch.decoder_mask)
        allowed = _allowed(batch.targets, len(anchors))
        sizes = (*self.dimensions, anchors.shape[1])
        losses = [
            contrast(anchors[:, :size], others[:, :size], allowed, scale=self.scale,
                     symmetric=self.symmetric)
            for size in sizes
        ]  # fmt: skip
        return torch.stack(losses).mean()


def _pooled(model: Transformer, pooling: Pooling, ids: Tensor, mask: Tensor | None) -> Tensor:
    states = model.hidden(ids, mask).float()
    return pooling(states, torch.ones_like(ids, dtype=torch.bool) if mask is None else mask)


def contrast(
    anchors_BD: Tensor, others_ND: Tensor, allowed_BN: Tensor, *, scale: float, symmetric: bool
) -> Tensor:
    """The sum over anchors of -log softmax of scaled cosines at their own; a scalar.

    others: the anchors' own in their order, then more; allowed: which of them count as wrong
    answers (and the own one). symmetric: the mean of that and of the way back, from the own ones to
    the anchors.
    """
    B = len(anchors_BD)
    cosines = F.normalize(anchors_BD) @ F.normalize(others_ND).T
    logits = (scale * cosines).masked_fill(~allowed_BN, float("-inf"))
    own = torch.arange(B, device=logits.device)
    loss = F.cross_entropy(logits, own, reduction="sum")
    if not symmetric:
        return loss
    return (loss + F.cross_entropy(logits[:, :B].T, own, reduction="sum")) / 2


def _allowed(numbers: Tensor, B: int) -> Tensor:
    """Which texts may be wrong answers of which anchor [B, N]: not what equals it or its own
    positive, and not what belongs to an equal anchor. The own positive always counts."""
    anchors, others = numbers[:B], numbers[B:]
    equal = (others == others[:B, None]) | (others == anchors[:, None])
    equal[:, :B] |= anchors == anchors[:, None]
    own = torch.arange(B, device=numbers.device)
    equal[own, own] = False
    return ~equal


class EmbedExamples:
    """Records as ids; a text that comes again is kept once."""

    def __init__(
        self,
        records: Sequence[EmbedRecord],
        *,
        tokenizer: Tokenizer,
        length: int,
        lower: bool = False,
    ) -> None:
        """lower: whether texts are read in lower case."""
        numbers: dict[str, int] = {}
        self._rows = [
            tuple(
                numbers.setdefault(text.lower() if lower else text, len(numbers))
                for text in (record.anchor, record.positive, record.negative)
                if text is not None
            )
            for record in records
        ]
        ids = tokenizer.encode_batch(numbers)
        self.truncated = sum(len(one) > length for one in ids)
        """Texts that were cut off."""
        self._texts = TokenArray(_shortened(one, length, tokenizer.special_ids) for one in ids)
        sizes = np.diff(self._texts.ends, prepend=0)
        self.lengths: Ids = np.array(
            [[sizes[row[0]], max(sizes[at] for at in row[1:])] for row in self._rows]
        )
        self._length = length

    @property
    def notes(self) -> tuple[str, ...]:
        """How many texts were cut, where some were."""
        if not self.truncated:
            return ()
        return (
            f"{self.truncated} of {self._texts.documents} texts are longer than {self._length} "
            "tokens and lose their end.",
        )

    def __len__(self) -> int:
        return len(self._rows)

    def example(self, index: int, epoch: int) -> EmbedExample:
        """Record `index`, the same in every epoch."""
        row = self._rows[index]
        texts = tuple(self._texts.read(*self._texts.document_bounds(at)) for at in row)
        return EmbedExample(texts, row)


def _shortened(ids: list[int], length: int, special: frozenset[int]) -> list[int]:
    """The first `length` ids, of which the special tokens that close a text are always kept."""
    if len(ids) <= length:
        return ids
    tail = 0
    while tail < len(ids) and ids[len(ids) - 1 - tail] in special:
        tail += 1
    return ids[: length - tail] + ids[len(ids) - tail :]


def read_embed_records(
    sources: Sequence[str],
    *,
    columns: Mapping[str, str],
    skip_bad: bool = False,
    tell: Callable[[str], None] = lambda text: None,
) -> list[EmbedRecord]:
    """The records of tables; a negative may be missing from a row. Raises `ConfigError`,
    `FormatError` and `InputError`."""
    rows, found = _open(sources, columns, tell)
    tell_columns(found, columns, tell)

    def parse(row: Row) -> EmbedRecord:
        negative = row.values.get(found["negative"]) if "negative" in found else None
        if negative is not None and not isinstance(negative, str):
            raise BadRowError(f"{found['negative']} is not text.")
        return EmbedRecord(
            text_in(row, found["anchor"]).strip(),
            text_in(row, found["positive"]).strip(),
            negative.strip() if negative and negative.strip() else None,
            _score(row, found["score"]) if "score" in found else None,
        )

    return collect(rows, parse, skip_bad=skip_bad, tell=tell)


def _open(
    sources: Sequence[str], columns: Mapping[str, str], tell: Callable[[str], None]
) -> tuple[Iterator[Row | BadRow], dict[str, str]]:
    return open_table(sources, ROLES, given=columns, optional=("negative", "score"), tell=tell)


def _score(row: Row, column: str) -> float:
    try:
        return float(row.values[column])
    except (KeyError, TypeError, ValueError):
        raise BadRowError(f"{column} is {row.values.get(column)!r}, not a number.") from None
