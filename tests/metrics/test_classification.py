"""Metrics of labels and their probabilities: against scikit-learn, and by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hanlin.errors import InputError
from hanlin.metrics import classification, multilabel
from hanlin.metrics.curves import average_precision, roc_area
from hanlin.metrics.indicators import indicator_units
from hanlin.metrics.labels import place_units
from hanlin.metrics.probabilities import probability_units

sk = pytest.importorskip("sklearn.metrics")

pytestmark = pytest.mark.filterwarnings("ignore:A single label was found:UserWarning")
seeds = st.integers(0, 10**6)


def drawn(seed: int, rows: int, labels: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, predictions better than chance, and probabilities with many equal ones."""
    rng = np.random.default_rng(seed)
    true = rng.integers(labels, size=rows)
    scores = rng.integers(1, 6, size=(rows, labels)).astype(float)
    scores[np.arange(rows), true] += rng.integers(0, 3, rows)
    probabilities = scores / scores.sum(axis=1, keepdims=True)
    predicted = np.where(rng.random(rows) < 0.6, true, rng.integers(labels, size=rows))
    return true, predicted, probabilities


@settings(max_examples=60, deadline=None)
@given(seed=seeds, rows=st.integers(1, 40), labels=st.integers(2, 6))
def test_labels_are_scored_as_in_scikit_learn(seed, rows, labels):
    true, predicted, _ = drawn(seed, rows, labels)
    got = classification(true, predicted, names=list("abcdef")[:labels])
    values = {name: score.value for name, score in got.metrics.items()}
    assert values["accuracy"] == pytest.approx(sk.accuracy_score(true, predicted))
    for over in ("macro", "micro", "weighted"):
        want = sk.precision_recall_fscore_support(true, predicted, average=over, zero_division=0)
        for name, value in zip(("precision", "recall", "f1"), want, strict=False):
            assert values[f"{name}_{over}"] == pytest.approx(value), (name, over)
    assert values["mcc"] == pytest.approx(sk.matthews_corrcoef(true, predicted), abs=1e-12)
    every = list(range(labels))
    assert got.confusion.tolist() == sk.confusion_matrix(true, predicted, labels=every).tolist()
    table = sk.precision_recall_fscore_support(true, predicted, labels=every, zero_division=0)
    for at, row in enumerate(got.labels):
        want = [column[at] for column in table]
        assert [row.precision, row.recall, row.f1, row.support] == pytest.approx(want)
    if labels == 2:
        want = sk.precision_recall_fscore_support(
            true, predicted, average="binary", zero_division=0, labels=[0, 1]
        )
        assert [values[name] for name in ("precision", "recall", "f1")] == pytest.approx(want[:3])


@settings(max_examples=50, deadline=None)
@given(seed=seeds, rows=st.integers(6, 60), labels=st.integers(2, 5))
def test_probabilities_are_scored_as_in_scikit_learn(seed, rows, labels):
    true, _, probabilities = drawn(seed, rows, labels)
    true[:labels] = np.arange(labels)
    got = classification(true, scores=probabilities)
    values = {name: score.value for name, score in got.metrics.items()}
    if labels == 2:
        area = sk.roc_auc_score(true, probabilities[:, 1])
        assert values["brier"] == pytest.approx(sk.brier_score_loss(true, probabilities[:, 1]))
    else:
        area = sk.roc_auc_score(true, probabilities, multi_class="ovr", average="macro")
        wanted = np.eye(labels)[true]
        assert values["brier"] == pytest.approx(((probabilities - wanted) ** 2).sum(1).mean())
    assert values["auc"] == pytest.approx(area)
    assert values["log_loss"] == pytest.approx(sk.log_loss(true, probabilities))
    guessed = probabilities.argmax(axis=1)
    assert values["accuracy"] == pytest.approx(sk.accuracy_score(true, guessed))


def calibration_by_the_paper(true: np.ndarray, probabilities: np.ndarray) -> float:
    """Guo et al. 2017, equation 3, bin by bin."""
    error = 0.0
    for m in range(15):
        rows = [
            row
            for row in range(len(true))
            if m / 15 < max(probabilities[row]) <= (m + 1) / 15 + 1e-15
        ]
        if rows:
            hits = np.mean([probabilities[row].argmax() == true[row] for row in rows])
            confidence = np.mean([max(probabilities[row]) for row in rows])
            error += len(rows) / len(true) * abs(hits - confidence)
    return error


@settings(max_examples=60, deadline=None)
@given(seed=seeds, rows=st.integers(1, 50), labels=st.integers(2, 4))
def test_calibration_is_that_of_the_paper(seed, rows, labels):
    true, _, _ = drawn(seed, rows, labels)
    probabilities = np.random.default_rng(seed).dirichlet(np.ones(labels), rows)
    names = list("abcd")[:labels]
    got = classification(true, scores=probabilities, names=names)
    want = calibration_by_the_paper(true, probabilities)
    assert got.metrics["ece"].value == pytest.approx(want)
    assert sum(bar.count for bar in got.bins) == rows
    assert "bins:15" in got.metrics["ece"].signature
    again = sum(bar.count * abs(bar.accuracy - bar.confidence) for bar in got.bins) / rows
    assert again == pytest.approx(want)


@settings(max_examples=50, deadline=None)
@given(seed=seeds, rows=st.integers(1, 30), labels=st.integers(1, 5))
def test_several_labels_a_row_are_scored_as_in_scikit_learn(seed, rows, labels):
    rng = np.random.default_rng(seed)
    true = rng.integers(2, size=(rows, labels))
    scores = rng.integers(0, 8, size=(rows, labels)) / 8
    predicted = (scores >= 0.5).astype(int)
    got = multilabel(true, scores=scores)
    values = {name: score.value for name, score in got.metrics.items()}
    assert values["subset_accuracy"] == pytest.approx((true == predicted).all(axis=1).mean())
    for at, row in enumerate(got.labels):
        want = sk.f1_score(true[:, at], predicted[:, at], zero_division=0)
        assert row.f1 == pytest.approx(want)
    if labels > 1:  # scikit-learn takes a single column for plain labels
        for over in ("macro", "micro", "weighted"):
            want = sk.precision_recall_fscore_support(
                true, predicted, average=over, zero_division=0
            )
            got_all = [values[f"{name}_{over}"] for name in ("precision", "recall", "f1")]
            assert got_all == pytest.approx(want[:3])
    areas = [
        sk.average_precision_score(true[:, k], scores[:, k])
        for k in range(labels)
        if true[:, k].any()
    ]
    if areas:
        assert values["average_precision"] == pytest.approx(np.mean(areas))
    else:
        assert "average_precision" not in values
    assert {**got.metrics} == multilabel(true, predicted, scores=scores).metrics


@settings(max_examples=15, deadline=None)
@given(seed=seeds, rows=st.integers(4, 20))
@pytest.mark.parametrize(
    ("area", "reference"),
    [(roc_area, "roc_auc_score"), (average_precision, "average_precision_score")],
)
def test_the_influence_of_a_row_is_what_a_little_more_of_it_changes(area, reference, seed, rows):
    rng = np.random.default_rng(seed)
    right = rng.random(rows) < 0.5
    right[:2] = True, False
    scores = rng.integers(0, 6, rows).astype(float)
    value, influence = area(right, scores)
    of = getattr(sk, reference)
    assert value == pytest.approx(of(right, scores))
    assert influence.mean() == pytest.approx(0, abs=1e-9)
    for row in range(rows):
        more = np.ones(rows)
        more[row] += 1e-6 * rows
        moved = of(right, scores, sample_weight=more)
        assert influence[row] == pytest.approx((moved - value) / 1e-6, abs=1e-3)


def test_the_interval_of_the_auc_is_that_of_resampled_rows():
    rng = np.random.default_rng(9)
    true = rng.integers(2, size=300)
    scores = 1 / (1 + np.exp(-(true + rng.normal(size=300))))
    got = classification(true, scores=scores).metrics["auc"]
    drawn = []
    for _ in range(300):
        rows = rng.integers(300, size=300)
        drawn.append(sk.roc_auc_score(true[rows], scores[rows]))
    want = np.quantile(drawn, (0.025, 0.975))
    assert (got.low, got.high) == pytest.approx(want, abs=0.2 * (want[1] - want[0]))
    assert "bca-of-influence" in got.signature


@pytest.mark.parametrize("metric", ["accuracy", "f1_macro", "mcc", "f1"])
def test_the_interval_of_cells_is_that_of_resampled_rows(metric):
    true, predicted, _ = drawn(3, 250, 2)
    got = classification(true, predicted).metrics[metric]
    of = {
        "accuracy": sk.accuracy_score,
        "f1_macro": lambda a, b: sk.f1_score(a, b, average="macro"),
        "mcc": sk.matthews_corrcoef,
        "f1": sk.f1_score,
    }[metric]
    rng = np.random.default_rng(4)
    rows = [rng.integers(250, size=250) for _ in range(300)]
    want = np.quantile([of(true[one], predicted[one]) for one in rows], (0.025, 0.975))
    assert (got.low, got.high) == pytest.approx(want, abs=0.2 * (want[1] - want[0]))


def test_names_and_places_say_the_same():
    named = classification(["ham", "spam", "spam"], ["ham", "ham", "spam"])
    placed = classification([0, 1, 1], np.array([0, 0, 1]), names=["ham", "spam"])
    mixed = classification(["ham", 1, "spam"], [0, "ham", 1], names=("ham", "spam"))
    assert named.metrics == placed.metrics == mixed.metrics
    assert named.names == ("ham", "spam")
    assert named.metrics["precision"].value == 1.0
    assert "positive:spam" in named.metrics["f1"].signature
    other = classification([0, 1, 1], [0, 0, 1], names=["ham", "spam"], positive="ham")
    assert other.metrics["precision"].value == 0.5
    assert classification([True, False], [True, True]).names == ("False", "True")


@pytest.mark.parametrize(
    ("names", "positive"),
    [
        (["正面", "负面"], "正面"),
        (["好评", "差评"], "好评"),
        (["垃圾", "正常"], "垃圾"),
        (["Spam", "ham"], "Spam"),
        (["yes", "true"], "true"),
        (["a", "b"], "b"),
    ],
)
def test_the_positive_label_is_one_that_is_known_to_be_or_the_last(names, positive):
    found = classification([0, 0, 1, 1], [0, 0, 0, 1], names=names)
    assert f"positive:{positive}|" in found.metrics["f1"].signature
    want = sk.f1_score([0, 0, 1, 1], [0, 0, 0, 1], pos_label=names.index(positive))
    assert found.metrics["f1"].value == pytest.approx(want)


@pytest.mark.parametrize("labels", [2, 4])
def test_every_metric_can_be_compared_row_by_row(labels):
    true, _, probabilities = drawn(5, 60, labels)
    positive = 1 if labels == 2 else None
    found = classification(true, scores=probabilities).metrics
    units = place_units(true, probabilities.argmax(1), size=labels, positive=positive)
    units |= probability_units(true, probabilities, positive=positive)
    assert set(units) == set(found)
    own = true[:, None] == np.arange(labels)
    several = multilabel(own, scores=probabilities).metrics
    both = indicator_units(own, probabilities >= 0.5, probabilities)
    assert set(both) == set(several)
    for name, score in [*found.items(), *several.items()]:
        one = units[name] if name in found and score is found[name] else both[name]
        again = one.score()
        assert again.value == pytest.approx(score.value), name
        assert (again.low, again.high) == pytest.approx((score.low, score.high), abs=0.03), name


def test_scores_of_the_positive_alone_are_enough():
    true = [0, 1, 1, 0]
    alone = classification(true, scores=[0.2, 0.7, 0.9, 0.6], names=["a", "b"])
    both = classification(
        true, scores=[[0.8, 0.2], [0.3, 0.7], [0.1, 0.9], [0.4, 0.6]], names=["a", "b"]
    )
    for name, score in alone.metrics.items():
        assert score.value == pytest.approx(both.metrics[name].value), name
    turned = classification(true, scores=[0.8, 0.3, 0.1, 0.4], names=["a", "b"], positive="a")
    assert turned.metrics["auc"].value == pytest.approx(alone.metrics["auc"].value)


def test_a_label_that_no_row_has_leaves_the_auc_defined():
    scores = [[0.7, 0.2, 0.1], [0.2, 0.7, 0.1]] * 5
    got = classification([0, 1] * 5, scores=scores, names=["a", "b", "c"])
    assert got.metrics["auc"].value == 1.0
    assert "auc" not in classification([0, 0], scores=[0.1, 0.2], names=["a", "b"]).metrics


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"labels": [], "predictions": []}, "no predictions"),
        ({"labels": [0], "predictions": [0, 1]}, "2 predictions and 1 labels"),
        ({"labels": ["a"], "predictions": ["b"], "names": ["a", "c"]}, "'b' is not among"),
        ({"labels": [2], "predictions": [0], "names": ["a", "c"]}, "2 is not among"),
        ({"labels": ["a"]}, "neither predictions nor scores"),
        ({"labels": ["a"], "predictions": ["a"], "names": ["a", "a"]}, "twice"),
        ({"labels": [0, 1, 2], "predictions": [0, 1, 2], "positive": "1"}, "3 labels"),
        ({"labels": [0, 1], "predictions": [0, 1], "positive": "2"}, "none of the labels"),
        ({"labels": [0, 1], "scores": [[0.5, 0.5]]}, "2 rows"),
        ({"labels": [0, 1], "scores": [[2.0, -1.0], [0, 1]]}, "between 0 and 1"),
        ({"labels": [0, 1], "scores": [[0.5, 0.2], [0, 1]]}, "row 1 sum to 0.7"),
        ({"labels": [0, 1], "scores": [[np.nan, 0.2], [0, 1]]}, "between 0 and 1"),
        ({"labels": np.zeros((2, 2)), "predictions": [0, 1]}, "one label a row"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, named):
    with pytest.raises(InputError, match=named):
        classification(**arguments)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"labels": [0, 1], "predictions": [0, 1]}, "row an example"),
        ({"labels": [[0, 2]], "predictions": [[0, 1]]}, "other values"),
        ({"labels": [[0, 1]], "predictions": [[0], [1]]}, r"shape \[2, 1\]"),
        ({"labels": [[0, 1]]}, "neither"),
        ({"labels": [[0, 1]], "scores": [[0.5]]}, "a number for each label"),
        ({"labels": [[0, 1]], "predictions": [[0, 1]], "names": ["a"]}, "1 names"),
    ],
)
def test_indicators_that_do_not_fit_are_refused(arguments, named):
    with pytest.raises(InputError, match=named):
        multilabel(**arguments)
