"""Exact match and F1 of answers as SQuAD defines them (Rajpurkar et al. 2016, 2018).

Texts are compared in lower case without punctuation and articles; F1 is over the words that two
texts share, each as often as both have it; of several right answers the best counts. A question
without an answer (version 2.0) is right where the prediction is empty. Chinese answers are those of
`hanlin.metrics.mixed_answers`.
"""

import re
import string
from collections import Counter
from collections.abc import Sequence

import numpy as np

from hanlin.metrics.bootstrap import Floats
from hanlin.metrics.examples import aligned, answered
from hanlin.metrics.score import Score
from hanlin.metrics.units import Units, mean

Answers = Sequence[str] | Sequence[Sequence[str]]
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def exact_match(
    predictions: Sequence[str],
    references: Sequence[str] | Sequence[Sequence[str]],
    *,
    ignore_case: bool = False,
    seed: int = 0,
) -> Score:
    """The share of predictions that are one of their references, white space at the ends aside.

    Raises `InputError` for lists that do not fit.
    """
    return exact_match_units(predictions, references, ignore_case=ignore_case).score(seed=seed)


def exact_match_units(
    predictions: Sequence[str],
    references: Sequence[str] | Sequence[Sequence[str]],
    *,
    ignore_case: bool = False,
) -> Units:
    """What `exact_match` is computed from: whether each prediction is right."""
    texts, sets = aligned(predictions, references)

    def plain(text: str) -> str:
        return text.strip().casefold() if ignore_case else text.strip()

    right = [plain(text) in map(plain, those) for text, those in zip(texts, sets, strict=True)]
    about = "match:exact|case:" + ("ignored" if ignore_case else "mixed")
    return mean(right, about=about)


def squad(predictions: Sequence[str], answers: Answers, *, seed: int = 0) -> dict[str, Score]:
    """The shares "exact_match" and "f1", from 0 to 1, as SQuAD's evaluation script 2.0 has them.

    `answers` has for each question a list of right texts, empty where there is no answer. Where
    both kinds occur, "answerable_exact_match", "answerable_f1" and "unanswerable_accuracy" stand
    beside them. Raises `InputError` for lists that do not fit.
    """
    values = squad_values(predictions, answers)
    return answer_scores(values, answers, about="match:squad-2.0", seed=seed)


def squad_values(predictions: Sequence[str], answers: Answers) -> dict[str, Floats]:
    """The "exact_match" and "f1" of every question [U]."""
    texts, sets = answered(predictions, answers)
    exact, f1 = np.zeros(len(texts)), np.zeros(len(texts))
    for number, (text, right) in enumerate(zip(texts, sets, strict=True)):
        mine = _words(text)
        # An answer of articles and punctuation alone counts as none, as in the script.
        theirs = [words for words in map(_words, right) if words] or [[]]
        exact[number] = mine in theirs
        f1[number] = max(_f1(mine, words) for words in theirs)
    return {"exact_match": exact, "f1": f1}


def answer_scores(
    values: dict[str, Floats], answers: Answers, *, about: str, seed: int
) -> dict[str, Score]:
    """The means of "exact_match" and "f1" [U], over all questions and by whether they have an
    answer."""
    scores = {name: mean(of, about=about).score(seed=seed) for name, of in values.items()}
    has = np.array([len(right) > 0 for right in answers])
    if has.all() or not has.any():
        return scores
    for name, of in values.items():
        scores[f"answerable_{name}"] = mean(of[has], about=about).score(seed=seed)
    without = mean(values["exact_match"][~has], about=about)
    scores["unanswerable_accuracy"] = without.score(seed=seed)
    return scores


def _words(text: str) -> list[str]:
    return _ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split()


def _f1(mine: list[str], theirs: list[str]) -> float:
    if not mine or not theirs:
        return float(mine == theirs)
    shared = (Counter(mine) & Counter(theirs)).total()
    if not shared:
        return 0.0
    precision, recall = shared / len(mine), shared / len(theirs)
    return 2 * precision * recall / (precision + recall)
