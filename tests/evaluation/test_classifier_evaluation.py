"""A classifier is measured as scikit-learn measures it, beside judges that learnt the same rows."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from tiny_tasks import rows, settings, write_table

import hanlin
from hanlin.errors import ConfigError, InputError

metrics = pytest.importorskip("sklearn.metrics")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run and a shorter one, with the table to test them on."""
    place = tmp_path_factory.mktemp("classify")
    hanlin.train(settings(place), watchers=[])
    hanlin.train(settings(place, duration="2 steps", output=str(place / "short")), watchers=[])
    return place


@pytest.fixture(scope="module")
def evaluated(folder):
    return hanlin.evaluate(
        folder / "run", str(folder / "test.csv"), against=[str(folder / "short")]
    )


def probabilities(place, table):
    model = hanlin.load(place)
    scores = model.probabilities([text for text, _ in table])
    right = np.array([model.labels.index(label) for _, label in table])
    return scores, right


def test_its_figures_are_those_of_scikit_learn(folder, evaluated):
    scores, right = probabilities(folder / "run", rows(160, seed=1))
    said = scores.argmax(1)
    assert evaluated.task == "classify"
    assert evaluated.documents == 160
    want = {
        "accuracy": metrics.accuracy_score(right, said),
        "f1_macro": metrics.f1_score(right, said, average="macro"),
        "mcc": metrics.matthews_corrcoef(right, said),
        "log_loss": metrics.log_loss(right, scores),
        "auc": metrics.roc_auc_score(right, scores[:, 1]),
    }
    for name, value in want.items():
        assert evaluated.metrics[name].value == pytest.approx(value, abs=1e-6), name
    assert evaluated.model.metrics["accuracy"].low < evaluated.model.metrics["accuracy"].high
    assert [one["label"] for one in evaluated.predictions] == [
        ("negative", "positive")[i] for i in said
    ]


def test_the_judges_learn_the_rows_that_the_run_learnt_and_no_others(folder, evaluated):
    assert [one.name for one in evaluated.baselines] == ["majority", "TF-IDF"]
    assert any("TF-IDF" in note and "trained on 320 rows" in note for note in evaluated.notes)
    assert evaluated.trained_on == (str(folder / "train.csv"),)
    own = json.loads((folder / "run" / "hanlin.json").read_text())["task"]["labels"]
    share = max(own.values()) / 320
    majority = evaluated.baselines[0].metrics
    common = max(own, key=own.get)
    right = [label == common for _, label in rows(160, seed=1)]
    assert majority["accuracy"].value == pytest.approx(np.mean(right))
    want = -np.mean([np.log(share if hit else 1 - share) for hit in right])
    assert majority["log_loss"].value == pytest.approx(want, abs=1e-6)


def test_two_models_are_compared_on_the_same_examples(folder, evaluated):
    table = rows(160, seed=1)
    hits = []
    for name in ("run", "short"):
        scores, right = probabilities(folder / name, table)
        hits.append((scores.argmax(1) == right).astype(float))
    [other] = evaluated.others
    found = other.behind["accuracy"].difference
    apart = hits[0] - hits[1]
    assert found.value == pytest.approx(apart.mean())
    rng = np.random.default_rng(3)
    drawn = apart[rng.integers(160, size=(4000, 160))].mean(1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert found.low == pytest.approx(low, abs=0.03)
    assert found.high == pytest.approx(high, abs=0.03)


@pytest.mark.parametrize(
    ("noise", "said"), [(0.0, "better"), (None, "Nothing tells"), (1.0, "worse")]
)
def test_the_verdict_says_plainly_whether_the_model_is_worth_it(noise, said):
    from hanlin.data.classify_records import ClassifyRecord
    from hanlin.evaluation.classification import of_scores
    from hanlin.evaluation.tasks import verdict

    rng = np.random.default_rng(0)
    right = rng.integers(2, size=300)
    records = [ClassifyRecord(str(i), "ab"[label]) for i, label in enumerate(right)]

    def judged(name, wrong):
        said = np.where(rng.random(300) < wrong, 1 - right, right)
        scores = np.where(said[:, None] == np.arange(2), 0.9, 0.1)
        return of_scores(scores, records, name=name, labels=("a", "b"), multiple=False)

    model = judged("model", 0.3 if noise is None else noise)
    english, chinese = verdict(model, judged("TF-IDF", 0.3 if noise is None else 0.5))
    assert said in english
    assert "TF-IDF" in chinese


def test_a_label_that_the_model_does_not_know_is_refused_by_name(folder, tmp_path):
    table = write_table(tmp_path / "odd.csv", [*rows(20, seed=2), ("a word", "negativ")] * 2)
    with pytest.raises(InputError, match=r"'negativ'.*negative"):
        hanlin.evaluate(folder / "run", str(table))


def test_what_would_be_ignored_is_refused(folder):
    data = str(folder / "test.csv")
    for setting in ({"stream": True}, {"context": 9}, {"limit": 10}, {"decoding": {"beams": 2}}):
        with pytest.raises(ConfigError, match=next(iter(setting.get("decoding", setting)))):
            hanlin.evaluate(folder / "run", data, **setting)
    with pytest.raises(ConfigError, match=r"accurac.*accuracy"):
        hanlin.evaluate(folder / "run", data, metrics=["accurac"], baselines=())


def test_without_its_training_rows_it_says_why_there_is_no_baseline(folder):
    model = hanlin.load(folder / "run")
    model.name = "a classifier from elsewhere"
    found = hanlin.evaluate(model, str(folder / "test.csv"))
    assert found.baselines == ()
    assert any("No baseline" in note for note in found.notes)
    found = hanlin.evaluate(model, str(folder / "test.csv"), baselines=str(folder / "train.csv"))
    assert any("trained on 400 rows" in note for note in found.notes)


def test_the_command_compares_models_and_writes_one_page(folder, tmp_path):
    from hanlin.cli.evaluate import command

    page = tmp_path / "report.html"
    hostile = '<script>alert("翰林")</script> dull bad silly'
    table = write_table(tmp_path / "test.csv", [*rows(60, seed=5), (hostile, "positive")])
    arguments = [str(folder / "run"), str(folder / "short"), str(table), "-o", str(page), "--json"]
    outcome = CliRunner().invoke(command, arguments)
    assert outcome.exit_code == 0, outcome.output
    content = json.loads(outcome.stdout)
    assert content["task"] == "classify"
    assert content["examples"] == 61
    assert [one["name"] for one in content["others"]] == [str(folder / "short")]
    assert "accuracy" in content["others"][0]["behind"]
    html = page.read_text(encoding="utf-8")
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert" in html
    for part in ("混淆矩阵", "Is it as right as it is sure?", "Worst examples", "按标签"):
        assert part in html


def test_a_model_needs_data_after_it(folder):
    from hanlin.cli.evaluate import command

    outcome = CliRunner().invoke(command, [str(folder / "run"), str(folder / "short")])
    assert isinstance(outcome.exception, ConfigError)
    assert "nothing to measure it on" in str(outcome.exception)


def test_pairs_and_several_labels_are_measured(tmp_path):
    from hanlin.data.classify_records import ClassifyRecord
    from hanlin.evaluation.classification import measure
    from tiny_models import save_encoder

    model = hanlin.load(save_encoder(tmp_path / "m", head="classify", problem="multiple"))
    records = [
        ClassifyRecord("a word", ("good", "bad"), "another text"),
        ClassifyRecord("token", (), "翰林"),
    ] * 10
    judged = measure(model, records)
    scores = model.probabilities([(r.text, r.text_pair) for r in records])
    own = np.array([[label in r.labels for label in model.labels] for r in records])
    assert judged.metrics["subset_accuracy"].value == ((scores >= 0.5) == own).all(1).mean()
    assert judged.metrics["f1_micro"].value == pytest.approx(
        metrics.f1_score(own, scores >= 0.5, average="micro", zero_division=0)
    )
