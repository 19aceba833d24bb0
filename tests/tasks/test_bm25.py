"""BM25: the formula, the terms of two languages, what it finds among real passages."""

import json
import math
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from hanlin.errors import ConfigError
from hanlin.tasks.retrieval import Bm25, fuse
from hanlin.tasks.retrieval.bm25 import Terms


def slowly(texts: list[str], question: str, *, k1: float, b: float) -> list[float]:
    """The formula as it is printed, term by term."""
    split = [text.split() for text in texts]
    mean = sum(map(len, split)) / len(split)
    found = []
    for own in split:
        score = 0.0
        for term in question.split():
            n = sum(term in other for other in split)
            if term not in own:
                continue
            idf = math.log(1 + (len(split) - n + 0.5) / (n + 0.5))
            tf = own.count(term)
            score += idf * tf * (k1 + 1) / (tf + k1 * (1 - b + b * len(own) / mean))
        found.append(score)
    return found


@pytest.mark.parametrize(("k1", "b"), [(0.9, 0.4), (1.2, 0.75), (0.0, 0.0), (2.0, 1.0)])
def test_scores_are_those_of_the_formula(k1: float, b: float) -> None:
    seed = random.randrange(2**32)
    draw = random.Random(seed)
    words = [f"w{number}" for number in range(30)]
    texts = [" ".join(draw.choices(words, k=draw.randint(1, 40))) for _ in range(50)]
    index = Bm25(texts, k1=k1, b=b)
    assert len(index) == 50
    for _ in range(20):
        question = " ".join(draw.choices([*words, "unknown"], k=draw.randint(1, 6)))
        want = slowly(texts, question, k1=k1, b=b)
        np.testing.assert_allclose(index.scores(question), want, rtol=1e-5, err_msg=str(seed))
        found = index.search(question, 7)
        best = sorted((score for score in want if score > 0), reverse=True)[:7]
        np.testing.assert_allclose([score for _, score in found], best, rtol=1e-5)
        np.testing.assert_allclose([want[at] for at, _ in found], best, rtol=1e-5)


def test_terms_of_two_languages() -> None:
    assert Terms()("The U.S. Bank, GPT-4 \uff27\uff30\uff34!") == "the u s bank gpt 4 gpt".split()
    assert Terms()("翰林院 is 中") == ["翰林", "林院", "is", "中"]
    assert Terms()("") == Terms()("!?。") == []


def test_words_of_a_segmenter_stand_beside_the_pairs() -> None:
    pytest.importorskip("rjieba")
    found = Counter(Terms(chinese="words")("我们在图书馆读书"))
    pairs = Counter(Terms()("我们在图书馆读书"))
    assert pairs <= found
    assert "图书馆" in found


def test_an_index_of_nothing_finds_nothing() -> None:
    assert Bm25([]).search("a") == []
    assert Bm25(["", "!"]).search("a") == []
    assert Bm25(["a b"]).search("c") == []


def test_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match="k1 is -1"):
        Bm25(["a"], k1=-1)
    with pytest.raises(ConfigError, match="b is 2"):
        Bm25(["a"], b=2)


@pytest.mark.parametrize(("language", "first", "five"), [("en", 0.91, 0.98), ("zh", 0.93, 0.985)])
def test_the_right_paragraph_is_found_among_240(
    shared_data: Path, language: str, first: float, five: float
) -> None:
    data = json.loads((shared_data / "xquad" / f"xquad.{language}.json").read_text("utf-8"))["data"]
    texts, asked = [], []
    for article in data:
        for paragraph in article["paragraphs"]:
            asked += [(each["question"], len(texts)) for each in paragraph["qas"]]
            texts.append(paragraph["context"])
    index = Bm25(texts)
    found = [([at for at, _ in index.search(question, 5)], right) for question, right in asked]
    assert len(texts) == 240
    assert sum(right in best[:1] for best, right in found) / len(found) > first
    assert sum(right in best for best, right in found) / len(found) > five


def test_rankings_are_put_together_by_reciprocal_ranks() -> None:
    fused = dict(fuse([[3, 1, 2], [1, 4]]))
    assert fused == pytest.approx({3: 1 / 61, 1: 1 / 62 + 1 / 61, 2: 1 / 63, 4: 1 / 62})
    assert [number for number, _ in fuse([[3, 1, 2], [1, 4]])] == [1, 3, 4, 2]
    assert [number for number, _ in fuse([[2], [1]])] == [1, 2]
    assert fuse([[], []]) == []
