"""Correlations, searches, pass@k and distinct-n: against scipy, scikit-learn and counting."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hanlin.errors import ConfigError, InputError
from hanlin.metrics import distinct, pass_at_k, pearson, retrieval, spearman
from hanlin.metrics.correlations import rank_correlation

seeds = st.integers(0, 10**6)


def pairs(seed: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers that follow one another loosely, with equal ones among them."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 9, size).astype(float)
    y = np.round(x + rng.normal(size=size) * 3)
    x[:2], y[:2] = (0, 5), (1, 2)
    return x, y


@settings(max_examples=100, deadline=None)
@given(seed=seeds, size=st.integers(3, 60))
def test_correlations_are_those_of_scipy(seed, size):
    stats = pytest.importorskip("scipy.stats")
    x, y = pairs(seed, size)
    assert pearson(x, y).value == pytest.approx(stats.pearsonr(x, y).statistic, abs=1e-12)
    assert spearman(x, y).value == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)


def weighted(x: np.ndarray, y: np.ndarray, weight: np.ndarray) -> float:
    """Spearman's coefficient where pairs occur `weight` times, by counting."""
    ranks = [((of[None] < of[:, None]) + 0.5 * (of[None] == of[:, None])) @ weight for of in (x, y)]
    off = [of - np.average(of, weights=weight) for of in ranks]
    cov = [(weight * off[i] * off[j]).sum() for i, j in ((0, 1), (0, 0), (1, 1))]
    return float(cov[0] / np.sqrt(cov[1] * cov[2]))


@settings(max_examples=40, deadline=None)
@given(seed=seeds, size=st.integers(3, 25))
def test_the_influence_of_a_pair_is_what_a_little_more_of_it_changes(seed, size):
    x, y = pairs(seed, size)
    value, influence = rank_correlation(x, y)
    assert value == pytest.approx(weighted(x, y, np.ones(size)))
    for pair in range(size):
        more = np.ones(size)
        more[pair] += 1e-6 * size
        moved = weighted(x, y, more)
        assert influence[pair] == pytest.approx((moved - value) / 1e-6, abs=1e-3)


@pytest.mark.parametrize(("metric", "name"), [(pearson, "pearsonr"), (spearman, "spearmanr")])
def test_the_interval_is_that_of_resampled_pairs(metric, name):
    stats = pytest.importorskip("scipy.stats")
    x, y = pairs(8, 200)
    got = metric(x, y)
    rng = np.random.default_rng(1)
    rows = [rng.integers(200, size=200) for _ in range(800)]
    drawn = [getattr(stats, name)(x[one], y[one]).statistic for one in rows]
    low, high = np.quantile(drawn, (0.025, 0.975))
    assert (got.low, got.high) == pytest.approx((low, high), abs=0.15 * (high - low))
    assert metric(x, -x).low == pytest.approx(-1)


@pytest.mark.parametrize("metric", [pearson, spearman])
@pytest.mark.parametrize(
    ("x", "y", "named"),
    [
        ([1, 2], [1], "not pairs"),
        ([1], [1], "at least two"),
        ([1, 1], [1, 2], "equal"),
        ([1, float("nan")], [1, 2], "infinite or none"),
    ],
)
def test_numbers_without_a_correlation_are_refused(metric, x, y, named):
    with pytest.raises(InputError, match=named):
        metric(x, y)


@settings(max_examples=60, deadline=None)
@given(seed=seeds, queries=st.integers(1, 6), passages=st.integers(2, 15))
def test_searches_are_scored_as_by_counting_and_scikit_learn(seed, queries, passages):
    sk = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(seed)
    scores = rng.permuted(np.tile(np.arange(passages, dtype=float), (queries, 1)), axis=1)
    gains = rng.integers(0, 4, size=(queries, passages))
    gains[:, 0] = 1
    wanted = [{at: float(g) for at, g in enumerate(row) if g} for row in gains]
    got = retrieval(scores, wanted, ks=(1, 3))
    assert got["ndcg@10"].value == pytest.approx(sk.ndcg_score(gains, scores, k=10))
    recalls, firsts = [], []
    for row, relevant in zip(scores, wanted, strict=True):
        best = sorted(range(passages), key=lambda at, row=row: -row[at])
        recalls.append(len(set(best[:3]) & set(relevant)) / len(relevant))
        firsts.append(1 / (1 + min(best.index(at) for at in relevant)))
    assert got["recall@3"].value == pytest.approx(np.mean(recalls))
    assert got["mrr"].value == pytest.approx(np.mean(firsts))


def test_rankings_of_names_and_of_scores_say_the_same():
    named = retrieval([["b", "a"], ["a", "c"]], ["a", {"c", "d"}])
    assert named["recall@1"].value == 0
    assert named["recall@5"].value == pytest.approx((1 + 1 / 2) / 2)
    assert named["mrr"].value == pytest.approx(1 / 2)
    assert named["ndcg@10"].value == pytest.approx(
        (1 / np.log2(3) + (1 / np.log2(3)) / (1 + 1 / np.log2(3))) / 2
    )
    numbered = retrieval(np.array([[0.1, 0.9, 0.0, 0.0]]), [0])
    assert numbered["mrr"].value == 0.5
    assert retrieval([["a"]], [["b"]])["mrr"].value == 0.0


@pytest.mark.parametrize(
    ("found", "relevant", "named"),
    [
        ([["a"]], [[]], "Query 1 has no relevant"),
        ([["a", "a"]], ["a"], "stands twice"),
        ([["a"]], ["a", "b"], "1 predictions and 2"),
    ],
)
def test_searches_that_do_not_fit_are_refused(found, relevant, named):
    with pytest.raises(InputError, match=named):
        retrieval(found, relevant)


@settings(max_examples=100, deadline=None)
@given(n=st.integers(1, 9), data=st.data())
def test_pass_at_k_is_the_share_of_draws_with_a_program_that_passes(n, data):
    c = data.draw(st.integers(0, n))
    k = data.draw(st.integers(1, n))
    draws = list(itertools.combinations([True] * c + [False] * (n - c), k))
    want = sum(map(any, draws)) / len(draws)
    assert pass_at_k([n], [c], k).value == pytest.approx(want)


def test_pass_at_k_is_a_mean_over_problems():
    score = pass_at_k(10, [0, 10, 5, 1] * 5, 1)
    assert score.value == pytest.approx(0.4)
    assert "k:1" in score.signature
    assert score.low is not None
    assert pass_at_k([10_000, 2], [9_000, 0], 2).value == pytest.approx(0.495, abs=1e-4)


@pytest.mark.parametrize(
    ("samples", "correct", "k", "named"),
    [
        ([1], [0], 2, "k is 2"),
        ([1], [2], 1, "more correct samples"),
        ([1, 1], [1], 1, "1 problems"),
        ([], [], 1, "at least one"),
        (1, [0], 0, "k is 0"),
    ],
)
def test_counts_that_do_not_fit_are_refused(samples, correct, k, named):
    with pytest.raises(InputError, match=named):
        pass_at_k(samples, correct, k)


def test_distinct_counts_each_n_gram_once():
    texts = ["the cat the cat", "the dog"]
    assert distinct(texts, 1).value == pytest.approx(3 / 6)
    assert distinct(texts, 2).value == pytest.approx(3 / 4)
    assert distinct(["好好学习"], 1).value == pytest.approx(3 / 4)
    assert "tok:characters" in distinct(["好好学习"], 1).signature
    with pytest.raises(InputError, match="No text has 3 words"):
        distinct(["a b"], 3)
    with pytest.raises(ConfigError, match="n is 0"):
        distinct(["a b"], 0)
    with pytest.raises(InputError, match="list of texts"):
        distinct("a b", 1)
