"""How much of an evaluation set stands in a training text: what a score may owe to memory.

Runs of 13 units that stand in both (Brown et al. 2020). A unit is a word in lower case, or, of
scripts without spaces, a character; punctuation and spacing do not count, and neither does how a
character is encoded (Unicode's NFKC: full-width letters are letters). The evaluation set's runs
are held as 64-bit hashes while the training text streams by: memory depends on the evaluation set
alone. An example of fewer than 13 units is looked for as a whole; one of fewer than 5 is not.
"""

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hanlin.data.shards import MANIFEST
from hanlin.errors import ConfigError, InputError
from hanlin.evaluation.origin import shard_texts
from hanlin.evaluation.texts import Sources
from hanlin.progress import Progress
from hanlin.text.read import read_documents
from hanlin.text.reading import Reading, ReadSettings

UNITS = 13
"""Units of a run."""
FEWEST = 5
"""An example of fewer units occurs everywhere by chance."""
MOSTLY = 0.8
"""The share of an example from which on it counts as known (as of its units)."""
WORST = 50
"""Examples that are shown with what was found."""
_AROUND = 60
"""Characters of training text that are shown before and after a run."""
_LONGEST = 400
"""Characters of training text that are kept of a run."""
_WORDS = 1 << 20
"""Hashes of words that are remembered at a time."""

_UNSPACED = (
    "\u0e01-\u0e3a\u0e40-\u0e4e\u0e81-\u0ecf\u0edc-\u0edf"  # Thai, Lao
    "\u1000-\u103f\u1050-\u108f\u109a-\u109d\u1780-\u17d3"  # Myanmar, Khmer
    "\u3005-\u3007\u3021-\u3029\u3041-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff"  # Kana
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"  # Han
)
"""Characters that are units, of scripts without spaces between words; marks are characters."""
_UNIT = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+")
_BASE = 0x9E3779B97F4A7C15
_Hashes = NDArray[np.uint64]


@dataclass(frozen=True)
class Overlap:
    """An example of which something stands in the training text."""

    number: int
    """From 0, as it was given."""
    share: float
    """Of its units."""
    text: str
    found: str
    """Training text: what most of the runs stand in, with a little around it."""
    source: str

    def to_dict(self) -> dict[str, Any]:
        """The fields, for JSON."""
        return {
            "number": self.number,
            "share": self.share,
            "text": self.text,
            "found": self.found,
            "source": self.source,
        }


@dataclass(frozen=True, kw_only=True)
class Contamination:
    """How much of an evaluation set stands in a training text."""

    shares: tuple[float, ...]
    """Of each example: the share of its units that stand in runs found in the training text."""
    share: float
    """Of all units together."""
    n: int
    """Units of a run."""
    unchecked: int
    """Examples that are too short to be looked for; their share is 0."""
    training_units: int
    """Words and characters of the training text that were read."""
    worst: tuple[Overlap, ...]
    """The examples with most of it, at most `WORST`."""
    notes: tuple[str, ...] = ()

    @property
    def examples(self) -> int:
        """How many there are."""
        return len(self.shares)

    @property
    def touched(self) -> int:
        """Examples of which anything was found."""
        return sum(share > 0 for share in self.shares)

    @property
    def mostly(self) -> int:
        """Examples of which at least `MOSTLY` was found."""
        return sum(share >= MOSTLY for share in self.shares)

    def to_dict(self) -> dict[str, Any]:
        """For JSON, without every share."""
        return {
            "examples": self.examples,
            "unchecked": self.unchecked,
            "touched": self.touched,
            "mostly": self.mostly,
            "share": self.share,
            "n": self.n,
            "training_units": self.training_units,
            "worst": [one.to_dict() for one in self.worst],
            "notes": list(self.notes),
        }


def contamination(
    examples: Sequence[str | Sequence[str]],
    training: Sources | None = None,
    *,
    texts: Iterable[str] | None = None,
    n: int = UNITS,
    settings: ReadSettings | None = None,
) -> Contamination:
    """How much of `examples` stands in the training text.

    examples: a text each, or several (a question alone, and with its answer), of which the one
    that most is found of counts. training: files, folders, globs, or directories of token shards;
    or else `texts`. n: units of a run. settings: how files are read. Raises `InputError` where
    there are no examples or no training text, `NotFoundError` for sources, `ConfigError` for a
    setting.
    """
    if (training is None) == (texts is None):
        raise ConfigError("Give the training text as files or as `texts`: one of them.")
    if n < FEWEST:
        raise ConfigError(f"n is {n}; shorter runs than {FEWEST} occur by chance. Raise it.")
    if not examples:
        raise InputError("There are no examples to look for. Give at least one.")
    looked_for = _LookedFor(examples, n)
    notes: list[str] = []
    if training is not None:
        parts = _parts(training, settings, notes)
    else:
        parts = ((text, f"text {number}", False) for number, text in enumerate(texts or (), 1))
    carried, units = "", 0
    with Progress("looking for examples", unit="B") as progress:
        for text, source, more in parts:
            progress.advance(len(text))
            text = carried + unicodedata.normalize("NFKC", text)
            hashes, spans = looked_for.words.of(text)
            looked_for.look(text, source, hashes, spans)
            units += len(hashes)
            # A run may stand on both sides of where a long text was cut.
            carried = text[spans[-(n - 1)][0] :] if more and len(spans) >= n else ""
    if units == 0:
        raise InputError("The training text is empty. Give one that is not.")
    return looked_for.result(units, tuple(notes))


def _parts(
    training: Sources, settings: ReadSettings | None, notes: list[str]
) -> Iterator[tuple[str, str, bool]]:
    """The training text in pieces: the text, where it is from, whether the next goes on with it."""
    listed = [training] if isinstance(training, str | Path) else list(training)
    for one in listed:
        prepared = [place for place in (Path(one), Path(one) / "train") if _is_shards(place)]
        if prepared:
            for number, text in enumerate(shard_texts(str(prepared[0])), 1):
                yield text, f"{prepared[0]}, document {number}", False
            continue
        readings: list[Reading] = []
        for document in read_documents(one, settings=settings, report=readings.append):
            yield document.text, document.source, document.more
        dropped: Counter[str] = sum((reading.dropped for reading in readings), Counter())
        notes += [f"{count} records of {one} left out: {why}." for why, count in dropped.items()]


def _is_shards(place: Path) -> bool:
    return (place / MANIFEST).is_file() and any(place.glob("*.tokens.bin"))


class _Words:
    """Units of texts as hashes."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}

    def of(self, text: str) -> tuple[_Hashes, list[tuple[int, int]]]:
        """The hash of each unit of a text, and the characters [start, end) that it covers."""
        spans = [match.span() for match in _UNIT.finditer(text)]
        if len(self._known) > _WORDS:
            self._known.clear()
        hashes = (self._hash(text[start:end].lower()) for start, end in spans)
        return np.fromiter(hashes, dtype=np.uint64, count=len(spans)), spans

    def _hash(self, word: str) -> int:
        found = self._known.get(word)
        if found is None:
            digest = hashlib.blake2b(word.encode("utf-8", "replace"), digest_size=8).digest()
            found = self._known[word] = int.from_bytes(digest, "little")
        return found


def _runs(hashes: _Hashes, n: int) -> _Hashes:
    """A hash for each run of n units."""
    total = np.zeros(max(len(hashes) - n + 1, 0), dtype=np.uint64)
    factor = 1
    for place in range(n):
        total += hashes[place : len(hashes) - n + 1 + place] * np.uint64(factor)
        factor = factor * _BASE % (1 << 64)
    return total


@dataclass
class _Size:
    """Runs of one length that are looked for."""

    keys: _Hashes
    """Ascending, each once."""
    found: NDArray[np.int64] = field(init=False)
    """The passage that each was first found in; -1: none."""

    def __post_init__(self) -> None:
        self.found = np.full(len(self.keys), -1, dtype=np.int64)

    def places(self, runs: _Hashes) -> NDArray[np.int64]:
        """Where each run is among the keys; -1: it is not there."""
        at = np.minimum(np.searchsorted(self.keys, runs), len(self.keys) - 1)
        return np.where(self.keys[at] == runs, at, -1)


class _LookedFor:
    """The runs of all examples, and what was found of them."""

    def __init__(self, examples: Sequence[str | Sequence[str]], n: int) -> None:
        self.words = _Words()
        self._n = n
        self._examples = [[one] if isinstance(one, str) else list(one) for one in examples]
        self._hashes = [
            [self.words.of(unicodedata.normalize("NFKC", text))[0] for text in texts]
            for texts in self._examples
        ]
        runs: dict[int, list[_Hashes]] = {}
        for hashes in chain.from_iterable(self._hashes):
            if len(hashes) >= FEWEST:
                size = min(n, len(hashes))
                runs.setdefault(size, []).append(_runs(hashes, size))
        self._sizes = {size: _Size(np.unique(np.concatenate(all_))) for size, all_ in runs.items()}
        self._passages: list[tuple[str, str]] = []
        """Training text that holds runs, and where it is from."""

    def look(
        self, text: str, source: str, hashes: _Hashes, spans: Sequence[tuple[int, int]]
    ) -> None:
        """Note which of the runs stand in a piece of training text."""
        for size, looked_for in self._sizes.items():
            if len(hashes) < size:
                continue
            places = looked_for.places(_runs(hashes, size))
            hits = np.flatnonzero(places >= 0)
            hits = hits[looked_for.found[places[hits]] < 0]
            # Neighbouring runs are one passage.
            for group in np.split(hits, np.flatnonzero(np.diff(hits) > size) + 1):
                if len(group):
                    begin, end = spans[group[0]][0], spans[group[-1] + size - 1][1]
                    end = min(end, begin + _LONGEST)
                    shown = text[max(begin - _AROUND, 0) : end + _AROUND]
                    looked_for.found[places[group]] = len(self._passages)
                    self._passages.append((shown, source))

    def result(self, training_units: int, notes: tuple[str, ...]) -> Contamination:
        """What was found."""
        shares: list[float] = []
        overlaps: list[tuple[float, int, str, int]] = []
        covered_units = units = unchecked = 0
        for number, (texts, hashes) in enumerate(zip(self._examples, self._hashes, strict=True)):
            found = [
                (*self._covered(one), text)
                for text, one in zip(texts, hashes, strict=True)
                if len(one) >= FEWEST
            ]
            if not found:
                unchecked += 1
                shares.append(0.0)
                continue
            covered, passage, text = max(found, key=lambda one: (one[0].mean(), len(one[0])))
            shares.append(float(covered.mean()))
            covered_units += int(covered.sum())
            units += len(covered)
            if passage >= 0:
                overlaps.append((shares[-1], number, text, passage))
        overlaps.sort(key=lambda one: (-one[0], one[1]))
        worst = [
            Overlap(number, share, text, *self._passages[passage])
            for share, number, text, passage in overlaps[:WORST]
        ]
        return Contamination(
            shares=tuple(shares),
            share=covered_units / max(units, 1),
            n=self._n,
            unchecked=unchecked,
            training_units=training_units,
            worst=tuple(worst),
            notes=notes,
        )

    def _covered(self, hashes: _Hashes) -> tuple[NDArray[np.bool_], int]:
        """Which units stand in runs that were found, and the passage that holds most (-1: none)."""
        size = min(self._n, len(hashes))
        looked_for = self._sizes[size]
        passages = looked_for.found[looked_for.places(_runs(hashes, size))]
        covered = np.zeros(len(hashes), dtype=bool)
        for place in np.flatnonzero(passages >= 0):
            covered[place : place + size] = True
        held = Counter(passages[passages >= 0].tolist()).most_common(1)
        return covered, held[0][0] if held else -1
