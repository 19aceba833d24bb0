"""More texts out of few: noisy copies, and copies that went through another language and back.

A copy keeps everything of its row but the text (its label above all) and says in ``augmented`` how
it was made and of which row. What is drawn depends on the seed and the text alone, so rows may be
added or reordered. Noise: Wei and Zou 2019 ("EDA"; their synonyms are left out, for want of a free
list in both languages) and Belinkov and Bisk 2018 (letters swapped); back-translation: Sennrich et
al. 2016.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from hanlin.errors import ConfigError
from hanlin.text.words import unspaced, word_spans

Translate = Callable[[Sequence[str]], Sequence[str]]
"""Texts in one language to texts in another."""
Edit = Literal["delete", "swap", "letters", "case"]
EDITS: tuple[Edit, ...] = ("delete", "swap", "letters", "case")
"""A word or Chinese character left out; two neighbours that change places; two neighbouring letters
inside a word that change places; a word in capitals, or none where it had some."""
PROVENANCE = "augmented"
"""The column that says how a copy was made."""


@dataclass(frozen=True, kw_only=True)
class Noise:
    """How a noisy copy differs from its text."""

    rate: float = 0.1
    """Share of the words (and Chinese characters) that are edited; one at least."""
    edits: tuple[Edit, ...] = EDITS
    """Of which each edit draws one that fits the place."""

    def __post_init__(self) -> None:
        if not 0 < self.rate <= 1:
            raise ConfigError(f"rate is {self.rate:g}; it must be above 0 and at most 1.")
        unknown = [edit for edit in self.edits if edit not in EDITS]
        if unknown or not self.edits:
            raise ConfigError(
                f"{', '.join(unknown) or 'Nothing'} is no edit. Choose among {', '.join(EDITS)}."
            )


def noisy(text: str, noise: Noise, *, seed: int, copy: int = 0) -> str:
    """A copy of `text` with some of its words edited; the same for the same arguments.

    A text of one word loses none, and what is not a word stays, but for white space at its ends.
    """
    draw = _generator(text, seed, copy)
    spans = [span for span in word_spans(text) if text[span[0]].isalnum()]
    if not spans:
        return text.strip()
    words = [text[start:stop] for start, stop in spans]
    places = draw.permutation(len(words))[: max(1, round(noise.rate * len(words)))]
    gone: set[int] = set()
    for place in places.tolist():
        fitting = [edit for edit in noise.edits if _fits(edit, words, place, gone)]
        if not fitting:
            continue
        edit = fitting[int(draw.integers(len(fitting)))]
        if edit == "delete":
            gone.add(place)
        elif edit == "swap":
            words[place], words[place + 1] = words[place + 1], words[place]
        elif edit == "letters":
            words[place] = _letters_swapped(words[place], draw)
        else:
            word = words[place]
            words[place] = word.upper() if word.upper() != word else word.lower()
    return _rewritten(text, spans, words, gone)


def _fits(edit: Edit, words: Sequence[str], place: int, gone: set[int]) -> bool:
    word = words[place]
    if edit == "delete":
        return len(words) - len(gone) > 1
    if edit == "swap":
        after = place + 1
        return after < len(words) and after not in gone and words[after] != word
    if edit == "letters":
        return len(word) >= 4 and not unspaced(word[0]) and len(set(word[1:-1])) > 1
    return word.upper() != word.lower()


def _letters_swapped(word: str, draw: np.random.Generator) -> str:
    """Two different neighbours change places; the first and last letter stay, by which we read."""
    different = [at for at in range(1, len(word) - 2) if word[at] != word[at + 1]]
    at = different[int(draw.integers(len(different)))]
    return word[:at] + word[at + 1] + word[at] + word[at + 2 :]


def _rewritten(
    text: str, spans: Sequence[tuple[int, int]], words: Sequence[str], gone: set[int]
) -> str:
    """The text with other words at its places; of a word that is gone the space goes too."""
    parts, last = [], 0
    for number, ((start, stop), word) in enumerate(zip(spans, words, strict=True)):
        parts.append(text[last:start])
        last = stop
        if number not in gone:
            parts.append(word)
        elif text[last : last + 1] == " " and (not start or text[start - 1] == " "):
            last += 1
    parts.append(text[last:])
    return "".join(parts).strip()


def _generator(text: str, seed: int, copy: int) -> np.random.Generator:
    """Of one text: a function of the text, the seed and the number of the copy."""
    digest = hashlib.sha256(f"{seed} {copy} {text}".encode("utf-8", "replace")).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "little"))


@dataclass(frozen=True)
class Augmented:
    """Rows with copies among them."""

    rows: list[dict[str, Any]]
    """Each original, and after it its copies."""
    made: int
    """Copies among them."""
    left_out: int
    """Copies that were empty, or an original's text or another copy's (but for white space): they
    would only weigh that text more."""


def with_noise(
    rows: Iterable[Mapping[str, Any]],
    noise: Noise,
    *,
    column: str = "text",
    copies: int = 1,
    seed: int = 0,
) -> Augmented:
    """The rows with `copies` noisy copies of each. Raises `ConfigError` for a row without text in
    `column`, and where there are copies among the rows already."""
    if copies < 1:
        raise ConfigError(f"copies is {copies}; it must be at least 1.")
    given = _checked(rows, column)
    texts = [
        [noisy(row[column], noise, seed=seed, copy=copy) for copy in range(copies)] for row in given
    ]
    how = {"method": "noise", "rate": noise.rate, "edits": list(noise.edits), "seed": seed}
    return _together(given, texts, column, how)


def with_translation(
    rows: Iterable[Mapping[str, Any]],
    there: Translate,
    back: Translate,
    *,
    through: str,
    column: str = "text",
) -> Augmented:
    """The rows with, of each, what comes back when its text is translated `there` and `back`.

    A translator gives an empty text for what it cannot translate: of that there is no copy.
    through: names the models, for the provenance. Raises as `with_noise` does.
    """
    given = _checked(rows, column)
    returned = back(there([row[column] for row in given]))
    texts = [[made.strip()] for made in returned]
    return _together(given, texts, column, {"method": "back-translation", "through": through})


def _checked(rows: Iterable[Mapping[str, Any]], column: str) -> list[dict[str, Any]]:
    given = [dict(row) for row in rows]
    for number, row in enumerate(given, 1):
        if not isinstance(row.get(column), str):
            raise ConfigError(
                f"Row {number} has no text in the column {column!r}; it has "
                f"{', '.join(map(str, row)) or 'none'}. Name the column."
            )
        if PROVENANCE in row:
            raise ConfigError(
                f"Row {number} is a copy that was made before (it has the column {PROVENANCE!r}). "
                "Give the originals alone."
            )
    return given


def _together(
    given: Sequence[dict[str, Any]],
    texts: Sequence[Sequence[str]],
    column: str,
    how: Mapping[str, Any],
) -> Augmented:
    there = {_plain(row[column]) for row in given}
    out: list[dict[str, Any]] = []
    left_out = 0
    for number, (row, copies) in enumerate(zip(given, texts, strict=True), 1):
        out.append(row)
        for copy, text in enumerate(copies, 1):
            plain = _plain(text)
            if not plain or plain in there:
                left_out += 1
                continue
            there.add(plain)
            about = {**how, "of": number, "copy": copy}
            out.append({**row, column: text, PROVENANCE: about})
    return Augmented(out, len(out) - len(given), left_out)


def _plain(text: str) -> str:
    return " ".join(text.split())
