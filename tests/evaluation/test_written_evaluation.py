"""What is written is judged as sacreBLEU and rouge-score judge it, and is the same in any batch."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

import hanlin
from hanlin.data.conversations import Conversation
from hanlin.data.pairs import PairRecord
from hanlin.errors import ConfigError, InputError
from hanlin.evaluation.judging import usable
from hanlin.evaluation.writing import measure
from hanlin.training.objectives.instruct import Instruct
from hanlin.training.objectives.seq2seq import Seq2Seq
from tiny_models import CONTEXT, CORPUS, save_decoder, save_encoder

sacrebleu = pytest.importorskip("sacrebleu")

WORDS = [word for text in CORPUS[:5] for word in text.split()]
LENGTH = 8


def records(count: int) -> list[PairRecord]:
    draw = random.Random(0)
    texts = [" ".join(draw.choices(WORDS, k=draw.randint(2, 9))) for _ in range(2 * count)]
    return [
        PairRecord(source, (target, target.upper()))
        for source, target in zip(texts[::2], texts[1::2], strict=True)
    ]


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_decoder(tmp_path_factory.mktemp("written") / "decoder")


@pytest.mark.parametrize("decoding", [{}, {"beams": 3}])
def test_the_same_is_written_alone_and_in_a_batch_of_32(decoder, decoding):
    model = hanlin.load(decoder, dtype="float32")
    settings: dict[str, Any] = {"max_new_tokens": LENGTH, **decoding}
    found = [
        measure(model, records(32), objective=Seq2Seq(), decoding=settings, together=together)
        for together in (1, 32)
    ]
    assert len(set(found[0].predictions)) > 16  # the texts differ, so a mix-up would show
    assert found[0].predictions == found[1].predictions
    assert found[0].metrics == found[1].metrics


def test_the_scores_are_those_of_sacrebleu_on_what_was_written(decoder):
    model = hanlin.load(decoder, dtype="float32")
    names = ("bleu", "chrf", "chrf++", "ter", "exact_match")
    asked = records(20)
    found = measure(
        model, asked, objective=Seq2Seq(), metrics=names, decoding={"max_new_tokens": LENGTH},
        metric_settings={"bleu": {"tokenize": "13a"}, "ter": {"tokenize": "words"}},
    )  # fmt: skip
    references = [list(those) for those in zip(*(r.targets for r in asked), strict=True)]
    said = list(found.predictions)
    want = {
        "bleu": sacrebleu.corpus_bleu(said, references).score,
        "chrf": sacrebleu.corpus_chrf(said, references).score,
        "chrf++": sacrebleu.corpus_chrf(said, references, word_order=2).score,
        "ter": sacrebleu.corpus_ter(said, references).score,
    }
    assert list(found.metrics) == list(names)
    for name, value in want.items():
        assert found.metrics[name].value == pytest.approx(value, abs=1e-6), name
        assert "decode:greedy|max:8" in found.metrics[name].signature
    assert [one.rouge for one in found.details] == sorted(one.rouge for one in found.details)


def test_nothing_is_left_to_chance_unless_it_is_asked_for(tmp_path):
    place = save_decoder(tmp_path / "drawing", generation={"do_sample": True, "temperature": 1.5})
    model = hanlin.load(place, dtype="float32")
    conversations = [
        Conversation(({"role": "user", "content": word}, {"role": "assistant", "content": "a"}))
        for word in WORDS[:12]
    ]
    plain = {"max_new_tokens": LENGTH}

    def said(decoding: dict[str, Any], seed: int = 0) -> list[str]:
        return list(
            measure(
                model, conversations, objective=Instruct(), metrics=["rougeL"],
                decoding=decoding, seed=seed,
            ).predictions
        )  # fmt: skip

    assert said(plain) == said(plain, seed=1)
    greedy = [model.chat(w, temperature=0, max_new_tokens=LENGTH).text.strip() for w in WORDS[:12]]
    assert said(plain) == greedy
    drawn = {**plain, "temperature": 1.0}
    assert said(drawn) == said(drawn)
    assert said(drawn) != said(drawn, seed=1)


def test_a_trained_writer_is_measured_with_its_own_template_and_others_beside_it(tmp_path):
    lines = tmp_path / "pairs.tsv"
    lines.write_text(
        "source\ttarget\n" + "".join(f"{r.source}\t{r.target}\n" for r in records(40)),
        encoding="utf-8",
    )
    base = save_decoder(tmp_path / "base")
    config = {
        "model": str(base),
        "objective": {"name": "seq2seq", "template": "say: {source} => {target}", "beams": 1},
        "data": {"train": str(lines), "validation": "20%"},
        "batch": {"sequences": 8, "length": 64},
        "duration": "6 steps",
        "output": str(tmp_path / "run"),
    }
    result = hanlin.train(config, watchers=[])
    assert {"bleu", "chrf", "rougeL"} <= set(result.validation)
    found = hanlin.evaluate(
        tmp_path / "run", str(lines), against=[base], decoding={"max_new_tokens": LENGTH}
    )
    assert found.task == "seq2seq"
    assert set(found.metrics) == {"bleu", "chrf", "rouge1", "rouge2", "rougeL"}
    model = hanlin.load(tmp_path / "run", dtype="float32")
    assert list(found.predictions) == model([r.source for r in records(40)], max_new_tokens=LENGTH)
    [other] = found.others
    assert set(other.behind) == set(found.metrics)
    gain = found.metrics["chrf"].value - other.metrics["chrf"].value
    assert other.behind["chrf"].difference.value == pytest.approx(gain)
    json.dumps(found.to_dict(), allow_nan=False)

    text = tmp_path / "plain.txt"
    text.write_text(CORPUS[0], encoding="utf-8")
    likely = hanlin.evaluate(tmp_path / "run", text, metrics=["bits_per_byte"], baselines=())
    assert likely.task is None


def test_a_source_that_is_too_long_loses_its_end_as_in_training(decoder):
    model = hanlin.load(decoder, dtype="float32")
    long = PairRecord(" ".join(WORDS * 10), ("a",))
    found = measure(
        model, [long, *records(3)], objective=Seq2Seq(), metrics=["rougeL"],
        decoding={"max_new_tokens": LENGTH},
    )  # fmt: skip
    assert found.notes == (
        f"1 of 4 sources are longer than {CONTEXT - LENGTH} tokens and lose their end.",
    )
    assert found.predictions[0]


def conversation(*turns: str) -> Conversation:
    roles = ["system", *["user", "assistant"] * 9]
    messages = tuple({"role": r, "content": t} for r, t in zip(roles, turns, strict=False))
    return Conversation(messages)


def test_a_long_conversation_loses_its_oldest_turns_and_the_rest_goes_on(decoder):
    model = hanlin.load(decoder, dtype="float32")
    long = " ".join(WORDS[:30])
    asked = [
        conversation("Be brief.", long, long, long, long, "a token", "word"),
        conversation("Be brief.", " ".join(WORDS * 3), "too long even alone"),
        conversation("Be brief.", "What is a token?", "a word"),
    ]
    settings: dict[str, Any] = {"max_new_tokens": LENGTH}
    found = measure(model, asked, objective=Instruct(), metrics=["rougeL"], decoding=settings)
    system = {"role": "system", "content": "Be brief."}
    want = [
        model.chat([system, {"role": "user", "content": text}], temperature=0, **settings)
        for text in ("a token", "What is a token?")
    ]
    assert list(found.predictions) == [one.text.strip() for one in want]
    assert len(found.notes) == 2
    assert found.notes[0].startswith("1 of 3 conversations are longer than 88 tokens")
    assert found.notes[1].startswith("1 of 3 records are too long")
    fits = usable(model, asked, task="instruct", objective=Instruct(), decoding=settings)
    assert fits == [True, False, True]
    with pytest.raises(InputError, match="Every record"):
        measure(model, asked[1:2], objective=Instruct(), decoding=settings)


def test_models_are_asked_about_what_all_of_them_can_read(tmp_path, decoder):
    shorter = save_decoder(tmp_path / "shorter", max_context=40)
    file = tmp_path / "chats.jsonl"
    lines = [{"prompt": " ".join(WORDS[: 3 * n]), "completion": "a token"} for n in range(1, 11)]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    found = hanlin.evaluate(
        decoder, file, against=[shorter], objective="instruct", decoding={"max_new_tokens": 4}
    )
    assert 0 < found.documents < 10
    assert len(found.predictions) == found.documents
    assert any(f"{10 - found.documents} of 10 examples are longer than" in n for n in found.notes)
    assert "bleu" in found.others[0].behind


def test_metrics_are_computed_with_the_settings_given(decoder):
    from hanlin.metrics import distinct, exact_match

    model = hanlin.load(decoder, dtype="float32")
    asked = records(20)
    names = ("bleu", "rouge1", "distinct1", "distinct2", "exact_match")
    given = {
        "bleu": {"lowercase": True, "tokenize": "char"},
        "rouge": {"tokenize": "characters"},
        "distinct": {"tokenize": "characters"},
        "exact_match": {"ignore_case": True},
    }
    found = measure(
        model, asked, objective=Seq2Seq(), metrics=names, metric_settings=given,
        decoding={"max_new_tokens": LENGTH},
    )  # fmt: skip
    said = list(found.predictions)
    references = [list(those) for those in zip(*(r.targets for r in asked), strict=True)]
    want = sacrebleu.corpus_bleu(said, references, lowercase=True, tokenize="char").score
    assert found.metrics["bleu"].value == pytest.approx(want, abs=1e-6)
    assert "tok:characters" in found.metrics["rouge1"].signature
    exact = exact_match(said, [list(r.targets) for r in asked], ignore_case=True)
    assert found.metrics["exact_match"].value == exact.value
    for n in (1, 2):
        assert found.metrics[f"distinct{n}"] == distinct(said, n, tokenize="characters")
    assert not any(name.startswith("distinct") for name in found.units)
    short = measure(
        model, asked[:1], objective=Seq2Seq(), metrics=["distinct2"],
        decoding={"max_new_tokens": 1},
    )  # fmt: skip
    assert short.metrics["distinct2"].value == 0
    assert "has 2 words, so distinct2 is 0" in short.notes[0]


@pytest.mark.parametrize(
    ("metrics", "given", "named"),
    [
        (["bleu"], {"rouge": {"stemmer": True}}, "rouge is not measured"),
        (["rougeL"], {"rouge": {"stemer": True}}, "stemmer"),
        (["rougeL"], {"roug": {}}, "rouge"),
        (["bleu"], {"bleu": {"tokenize": "words"}}, "tokenize"),
        (["rougeL"], {"rouge": {"tokenize": "characters", "stemmer": True}}, "English"),
    ],
)
def test_a_setting_that_cannot_be_met_is_refused_before_anything_is_written(
    decoder, monkeypatch, metrics, given, named
):
    model = hanlin.load(decoder, dtype="float32")
    monkeypatch.setattr("hanlin.evaluation.writing.generate", None)
    with pytest.raises(ConfigError, match=named):
        measure(model, records(2), objective=Seq2Seq(), metrics=metrics, metric_settings=given)


def test_references_in_two_languages_are_told(decoder):
    model = hanlin.load(decoder, dtype="float32")
    asked = [PairRecord(text, (text,)) for text in ("a word", "a text", "the end", "什么是词元？")]
    found = measure(model, asked, objective=Seq2Seq(), decoding={"max_new_tokens": LENGTH})
    told = " ".join(found.notes)
    assert "1 of 4 references are not in Latin letters, so ROUGE" in told
    assert "1 of 4 references are Chinese, so BLEU" in told


def test_what_cannot_be_written_or_measured_is_refused(decoder, tmp_path):
    model = hanlin.load(decoder, dtype="float32")
    with pytest.raises(ConfigError, match=r"'blue'.*bleu"):
        measure(model, records(2), objective=Seq2Seq(), metrics=["blue"])
    with pytest.raises(ConfigError, match="max_new_token"):
        measure(model, records(2), objective=Seq2Seq(), decoding={"max_new_token": 3})
    encoder = hanlin.load(save_encoder(tmp_path / "e", head="masked-lm"))
    with pytest.raises(InputError, match="writes nothing"):
        measure(encoder, records(2), objective=Seq2Seq())
