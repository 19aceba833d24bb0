"""Classification: one label of a text, several, or one of a pair of texts.

An encoder's pooled state, a decoder's last token, or the last token of an encoder-decoder's decoder
that reads the text too (BART: Lewis et al. 2020, section 3.1) goes into a head of one output a
label. Texts of like length come together (see `Loader`), so that little is padded.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from hanlin.data.batch import Batch
from hanlin.data.classify_records import ClassifyRecord, columns_of, labels_of, read_classify
from hanlin.data.examples import Ids
from hanlin.data.tokens import TokenArray
from hanlin.errors import ConfigError, InputError, nearest
from hanlin.models.config import ModelConfig
from hanlin.models.heading import labels_on, with_head
from hanlin.models.transformer import Transformer
from hanlin.tokenizers import Tokenizer
from hanlin.tokenizers.fitting import fit
from hanlin.training.objectives.rows import real, stacked

if TYPE_CHECKING:
    from hanlin.training.sections import DataSettings

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class ClassifyExample:
    """One text with its label."""

    ids: Ids
    """[T]."""
    types: Ids | None
    """[T]: which of two texts each token belongs to; None where there is one."""
    label: int | Floats
    """The number of the label; of texts with several, 1 at those it has [labels]."""
    weight: float | Floats | None
    """How much it counts; of texts with several labels, for each of them [labels]."""


@dataclass(frozen=True, kw_only=True)
class Classify:
    """Give a text its label, or labels."""

    name: ClassVar[str] = "classify"
    shapes: ClassVar[tuple[str, ...]] = ("encoder", "decoder", "encoder-decoder")
    records: ClassVar[bool] = True

    labels: tuple[str, ...] = ()
    """The labels in the order of the model's outputs. When not given: those of the training part,
    sorted; of a classifier that shares a label with it, its own and then the new ones."""
    names: Mapping[str, str] = field(default_factory=dict)
    """What labels of the data are called: {"0": negative, "1": positive}."""
    separator: str | None = None
    """What stands between the labels of a text that may have several; not needed where the data
    have lists."""
    weights: Literal["none", "balanced"] | dict[str, float] = "none"
    """How much an example of each label counts in training: balanced makes every label count the
    same in all, a mapping says it (1 where it says nothing)."""
    smoothing: float = 0.0
    """Label smoothing: share of each target's weight that is spread over all labels. Validation is
    not smoothed."""
    dropout: float | None = None
    """Dropout of the whole network while training; the model's own when not given."""

    def __post_init__(self) -> None:
        if not 0 <= self.smoothing < 1:
            raise ConfigError(
                f"objective.smoothing is {self.smoothing}; it must be from 0 to below 1."
            )
        if len(set(self.labels)) < len(self.labels) or len(self.labels) == 1:
            raise ConfigError("objective.labels must name two labels or more, each once.")
        if self.separator == "":
            raise ConfigError("objective.separator is empty. Give one, or leave it out.")
        if isinstance(self.weights, dict) and any(not w > 0 for w in self.weights.values()):
            raise ConfigError("objective.weights must all be above zero.")

    def read(
        self, sources: Sequence[str], data: "DataSettings", *, tell: Callable[[str], None]
    ) -> list[ClassifyRecord]:
        """Tables with a text (or two) and a label, or a file for each label."""
        records = read_classify(
            sources,
            columns=data.columns,
            file_labels={k: v for k, v in data.file_labels.items() if k in sources},
            separator=self.separator,
            skip_bad=data.skip_bad,
            tell=tell,
        )
        return [self._named(record) for record in records] if self.names else records

    def columns(self, sources: Sequence[str], data: "DataSettings") -> dict[str, str]:
        """Which column plays which part; what the data section says, completed."""
        return columns_of(sources, columns=data.columns, file_labels=data.file_labels)

    def _named(self, record: ClassifyRecord) -> ClassifyRecord:
        if isinstance(record.label, str):
            return replace(record, label=self.names.get(record.label, record.label))
        return replace(record, label=tuple(self.names.get(one, one) for one in record.label))

    def fitted(self, records: Sequence[ClassifyRecord], config: ModelConfig) -> Self:
        """With the labels in their order, and a weight for each."""
        found = labels_of(records)
        knows = config.head == "classify" and config.problem != "regression"
        labels = self.labels or labels_on(config.labels if knows else (), found)
        if len(self.labels or found) < 2:
            raise InputError(
                f"All records have the label {found[0]!r}. A classifier needs two labels or more."
            )
        if unknown := [label for label in found if label not in labels]:
            raise ConfigError(
                f"objective.labels lacks {unknown[0]!r}, which the data have."
                f"{nearest(unknown[0], list(labels))} Add it, or leave objective.labels out."
            )
        weights = self.weights
        if weights == "balanced":
            weights = _balanced(records, self.labels or found)
        elif wrong := [label for label in weights if label not in labels and weights != "none"]:
            raise ConfigError(
                f"objective.weights names {wrong[0]!r}, which is no label."
                f"{nearest(wrong[0], list(labels))} There are: {', '.join(labels[:20])}."
            )
        return replace(self, labels=labels, weights=weights)

    def adapt(self, config: ModelConfig, records: Sequence[ClassifyRecord]) -> ModelConfig:
        """The model with a head of one output a label."""
        labels = self.labels or labels_of(records)
        problem: Literal["single", "multiple"] = "multiple" if _several(records) else "single"
        own = (config.head, config.labels, config.problem)
        if own != ("classify", labels, problem):
            config = with_head(config, "classify", labels=labels, problem=problem)
        if self.dropout is None:
            return config
        return config.with_changes(dropout=self.dropout, attention_dropout=self.dropout)

    def remember(self, records: Sequence[ClassifyRecord]) -> dict[str, Any]:
        """The labels with how many records each was learnt from, and whether texts come in pairs or
        have several labels."""
        counts = dict.fromkeys(self.labels or labels_of(records), 0)
        for record in records:
            for label in record.labels:
                counts[label] += 1
        return {
            "labels": counts,
            "several": _several(records),
            "pairs": records[0].text_pair is not None,
        }

    def examples(
        self,
        source: Sequence[ClassifyRecord],
        *,
        tokenizer: Tokenizer,
        length: int,
        seed: int,
        validation: bool = False,
    ) -> "ClassifyExamples":
        """Texts of at most `length` tokens; with `validation` all count the same. Nothing is drawn,
        so `seed` changes nothing."""
        labels = self.labels or labels_of(source)
        weights = self.weights if isinstance(self.weights, dict) and not validation else {}
        return ClassifyExamples(
            source, labels=labels, weights=weights, tokenizer=tokenizer, length=length
        )

    def collate(self, examples: Sequence[ClassifyExample]) -> Batch:
        """Texts side by side, padded on the right."""
        ids = [e.ids for e in examples]
        types = [e.types for e in examples if e.types is not None]
        weights = [e.weight for e in examples if e.weight is not None]
        sets = [e.label for e in examples if isinstance(e.label, np.ndarray)]
        one = [e.label for e in examples if isinstance(e.label, int)]
        return Batch(
            ids=torch.from_numpy(stacked(ids, 0)),
            mask=real(ids),
            token_types=torch.from_numpy(stacked(types, 0)) if types else None,
            targets=torch.tensor(one, dtype=torch.int64),
            scores=torch.from_numpy(np.stack(sets)) if sets else None,
            weights=torch.from_numpy(np.array(weights, dtype=np.float32)) if weights else None,
            # Of texts with one label one a text; of several, one a text and label.
            target_tokens=sum(map(len, sets)) + len(one),
        )

    def loss(self, model: Transformer, batch: Batch) -> Tensor:
        """The sum of -log p(label) over the texts, weighted and smoothed in training; a scalar."""
        types = batch.token_types if model.config.token_types > 1 else None
        logits = model(batch.ids, batch.mask, token_types=types).logits
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        smoothing = self.smoothing if model.training else 0.0
        if batch.scores is not None:
            targets = batch.scores * (1 - smoothing) + smoothing / 2
            return F.binary_cross_entropy_with_logits(
                logits, targets, batch.weights, reduction="sum"
            )
        if batch.weights is None:
            return F.cross_entropy(
                logits, batch.targets, reduction="sum", label_smoothing=smoothing
            )
        each = F.cross_entropy(logits, batch.targets, reduction="none", label_smoothing=smoothing)
        return (each * batch.weights).sum()


class ClassifyExamples:
    """Texts as ids with their labels, about four bytes a token."""

    def __init__(
        self,
        source: Sequence[ClassifyRecord],
        *,
        labels: Sequence[str],
        weights: Mapping[str, float],
        tokenizer: Tokenizer,
        length: int,
    ) -> None:
        number = {label: at for at, label in enumerate(labels)}
        for record in source:
            if unknown := [label for label in record.labels if label not in number]:
                raise InputError(
                    f"The label {unknown[0]!r} does not come in the training part, which has: "
                    f"{', '.join(labels[:20])}. Correct the validation part, or add examples."
                )
        if source[0].text_pair is None:
            fitted = fit(tokenizer, [record.text for record in source], length=length)
        else:
            pairs = [(record.text, record.text_pair or "") for record in source]
            fitted = fit(tokenizer, pairs, length=length)
        self._ids = TokenArray(fitted.ids)
        self._types = None if fitted.types is None else TokenArray(fitted.types)
        self._cut, self._length = fitted.cut, length
        self._labels = [self._target(record, number) for record in source]
        each = np.array([weights.get(label, 1.0) for label in labels], dtype=np.float32)
        self._weights = each if weights else None
        self.lengths: Ids = np.diff(self._ids.ends, prepend=0)

    @staticmethod
    def _target(record: ClassifyRecord, number: Mapping[str, int]) -> int | Floats:
        if isinstance(record.label, str):
            return number[record.label]
        target = np.zeros(len(number), dtype=np.float32)
        target[[number[label] for label in record.label]] = 1
        return target

    @property
    def notes(self) -> tuple[str, ...]:
        """How many texts were cut, where some were."""
        if not self._cut:
            return ()
        return (
            f"{self._cut} of {len(self)} texts are longer than {self._length} tokens and lose "
            "their end.",
        )

    def __len__(self) -> int:
        return len(self._labels)

    def example(self, index: int, epoch: int) -> ClassifyExample:
        """Text `index`, the same in every epoch."""
        bounds = self._ids.document_bounds(index)
        label = self._labels[index]
        weight: float | Floats | None = None
        if self._weights is not None and isinstance(label, int):
            weight = float(self._weights[label])
        elif self._weights is not None:
            weight = np.where(label == 1, self._weights, np.float32(1))
        types = None if self._types is None else self._types.read(*bounds)
        return ClassifyExample(self._ids.read(*bounds), types, label, weight)


def _several(records: Sequence[ClassifyRecord]) -> bool:
    return not isinstance(records[0].label, str)


def _balanced(records: Sequence[ClassifyRecord], labels: Sequence[str]) -> dict[str, float]:
    """Weights that make every label count the same in all, with a mean of 1 over the records; of
    several labels, that make having a label count as much as not having it."""
    counts = dict.fromkeys(labels, 0)
    for record in records:
        for label in record.labels:
            counts[label] += 1
    if missing := [label for label, count in counts.items() if not count]:
        raise ConfigError(
            f"objective.weights is balanced, and no record has the label {missing[0]!r}. Give "
            "weights by a mapping, or leave the label out."
        )
    if _several(records):
        return {label: (len(records) - n) / n if n < len(records) else 1.0
                for label, n in counts.items()}  # fmt: skip
    return {label: len(records) / (len(labels) * n) for label, n in counts.items()}
