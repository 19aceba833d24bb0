"""Two models on the same records: what can be compared is, what cannot is told or refused early."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_tasks import rows, write_table
from transformers import AutoModelForCausalLM, AutoTokenizer

import hanlin
from hanlin.data.classify_records import ClassifyRecord
from hanlin.errors import ConfigError, InputError
from hanlin.evaluation.classification import of_scores
from hanlin.evaluation.comparison import compared, strongest
from hanlin.evaluation.judging import TASKS, usable
from hanlin.evaluation.tasks import verdict
from tiny_models import save_decoder, save_encoder

TAGS = ("O", "B-PER", "I-PER")


@pytest.fixture(scope="module")
def conll(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten sentences with tags."""
    rng = np.random.default_rng(0)
    words = ["academy", "language", "token", "翰", "林", "院", "text"]
    lines = []
    for size in rng.integers(3, 8, size=10):
        tags = rng.choice(TAGS, size, p=[0.6, 0.2, 0.2])
        lines += [f"{rng.choice(words)} {tag}" for tag in tags] + [""]
    file = tmp_path_factory.mktemp("tags") / "test.conll"
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


def test_two_taggers_are_compared_by_sentences(tmp_path, conll):
    models = [save_encoder(tmp_path / f"t{n}", head="tag", labels=TAGS, seed=n) for n in (0, 1)]
    found = hanlin.evaluate(models[0], conll, against=[models[1]])
    assert found.task == "tag"
    [other] = found.others
    assert {"f1", "precision", "recall", "accuracy"} <= set(other.behind)
    right = [block.split("\n") for block in conll.read_text(encoding="utf-8").strip().split("\n\n")]
    hits = [
        [
            sum(tag == line.split()[1] for tag, line in zip(tags, lines, strict=True))
            for tags, lines in zip(evaluated, right, strict=True)
        ]
        for evaluated in (found.predictions, hanlin.evaluate(models[1], conll).predictions)
    ]
    apart = np.array(hits[0]) - np.array(hits[1])
    one = other.behind["accuracy"]
    assert one.test == "randomisation"
    assert one.difference.value == pytest.approx(apart.sum() / sum(map(len, right)))
    exchanges = itertools.product((1, -1), repeat=len(apart))
    every = [abs((np.array(signs) * apart).sum()) for signs in exchanges]
    assert one.p_value == pytest.approx(np.mean(np.array(every) >= abs(apart.sum())), abs=0.02)
    for name in ("f1", "precision", "recall"):
        gain = found.metrics[name].value - other.metrics[name].value
        assert other.behind[name].difference.value == pytest.approx(gain)
    named = hanlin.evaluate(models[0], conll, against=[models[1]], metrics=["f1_macro"])
    assert any("no paired test of f1_macro" in note for note in named.notes)


def test_classifiers_of_other_labels_are_compared_over_those_of_both(tmp_path):
    metrics = pytest.importorskip("sklearn.metrics")
    table = write_table(tmp_path / "test.csv", rows(60, seed=1))
    two, three = ("negative", "positive"), ("neutral", "positive", "negative")
    models = [
        save_encoder(tmp_path / str(len(labels)), head="classify", labels=labels)
        for labels in (two, three)
    ]
    found = hanlin.evaluate(models[0], table, against=[models[1]], baselines=())
    [other] = found.others
    right = [label for _, label in rows(60, seed=1)]
    said = [
        [one["label"] for one in found.predictions],
        [one["label"] for one in hanlin.evaluate(models[1], table, baselines=()).predictions],
    ]
    macro = [metrics.f1_score(right, own, average="macro", zero_division=0) for own in said]
    assert other.behind["f1_macro"].difference.value == pytest.approx(macro[0] - macro[1])
    assert other.behind["accuracy"].test == "mcnemar"
    assert any("negative, positive, neutral" in note for note in found.notes)
    with pytest.raises(InputError, match="there are 3 labels"):
        hanlin.evaluate(models[0], table, against=[models[1]], baselines=(), positive="negative")


def test_the_positive_label_is_the_one_that_is_named(tmp_path):
    metrics = pytest.importorskip("sklearn.metrics")
    table = write_table(tmp_path / "test.csv", rows(60, seed=1))
    model = hanlin.load(
        save_encoder(tmp_path / "m", head="classify", labels=("negative", "positive"))
    )
    right = [label for _, label in rows(60, seed=1)]
    for asked, label in ((None, "positive"), ("negative", "negative")):
        found = hanlin.evaluate(model, table, baselines=(), positive=asked)
        said = [one["label"] for one in found.predictions]
        want = metrics.f1_score(right, said, pos_label=label, zero_division=0)
        assert found.metrics["f1"].value == pytest.approx(want)
        assert found.details.positive == label
    names = {"labels": ("negative", "positive"), "problem": "multiple"}
    several = save_encoder(tmp_path / "s", head="classify", **names)
    with pytest.raises(ConfigError, match="several labels"):
        hanlin.evaluate(several, table, baselines=(), positive="negative")
    with pytest.raises(InputError, match="none of the labels"):
        hanlin.evaluate(model, table, baselines=(), positive="neutral")


@pytest.mark.parametrize("task", TASKS)
def test_a_model_of_another_kind_is_refused_before_any_is_measured(tmp_path, task):
    head = {"classify": "tag", "embed": "tag"}.get(task, "classify")
    model = hanlin.load(save_encoder(tmp_path / "m", head=head))
    with pytest.raises(InputError, match=r"which .*\. Give "):
        usable(model, [], task=task, **({"objective": None} if TASKS[task] == "writing" else {}))


def test_the_command_says_so_in_a_line(tmp_path):
    table = write_table(tmp_path / "test.csv", rows(10, seed=1))
    model = save_encoder(tmp_path / "m", head="classify", labels=("negative", "positive"))
    decoder = save_decoder(tmp_path / "d")
    with pytest.raises(InputError, match="gives texts no labels"):
        hanlin.evaluate(model, table, against=[decoder], baselines=())
    with pytest.raises(InputError, match="gives texts no labels"):
        hanlin.evaluate(decoder, table, objective="classify")
    assert not hasattr(hanlin.load(decoder), "probabilities")
    with pytest.raises(ConfigError, match="positive would be ignored"):
        hanlin.evaluate(save_encoder(tmp_path / "e"), table, positive="positive")


def test_preferences_are_those_that_all_models_can_read(tmp_path):
    models = [save_decoder(tmp_path / str(n), max_context=n) for n in (96, 48)]
    file = tmp_path / "pairs.jsonl"
    lines = [
        {"prompt": "a token " * n, "chosen": "a word", "rejected": "the text"} for n in range(1, 21)
    ]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    found = hanlin.evaluate(models[0], file, against=[models[1]], objective="prefer")
    alone = hanlin.evaluate(models[1], file, objective="prefer")
    assert 0 < found.documents == alone.documents < 20
    assert found.others[0].metrics == alone.metrics
    assert found.others[0].behind["chosen_likelier"].test == "mcnemar"
    assert any(f"{20 - found.documents} of 20 examples are longer" in note for note in found.notes)


def test_preferences_beside_another_model_have_the_rewards_of_dpo(tmp_path):
    """As a plain loop over transformers has them: beta times what an answer gained."""
    models = [save_decoder(tmp_path / str(seed), seed=seed) for seed in (0, 1)]
    turns = ["a token", "the words of the emperor", "翰林院", "until it ends", "a word"]
    pairs = [(a, b) for a in turns for b in turns if a < b]
    file = tmp_path / "pairs.jsonl"
    lines = [{"prompt": "What?", "chosen": a, "rejected": b} for a, b in pairs]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    found = hanlin.evaluate(models[0], file, against=[models[1]], objective="prefer")

    def spoken(directory, answer):
        tokenizer = AutoTokenizer.from_pretrained(directory)
        network = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
        asked = [{"role": "user", "content": "What?"}]
        prompt = tokenizer.apply_chat_template(asked, add_generation_prompt=True, tokenize=False)
        whole = tokenizer.apply_chat_template(
            [*asked, {"role": "assistant", "content": answer}], tokenize=False
        )
        start = len(tokenizer(prompt)["input_ids"])
        ids = torch.tensor([tokenizer(whole)["input_ids"]])
        with torch.no_grad():
            logp = network(ids).logits.double().log_softmax(-1)
        return sum(logp[0, at - 1, ids[0, at]].item() for at in range(start, ids.shape[1]))

    gained = {turn: spoken(models[0], turn) - spoken(models[1], turn) for turn in turns}
    margins = [0.1 * (gained[a] - gained[b]) for a, b in pairs]
    first = found.model.metrics
    assert next(iter(first)) == "preference_accuracy"
    right = sum(margin > 0 for margin in margins) / len(pairs)
    assert first["preference_accuracy"].value == pytest.approx(right)
    assert first["reward_margin"].value == pytest.approx(sum(margins) / len(pairs), abs=1e-3)
    assert "preference_accuracy" not in found.others[0].metrics
    assert any("gained more on" in note for note in found.notes)
    same = hanlin.evaluate(models[0], file, against=[models[0]], objective="prefer")
    assert same.model.metrics["preference_accuracy"].value == 0.5
    only = ["reward_margin"]
    picked = hanlin.evaluate(models[0], file, against=[models[1]], objective="prefer", metrics=only)
    assert list(picked.model.metrics) == only
    assert picked.model.metrics["reward_margin"] == first["reward_margin"]
    with pytest.raises(ConfigError, match="no metric 'reward_margin'"):
        hanlin.evaluate(models[0], file, objective="prefer", metrics=only)


def test_language_models_of_other_shapes_are_refused_before_any_is_measured(tmp_path):
    decoder = save_decoder(tmp_path / "d")
    masked = save_encoder(tmp_path / "m", head="masked-lm")
    with pytest.raises(InputError, match="models of one shape"):
        hanlin.evaluate(decoder, texts=["a text"], against=[masked])


def judged(name: str, wrong: float, *, surest: float = 0.9):
    """Two labels of 200 examples, so many of which are wrong."""
    rng = np.random.default_rng(0)
    right = rng.integers(2, size=200)
    said = np.where(np.arange(200) < 200 * wrong, 1 - right, right)
    scores = np.where(said[:, None] == np.arange(2), surest, 1 - surest)
    records = [ClassifyRecord(str(i), "ab"[label]) for i, label in enumerate(right)]
    return of_scores(scores, records, name=name, labels=("a", "b"), multiple=False)


def test_the_verdict_is_on_the_stronger_judge_by_whatever_metric_is_first():
    model, weak, strong = judged("model", 0.3), judged("TF-IDF", 0.5), judged("majority", 0.1)
    assert strongest([strong, weak], "accuracy").name == "majority"
    assert strongest([weak, strong], "log_loss").name == "majority"
    for metric in ("f1", "mcc", "auc", "log_loss", "brier", "ece", "precision_weighted"):
        one, other = (judge.only([metric]) for judge in (model, strong))
        english, _ = verdict(one, other)
        assert "worse than majority" in english, metric
        gain = one.metrics[metric].value - other.metrics[metric].value
        found = compared(one, other, [metric])[metric]
        assert found.difference.value == pytest.approx(gain)
        assert found.p_value < 0.01
