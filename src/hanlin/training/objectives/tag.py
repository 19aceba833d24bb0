"""Tagging: a label for every word of a text (entities, parts of speech, borders of words).

The loss stands on the first token of each word (Devlin et al. 2019, section 5.3), or on all of
them. Texts longer than a model reads come in windows that overlap; every word is asked for once, in
the window that shows most of its neighbours. `hanlin.tasks.tagger` reads texts the same way.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from hanlin.data.batch import IGNORE, Batch
from hanlin.data.conll import TaggedText, columns_of, labels_of, read_tagged
from hanlin.data.examples import Ids
from hanlin.data.framing import Frame
from hanlin.data.reading_windows import cut, firsts, home, pieces_of, words_of
from hanlin.errors import ConfigError, InputError
from hanlin.models.config import ModelConfig
from hanlin.models.heading import labels_on, with_head
from hanlin.models.heads import TokenHead
from hanlin.models.transformer import Transformer
from hanlin.tokenizers import Tokenizer
from hanlin.training.objectives.rows import real, stacked

if TYPE_CHECKING:
    from hanlin.training.sections import DataSettings

OVERLAP = 32
"""Tokens that two windows of one text share: a word at a window's edge has 16 neighbours there."""


@dataclass(frozen=True)
class TagExample:
    """One window of a text."""

    ids: Ids
    """[T]."""
    targets: Ids
    """[T]: the number of a tag, `IGNORE` where none is asked."""


@dataclass(frozen=True, kw_only=True)
class Tag:
    """Give every word a label."""

    name: ClassVar[str] = "tag"
    shapes: ClassVar[tuple[str, ...]] = ("encoder", "decoder")
    records: ClassVar[bool] = True

    all_pieces: bool = False
    """Ask for the tag at every token of a word, and not at its first only; B-X goes on as I-X."""
    labels: tuple[str, ...] = ()
    """The tags in the order of the model's outputs. When not given: those of the training part; of
    a tagger that shares one beside O with it, its own and then the new ones."""

    def read(
        self, sources: Sequence[str], data: "DataSettings", *, tell: Callable[[str], None]
    ) -> list[TaggedText]:
        """Sentences of CoNLL, CoNLL-U or tables with lists of tokens and tags."""
        return read_tagged(sources, columns=data.columns, skip_bad=data.skip_bad, tell=tell)

    def columns(self, sources: Sequence[str], data: "DataSettings") -> dict[str, str]:
        """Which column plays which part; what the data section says, completed."""
        return columns_of(sources, columns=data.columns)

    def fitted(self, records: Sequence[TaggedText], config: ModelConfig) -> Self:
        """With the labels of the records, behind those of a model that tags already."""
        if self.labels:
            return self
        own = config.labels if config.head == "tag" else ()
        return replace(self, labels=labels_on(own, labels_of(records), outside="O"))

    def adapt(self, config: ModelConfig, records: Sequence[TaggedText]) -> ModelConfig:
        """The model with a head of one output a label."""
        labels = self.labels or labels_of(records)
        if config.head == "tag" and config.labels == labels:
            return config
        return with_head(config, "tag", labels=labels)

    def remember(self, records: Sequence[TaggedText]) -> dict[str, Any]:
        """How many texts and words each tag was learnt from."""
        counts: dict[str, int] = {}
        for record in records:
            for tag in record.tags:
                counts[tag] = counts.get(tag, 0) + 1
        return {"texts": len(records), "words": dict(sorted(counts.items()))}

    def examples(
        self,
        source: Sequence[TaggedText],
        *,
        tokenizer: Tokenizer,
        length: int,
        seed: int,
        validation: bool = False,
    ) -> "TagExamples":
        """Windows of at most `length` tokens. Nothing is drawn, so `seed` changes nothing."""
        labels = self.labels or labels_of(source)
        return TagExamples(self, source, labels=labels, tokenizer=tokenizer, length=length)

    def collate(self, examples: Sequence[TagExample]) -> Batch:
        """Windows side by side, padded on the right."""
        targets = stacked([e.targets for e in examples], IGNORE)
        return Batch(
            ids=torch.from_numpy(stacked([e.ids for e in examples], 0)),
            mask=real([e.ids for e in examples]),
            targets=torch.from_numpy(targets),
            target_tokens=int((targets != IGNORE).sum()),
        )

    def loss(self, model: Transformer, batch: Batch) -> Tensor:
        """The sum of -log p(tag) over the words asked for; a scalar."""
        head = model.head
        assert isinstance(head, TokenHead)
        asked = batch.targets != IGNORE
        logits = head(model.hidden(batch.ids, batch.mask)[asked])
        return F.cross_entropy(logits.float(), batch.targets[asked], reduction="sum")


class TagExamples:
    """Texts as windows of tokens, with the tags of their words."""

    def __init__(
        self,
        options: Tag,
        source: Sequence[TaggedText],
        *,
        labels: Sequence[str],
        tokenizer: Tokenizer,
        length: int,
    ) -> None:
        frame = Frame.of(tokenizer)
        if length - frame.size < 2:
            raise ConfigError(f"batch.length is {length}, too short for any text. Raise it.")
        number = {label: at for at, label in enumerate(labels)}
        after = _going_on(labels) if options.all_pieces else {}
        self._examples: list[TagExample] = []
        self._lost = self._cut = 0
        for record in source:
            if unknown := [tag for tag in record.tags if tag not in number]:
                raise InputError(
                    f"The tag {unknown[0]!r} is not one of those that are learnt: "
                    f"{', '.join(labels)}. Give a training part that has every tag."
                )
            tags = np.array([number[tag] for tag in record.tags], dtype=np.int64)
            pieces = pieces_of(record.text, tokenizer)
            word = words_of(pieces, record.spans)
            first = firsts(word)
            self._lost += len(tags) - len(first)
            targets = np.full(len(word), IGNORE, dtype=np.int64)
            if options.all_pieces:
                known = word >= 0
                targets[known] = tags[word[known]]
                further = np.setdiff1d(np.flatnonzero(known), first)
                targets[further] = [after.get(tag, tag) for tag in targets[further].tolist()]
            else:
                targets[first] = tags[word[first]]
            room = length - frame.size
            windows = cut(len(word), room=room, overlap=min(OVERLAP, room // 2))
            self._cut += len(windows) > 1
            owner = home(windows)
            for at, (start, stop) in enumerate(windows):
                asked = np.where(owner[start:stop] == at, targets[start:stop], IGNORE)
                before, behind = (np.full(len(x), IGNORE) for x in (frame.before, frame.after))
                self._examples.append(
                    TagExample(
                        frame.around(pieces.ids[start:stop]),
                        np.concatenate([before, asked, behind]),
                    )
                )
        self.lengths: Ids = np.array([len(e.ids) for e in self._examples], dtype=np.int64)
        self._length, self._texts = length, len(source)

    @property
    def notes(self) -> tuple[str, ...]:
        """Words that no token begins, texts that were cut."""
        told = []
        if self._lost:
            told.append(
                f"{self._lost} words have no token of their own (the tokenizer drops them, or "
                "joins them to the word before) and are not asked for."
            )
        if self._cut:
            told.append(
                f"{self._cut} of {self._texts} texts are longer than {self._length} tokens and "
                "come in windows."
            )
        return tuple(told)

    def __len__(self) -> int:
        return len(self._examples)

    def example(self, index: int, epoch: int) -> TagExample:
        """Window `index`, the same in every epoch."""
        return self._examples[index]


def _going_on(labels: Sequence[str]) -> dict[int, int]:
    """Of labels that begin an entity the one that goes on with it."""
    number = {label: at for at, label in enumerate(labels)}
    inside = ((label, f"I{label[1:]}") for label in labels if label[:2] in ("B-", "B"))
    return {number[label]: number[other] for label, other in inside if other in number}
