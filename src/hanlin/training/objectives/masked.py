"""Masked language modelling: guess hidden tokens from both sides (Devlin et al. 2019).

Masks are drawn anew in each epoch (Liu et al. 2019, RoBERTa); of the tokens chosen, most are shown
as the mask token, some as a random token, some as they are. Logits are made only for those chosen.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from hanlin.data.batch import IGNORE, Batch
from hanlin.data.examples import Ids, TokenSource
from hanlin.data.framing import Frame
from hanlin.data.order import rng
from hanlin.data.packing import Packed
from hanlin.data.windows import Windows
from hanlin.data.words import Chinese, Words
from hanlin.errors import ConfigError
from hanlin.models.transformer import Transformer
from hanlin.tokenizers import Tokenizer
from hanlin.training.objectives.loss import vocabulary_loss
from hanlin.training.objectives.rows import documents, real, stacked


@dataclass(frozen=True)
class MaskedExample:
    """One row: what is shown, and what was there."""

    ids: Ids
    """[T]."""
    targets: Ids
    """[T]; `IGNORE` where nothing is asked."""
    segments: Ids | None
    """[T]."""


@dataclass(frozen=True, kw_only=True)
class MaskedLM:
    """Guess hidden tokens."""

    name: ClassVar[str] = "masked-lm"
    shapes: ClassVar[tuple[str, ...]] = ("encoder",)

    rate: float = 0.15
    """Share of the tokens that are asked for."""
    masked: float = 0.8
    """Share of these that the mask token hides."""
    random: float = 0.1
    """Share of these that a random token stands in for; the rest are shown as they are."""
    whole_words: bool = False
    """Whether all tokens of a word are asked for together."""
    chinese: Chinese = "words"
    """For whole words: cut Chinese into words (needs rjieba, of the extra `data`) or take every
    token for one."""
    pack: Literal["windows", "documents"] = "windows"
    """Rows are windows over the text, wherever they begin, or whole documents side by side, with
    some padding."""
    respect_documents: bool = False
    """Whether documents of one row are kept from seeing each other."""

    def __post_init__(self) -> None:
        if not 0 < self.rate < 1:
            raise ConfigError(f"objective.rate is {self.rate}; it must be between 0 and 1.")
        if self.masked < 0 or self.random < 0 or self.masked + self.random > 1:
            raise ConfigError(
                f"objective.masked is {self.masked} and objective.random {self.random}; neither "
                "may be below 0, nor their sum above 1."
            )

    def examples(
        self,
        source: TokenSource,
        *,
        tokenizer: Tokenizer,
        length: int,
        seed: int,
        validation: bool = False,
    ) -> "MaskedExamples":
        """Rows of at most `length` tokens; with `validation` windows begin at the same places in
        every epoch, and each token is in one."""
        return MaskedExamples(
            self, source, tokenizer=tokenizer, length=length, seed=seed, validation=validation
        )

    def collate(self, examples: Sequence[MaskedExample]) -> Batch:
        """The examples side by side, padded on the right."""
        targets = stacked([e.targets for e in examples], IGNORE)
        return Batch(
            ids=torch.from_numpy(stacked([e.ids for e in examples], 0)),
            targets=torch.from_numpy(targets),
            mask=real([e.ids for e in examples]),
            segments=documents([e.segments for e in examples]),
            target_tokens=int((targets != IGNORE).sum()),
        )

    def loss(self, model: Transformer, batch: Batch) -> Tensor:
        """The sum of -log p(hidden token) over the tokens asked for; a scalar."""
        hidden = model.hidden(batch.ids, batch.mask, segments=batch.segments)
        return vocabulary_loss(model, hidden, batch.targets)


class MaskedExamples:
    """Rows of a text with tokens hidden."""

    lengths = None

    def __init__(
        self,
        options: MaskedLM,
        source: TokenSource,
        *,
        tokenizer: Tokenizer,
        length: int,
        seed: int,
        validation: bool,
    ) -> None:
        self._options = options
        self._seed = seed
        self._mask_id = check_mask(tokenizer)
        self._frame = Frame.of(tokenizer)
        self._special = np.zeros(tokenizer.vocab_size, dtype=bool)
        self._special[list(tokenizer.special_ids)] = True
        self._ordinary = np.flatnonzero(~self._special)
        self._words = Words(tokenizer, chinese=options.chinese) if options.whole_words else None
        room = length - self._frame.size
        if room < 1:
            raise ConfigError(f"batch.length is {length}, too short for any text. Raise it.")
        self._packed = self._windows = None
        if options.pack == "documents":
            self._packed = Packed(source, length, seed=seed, around=self._frame.size)
        else:
            self._windows = Windows(
                source,
                room,
                seed=None if validation else seed,
                respect_documents=options.respect_documents,
            )

    def __len__(self) -> int:
        return len(self._packed or self._windows or ())

    @property
    def notes(self) -> tuple[str, ...]:
        """How much of the rows is padding, where documents are packed."""
        if self._packed is None:
            return ()
        return (f"Rows of whole documents are {1 - self._packed.padding:.1%} full.",)

    def example(self, index: int, epoch: int) -> MaskedExample:
        """Row `index` with the masks of an epoch."""
        ids, segments = self._row(index, epoch)
        shown = ids.copy()
        draw = rng(self._seed, epoch, index)
        asked = self._choose(ids, draw)
        fate = draw.random(len(asked))
        randoms = draw.choice(self._ordinary, len(asked))
        masked, random = self._options.masked, self._options.random
        hidden = np.where(fate < masked, self._mask_id, ids[asked])
        shown[asked] = np.where((fate >= masked) & (fate < masked + random), randoms, hidden)
        targets = np.full_like(ids, IGNORE)
        targets[asked] = ids[asked]
        return MaskedExample(shown, targets, segments)

    def _row(self, index: int, epoch: int) -> tuple[Ids, Ids | None]:
        if self._packed is not None:
            pieces = [self._frame.around(p) for p in self._packed.example(index, epoch).pieces]
            ids = np.concatenate(pieces)
            if not self._options.respect_documents:
                return ids, None
            return ids, np.repeat(np.arange(len(pieces)), [len(piece) for piece in pieces])
        assert self._windows is not None
        window = self._windows.example(index, epoch)
        ids = self._frame.around(window.ids)
        if window.segments is None:
            return ids, None
        before, after = len(self._frame.before), len(self._frame.after)
        return ids, np.pad(window.segments, (before, after), mode="edge")

    def _choose(self, ids: Ids, draw: np.random.Generator) -> Ids:
        """The places that are asked for, ascending."""
        places = np.flatnonzero(~self._special[ids])
        if self._words is None:
            return np.sort(_some(places, self._options.rate, draw))
        number = self._words.number(ids)
        words = _some(np.unique(number[places]), self._options.rate, draw)
        return places[np.isin(number[places], words)]


def _some(things: Ids, rate: float, draw: np.random.Generator) -> Ids:
    """A share of `things` drawn without replacement; what is left of a whole number is drawn too,
    so that the share is exact on average."""
    count = int(len(things) * rate + draw.random())
    return draw.choice(things, count, replace=False, shuffle=False)


def check_mask(tokenizer: Tokenizer) -> int:
    """The id of the mask token. Raises `ConfigError` where there is none."""
    if tokenizer.mask_id is None:
        raise ConfigError(
            "The tokenizer has no mask token. Train one that has: `hanlin tokenizer train --kind "
            "wordpiece` makes [MASK]; other kinds take it with --special '[MASK]'."
        )
    return tokenizer.mask_id
