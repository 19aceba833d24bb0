"""An n-gram model of text: an alphabet and a Kneser-Ney model over its symbols.

Trained on a text, its unit and order are those that a held-out part of that text asks for, and its
discounts are tuned there (Chen and Goodman 1999, section 5.1.3); then it counts the whole text.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hanlin.errors import ConfigError, FormatError, InputError
from hanlin.evaluation.ngram.alphabet import (
    Alphabet,
    Bytes,
    Characters,
    Tokens,
    Unit,
    alphabet_from,
)
from hanlin.evaluation.ngram.counts import Level
from hanlin.evaluation.ngram.kneser_ney import KneserNey
from hanlin.evaluation.ngram.tuning import tuned
from hanlin.evaluation.scores import TextScore

ORDERS = {"bytes": 10, "characters": 8, "tokens": 6}
"""The highest order tried for each unit: where figures on English and Chinese stop improving."""
VOCABULARIES = (512, 2048)
"""Sizes of the BPEs that are tried."""
_SAMPLE = 1 << 21
"""Characters of the text that the choice is made on."""
_AT_ONCE = 256
"""Texts encoded together."""
_HELD_OUT = 0.05
_MANY = 100
"""From so many documents on, whole ones are held out."""
_TUNED = 1.03
"""Only what costs at most so many times the best is tuned: tuning gains less."""


@dataclass(frozen=True)
class NgramModel:
    """Scores and writes text; see `train`."""

    alphabet: Alphabet
    counts: KneserNey
    trained_on: int
    """Bytes of training text."""

    @classmethod
    def train(
        cls,
        texts: Sequence[str],
        *,
        unit: Unit | None = None,
        order: int | None = None,
        progress: Callable[[str], None] | None = None,
    ) -> "NgramModel":
        """Count a training text. What is None is chosen on a twentieth of it, held out meanwhile.

        progress: called with what is being done. Raises `InputError` for an empty text and
        `ConfigError` for an unknown unit or an order below 1.
        """
        texts = [text for text in texts if text]
        if not texts:
            raise InputError("There is no text to train an n-gram model on. Give some.")
        if unit is not None and unit not in ORDERS:
            raise ConfigError(f"The unit {unit!r} is not one of {', '.join(ORDERS)}.")
        if order is not None and order < 1:
            raise ConfigError(f"The order is {order}; it must be at least 1.")
        say = progress or (lambda what: None)
        choice = _choose(texts, unit, order, say)
        say(f"counting {choice.alphabet.name} {choice.order}-grams")
        alphabet = choice.alphabet
        if isinstance(alphabet, Characters):
            alphabet = Characters.of(texts)
        stream = _stream(alphabet, texts)
        counts = KneserNey.train(
            stream, size=alphabet.size, order=choice.order, discounts=choice.discounts
        )
        return cls(alphabet, counts, sum(len(text.encode()) for text in texts))

    @property
    def name(self) -> str:
        """The order and the unit."""
        return f"{self.counts.order}-gram of {self.alphabet.name}"

    def score_texts(
        self, texts: Sequence[str], *, progress: Callable[[int], None] | None = None
    ) -> list[TextScore]:
        """Score every symbol of every text; `progress` is called with bytes done."""
        scores = []
        for text in texts:
            symbols = self.alphabet.symbols(text)
            marked = np.concatenate([[self.alphabet.size], symbols.ids]).astype(np.int32)
            nats = symbols.extra - self.counts.log_probabilities(marked)[1:]
            scores.append(TextScore(nats, symbols.ends))
            if progress is not None:
                progress(len(text.encode()))
        return scores

    def generate(self, prompt: str = "", *, symbols: int = 200, seed: int = 0) -> str:
        """Draw the symbols that follow `prompt`, as they are likely, and return their text."""
        rng = np.random.default_rng(seed)
        ids = [self.alphabet.size, *self.alphabet.symbols(prompt).ids.tolist()]
        begin = len(ids)
        for _ in range(symbols):
            p = self.counts.distribution(ids[-max(self.counts.order - 1, 1) :])
            ids.append(int(rng.choice(len(p), p=p / p.sum())))
        return self.alphabet.text(ids[begin:])

    def save(self, path: str | Path) -> None:
        """Write one safetensors file."""
        from safetensors.numpy import save_file

        arrays: dict[str, NDArray[np.generic]] = {"discounts": np.stack(self.counts.discounts)}
        for n, level in enumerate(self.counts.levels, start=1):
            arrays |= {
                f"{n}.keys": level.keys,
                f"{n}.counts": level.counts,
                f"{n}.continuations": level.continuations,
            }
        about = {
            "format": "hanlin n-gram",
            "alphabet": json.dumps(self.alphabet.to_dict()),
            "order": str(self.counts.order),
            "trained_on": str(self.trained_on),
        }
        save_file(arrays, str(path), metadata=about)

    @classmethod
    def load(cls, path: str | Path) -> "NgramModel":
        """Read what `save` wrote. Raises `FormatError` for anything else."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(str(path), framework="numpy") as file:
                about = file.metadata() or {}
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise FormatError(f"{path} is not a whole safetensors file ({error}).") from error
        if about.get("format") != "hanlin n-gram":
            raise FormatError(f"{path} is not an n-gram model of hanlin. Name another file.")
        levels = [
            Level(arrays[f"{n}.keys"], arrays[f"{n}.counts"], arrays[f"{n}.continuations"])
            for n in range(1, int(about["order"]) + 1)
        ]
        alphabet = alphabet_from(json.loads(about["alphabet"]))
        counts = KneserNey(levels, size=alphabet.size, discounts=list(arrays["discounts"]))
        return cls(alphabet, counts, int(about["trained_on"]))


@dataclass(frozen=True)
class _Choice:
    alphabet: Alphabet
    order: int
    discounts: list[NDArray[np.float64]]


def _choose(
    texts: Sequence[str], unit: Unit | None, order: int | None, say: Callable[[str], None]
) -> _Choice:
    """The unit and order with the fewest bits on the held-out part, its discounts tuned there."""
    training, held_out = _split(_sample(texts))
    tried = []
    for alphabet in _candidates(training, unit):
        say(f"trying {alphabet.name}")
        highest = order or next(n for kind, n in ORDERS.items() if alphabet.name.startswith(kind))
        counts = KneserNey.train(_stream(alphabet, training), size=alphabet.size, order=highest)
        asked = _stream(alphabet, held_out)
        extra = float(sum(np.sum(alphabet.symbols(text).extra) for text in held_out))
        nats = [extra - float(logs.sum()) for logs in counts.each_order(asked)]
        chosen = counts.order if order else int(np.argmin(nats)) + 1
        tried.append((nats[chosen - 1], extra, alphabet, counts.lowered(chosen), asked))
    tried.sort(key=lambda one: one[0])
    best: tuple[float, _Choice] | None = None
    for cost, extra, alphabet, counts, asked in tried:
        if cost > tried[0][0] * _TUNED:
            break
        say(f"tuning {counts.order}-grams of {alphabet.name}")
        discounts, nats_ = tuned(counts, asked)
        if best is None or nats_ + extra < best[0]:
            best = nats_ + extra, _Choice(alphabet, counts.order, discounts)
    assert best is not None
    return best[1]


def _candidates(training: Sequence[str], unit: Unit | None) -> Iterable[Alphabet]:
    """Bytes only by name: in English they are the characters, in Chinese 3 % worse."""
    if unit == "bytes":
        yield Bytes()
    if unit in ("characters", None):
        yield Characters.of(training)
    if unit in ("tokens", None):
        yield from Tokens.of(training, sizes=VOCABULARIES)


def _sample(texts: Sequence[str]) -> list[str]:
    """Some `_SAMPLE` characters: evenly spaced documents, or of few the beginning of each."""
    total = sum(map(len, texts))
    if total <= _SAMPLE:
        return list(texts)
    share = _SAMPLE / total
    if len(texts) >= _MANY:
        keep = np.floor(np.arange(len(texts) + 1) * share).astype(int)
        return [text for i, text in enumerate(texts) if keep[i + 1] > keep[i]]
    return [text[: int(len(text) * share)] for text in texts]


def _split(texts: Sequence[str]) -> tuple[list[str], list[str]]:
    """Training and held-out texts: every 20th document, or the ends of the quarters of each.

    One place alone can be unlike the rest: a chapter in another script, a list of names.
    """
    if len(texts) >= _MANY:
        every = round(1 / _HELD_OUT)
        return (
            [text for i, text in enumerate(texts) if i % every != every - 1],
            [text for i, text in enumerate(texts) if i % every == every - 1],
        )
    training, held_out = [], []
    for text in texts:
        step = -(-len(text) // 4)
        cut = step - max(1, int(step * _HELD_OUT))
        for start in range(0, len(text), step):
            training.append(text[start : start + cut])
            held_out.append(text[start + cut : start + step])
    if not any(training):
        return held_out, held_out  # a handful of characters
    return [text for text in training if text], [text for text in held_out if text]


def _stream(alphabet: Alphabet, texts: Sequence[str]) -> NDArray[np.int32]:
    """The symbols of all texts, each after the mark that begins it."""
    pieces: list[NDArray[np.int32]] = []
    for start in range(0, len(texts), _AT_ONCE):
        pieces += alphabet.ids(texts[start : start + _AT_ONCE])
    mark = np.array([alphabet.size], dtype=np.int32)
    return np.concatenate([part for ids in pieces for part in (mark, ids)])
