"""ROUGE: how much of a summary is found in those of people (Lin 2004).

On English it is that of the rouge-score package, which deletes every letter beyond ASCII and so
gives any Chinese text 0. Other scripts are cut into characters here, or Chinese into words, and the
signature says which. A corpus has the mean of its examples' F1; of several references the best one
of an example counts.
"""

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from hanlin.errors import ConfigError, InputError, nearest
from hanlin.metrics.bootstrap import Floats
from hanlin.metrics.examples import aligned
from hanlin.metrics.score import Score, signature
from hanlin.metrics.subsequences import common_places, common_size
from hanlin.metrics.units import Units, mean
from hanlin.metrics.words import Cut, Cutter, cutter

Tokens = list[str]
VARIANTS = ("rouge1", "rouge2", "rougeL", "rougeLsum")
_VARIANT = re.compile(r"rouge([1-9]|L|Lsum)")
_LINES = re.compile(r"\n")
_SENTENCES = re.compile(r"\n|(?<=[。！？])")


def rouge(
    predictions: Sequence[str],
    references: Sequence[str] | Sequence[Sequence[str]],
    *,
    variants: Sequence[str] = VARIANTS,
    tokenize: Cut = "auto",
    stemmer: bool = False,
    seed: int = 0,
) -> dict[str, Score]:
    """The mean F1 of each variant, from 0 to 1.

    `references` has a text or a list of texts for each prediction. Variants are rouge1 to rouge9
    (n-grams), rougeL (the longest common subsequence) and rougeLsum (its union over sentences,
    which end at a new line and, unless cut into "words", after 。！？ too). `tokenize`: "words"
    are those of rouge-score, "characters" those of scripts without spaces and words of the others,
    "words-zh" those of rjieba; "auto" takes words where every reference is Latin, else characters.
    Raises `InputError` for lists that do not fit and where no reference has a token, `ConfigError`
    for a setting that does not exist or needs a package that is not installed.
    """
    units = rouge_units(
        predictions, references, variants=variants, tokenize=tokenize, stemmer=stemmer
    )
    return {variant: of.score(seed=seed) for variant, of in units.items()}


def rouge_values(
    predictions: Sequence[str],
    references: Sequence[str] | Sequence[Sequence[str]],
    *,
    variants: Sequence[str] = VARIANTS,
    tokenize: Cut = "auto",
    stemmer: bool = False,
) -> dict[str, Floats]:
    """The F1 of every example [U] by variant, as `rouge` has them before the mean."""
    units = rouge_units(
        predictions, references, variants=variants, tokenize=tokenize, stemmer=stemmer
    )
    return {variant: of.statistics[:, 0] for variant, of in units.items()}


def rouge_units(
    predictions: Sequence[str],
    references: Sequence[str] | Sequence[Sequence[str]],
    *,
    variants: Sequence[str] = VARIANTS,
    tokenize: Cut = "auto",
    stemmer: bool = False,
) -> dict[str, Units]:
    """What `rouge` is computed from, by variant."""
    for variant in variants:
        if not is_variant(variant):
            raise ConfigError(
                f"There is no ROUGE variant {variant!r}.{nearest(variant, list(VARIANTS))} "
                "Use rouge1 to rouge9, rougeL or rougeLsum."
            )
    texts, sets = aligned(predictions, references)
    way = cutter(tokenize, (text for texts in sets for text in texts), stemmer=stemmer)
    _refuse_nothing(sets, way)
    scores = {variant: np.empty(len(texts)) for variant in variants}
    for number, (text, wanted) in enumerate(zip(texts, sets, strict=True)):
        mine = _Summary(text, way)
        theirs = [_Summary(reference, way) for reference in wanted]
        for variant in variants:
            scores[variant][number] = max(_f1(variant, mine, their) for their in theirs)
    about = signature(tok=way.about, stem="porter" if stemmer else None, mean="f1")
    return {variant: mean(values, about=about) for variant, values in scores.items()}


def is_variant(name: str) -> bool:
    """Whether it names a variant of ROUGE."""
    return _VARIANT.fullmatch(name) is not None


class _Summary:
    """A text as the variants need it, each part made when first asked for."""

    def __init__(self, text: str, way: Cutter) -> None:
        self._text = text
        self._way = way
        self.tokens = way.cut(text)
        self._grams: dict[int, Counter[tuple[str, ...]]] = {}
        self._sentences: list[Tokens] | None = None

    def grams(self, n: int) -> Counter[tuple[str, ...]]:
        if n not in self._grams:
            self._grams[n] = Counter(zip(*(self.tokens[i:] for i in range(n)), strict=False))
        return self._grams[n]

    def sentences(self) -> list[Tokens]:
        if self._sentences is None:
            ends = _LINES if self._way.name == "words" else _SENTENCES
            parts = ends.split(self._text)
            self._sentences = [self._way.cut(part) for part in parts if part]
        return self._sentences


def _f1(variant: str, mine: _Summary, theirs: _Summary) -> float:
    kind = variant.removeprefix("rouge")
    if kind == "L":
        hits = common_size(theirs.tokens, mine.tokens)
        return _harmonic(hits, len(mine.tokens), len(theirs.tokens))
    if kind == "Lsum":
        return _summary_f1(mine.sentences(), theirs.sentences())
    there, wanted = mine.grams(int(kind)), theirs.grams(int(kind))
    hits = sum(min(count, there[gram]) for gram, count in wanted.items() if gram in there)
    return _harmonic(hits, there.total(), wanted.total())


def _summary_f1(mine: list[Tokens], theirs: list[Tokens]) -> float:
    """Of every sentence of the reference, what any sentence of the summary has in order; no token
    counts oftener than either text has it (as ROUGE-1.5.5 does, beyond the paper)."""
    left_mine = Counter(token for sentence in mine for token in sentence)
    left_theirs = Counter(token for sentence in theirs for token in sentence)
    sizes = left_mine.total(), left_theirs.total()
    hits = 0
    for wanted in theirs:
        union = {place for sentence in mine for place in common_places(wanted, sentence)}
        for token in (wanted[place] for place in sorted(union)):
            if left_mine[token] > 0 and left_theirs[token] > 0:
                hits += 1
                left_mine[token] -= 1
                left_theirs[token] -= 1
    return _harmonic(hits, *sizes)


def _harmonic(hits: int, there: int, wanted: int) -> float:
    """F1 in rouge-score's order of operations."""
    if not hits:
        return 0.0
    precision, recall = hits / there, hits / wanted
    return 2 * precision * recall / (precision + recall)


def _refuse_nothing(sets: list[list[str]], way: Cutter) -> None:
    """Scores of references of which the cutting leaves nothing would all be 0, and mean nothing."""
    if any(way.cut(text) for texts in sets for text in texts):
        return
    if any(character.isalnum() for texts in sets for text in texts for character in text):
        raise InputError(
            f"tokenize={way.name!r} leaves no token of any reference. "
            "Set tokenize='characters', which keeps every script."
        )
    raise InputError("No reference has a letter or a digit. Give references that are texts.")
