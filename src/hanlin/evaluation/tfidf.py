"""The simple judges of a classifier: the commonest label, and logistic regression on TF-IDF.

A Transformer that is no better than counted words costs its user time and memory for nothing; Wang
and Manning (2012) found bags of one and two words hard to beat. Both are trained on the rows that
the model was trained on and predict the same examples. Texts of Chinese characters are counted as
runs of one to three characters, all others as one and two words. Needs scikit-learn, of the extra
`judge`.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hanlin.errors import ConfigError, InputError
from hanlin.text.scripts import script

STRENGTHS = (1.0, 4.0, 16.0, 64.0)
"""Inverse strengths of regularisation (C) that cross-validation chooses among."""
FOLDS = 3
_CHOSEN_ON = 3000
"""Rows that C is chosen on at most."""
_SAMPLE = 2000
"""Texts that are looked at to tell words from characters."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Predicted:
    """What a baseline makes of some texts."""

    name: str
    scores: Floats
    """[N, L]: probabilities of the labels."""
    about: dict[str, object]
    """How it was trained, and on how many rows."""


def majority(training: Sequence[Sequence[int]], *, labels: int, count: int) -> Predicted:
    """How often each label has come in training, said of `count` texts.

    training: the labels of each row, by number.
    """
    found = Counter(label for row in training for label in row)
    shares = np.array([found[label] / max(len(training), 1) for label in range(labels)])
    return Predicted("majority", np.tile(shares, (count, 1)), {"trained on": len(training)})


def tfidf(
    texts: Sequence[str],
    training: Sequence[Sequence[int]],
    asked: Sequence[str],
    *,
    labels: int,
    multiple: bool,
    seed: int = 0,
) -> Predicted:
    """Logistic regression on TF-IDF, trained on `texts` with their labels, asked for others.

    training: the labels of each text, by number; multiple: it may have several or none. C is
    chosen by cross-validation on the training texts alone. A label that never comes in training
    gets probability 0. Raises `ConfigError` without scikit-learn, `InputError` where there are
    fewer than two labels to tell apart.
    """
    vectoriser, grams = _vectoriser(texts)
    features = vectoriser.fit_transform(texts)
    right = np.zeros((len(texts), labels), dtype=bool)
    for row, own in enumerate(training):
        right[row, list(own)] = True
    seen = np.flatnonzero(right.any(0) if not multiple else right.any(0) & ~right.all(0))
    if len(seen) < (1 if multiple else 2):
        raise InputError(
            "The training rows have a single label, so there is nothing for the TF-IDF baseline to "
            "tell apart. Give rows of several labels, or leave the baselines out."
        )
    strength = _strength(features, right[:, seen], multiple=multiple, seed=seed)
    scores = np.zeros((len(asked), labels))
    if multiple:
        scores[:, right.all(0)] = 1.0
    scores[:, seen] = _fitted(
        features, right[:, seen], vectoriser.transform(asked), strength, multiple=multiple
    )
    return Predicted(
        "TF-IDF",
        scores,
        {"features": grams, "model": f"logistic(C={strength:g})", "trained on": len(texts)},
    )


def _vectoriser(texts: Sequence[str]) -> tuple[Any, str]:
    """Words, or characters where most letters are Chinese; and its name."""
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
    except ImportError as error:
        raise ConfigError(
            "The TF-IDF baseline needs scikit-learn. Install it by `pip install 'hanlin[judge]'`, "
            "or leave the baselines out (--no-baselines)."
        ) from error
    letters = Counter(
        script(character)
        for text in texts[:: max(1, len(texts) // _SAMPLE)]
        for character in text
        if character.isalpha()
    )
    if letters["Han"] + letters["Kana"] > sum(letters.values()) / 2:
        return (
            TfidfVectorizer(analyzer="char", ngram_range=(1, 3), sublinear_tf=True),
            "characters(1-3)",
        )
    pattern = r"(?u)\w+|[^\w\s]"  # single letters and marks tell something, too
    return (
        TfidfVectorizer(token_pattern=pattern, ngram_range=(1, 2), sublinear_tf=True),
        "words(1-2)",
    )


def _strength(features: Any, right: NDArray[np.bool_], *, multiple: bool, seed: int) -> float:
    """The C whose predictions for held-out folds are right most often; the smaller of equals."""
    rng = np.random.default_rng(seed)
    rows = rng.permutation(features.shape[0])[:_CHOSEN_ON]
    if len(rows) < 2 * FOLDS:
        return STRENGTHS[0]
    fold = np.empty(len(rows), dtype=int)
    # Each label is dealt out over the folds in turn, so that none lacks one it could have.
    order = np.argsort(right[rows].argmax(1), kind="stable")
    fold[order] = np.arange(len(rows)) % FOLDS
    hits = dict.fromkeys(STRENGTHS, 0.0)
    for number in range(FOLDS):
        learnt, held = rows[fold != number], rows[fold == number]
        for strength in STRENGTHS:
            scores = _fitted(
                features[learnt], right[learnt], features[held], strength, multiple=multiple
            )
            if multiple:
                hits[strength] += float(((scores > 0.5) == right[held]).mean(1).sum())
            else:
                hits[strength] += float(right[held, scores.argmax(1)].sum())
    return max(STRENGTHS, key=lambda strength: (hits[strength], -strength))


def _fitted(
    features: Any, right: NDArray[np.bool_], asked: Any, strength: float, *, multiple: bool
) -> Floats:
    """Probabilities of the labels [N, L], learnt from rows with these labels.

    Each label against all others: of 77 labels that takes seconds, where one model of all takes
    minutes, and is right as often.
    """
    from sklearn.linear_model import LogisticRegression

    scores = np.zeros((asked.shape[0], right.shape[1]))
    two = not multiple and right.shape[1] == 2
    for label in (1,) if two else range(right.shape[1]):
        own = right[:, label]
        if own.all() or not own.any():
            scores[:, label] = float(own.any())
            continue
        model = LogisticRegression(C=strength, solver="liblinear", max_iter=1000,
                                   random_state=0)  # fmt: skip
        scores[:, label] = model.fit(features, own).predict_proba(asked)[:, 1]
    if two:
        scores[:, 0] = 1 - scores[:, 1]
    elif not multiple:
        scores /= np.maximum(scores.sum(1, keepdims=True), 1e-300)
    return scores
