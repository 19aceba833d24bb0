"""Paired tests: against scipy, against every exchange there is, and by how often they cry wolf."""

import itertools

import numpy as np
import pytest

from hanlin.errors import ConfigError, InputError
from hanlin.metrics import Units, bleu, classification, compare, mcnemar, rouge
from hanlin.metrics.bootstrap import ratio
from hanlin.metrics.comparison import compare_units
from hanlin.metrics.correlations import spearman_units
from hanlin.metrics.curves import roc_area
from hanlin.metrics.labels import place_units
from hanlin.metrics.units import ranked


@pytest.mark.parametrize("seed", range(6))
def test_mcnemars_test_is_a_sign_test(seed):
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(seed)
    a, b = rng.random(400) < 0.5 + 0.05 * seed, rng.random(400) < 0.5
    gained, lost = int((b & ~a).sum()), int((a & ~b).sum())
    want = stats.binomtest(gained, gained + lost).pvalue
    assert mcnemar(a, b) == pytest.approx(want)
    found = compare(a, b, "accuracy")
    assert found.p_value == pytest.approx(want)
    assert found.test == "mcnemar"
    assert found.difference.value == pytest.approx(b.mean() - a.mean())


def test_models_that_answer_alike_do_not_differ():
    assert mcnemar([True, False], [True, False]) == 1.0
    alike = compare([0.1, 0.5, 0.3] * 5, [0.1, 0.5, 0.3] * 5, "f1")
    assert alike.p_value == 1.0
    assert (alike.difference.low, alike.difference.value, alike.difference.high) == (0, 0, 0)


def words(texts: int) -> Units:
    """Right words and words of some texts."""
    return Units(np.array([[1.0, 2.0]] * texts), ratio)


def labelled(size: int) -> Units:
    """One example among so many labels."""
    return place_units(np.array([0]), np.array([0]), size=size)["f1_macro"]


def test_what_is_right_in_part_is_compared_by_exchanges():
    rng = np.random.default_rng(8)
    sizes = rng.integers(2, 9, size=10)
    hits = [rng.binomial(sizes, share) for share in (0.5, 0.8)]
    a, b = (Units(np.stack([own, sizes], axis=1).astype(float), ratio) for own in hits)
    found = compare_units(a, b, "accuracy")
    apart = hits[1] - hits[0]
    every = [
        abs((np.array(signs) * apart).sum()) for signs in itertools.product((1, -1), repeat=10)
    ]
    assert found.test == "randomisation"
    assert found.p_value == pytest.approx(np.mean(np.array(every) >= abs(apart.sum())), abs=0.02)
    assert found.difference.value == pytest.approx(apart.sum() / sizes.sum())


def test_areas_and_rank_correlations_are_compared_to_first_order():
    """DeLong et al. 1988, of the area; a paired bootstrap that ranks anew, of the correlation."""
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(9)
    right = rng.random(300) < 0.4
    scores = [right + rng.normal(size=300) * spread for spread in (1.5, 1.25)]
    a, b = (ranked(*roc_area(right, one), about="auc") for one in scores)
    found = compare_units(a, b, "auc")
    placed = []
    for one in scores:
        beats = (one[right][:, None] > one[~right][None]).astype(float)
        placed.append((beats.mean(1), beats.mean(0)))
    apart = placed[1][0].mean() - placed[0][0].mean()
    error = sum(np.var(placed[1][i] - placed[0][i], ddof=1) / len(placed[0][i]) for i in (0, 1))
    want = 2 * stats.norm.sf(abs(apart) / np.sqrt(error))
    assert found.difference.value == pytest.approx(apart)
    assert found.p_value == pytest.approx(want, abs=0.02)

    wanted = rng.normal(size=200)
    near = [wanted + rng.normal(size=200) * spread for spread in (1.2, 0.9)]
    found = compare_units(*(spearman_units(one, wanted) for one in near), "spearman")
    drawn = []
    for _ in range(400):
        rows = rng.integers(200, size=200)
        values = [stats.spearmanr(one[rows], wanted[rows]).statistic for one in near]
        drawn.append(values[1] - values[0])
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert (found.difference.low, found.difference.high) == pytest.approx((low, high), abs=0.03)


def test_randomisation_is_every_exchange():
    rng = np.random.default_rng(2)
    a, b = rng.random(9), rng.random(9) + 0.3
    real = abs((b - a).mean())
    exchanges = [
        abs((np.array(signs) * (b - a)).mean()) >= real - 1e-12
        for signs in itertools.product((1, -1), repeat=9)
    ]
    assert compare(a, b, "f1").p_value == pytest.approx(np.mean(exchanges), abs=0.01)


@pytest.mark.parametrize("test", ["randomisation", "bootstrap"])
def test_where_there_is_no_difference_few_are_found(test):
    rng = np.random.default_rng(3)
    found = 0
    for trial in range(60):
        values = rng.gamma(2.0, size=(2, 40))
        found += compare(*values, "f1", test=test, seed=trial).p_value < 0.1
    assert 1 <= found <= 14, "about six"


def test_a_clear_difference_is_found_by_each_test():
    rng = np.random.default_rng(4)
    a = rng.random(60)
    b = a + 0.1 + 0.05 * rng.random(60)
    for test in ("randomisation", "bootstrap"):
        found = compare(a, b, "f1", test=test)
        assert found.p_value < 0.001
        assert 0 < found.difference.low < found.difference.value < found.difference.high
        turned = compare(b, a, "f1", test=test)
        assert turned.difference.value == -found.difference.value


def texts(seed: int) -> tuple[list[str], list[str], list[str]]:
    """Two models' texts, the second nearer to the references."""
    rng = np.random.default_rng(seed)
    words = list("abcdefgh")
    wanted = [list(rng.choice(words, 9)) for _ in range(40)]

    def spoilt(share: float) -> list[str]:
        return [
            " ".join(w if rng.random() > share else str(rng.choice(words)) for w in one)
            for one in wanted
        ]

    return spoilt(0.5), spoilt(0.1), [" ".join(map(str, one)) for one in wanted]


def test_translations_are_compared_by_their_own_metric():
    pytest.importorskip("sacrebleu")
    a, b, references = texts(5)
    found = compare(a, b, "bleu", references=references, tokenize="13a")
    assert found.a == bleu(a, references, tokenize="13a")
    assert found.b == bleu(b, references, tokenize="13a")
    assert found.difference.value == found.b.value - found.a.value
    assert found.p_value < 0.01
    assert compare(a, b, "chrf", references=references).p_value < 0.01
    assert compare(a, b, "ter", references=references).difference.value < 0


def test_summaries_and_labels_are_compared_with_references():
    a, b, references = texts(6)
    found = compare(a, b, "rougeL", references=references)
    assert found.b == rouge(b, references)["rougeL"]
    rng = np.random.default_rng(7)
    true = rng.integers(3, size=90)
    good = np.where(rng.random(90) < 0.9, true, 0)
    poor = np.where(rng.random(90) < 0.4, true, 0)
    for metric in ("accuracy", "f1_macro", "mcc"):
        found = compare(poor, good, metric, references=true)
        want = classification(true, good).metrics[metric].value
        assert found.b.value == pytest.approx(want)
        assert found.p_value < 0.01
    assert found.to_dict()["difference"]["value"] == found.difference.value


@pytest.mark.parametrize(
    ("call", "error", "named"),
    [
        (lambda: compare(["a"], ["b"], "bleu"), InputError, "references="),
        (lambda: compare(["a"], ["b"], "f1"), InputError, "number an example"),
        (lambda: compare([1.0], [1.0, 2.0], "f1"), InputError, "1 and 2 examples"),
        (lambda: compare([1.0], [2.0], "f1", tokenize="zh"), ConfigError, "tokenize"),
        (lambda: compare([0.5], [0.2], "x", test="mcnemar"), ConfigError, "right or wrong"),
        (lambda: compare_units(words(1), words(1), "x", test="mcnemar"), ConfigError, "right or"),
        (lambda: compare_units(words(1), words(2), "accuracy"), InputError, "1 and 2 examples"),
        (lambda: compare_units(words(1), labelled(2), "f1"), InputError, "2 and 6 numbers"),
        (lambda: compare([1.0], [2.0], "f1", test="t"), ConfigError, "no test 't'"),
        (lambda: compare(["a"], ["b"], "f2", references=["a"]), ConfigError, "no metric 'f2'"),
    ],
)
def test_what_makes_no_sense_is_refused(call, error, named):
    with pytest.raises(error, match=named):
        call()
