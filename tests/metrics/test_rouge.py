"""ROUGE: against the rouge-score package on English, by hand on Chinese."""

import json
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hanlin.errors import ConfigError, InputError
from hanlin.metrics import rouge, rouge_values
from hanlin.metrics.subsequences import common_places, common_size

VARIANTS = ("rouge1", "rouge2", "rouge3", "rougeL", "rougeLsum")
WORDS = ["the", "cats", "running", "ran", "a", "b", "B", "c", "x9", "don't", "über", "\n", "-", ""]
texts = st.lists(st.sampled_from(WORDS), max_size=25).map(" ".join)


def of_package(prediction: str, references: list[str], *, stemmer: bool) -> dict[str, float]:
    scorer = pytest.importorskip("rouge_score.rouge_scorer")
    made = scorer.RougeScorer(list(VARIANTS), use_stemmer=stemmer)
    found = made.score_multi(references, prediction)
    return {variant: found[variant].fmeasure for variant in VARIANTS}


@settings(max_examples=200, deadline=None)
@given(
    corpus=st.lists(
        st.tuples(texts, st.lists(texts, min_size=1, max_size=3)), min_size=1, max_size=4
    ),
    stemmer=st.booleans(),
)
def test_english_is_that_of_the_package(corpus, stemmer):
    predictions = [prediction for prediction, _ in corpus]
    references = [[*those, "word"] for _, those in corpus]
    got = rouge_values(
        predictions, references, variants=VARIANTS, tokenize="words", stemmer=stemmer
    )
    want = [
        of_package(prediction, those, stemmer=stemmer)
        for prediction, those in zip(predictions, references, strict=True)
    ]
    for variant in VARIANTS:
        assert got[variant] == pytest.approx([one[variant] for one in want], abs=1e-12)
    means = rouge(predictions, references, variants=VARIANTS, tokenize="words", stemmer=stemmer)
    for variant in VARIANTS:
        assert means[variant].value == pytest.approx(np.mean([one[variant] for one in want]))


def test_long_summaries_of_many_sentences_are_those_of_the_package():
    rng = np.random.default_rng(11)
    for _ in range(10):
        pair = [
            "\n".join(
                " ".join(rng.choice(["a", "b", "c", "d", "e"], rng.integers(1, 30)))
                for _ in range(rng.integers(1, 6))
            )
            for _ in range(2)
        ]
        got = rouge_values([pair[0]], [pair[1]], variants=VARIANTS, tokenize="words")
        want = of_package(pair[0], [pair[1]], stemmer=False)
        assert {v: got[v][0] for v in VARIANTS} == pytest.approx(want, abs=1e-12)


def test_the_shared_fixture_is_scored_as_the_package_does(shared_data):
    """Its own stated scores count distinct n-grams, which is not ROUGE."""
    cases = json.loads((shared_data / "rouge_fixture2" / "data.json").read_text())
    for case in cases:
        got = rouge([case["hyp"]], [case["ref"]], variants=VARIANTS, tokenize="words")
        want = of_package(case["hyp"], [case["ref"]], stemmer=False)
        assert {v: got[v].value for v in VARIANTS} == pytest.approx(want, abs=1e-12)


def test_chinese_is_counted_by_characters():
    found = rouge(["我喜欢猫"], ["我喜欢狗"])
    assert {name: score.value for name, score in found.items()} == pytest.approx(
        {"rouge1": 3 / 4, "rouge2": 2 / 3, "rougeL": 3 / 4, "rougeLsum": 3 / 4}
    )
    assert "tok:characters" in found["rouge1"].signature
    assert rouge(["我喜欢 GPT-4！"], ["我喜欢gpt 4"])["rouge2"].value == 1.0
    assert rouge(["мама мыла раму"], ["мама мыла"])["rouge1"].value == pytest.approx(4 / 5)


def test_of_two_languages_neither_is_lost():
    english = ["the cat sat", "a dog ran home"] * 6
    chinese = ["我喜欢猫", "天气很好"] * 5
    references = english + chinese  # most letters are Latin, and so is the beginning
    found = rouge(references, references)["rouge1"]
    assert found.value == 1.0
    assert "tok:characters" in found.signature
    of_english = rouge_values(english, english[::-1])["rouge2"]
    among_both = rouge_values(references, english[::-1] + chinese)["rouge2"]
    assert (among_both[:12] == of_english).all()
    assert "tok:words" in rouge(english, english)["rouge1"].signature
    assert rouge(["é"], ["é"])["rouge1"].value == 1.0, "a word that ASCII leaves nothing of"
    assert "tok:characters" in rouge(["a b"], [["a b", "我"]])["rouge1"].signature


def test_chinese_is_counted_by_words():
    pytest.importorskip("rjieba")
    found = rouge(["我喜欢北京"], ["我喜欢上海"], tokenize="words-zh")
    assert found["rouge1"].value == pytest.approx(2 / 3), "我 喜欢 北京"
    assert "tok:words-zh-rjieba-" in found["rouge1"].signature


def test_chinese_sentences_end_at_their_full_stops():
    """Both sentences are there, the other way round: in order of sentences all of them is found."""
    there, wanted = "天气很好。我们出去玩。", "我们出去玩。天气很好。"
    found = rouge([there], [wanted])
    assert found["rougeLsum"].value == 1.0
    assert found["rougeL"].value == pytest.approx(5 / 9)


def test_the_best_reference_of_each_variant_counts():
    values = rouge_values(["a b c"], [["a b d", "c b a"]])
    assert values["rouge1"][0] == 1.0
    assert values["rouge2"][0] == 0.5


def test_many_examples_have_an_interval():
    rng = np.random.default_rng(2)
    pairs = [[" ".join(rng.choice(["a", "b", "c"], 5)) for _ in range(40)] for _ in range(2)]
    score = rouge(*pairs)["rougeL"]
    assert score.low is not None
    assert score.low < score.value < score.high
    assert score == rouge(*pairs)["rougeL"]


@pytest.mark.parametrize(
    ("call", "error", "named"),
    [
        (lambda: rouge(["a"], ["b"], variants=["rougeW"]), ConfigError, "no ROUGE variant"),
        (lambda: rouge(["a"], ["b"], variants=["rouge0"]), ConfigError, "no ROUGE variant"),
        (lambda: rouge(["a"], ["b"], tokenize="jieba"), ConfigError, "tokenize"),
        (lambda: rouge(["我"], ["我"], stemmer=True), ConfigError, "stemmer"),
        (lambda: rouge(["我"], ["我"], tokenize="words"), InputError, "tokenize='characters'"),
        (lambda: rouge(["a"], ["..."]), InputError, "letter or a digit"),
        (lambda: rouge(["a"], []), InputError, "1 predictions and 0 references"),
        (lambda: rouge([], []), InputError, "no predictions"),
        (lambda: rouge(["a"], [3]), InputError, "Reference 1 is int"),
    ],
)
def test_what_makes_no_sense_is_refused(call, error, named):
    with pytest.raises(error, match=named):
        call()


def table(first: str, second: str) -> list[list[int]]:
    """Lengths of longest common subsequences of all prefixes, the textbook way."""
    rows = [[0] * (len(second) + 1) for _ in range(len(first) + 1)]
    for i, one in enumerate(first, 1):
        for j, other in enumerate(second, 1):
            longer = max(rows[i - 1][j], rows[i][j - 1])
            rows[i][j] = rows[i - 1][j - 1] + 1 if one == other else longer
    return rows


@settings(max_examples=300, deadline=None)
@given(first=st.text("abc", max_size=90), second=st.text("abcd", max_size=90))
def test_the_longest_common_subsequence_is_the_textbooks(first, second):
    size = table(first, second)[-1][-1]
    assert common_size(first, second) == size
    places = common_places(first, second)
    assert len(places) == size
    assert places == sorted(places, reverse=True)
    rest = iter(second)
    assert all(first[place] in rest for place in reversed(places)), "in order in the second too"


@pytest.mark.parametrize(
    ("package", "settings"),
    [("rjieba", {"tokenize": "words-zh"}), ("nltk.stem.porter", {"stemmer": True})],
)
def test_without_a_package_the_extra_is_named(monkeypatch, package, settings):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError, match=r"hanlin\[judge\]"):
        rouge(["a"], ["a"], **settings)
