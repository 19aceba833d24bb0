"""Every task has its judge: while a model is trained, and on held-out records."""

from typing import Any

import numpy as np
import pytest
import torch
from tiny_tasks import rows, settings

import hanlin
from hanlin.data.conll import chunks, tagged
from hanlin.data.preferences import Preference
from hanlin.data.squad import Gold, Question
from hanlin.errors import InputError
from hanlin.evaluation import embedding, extraction, preference, tagging
from hanlin.evaluation.judging import judge
from hanlin.models.heading import with_head
from hanlin.models.transformer import Transformer
from hanlin.tasks.tagger import Tagger
from hanlin.training.objectives import OBJECTIVES, Classify
from hanlin.training.objectives.embed import EmbedRecord
from tiny_models import CORPUS, save_decoder, save_encoder, word_tokenizer

TAGS = ("O", "B-PER", "I-PER")


def tagger(folder, tags=TAGS):
    base = hanlin.models.load(save_encoder(folder / "base"))
    torch.manual_seed(0)
    network = Transformer(with_head(base.config, "tag", labels=tags)).eval()
    return Tagger(network, word_tokenizer(), name="tagger")


def test_a_run_tells_the_metrics_of_its_task(tmp_path):

    result = hanlin.train(settings(tmp_path), watchers=None)
    assert {"accuracy", "f1_macro", "ece"} <= set(result.validation)
    assert 0 <= result.validation["accuracy"] <= 1
    told = (tmp_path / "run" / "metrics.jsonl").read_text(encoding="utf-8")
    assert '"accuracy"' in told


def test_judging_leaves_the_network_as_it_was_and_what_is_no_task_alone(tmp_path):
    from hanlin.data.classify_records import ClassifyRecord

    model = hanlin.load(save_encoder(tmp_path / "m", head="classify"))
    given = [ClassifyRecord(text, label) for text, label in rows(30, seed=3)]
    given = [ClassifyRecord(r.text, "good" if r.label == "positive" else "bad") for r in given]
    model.network.train()
    found = judge(model.network, model.tokenizer, Classify(), given)
    assert model.network.training
    scores = model.network.eval() and model.probabilities([r.text for r in given])
    right = [model.labels.index(str(r.label)) for r in given]
    assert found["accuracy"] == pytest.approx((scores.argmax(1) == right).mean())
    causal: Any = OBJECTIVES["causal-lm"]()
    assert judge(model.network, model.tokenizer, causal, given) == {}


def test_tags_are_judged_by_whole_entities(tmp_path):
    model = tagger(tmp_path)
    rng = np.random.default_rng(0)
    words = ["academy", "language", "token", "翰", "林", "院", "text"]
    given = [
        tagged(list(rng.choice(words, 6)), list(rng.choice(TAGS, 6, p=[0.6, 0.2, 0.2])))
        for _ in range(40)
    ]
    found = tagging.measure(model, given)
    right, said = (
        {(n, c.label, c.first, c.last) for n, tags in enumerate(lists) for c in chunks(tags)}
        for lists in ([r.tags for r in given], found.predictions)
    )
    assert len(right & said) > 0
    want = 2 * len(right & said) / (len(right) + len(said))
    assert found.metrics["f1"].value == pytest.approx(want)


@pytest.mark.parametrize("tags", [TAGS, ("NOUN", "VERB", "X")])
def test_the_accuracy_of_tags_counts_words(tmp_path, tags):
    model = tagger(tmp_path, tags)
    given = [tagged(["a", "token", "院"], list(tags))] * 10
    found = tagging.measure(model, given)
    hits = [a == b for said in found.predictions for a, b in zip(said, tags, strict=True)]
    assert found.units["accuracy"].value == pytest.approx(np.mean(hits))
    assert sum(one.wrong for one in found.details.worst) == hits.count(False)


@pytest.mark.parametrize("chinese", [False, True])
def test_answers_are_judged_as_squad_or_cmrc_say(tmp_path, chinese):
    from hanlin.metrics import cmrc, squad

    model = hanlin.load(save_encoder(tmp_path / "m", head="extract", pooler=False))
    text = "翰林院的学士起草诏书，翻译外文。" if chinese else "The academy drafted the words."
    answer = "起草诏书" if chinese else "the words"
    start = text.index(answer)
    given = [Question(q, text, (Gold(answer, start),)) for q in ("who?", "what?", "谁？")] * 4
    found = extraction.measure(model, given)
    want = (cmrc if chinese else squad)(list(found.predictions), [[answer]] * 12)
    assert found.main == "f1"
    for name in ("f1", "exact_match"):
        assert found.metrics[name].value == pytest.approx(want[name].value)
    assert ("cmrc" in found.metrics["f1"].signature) == chinese


def test_every_metric_of_answers_can_be_compared(tmp_path):
    model = hanlin.load(save_encoder(tmp_path / "m", head="extract", pooler=False))
    text = "The academy drafted the words."
    gold = Gold("the words", text.index("the words"))
    given = [Question(f"what {n}?", text, (gold,) if n % 3 else ()) for n in range(12)]
    found = extraction.measure(model, given)
    assert set(found.units) == set(found.metrics)
    for name, score in found.metrics.items():
        assert found.units[name].value == pytest.approx(score.value), name


def test_a_text_finds_its_own_among_all(tmp_path):
    model = hanlin.load(save_encoder(tmp_path / "m"))
    words = ["academy", "language", "token", "翰林院", "text", "number", "emperor", "word"]
    given = [EmbedRecord(f"{a} {b}", f"{b} {c}") for a, b, c in zip(words, words[1:] + words[:1],
             words[2:] + words[:2], strict=True)]  # fmt: skip
    found = embedding.measure(model, given)
    vectors = [model.embed([t])[0].astype(float) for r in given for t in (r.anchor, r.positive)]
    unit = [v / np.linalg.norm(v) for v in vectors]
    ranks = []
    for i, record in enumerate(given):
        own = unit[2 * i] @ unit[2 * i + 1]
        rivals = [
            unit[2 * i] @ unit[2 * j + 1]
            for j, other in enumerate(given)
            if other.positive not in (record.positive, record.anchor)
        ]
        ranks.append(1 + sum(rival >= own for rival in rivals))
    assert list(found.predictions) == ranks
    assert found.metrics["mrr"].value == pytest.approx(np.mean([1 / r for r in ranks]))
    assert found.metrics["recall@5"].value == np.mean([r <= 5 for r in ranks])


def test_likeness_is_judged_by_rank_correlation(tmp_path):
    stats = pytest.importorskip("scipy.stats")
    model = hanlin.load(save_encoder(tmp_path / "m"))
    words = ["academy", "language", "token", "翰林院", "text", "number", "emperor", "word"]
    given = [EmbedRecord(a, b, None, float(i % 4)) for i, (a, b) in enumerate(
        (a, b) for a in words for b in words)]  # fmt: skip
    found = embedding.measure(model, given)
    want = stats.spearmanr(found.predictions, [r.score for r in given]).statistic
    assert found.metrics["spearman"].value == pytest.approx(want)
    assert found.units["spearman"].value == pytest.approx(want)
    again = embedding.measure(model, given, seed=7).metrics["spearman"]
    assert "seed=7" in again.signature
    assert (again.low, again.high) != (
        found.metrics["spearman"].low,
        found.metrics["spearman"].high,
    )


def test_the_chosen_answer_is_the_likelier_one_as_often_as_a_plain_sum_says(tmp_path):
    model = hanlin.load(save_decoder(tmp_path / "m"), dtype="float32")
    answers = ["a token", "the words of the emperor", "翰林院", "until it ends"]
    given = [
        Preference(
            ({"role": "user", "content": q},),
            {"role": "assistant", "content": a},
            {"role": "assistant", "content": b},
        )
        for q in ("What?", "什么？")
        for a in answers
        for b in answers
        if a != b
    ]
    found = preference.measure(model, given)
    by_sum = np.array(found.predictions)
    alone = [preference.measure(model, [one]).predictions[0] for one in given]
    np.testing.assert_allclose(by_sum, alone, rtol=1e-4)
    assert found.metrics["chosen_likelier"].value == (by_sum[:, 0] > by_sum[:, 1]).mean()
    # Every pair comes both ways round, so each way is likelier half of the time.
    assert found.metrics["chosen_likelier"].value == pytest.approx(0.5)
    assert found.metrics["chosen_likelier_per_token"].value == pytest.approx(0.5)
    with pytest.raises(InputError, match="answers nothing"):
        preference.measure(hanlin.load(save_encoder(tmp_path / "e", head="masked-lm")), given)


def test_two_language_models_are_compared_document_by_document(tmp_path):
    one, other = (save_decoder(tmp_path / str(seed), seed=seed) for seed in (0, 1))
    found = hanlin.evaluate(one, texts=CORPUS, against=[other, one], baselines=())
    assert found.task is None
    apart = [other.metrics["bits_per_byte"].value for other in found.others]
    assert apart[1] == found.metrics["bits_per_byte"].value
    behind = [other.behind["bits_per_byte"] for other in found.others]
    assert behind[0].difference.value == pytest.approx(apart[1] - apart[0])
    assert (behind[1].difference.value, behind[1].p_value) == (0, 1)
