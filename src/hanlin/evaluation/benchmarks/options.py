"""How likely a model finds each of several continuations of a text, the text read once.

What many questions begin with (examples, a preamble) is read once for all of them and copied; the
rest of a question is read once for all its options; options that begin alike share what they share
but for their last token, so that four letters cost one. Numbers are those of reading every pair by
itself, up to rounding.

Texts are cut into tokens as lm-evaluation-harness does: spaces at the end of the text belong to the
continuation, both are encoded as one, and what the text alone would take is the text's. Where both
do not fit, the text loses its beginning.

Shapes: R rows, T tokens.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from hanlin.errors import ConfigError, InputError
from hanlin.models.cache import Cache
from hanlin.models.heads import VocabularyHead
from hanlin.models.transformer import Transformer
from hanlin.tasks.batches import tail_length
from hanlin.tasks.language import LanguageModel
from hanlin.tasks.scoring import BATCH_TOKENS, Asked, gathered, log_probabilities
from hanlin.tokenizers import Tokenizer

_CACHE_BYTES = 1 << 28
"""Of keys and values, at a time."""
_WORTH_SHARING = 16
"""Tokens that a beginning must have for it to be read apart."""


@dataclass(frozen=True)
class Choice:
    """A text and what may come after it."""

    text: str
    options: tuple[str, ...]
    """As they follow the text, their space included."""
    stem: str = ""
    """What `text` begins with as others' do; they are told apart by it."""


@dataclass(frozen=True)
class Scored:
    """One option."""

    log_likelihood: float
    """Natural logarithm."""
    is_greedy: bool
    """Whether each of its tokens was the model's first choice."""
    cut: bool = False
    """Whether the text before it lost its beginning: both did not fit the context."""


class Pairs:
    """Texts and continuations as token ids, cut as the harness cuts them."""

    def __init__(self, lm: LanguageModel) -> None:
        self._tokenizer: Tokenizer = lm.tokenizer
        self._tail = tail_length(lm.tokenizer)
        self._start = lm.start_id
        begin = lm.tokenizer.special.bos
        self._begin = None if lm.tokenizer.bos_id is None else begin
        self.reads_apart = lm.network.config.shape == "encoder-decoder"
        self._name = lm.name

    def encode(self, text: str, continuation: str) -> tuple[list[int], list[int]]:
        """The ids of both. Raises `InputError` for a continuation of no tokens."""
        kept = text.rstrip()
        continuation = text[len(kept) :] + continuation
        if self.reads_apart:
            before = self.text_ids(kept)
            after = self._tokenizer.target.encode(continuation, add_special_tokens=False)
        elif kept:
            before = self.text_ids(kept)
            after = self.text_ids(kept + continuation)[len(before) :]
            if not after:  # the text's last token would swallow it: it is encoded by itself
                after = self._tokenizer.encode(continuation, add_special_tokens=False)
        else:
            before = [self.start()]
            after = self._tokenizer.encode(continuation, add_special_tokens=False)
            after = after[1:] if after[:1] == before else after
        if not after:
            raise InputError(f"The continuation {continuation!r} has no tokens. Give it some text.")
        return before, after

    def text_ids(self, text: str) -> list[int]:
        """The ids of a text as the model reads it, without what would close it.

        A text that begins with the begin token (a rendered conversation) is given no second one.
        """
        begun = self._begin is not None and text.startswith(self._begin)
        ids = self._tokenizer.encode(text, add_special_tokens=not begun)
        return ids if self.reads_apart or begun or not self._tail else ids[: -self._tail]

    def start(self) -> int:
        """The token that a text follows. Raises `ConfigError` where the model has none."""
        if self._start is None:
            raise ConfigError(
                f"{self._name} has no begin or end token that a text without anything before it "
                "could follow. Set bos_token_id in its config.json."
            )
        return self._start


def score_options(
    lm: LanguageModel,
    choices: Sequence[Choice],
    *,
    batch: int = 32,
    context: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[list[Scored]]:
    """Score every option of every choice; `batch` rows at a time at most.

    context: tokens that are read, at most (None: as many as the model can). progress: called with
    how many choices were just scored. Raises `InputError` for an option of no tokens or one longer
    than the context.
    """
    context = lm.context if context is None else context
    pairs = Pairs(lm)
    questions = []
    for choice in choices:
        encoded = [pairs.encode(choice.text, option) for option in choice.options]
        questions.append(_Question(encoded[0][0], [after for _, after in encoded]))
    results: list[list[Scored] | None] = [None] * len(choices)
    groups: dict[str | None, list[int]] = {}
    for number, question in enumerate(questions):
        fits = not pairs.reads_apart and _fits(question, context)
        groups.setdefault(choices[number].stem if fits else None, []).append(number)
    with torch.inference_mode():
        for stem, members in groups.items():
            if stem is None:
                for number in members:
                    results[number] = _alone(lm, pairs, questions[number], context)
                    if progress is not None:
                        progress(1)
                continue
            shared = _Shared(lm.network, [questions[number] for number in members], batch, context)
            for place, scored in shared.scored():
                results[members[place]] = scored
                if progress is not None:
                    progress(1)
    return [result for result in results if result is not None]


@dataclass(frozen=True)
class _Question:
    before: list[int]
    options: list[list[int]]

    @property
    def longest(self) -> int:
        """Tokens of the longest option."""
        return max(map(len, self.options))

    @cached_property
    def rows(self) -> dict[tuple[int, ...], int]:
        """What is read after the text but its last token -> its row; options may share one."""
        beginnings = ((self.before[-1], *option[:-1]) for option in self.options)
        return {inputs: row for row, inputs in enumerate(dict.fromkeys(beginnings))}


def _fits(question: _Question, context: int | None) -> bool:
    return context is None or len(question.before) + question.longest - 1 <= context


def _alone(
    lm: LanguageModel, pairs: Pairs, question: _Question, context: int | None
) -> list[Scored]:
    """Each option after as much of the text as fits; also for encoder-decoders."""
    asked, cut = [], []
    for option in question.options:
        if context is not None and len(option) > context:
            raise InputError(
                f"A continuation is {len(option)} tokens long; this model reads at most "
                f"{context}. Shorten it."
            )
        if pairs.reads_apart:
            start = lm.network.config.decoder_start_id
            if start is None:
                raise ConfigError(
                    f"{lm.name} names no token to start decoding from. Set decoder_start_token_id "
                    "in its config.json."
                )
            before = question.before if context is None else question.before[-context:]
            asked.append(Asked([start, *option], 1, before))
            cut.append(len(before) < len(question.before))
        else:
            ids = [*question.before, *option]
            kept = ids if context is None else ids[-(context + 1) :]
            asked.append(Asked(kept, len(kept) - len(option)))
            cut.append(len(kept) < len(ids))
    found = log_probabilities(lm.network, asked, context=context)
    return [
        Scored(float(one.logprobs.sum()), bool(one.greedy.all()), short)
        for one, short in zip(found, cut, strict=True)
    ]


class _Shared:
    """Questions that begin alike, scored with what they share read once."""

    def __init__(
        self, network: Transformer, questions: list[_Question], batch: int, context: int | None
    ) -> None:
        self._network = network
        self._context = context
        self._questions = questions
        self._batch = batch
        self._stem = _common([question.before[:-1] for question in questions])
        if len(questions) == 1 or len(self._stem) < _WORTH_SHARING:
            self._stem = []
        self._read: Cache | None = None
        if self._stem:
            self._read = network.new_cache(1, len(self._stem))
            ids = torch.tensor([self._stem], device=network.device)
            for part in torch.split(ids, 512, dim=1):
                network.extend_hidden(part, self._read)

    def scored(self) -> list[tuple[int, list[Scored]]]:
        """The place of each question and its options' scores, like lengths together."""
        order = sorted(range(len(self._questions)), key=lambda i: -len(self._questions[i].before))
        results: list[tuple[int, list[Scored]]] = []
        while order:
            taken = self._taken(order)
            order = order[len(taken) :]
            results += zip(taken, self._together([self._questions[i] for i in taken]), strict=True)
        return results

    def _taken(self, order: list[int]) -> list[int]:
        """As many of the questions as may be read together."""
        blank = self._network.new_cache(1, 1)
        token_bytes = sum(t.element_size() * t.numel() for t in (*blank.keys, *blank.values))
        rows = before = after = 0
        for count, place in enumerate(order):
            question = self._questions[place]
            rows += len(question.rows)
            before, after = max(before, len(question.before)), max(after, question.longest)
            length = before - 1 + after  # the filling counts: it takes positions too
            too_large = (
                rows > self._batch
                or rows * length * token_bytes > _CACHE_BYTES
                or rows * (length - len(self._stem)) > BATCH_TOKENS
                or (self._context is not None and length > self._context)
            )
            if count and too_large:
                return order[:count]
        return order

    def _together(self, questions: list[_Question]) -> list[list[Scored]]:
        network = self._network
        cache = self._begun(questions)
        fresh = [question.before[len(self._stem) : -1] for question in questions]
        if any(fresh):
            network.extend_hidden(_padded(fresh, network), cache)
            for row, ids in enumerate(fresh):
                # What was read beyond a row's end is filling; the row's own tokens never saw it.
                cache.truncate(row, len(self._stem) + len(ids))
        rows = [list(question.rows) for question in questions]
        cache.select([place for place, inputs in enumerate(rows) for _ in inputs])
        inputs = [list(ids) for each in rows for ids in each]
        hidden_RTD = network.extend_hidden(_padded(inputs, network), cache, every=True)
        wanted: list[torch.Tensor] = []
        targets: list[int] = []
        bounds, first = [0], 0
        for question in questions:
            for option in question.options:
                row = first + question.rows[(question.before[-1], *option[:-1])]
                wanted.append(hidden_RTD[row, : len(option)])
                targets += option
                bounds.append(len(targets))
            first += len(question.rows)
        assert isinstance(network.head, VocabularyHead)
        values, best = gathered(
            network.head, torch.cat(wanted), torch.tensor(targets, device=network.device)
        )
        sums = np.add.reduceat(values, bounds[:-1])
        greedy = np.logical_and.reduceat(best, bounds[:-1])
        scored = [Scored(float(s), bool(g)) for s, g in zip(sums, greedy, strict=True)]
        parts, done = [], 0
        for question in questions:
            parts.append(scored[done : done + len(question.options)])
            done += len(question.options)
        return parts

    def _begun(self, questions: list[_Question]) -> Cache:
        """A cache in which every question's row holds the shared beginning."""
        room = max(len(q.before) for q in questions) + max(q.longest for q in questions)
        cache = self._network.new_cache(len(questions), room)
        if self._read is not None:
            held = len(self._stem)
            pairs = ((cache.keys, self._read.keys), (cache.values, self._read.values))
            for mine, shared in pairs:
                for new, old in zip(mine, shared, strict=True):
                    new[:, :, :held] = old[:, :, :held]
            cache.lengths = [held] * len(questions)
        return cache


def _common(sequences: list[list[int]]) -> list[int]:
    """What all of them begin with."""
    low, high = min(sequences), max(sequences)
    length = next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), len(low))
    return low[:length]


def _padded(sequences: Sequence[Sequence[int]], network: Transformer) -> torch.Tensor:
    """Ids [R, T], filled up on the right."""
    width = max(map(len, sequences))
    ids = torch.zeros(len(sequences), width, dtype=torch.long)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = torch.tensor(sequence, dtype=torch.long)
    return ids.to(network.device)
