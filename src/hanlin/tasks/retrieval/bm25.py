"""BM25: how well a text's words match a question's (Robertson and Zaragoza 2009).

The inverse document frequency is log(1 + (N - n + 0.5) / (n + 0.5)), which is never negative; k1
and b are those that Yang et al. (2017, "Anserini") found best for passages. English is matched by
lower-case words, Chinese by pairs of characters; a segmenter's words beside them find no more on
XQuAD and CMRC (docs/answering.md).
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hanlin.data.words import segmenter
from hanlin.errors import ConfigError
from hanlin.text.words import UNSPACED_LETTERS

K1, B = 0.9, 0.4

Chinese = Literal["pairs", "words"]
"""pairs: of characters; words: these and a segmenter's words, which needs rjieba."""

_RUN = re.compile(rf"([{UNSPACED_LETTERS}]+)|[^\W_{UNSPACED_LETTERS}]+")


class Terms:
    """Turns a text into the terms that it is found by."""

    def __init__(self, *, chinese: Chinese = "pairs") -> None:
        """Raises `ConfigError` where words are asked for and rjieba is not installed."""
        self._cut = segmenter() if chinese == "words" else None

    def __call__(self, text: str) -> list[str]:
        """The terms of a text, as often as they come."""
        found: list[str] = []
        for run in _RUN.finditer(unicodedata.normalize("NFKC", text).casefold()):
            characters = run.group()
            if run.group(1) is None or len(characters) == 1:
                found.append(characters)
            else:
                found += [characters[at : at + 2] for at in range(len(characters) - 1)]
                if self._cut is not None:
                    # A word of two characters is a pair already, and counts for more as both.
                    found += [word for word in self._cut(characters) if len(word) > 1]
        return found


class Bm25:
    """An inverted index of texts, held in memory: about 12 bytes for each word of each text."""

    def __init__(
        self,
        texts: Iterable[str],
        *,
        k1: float = K1,
        b: float = B,
        chinese: Chinese = "pairs",
        progress: Callable[[int], None] | None = None,
    ) -> None:
        """Index `texts`. k1: how soon more of a word counts no more; b: how much a long text is
        held back, 0 to 1. progress: called with the number of texts done."""
        if k1 < 0 or not 0 <= b <= 1:
            raise ConfigError(f"k1 is {k1} and b is {b}; k1 must be at least 0, b from 0 to 1.")
        self.terms = Terms(chinese=chinese)
        self._numbers: dict[str, int] = {}
        terms: list[int] = []
        owners: list[int] = []
        counts: list[int] = []
        sizes: list[int] = []
        for text in texts:
            own = Counter(self.terms(text))
            numbers = [self._numbers.setdefault(term, len(self._numbers)) for term in own]
            terms += numbers
            owners += [len(sizes)] * len(own)
            counts += own.values()
            sizes.append(sum(own.values()))
            if progress is not None:
                progress(1)
        self._size = len(sizes)
        of_term = np.array(terms, dtype=np.int64)
        order = np.argsort(of_term, kind="stable")
        self._owners = np.array(owners, dtype=np.int32)[order]
        n = np.bincount(of_term, minlength=len(self._numbers))
        self._ends = np.cumsum(n)
        length = np.array(sizes, dtype=np.float64)
        norm = 1 - b + b * length / max(float(length.mean()) if sizes else 1.0, 1e-12)
        tf = np.array(counts, dtype=np.float64)[order]
        idf = np.log1p((self._size - n + 0.5) / (n + 0.5))
        saturated = tf * (k1 + 1) / (tf + k1 * norm[self._owners])
        self._weights = (idf[of_term[order]] * saturated).astype(np.float32)

    def __len__(self) -> int:
        return self._size

    def scores(self, question: str) -> NDArray[np.float64]:
        """The score of every text [N]; 0 of those that share no term with the question."""
        found = np.zeros(self._size)
        for term, times in Counter(self.terms(question)).items():
            number = self._numbers.get(term)
            if number is not None:
                start = self._ends[number - 1] if number else 0
                rows = slice(int(start), int(self._ends[number]))
                # A term stands once for each text, so that no index comes twice.
                found[self._owners[rows]] += times * self._weights[rows].astype(np.float64)
        return found

    def search(self, question: str, n: int = 10) -> list[tuple[int, float]]:
        """The best texts by number with their scores, best first; fewer than `n` where fewer share
        a term with the question. Of equal ones the earlier stands first."""
        scores = self.scores(question)
        known = np.flatnonzero(scores > 0)
        order = known[np.lexsort((known, -scores[known]))][:n]
        return [(int(at), float(scores[at])) for at in order]
