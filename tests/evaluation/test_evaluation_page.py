"""What an evaluation shows: models by names that differ, labels by name, examples of every kind."""

import json
from itertools import pairwise

from tiny_tasks import rows, write_table

import hanlin
from hanlin.evaluation.page import report
from hanlin.evaluation.result import Evaluation, Measured
from hanlin.evaluation.task_page import parts
from hanlin.evaluation.writing import Written
from hanlin.metrics import Score
from hanlin.text.reading import ReadSettings
from tiny_models import CORPUS, save_decoder, save_encoder

SCORE = Score(0.5, None, None, "n:1")


def measured(*names: str) -> list[Measured]:
    return [Measured(name=n, metrics={"rougeL": SCORE}, tokens=None, seconds=1.0) for n in names]


def test_models_are_called_by_the_shortest_ends_that_differ():
    names = ["runs/a/model", "runs/b/model", "other", "x/y/other/"]
    model, *others = measured(*names)
    found = Evaluation(model=model, others=tuple(others), documents=1, task="seq2seq",
                       baselines=tuple(measured("TF-IDF")))  # fmt: skip
    assert [found.short_names[one.name] for one in (model, *others)] == [
        "a/model", "b/model", "other", "y/other"
    ]  # fmt: skip
    text = report(found).terminal(width=120, language="en")
    assert "a/model" in text
    assert "b/model" in text
    [alone] = measured("runs/a/model")
    assert Evaluation(model=alone, documents=1).short_names == {"runs/a/model": "model"}


def test_examples_are_shown_from_the_worst_to_the_best():
    [model] = measured("m")
    for count in (1, 5, 20, 39, 200):
        details = tuple(Written("s", f"text {n}", ("r",), n / count) for n in range(count))
        found = Evaluation(model=model, documents=count, task="seq2seq", details=details)
        [*_, samples] = parts(found)
        shown = [int(one.text.split()[1]) for one in samples.samples]
        assert len(shown) == len(set(shown)) == min(count, 20)
        assert (shown[0], shown[-1]) == (0, count - 1)
        steps = [b - a for a, b in pairwise(shown)]
        assert not steps or max(steps) - min(steps) <= 1


def test_the_positive_label_stands_in_the_heads(tmp_path):
    table = write_table(tmp_path / "test.csv", [(t, "垃圾" if n % 3 else "正常") for n, (t, _) in
                                                enumerate(rows(30, seed=1))])  # fmt: skip
    model = save_encoder(tmp_path / "m", head="classify", labels=("垃圾", "正常"))
    found = hanlin.evaluate(model, table, baselines=())
    text = report(found).terminal(width=160, language="en")
    assert "F1 (垃圾)" in text
    assert "recall (垃圾)" in text


def test_examples_that_stand_in_training_text_are_counted(tmp_path):
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("\n".join(CORPUS), encoding="utf-8")
    table = write_table(tmp_path / "test.csv", [(CORPUS[0], "good"), *[("a word", "bad")] * 3])
    model = save_encoder(tmp_path / "m", head="classify")
    found = hanlin.evaluate(model, table, baselines=(), training_text=corpus)
    assert found.contamination.touched == 1
    assert found.contamination.examples == 4
    assert json.loads(json.dumps(found.to_dict()))["contamination"]["touched"] == 1
    assert "in the training text" in report(found).terminal(width=100, language="en")
    assert hanlin.evaluate(model, table, baselines=()).contamination is None
    own = {"training_text": table, "settings": ReadSettings(field="review")}
    assert hanlin.evaluate(model, table, baselines=(), **own).contamination.touched == 1

    decoder = save_decoder(tmp_path / "d")
    found = hanlin.evaluate(
        decoder, texts=[CORPUS[1], "nothing"], training_text=corpus, baselines=()
    )
    assert found.contamination.touched == 1
