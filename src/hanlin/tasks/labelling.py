"""Semi-automatic labelling: a model labels what it is sure of and asks a person about the rest.

A loop: train on what is labelled (`hanlin train --task classify`), let the model sort the texts
without labels, answer its questions, train again. Texts it is sure of are pseudo-labels (Lee 2013);
questions are the ones it is least certain of (Lewis and Gale 1994; margin: Scheffer et al. 2001),
spread over different texts (farthest first: Sener and Savarese 2018). A few of those it is sure of
can be asked for too: only their answers say how often it is sure and wrong.
"""

import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from hanlin.errors import ConfigError, InputError, nearest

Floats = NDArray[np.float64]
By = Literal["margin", "entropy"]
WIDTH = 2048
"""Of the vectors of character trigrams by which texts are told apart."""
_AMONG = 5
"""Diverse questions are chosen among so many times as many of the least certain."""
SKIP = "-"
"""An answer that says: none of the labels; leave the text out."""


class Labeller(Protocol):
    """What gives texts probabilities of labels: a `Classifier`, or a `PromptedLabeller`."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Their names."""
        ...

    def probabilities(
        self, texts: Sequence[str], *, progress: Callable[[int], None] | None = None
    ) -> Floats:
        """Of every label for every text [N, labels], each row adding up to 1."""
        ...


@dataclass(frozen=True)
class Guess:
    """What the model makes of a text."""

    text: str
    label: str
    """The likeliest."""
    probability: float
    second: str
    """The next likeliest; empty where there is one label."""
    doubt: float
    """From 0, certain, to 1."""


@dataclass(frozen=True)
class Labelling:
    """Texts sorted out; each in one of the first four, and checks in `sure` too."""

    answered: Mapping[str, str]
    """Text -> label: what a person said."""
    skipped: tuple[str, ...]
    """What a person said has none of the labels."""
    sure: tuple[Guess, ...]
    """What the model labels, in the order of the texts."""
    asked: tuple[Guess, ...]
    """Questions, the least certain first."""
    left: tuple[Guess, ...]
    """Neither sure enough nor asked for this time."""
    checks: tuple[Guess, ...] = ()
    """Some of `sure`, drawn at random, for a person to look at."""
    agreed: "Agreement | None" = None


@dataclass(frozen=True)
class Agreement:
    """How often the model is right where it is sure, by answers to checks."""

    checked: int
    """Answered checks that it labels by itself."""
    right: int
    """Of these, labelled as the person did."""
    low: float
    """The lower end of the 95 % interval of the share (Wilson 1927)."""
    high: float


@dataclass(frozen=True, kw_only=True)
class Asking:
    """How texts are sorted out."""

    sure: float = 0.95
    """Probability from which on the model labels a text by itself."""
    ask: int = 50
    """Questions at most."""
    by: By = "margin"
    """What makes a text uncertain: margin, how close the two likeliest labels are; entropy, how
    evenly all of them are spread."""
    diverse: bool = True
    """Whether questions are also chosen to differ from each other."""
    check: int = 0
    """Texts the model is sure of that are asked for as well, drawn at random."""
    seed: int = 0
    """Of that draw."""

    def __post_init__(self) -> None:
        if not 0 < self.sure <= 1:
            raise ConfigError(f"sure is {self.sure:g}; it must be above 0 and at most 1.")
        for name in ("ask", "check"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be 0 or more.")


def label(
    labeller: Labeller,
    texts: Sequence[str],
    asking: Asking,
    *,
    answers: Mapping[str, str] | None = None,
    checked: Collection[str] = (),
    progress: Callable[[int], None] | None = None,
) -> Labelling:
    """Sort texts into labelled, asked and left; a text that comes twice counts once.

    answers: text -> label of what a person has said before (`SKIP`: none of them); these texts are
    not asked again. checked: those of them that were drawn at random, by which the model is judged.
    Raises `InputError` for an answer that is no label.
    """
    known = checked_answers(answers or {}, labeller.labels)
    unique = list(dict.fromkeys([*texts, *known]))
    found = labeller.probabilities(unique, progress=progress)
    guesses = guesses_of(unique, labeller.labels, found, by=asking.by)
    open_: list[Guess] = []
    sure: list[Guess] = []
    for guess in guesses:
        if guess.text not in known:
            (sure if guess.probability >= asking.sure else open_).append(guess)
    asked = _questions(open_, asking)
    chosen = {guess.text for guess in asked}
    draw = np.random.default_rng(asking.seed)
    some = sorted(draw.permutation(len(sure))[: asking.check].tolist())
    return Labelling(
        answered={text: said for text, said in known.items() if said != SKIP},
        skipped=tuple(text for text, said in known.items() if said == SKIP),
        sure=tuple(sure),
        asked=tuple(asked),
        left=tuple(guess for guess in open_ if guess.text not in chosen),
        checks=tuple(sure[at] for at in some),
        agreed=_agreement(
            [g for g in guesses if g.text in checked and g.probability >= asking.sure], known
        ),
    )


def guesses_of(
    texts: Sequence[str], labels: Sequence[str], probabilities: Floats, *, by: By
) -> list[Guess]:
    """What the rows of `probabilities` [N, labels] say of each text."""
    doubt = doubts(probabilities, by)
    order = np.argsort(-probabilities, axis=1, kind="stable")
    return [
        Guess(
            text,
            labels[row[0]],
            float(own[row[0]]),
            labels[row[1]] if len(row) > 1 else "",
            float(unsure),
        )
        for text, row, own, unsure in zip(texts, order, probabilities, doubt, strict=True)
    ]


def doubts(probabilities: Floats, by: By) -> Floats:
    """How uncertain each row of probabilities [N, labels] is, from 0 to 1.

    margin: 1 - (the highest - the second); entropy: over that of even shares.
    """
    labels = probabilities.shape[1]
    if labels < 2:
        return np.zeros(len(probabilities))
    if by == "margin":
        top = np.sort(probabilities, axis=1)[:, -2:]
        return 1 - (top[:, 1] - top[:, 0])
    shares = np.clip(probabilities, 1e-12, 1)
    entropy: Floats = -(shares * np.log(shares)).sum(1) / np.log(labels)
    return entropy


def _questions(guesses: Sequence[Guess], asking: Asking) -> list[Guess]:
    """The least certain, at most `ask` of them, the least certain first."""
    ordered = sorted(guesses, key=lambda guess: -guess.doubt)
    if not asking.diverse or len(ordered) <= asking.ask:
        return ordered[: asking.ask]
    among = ordered[: _AMONG * asking.ask]
    picked = farthest(
        trigrams([guess.text for guess in among]),
        asking.ask,
        weights=np.array([guess.doubt for guess in among]),
    )
    return [among[at] for at in sorted(picked)]


def trigrams(texts: Sequence[str]) -> NDArray[np.float32]:
    """Texts as directions: hashed counts of their character trigrams [N, WIDTH], of length 1."""
    found = np.zeros((len(texts), WIDTH), dtype=np.float32)
    for row, text in zip(found, texts, strict=True):
        padded = f"  {text.lower()} "
        for at in range(len(padded) - 2):
            row[zlib.crc32(padded[at : at + 3].encode("utf-8", "replace")) % WIDTH] += 1
    length = np.linalg.norm(found, axis=1, keepdims=True)
    directions: NDArray[np.float32] = found / np.maximum(length, 1e-9)
    return directions


def farthest(vectors: NDArray[np.float32], count: int, *, weights: Floats) -> list[int]:
    """Numbers of `count` vectors that lie far from each other; the first is that of most weight.

    Each next one has the largest product of its weight and its distance (1 - cosine) to the nearest
    of those chosen before.
    """
    if not count or not len(vectors):
        return []
    chosen = [int(np.argmax(weights))]
    nearest_ = np.full(len(vectors), np.inf)
    while len(chosen) < min(count, len(vectors)):
        nearest_ = np.minimum(nearest_, 1 - vectors @ vectors[chosen[-1]])
        gain = weights * np.maximum(nearest_, 1e-9)
        gain[chosen] = -1
        chosen.append(int(np.argmax(gain)))
    return chosen


def checked_answers(answers: Mapping[str, str], labels: Sequence[str]) -> dict[str, str]:
    """The answers, each a label or `SKIP`. Raises `InputError` for another, with the nearest."""
    known = {text: said.strip() for text, said in answers.items()}
    for text, said in known.items():
        if said not in labels and said != SKIP:
            raise InputError(
                f"The answer {said!r} to {text[:40]!r} is none of the labels."
                f"{nearest(said, list(labels))} There are: {', '.join(labels[:20])}; write "
                f"{SKIP} for a text that has none of them."
            )
    return known


def _agreement(sure: Sequence[Guess], known: Mapping[str, str]) -> Agreement | None:
    mine = [guess for guess in sure if guess.text in known]
    if not mine:
        return None
    right = sum(guess.label == known[guess.text] for guess in mine)
    low, high = wilson(right, len(mine))
    return Agreement(len(mine), right, low, high)


def wilson(right: int, of: int) -> tuple[float, float]:
    """The 95 % interval of a share of so many (Wilson 1927)."""
    z, share = 1.959964, right / of
    middle = (share + z * z / (2 * of)) / (1 + z * z / of)
    half = z / (1 + z * z / of) * (share * (1 - share) / of + z * z / (4 * of * of)) ** 0.5
    return max(0.0, middle - half), min(1.0, middle + half)
