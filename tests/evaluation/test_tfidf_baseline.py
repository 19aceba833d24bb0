"""The simple judges of a classifier learn what they should, and from the training rows alone."""

import numpy as np
import pytest

from hanlin.errors import InputError
from hanlin.evaluation.tfidf import STRENGTHS, majority, tfidf

sklearn = pytest.importorskip("sklearn")

GOOD = ["a fine film", "what a lovely, fine story", "lovely music", "fine, and moving"]
BAD = ["a dull film", "what a dull and silly story", "silly music", "dull, and too long"]
FRESH = ["房间很干净，服务很好", "早餐好吃，环境干净", "服务热情，下次还来", "位置方便，干净舒适"]
STALE = ["房间很脏，服务太差", "早餐难吃，噪音很大", "前台冷淡，再也不来", "又脏又旧，设施太差"]


@pytest.mark.parametrize(
    ("one", "other", "asked", "features"),
    [
        (GOOD, BAD, ["a lovely, fine end", "a dull, silly end"], "words(1-2)"),
        (FRESH, STALE, ["浴室干净，服务热情", "浴室很脏，服务太差"], "characters(1-3)"),
    ],
)
def test_it_learns_from_words_of_english_and_characters_of_chinese(one, other, asked, features):
    texts = (one + other) * 5
    found = tfidf(texts, ([[0]] * 4 + [[1]] * 4) * 5, asked, labels=2, multiple=False)
    assert found.scores.argmax(1).tolist() == [0, 1]
    assert found.scores.sum(1) == pytest.approx([1, 1])
    assert found.about["features"] == features
    assert found.about["trained on"] == 40


def test_its_probabilities_are_those_of_the_same_pipeline_put_together_by_hand():
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier

    rng = np.random.default_rng(0)
    words = [f"w{i}" for i in range(60)]
    labels = rng.integers(3, size=150)
    texts = [" ".join(rng.choice(words[label * 15 : label * 15 + 30], 6)) for label in labels]
    found = tfidf(texts[:100], [[int(i)] for i in labels[:100]], texts[100:], labels=3,
                  multiple=False)  # fmt: skip
    vectoriser = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    features = vectoriser.fit_transform(texts[:100])
    strength = float(str(found.about["model"]).removeprefix("logistic(C=").removesuffix(")"))
    assert strength in STRENGTHS
    each = OneVsRestClassifier(LogisticRegression(C=strength, solver="liblinear", tol=1e-8))
    want = each.fit(features, labels[:100]).predict_proba(vectoriser.transform(texts[100:]))
    assert found.scores == pytest.approx(want, abs=2e-3)
    assert (found.scores.argmax(1) == labels[100:]).mean() > 0.6


def test_of_several_labels_each_is_told_apart_by_itself():
    rng = np.random.default_rng(1)
    names = ["sport", "money", "music"]
    right = rng.random((200, 3)) < 0.4
    texts = [
        " ".join([n for n, has in zip(names, row, strict=True) if has] + ["news of the day"])
        for row in right
    ]
    training = [np.flatnonzero(row).tolist() for row in right]
    found = tfidf(texts, training, ["sport and music", "the day"], labels=4, multiple=True)
    assert (found.scores > 0.5).tolist() == [[True, False, True, False], [False] * 4]
    assert (found.scores[:, 3] == 0).all()  # never comes in training


def test_a_label_of_one_row_and_a_label_without_rows_are_no_obstacle():
    texts = [*GOOD, *BAD, "a play"]
    training = [[0]] * 4 + [[1]] * 4 + [[3]]
    found = tfidf(texts, training, ["a play", "lovely"], labels=5, multiple=False)
    assert found.scores.shape == (2, 5)
    assert (found.scores[:, [2, 4]] == 0).all()
    assert found.scores.sum(1) == pytest.approx([1, 1])


def test_one_label_alone_is_refused():
    with pytest.raises(InputError, match="single label"):
        tfidf(GOOD, [[0]] * 4, ["x"], labels=2, multiple=False)


def test_the_majority_says_how_often_each_label_came():
    found = majority([[0], [1], [1], [1]], labels=3, count=2)
    assert found.scores.tolist() == [[0.25, 0.75, 0.0]] * 2
