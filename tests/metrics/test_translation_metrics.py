"""BLEU, chrF and TER: against sacreBLEU on random texts and published scores of real systems."""

import csv
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hanlin.errors import ConfigError, InputError
from hanlin.metrics import bleu, chrf, ter
from hanlin.metrics.translations import bleu_units, chrf_units, ter_units

sacrebleu = pytest.importorskip("sacrebleu.metrics")

WORDS = ["the", "cat", "sat", "on", "a", "mat", ".", "don't", "3.5", "猫", "坐在垫子上", "。", "ü"]
sentences = st.lists(st.sampled_from(WORDS), max_size=9).map(" ".join)
corpora = st.lists(
    st.tuples(sentences, st.lists(sentences, min_size=1, max_size=3)), min_size=1, max_size=6
)


def streams(sets: list[list[str]]) -> list[list[str | None]]:
    most = max(map(len, sets))
    return [[of[i] if i < len(of) else None for of in sets] for i in range(most)]


def split(corpus) -> tuple[list[str], list[list[str]]]:
    return [text for text, _ in corpus], [texts for _, texts in corpus]


def test_where_some_references_are_chinese_both_languages_are_cut():
    texts = ["The cat sat on the mat, today."] * 3 + ["我喜欢猫，也喜欢狗。"]
    wanted = ["The cat sat on a mat, today."] * 3 + ["我喜欢猫，不喜欢狗。"]
    found = bleu(texts, wanted)
    assert "tok:zh" in found.signature
    want = sacrebleu.BLEU(tokenize="zh").corpus_score(texts, [wanted]).score
    assert found.value == pytest.approx(want)
    assert "tok:13a" in bleu(texts[:3], wanted[:3]).signature
    assert "asian:yes" in ter(texts, wanted).signature
    japanese = ["猫が好きです。", "東京"]
    assert "tok:13a" in bleu(japanese, japanese).signature


@settings(max_examples=100, deadline=None)
@given(
    corpus=corpora,
    tokenize=st.sampled_from(["13a", "zh", "char", "intl", "none"]),
    smooth=st.sampled_from(["exp", "floor", "add-k", "none"]),
    lowercase=st.booleans(),
    max_ngram=st.integers(1, 5),
)
def test_bleu_is_sacrebleus(corpus, tokenize, smooth, lowercase, max_ngram):
    texts, sets = split(corpus)
    metric = sacrebleu.BLEU(
        lowercase=lowercase,
        tokenize=tokenize,
        smooth_method=smooth,
        max_ngram_order=max_ngram,
        force=True,
    )
    want = metric.corpus_score(texts, streams(sets)).score
    got = bleu(
        texts,
        sets,
        tokenize=tokenize,
        smooth=smooth,
        lowercase=lowercase,
        max_ngram=max_ngram,
    )
    assert got.value == pytest.approx(want, abs=1e-9)
    assert str(metric.get_signature()) in got.signature


@settings(max_examples=100, deadline=None)
@given(
    corpus=corpora,
    word_order=st.integers(0, 2),
    beta=st.sampled_from([1, 2, 3]),
    lowercase=st.booleans(),
)
def test_chrf_is_sacrebleus(corpus, word_order, beta, lowercase):
    texts, sets = split(corpus)
    metric = sacrebleu.CHRF(word_order=word_order, beta=beta, lowercase=lowercase)
    want = metric.corpus_score(texts, streams(sets)).score
    got = chrf(texts, sets, word_order=word_order, beta=beta, lowercase=lowercase)
    assert got.value == pytest.approx(want, abs=1e-9)
    assert str(metric.get_signature()) in got.signature


@settings(max_examples=60, deadline=None)
@given(corpus=corpora, characters=st.booleans(), case=st.booleans())
def test_ter_is_sacrebleus(corpus, characters, case):
    texts, sets = split(corpus)
    metric = sacrebleu.TER(normalized=characters, asian_support=characters, case_sensitive=case)
    want = metric.corpus_score(texts, streams(sets)).score
    way = "characters" if characters else "words"
    got = ter(texts, sets, tokenize=way, case_sensitive=case)
    assert got.value == pytest.approx(want, abs=1e-9)
    assert str(metric.get_signature()) in got.signature


def random_corpus(seed: int, size: int = 40) -> tuple[list[str], list[str]]:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(3, 15, size)
    wanted = [list(rng.choice(WORDS, length)) for length in lengths]
    texts = [[w if rng.random() < 0.7 else str(rng.choice(WORDS)) for w in one] for one in wanted]
    return [" ".join(text) for text in texts], [" ".join(map(str, one)) for one in wanted]


@pytest.mark.parametrize(
    ("units", "metric"),
    [
        (bleu_units, lambda: sacrebleu.BLEU(tokenize="13a")),
        (chrf_units, lambda: sacrebleu.CHRF()),
        (ter_units, lambda: sacrebleu.TER()),
    ],
)
def test_every_resample_is_scored_as_sacrebleu_would(units, metric):
    """The interval is that of corpora in which sentences are repeated and missing."""
    texts, references = random_corpus(3)
    settings = {"tokenize": "13a"} if units is bleu_units else {}
    if units is ter_units:
        settings = {"tokenize": "words"}
    made = units(texts, references, **settings)
    rng = np.random.default_rng(4)
    drawn = rng.integers(len(texts), size=(6, len(texts)))
    sums = np.stack([made.statistics[rows].sum(axis=0) for rows in drawn])
    for value, rows in zip(made.function(sums), drawn, strict=True):
        again = [texts[row] for row in rows], [[references[row] for row in rows]]
        assert value == pytest.approx(metric().corpus_score(*again).score, abs=1e-9)


def test_the_interval_is_about_sacrebleus_own():
    texts, references = random_corpus(5, size=120)
    metric = sacrebleu.BLEU(tokenize="13a")
    want = metric.corpus_score(texts, [references], n_bootstrap=1000)
    got = bleu(texts, references, tokenize="13a")
    assert got.low is not None
    assert (got.high - got.low) / 2 == pytest.approx(want._ci, rel=0.2)
    assert got == bleu(texts, references, tokenize="13a")
    assert got.low != bleu(texts, references, tokenize="13a", seed=1).low


@pytest.mark.parametrize("system", ["Online-A", "Facebook-AI"])
def test_published_scores_of_wmt21_are_met(shared_data, system):
    folder = shared_data / "wmt21_metric_fixture"
    texts, references = (
        (folder / "txt" / name).read_text(encoding="utf-8").splitlines()
        for name in (
            f"system-outputs/newstest2021.en-zh.hyp.{system}.zh",
            "references/newstest2021.en-zh.ref.A.zh",
        )
    )
    with (folder / "scores" / "automatic-scores.tsv").open(encoding="utf-8") as file:
        published = {
            row["metric"]: float(row["score"])
            for row in csv.DictReader(file, delimiter="\t")
            if row["pair"] == "en-zh" and row["system"] == system
        }
    by_hand = bleu(texts, references, tokenize="zh")
    assert by_hand.value == pytest.approx(published["bleu-A"], abs=1e-4)
    assert chrf(texts, references).value == pytest.approx(published["chrf-A"], abs=1e-4)
    assert "tok:zh" in by_hand.signature


def test_auto_looks_at_the_references():
    texts, references = ["我喜欢猫。"], ["我也喜欢猫。"]
    assert bleu(texts, references) == bleu(texts, references, tokenize="zh")
    assert "tok:zh" in bleu(["hello"], ["你好，世界"]).signature
    assert "tok:13a" in bleu(["你好，世界"], ["hello"]).signature
    assert "tok:13a" in bleu(["a"], ["これは日本語の文です"]).signature
    assert "asian:yes" in ter(["你好"], ["你好吗"]).signature
    assert "asian:no" in ter(["hello"], ["hello you"]).signature
    assert ter(["我不喜欢猫"], ["我喜欢猫"]).value == pytest.approx(25.0), "one of four characters"


@pytest.mark.parametrize("metric", [bleu, chrf, ter])
@pytest.mark.parametrize(
    ("texts", "references", "named"),
    [
        ([], [], "no predictions"),
        (["a"], ["a", "b"], "1 predictions and 2 references"),
        (["a", "b"], [["a", "b"]], "a list in its place"),
        ([None], ["a"], "Prediction 1 is NoneType"),
        (["a"], [None], "Reference 1 is NoneType"),
        (["a"], [[]], "no reference"),
        ("a", "a", "not a list"),
    ],
)
def test_lists_that_do_not_fit_are_refused(metric, texts, references, named):
    with pytest.raises(InputError, match=named):
        metric(texts, references)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: bleu(["a"], ["a"], tokenize="13b"), "'13a'"),
        (lambda: bleu(["a"], ["a"], smooth="add"), "smooth"),
        (lambda: bleu(["a"], ["a"], max_ngram=0), "max_ngram"),
        (lambda: chrf(["a"], ["a"], word_order=-1), "word_order"),
        (lambda: chrf(["a"], ["a"], beta=0), "beta"),
        (lambda: ter(["a"], ["a"], tokenize="zh"), "tokenize"),
    ],
)
def test_settings_that_do_not_exist_are_refused(call, named):
    with pytest.raises(ConfigError, match=named):
        call()


def test_without_sacrebleu_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    with pytest.raises(ConfigError, match=r"hanlin\[judge\]"):
        bleu(["a"], ["a"])
