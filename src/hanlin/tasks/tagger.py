"""Taggers: a trained model is a function from a text to the entities (or words) in it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from hanlin.data.conll import TaggedText, chunks, marks_entities, tagged
from hanlin.data.examples import Ids
from hanlin.data.framing import Frame
from hanlin.data.reading_windows import Pieces, Span, cut, firsts, home, pieces_of, words_of
from hanlin.models.transformer import Transformer
from hanlin.tasks.batches import batches
from hanlin.tasks.model import Model, texts_of
from hanlin.text.words import word_spans
from hanlin.tokenizers import Tokenizer

OVERLAP = 32
"""Tokens that two windows of one text share, as in training."""
NONE = "O"


@dataclass(frozen=True)
class Entity:
    """What a tagger finds in a text."""

    label: str
    start: int
    """The first of its characters in the text."""
    end: int
    """The character after its last."""
    text: str
    score: float
    """The mean probability of the tags of its words."""


@dataclass(frozen=True)
class WordTag:
    """A word and what it is called."""

    word: str
    tag: str
    score: float
    """The probability of the tag; 0 for a word that the tokenizer drops."""


class Tagger(Model):
    """Finds entities in texts; call it."""

    kind = "a tagger"
    can: ClassVar[tuple[str, ...]] = ("be called with texts", "tag")
    batch_tokens = 4096
    """Tokens read at a time, padding counted; changes no result beyond rounding."""

    def __init__(
        self,
        network: Transformer,
        tokenizer: Tokenizer,
        *,
        name: str,
        length: int | None = None,
    ) -> None:
        """length: tokens of the longest window that the model has learnt from, where it cannot read
        longer ones."""
        super().__init__(network, tokenizer, name=name)
        self.labels = network.config.labels
        self._learnt = length
        self.marks = marks_entities(self.labels)
        """Whether the tags spell entities of several words, and do not each call one word."""
        self._frame = Frame.of(tokenizer)

    def __call__(
        self, texts: str | Sequence[str], *, progress: Callable[[int], None] | None = None
    ) -> Any:  # a str is a Sequence[str] to type checkers, so overloads cannot tell them apart
        """The `Entity` list of a text, or the list of them of several.

        Words are cut as `hanlin.text.words.word_spans` cuts them; of a model whose tags call single
        words every word is given. Texts of any length are read, in windows. progress: called with
        the number of windows done. Raises `InputError` for what is not text.
        """
        given = texts_of(texts)
        words = [word_spans(text) for text in given]
        found = self._tags(list(zip(given, words, strict=True)), progress)
        entities = [
            self._entities(text, spans, *tags)
            for text, spans, tags in zip(given, words, found, strict=True)
        ]
        return entities[0] if isinstance(texts, str) else entities

    def tag(
        self,
        sentences: Sequence[TaggedText | Sequence[str]],
        *,
        progress: Callable[[int], None] | None = None,
    ) -> list[list[WordTag]]:
        """The tag of every word of sentences that are cut into words already.

        A record's text is read as it stands, of a list the words put together. A word that the
        tokenizer drops is called O.
        """
        records = [
            each
            if isinstance(each, TaggedText)
            else tagged(texts_of(each, what="word"), [NONE] * len(each))
            for each in sentences
        ]
        found = self._tags([(record.text, record.spans) for record in records], progress)
        return [
            [WordTag(*each) for each in zip(record.words, *tags, strict=True)]
            for record, tags in zip(records, found, strict=True)
        ]

    def _entities(
        self, text: str, spans: Sequence[Span], tags: Sequence[str], scores: Sequence[float]
    ) -> list[Entity]:
        found = []
        for chunk in chunks(tags, marks=self.marks):
            start, end = spans[chunk.first][0], spans[chunk.last][1]
            score = float(np.mean(scores[chunk.first : chunk.last + 1]))
            found.append(Entity(chunk.label, start, end, text[start:end], score))
        return found

    def _tags(
        self,
        texts: Sequence[tuple[str, Sequence[Span]]],
        progress: Callable[[int], None] | None,
    ) -> list[tuple[list[str], list[float]]]:
        """The tag of every word of every text, and its probability."""
        pieces = [pieces_of(text, self.tokenizer) for text, _ in texts]
        scores = self._probabilities(pieces, progress)
        found = []
        for (_, words), own, p in zip(texts, pieces, scores, strict=True):
            at = word_pieces(own, words)
            best = p.argmax(1) if len(p) else np.zeros(0, dtype=np.int64)
            tags = [self.labels[best[i]] if i >= 0 else NONE for i in at.tolist()]
            found.append((tags, [float(p[i, best[i]]) if i >= 0 else 0.0 for i in at.tolist()]))
        return found

    def _probabilities(
        self, texts: Sequence[Pieces], progress: Callable[[int], None] | None
    ) -> list[NDArray[np.float64]]:
        """Of every label for every token [T, labels], each from the window that shows most of its
        neighbours."""
        room = self._longest - self._frame.size
        plans = [cut(len(t.ids), room=room, overlap=min(OVERLAP, room // 2)) for t in texts]
        owners = [home(windows) for windows in plans]
        found = [np.zeros((len(t.ids), len(self.labels))) for t in texts]
        where = [
            (text, number)
            for text, windows in enumerate(plans)
            for number in range(len(windows))
            if len(texts[text].ids)
        ]
        sequences = []
        for text, number in where:
            start, stop = plans[text][number]
            sequences.append(self._frame.around(texts[text].ids[start:stop]).tolist())
        pad = self.network.config.pad_id or self.tokenizer.pad_id or 0
        skip = len(self._frame.before)
        with torch.inference_mode():
            for batch in batches(sequences, pad=pad, max_tokens=self.batch_tokens):
                logits = self.network(batch.ids, batch.mask).logits
                p = logits.double().softmax(-1).numpy()
                for row, i in enumerate(batch.order):
                    text, number = where[i]
                    start, stop = plans[text][number]
                    own = np.flatnonzero(owners[text][start:stop] == number)
                    found[text][start + own] = p[row, skip + own]
                if progress is not None:
                    progress(len(batch.order))
        return found

    @property
    def _longest(self) -> int:
        limit = self.tokenizer.max_length
        return self.network.config.reads(limit, learnt=self._learnt) or 512


def word_pieces(pieces: Pieces, words: Sequence[Span]) -> Ids:
    """The token that speaks for each word [W]: its first; where a token began with the word before
    covers it, that one; -1 where none does."""
    found = np.full(len(words), -1, dtype=np.int64)
    word = words_of(pieces, words)
    first = firsts(word)
    begin, end = pieces.spans.T
    shown = np.flatnonzero(end > begin)
    for at in range(len(words) if len(shown) else 0):
        i = int(np.searchsorted(end[shown], words[at][0], side="right"))
        if i < len(shown) and begin[shown[i]] < words[at][1]:
            found[at] = shown[i]
    found[word[first]] = first
    return found
