"""Baselines beside a model: the same documents, the same bytes, the same kind of figure."""

import json
from pathlib import Path

import pytest

import hanlin
from hanlin.data.prepare import prepare
from hanlin.errors import NotFoundError
from hanlin.evaluation import Evaluation, NgramModel, evaluate
from hanlin.evaluation.texts import read_texts
from hanlin.text.reading import ReadSettings
from tiny_models import CORPUS, byte_tokenizer, save_decoder

HELD_OUT = [f"Part {n} of the academy: {CORPUS[n % 5][5:40]} {n * n}." for n in range(12)]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_decoder(tmp_path_factory.mktemp("evaluated") / "llama")


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("text") / "train.txt"
    file.write_text("\n".join(CORPUS), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def found(directory: Path, training: Path) -> Evaluation:
    return evaluate(directory, texts=HELD_OUT, baselines=training)


def test_an_ngram_model_and_two_compressors_stand_beside_it(found):
    ngram, xz, zstd = found.baselines
    assert (xz.name, zstd.name) == ("xz", "zstd")
    assert "-gram of" in ngram.name
    for baseline in found.baselines:
        assert 0 < baseline.metrics["bits_per_byte"].value < 8
    assert xz.metrics["bits_per_byte"].value < xz.metrics["bits_per_byte_alone"].value
    assert xz.metrics["bits_per_byte"].low is None


def test_the_ngram_figure_is_that_of_the_model_trained_by_hand(found, training):
    model = NgramModel.train(read_texts(training).texts)
    nats = sum(float(score.nats.sum()) for score in model.score_texts(HELD_OUT))
    size = sum(len(text.encode()) for text in HELD_OUT)
    bits = nats / 0.6931471805599453 / size
    assert found.baselines[0].metrics["bits_per_byte"].value == pytest.approx(bits, rel=1e-9)
    assert found.bytes == size


def test_what_the_model_saves_is_compared_document_by_document(found):
    [ngram, *others] = found.baselines
    saved = ngram.behind["bits_per_byte"].difference
    difference = found.metrics["bits_per_byte"].value - ngram.metrics["bits_per_byte"].value
    assert saved.value == pytest.approx(difference, abs=1e-9)
    assert saved.low is not None
    assert saved.low < saved.value < saved.high
    assert all(not other.behind for other in others)


def test_text_that_stands_in_the_training_text_is_told(directory, training):
    held = [CORPUS[0], CORPUS[1], "Nothing of this was there: 0123456789 abcdefghij klmnopqrst"]
    [note] = evaluate(directory, texts=held, baselines=training).notes
    assert "word for word" in note


def test_only_the_metrics_asked_for_stand_beside(directory, training):
    found = evaluate(
        directory, texts=HELD_OUT, baselines=training, metrics=["bits_per_byte", "loss"]
    )
    assert list(found.metrics) == ["bits_per_byte", "loss"]
    assert set(found.baselines[0].metrics) == {"bits_per_byte", "loss"}
    assert set(found.baselines[1].metrics) == {"bits_per_byte"}


def trained(directory: Path, sources: list[str], **data: object) -> None:
    """Say in hanlin.json what a run says."""
    config = {"objective": "causal-lm", "data": {"train": sources, **data}}
    content = {"task": "causal-lm", "provenance": {"config": config}}
    (directory / "hanlin.json").write_text(json.dumps(content), encoding="utf-8")


def test_a_models_own_training_text_is_the_default(tmp_path, training, found):
    own = save_decoder(tmp_path / "run")
    trained(own, [str(training)])
    beside = evaluate(own, texts=HELD_OUT)
    assert beside.trained_on == (str(training),)
    ours, theirs = (one.baselines[0].metrics["bits_per_byte"] for one in (beside, found))
    assert ours == theirs
    assert evaluate(own, texts=HELD_OUT, baselines=()).baselines == ()
    trained(own, [str(tmp_path / "gone.txt")])
    assert evaluate(own, texts=HELD_OUT).baselines == ()


def test_the_field_of_its_tables_is_known_too(tmp_path, training, found):
    table = tmp_path / "train.jsonl"
    table.write_text(json.dumps({"body": training.read_text(encoding="utf-8")}), encoding="utf-8")
    own = save_decoder(tmp_path / "run")
    trained(own, [str(table)], field="body")
    beside = evaluate(own, texts=HELD_OUT)
    assert beside.baselines[0].metrics == found.baselines[0].metrics


def test_what_was_prepared_beside_the_model_stands_in_for_text_that_is_gone(
    tmp_path, training, found
):
    own = save_decoder(tmp_path / "run")
    trained(own, [str(tmp_path / "gone.txt")])
    prepare([training], own / "data" / "train", tokenizer=byte_tokenizer())
    beside = evaluate(own, texts=HELD_OUT)
    assert beside.trained_on == (str(own / "data" / "train"),)
    assert beside.baselines[0].metrics == found.baselines[0].metrics


def test_files_of_any_kind_are_read_as_documents(directory, tmp_path):
    lines = tmp_path / "held.jsonl"
    lines.write_text(
        "".join(json.dumps({"text": text}) + "\n" for text in HELD_OUT), encoding="utf-8"
    )
    plain = tmp_path / "held.txt"
    plain.write_text("\n".join(HELD_OUT), encoding="utf-8")
    want = evaluate(directory, texts=HELD_OUT).metrics
    assert evaluate(directory, lines).metrics == want
    assert evaluate(directory, plain, settings=ReadSettings(split="line")).metrics == want
    assert evaluate(directory, plain).documents == 1


def test_training_text_that_is_not_there_is_an_error_before_any_work(directory, monkeypatch):
    from hanlin.evaluation import decoders

    monkeypatch.setattr(decoders, "measure", None)
    with pytest.raises(NotFoundError, match="none"):
        evaluate(directory, texts=HELD_OUT, baselines="/nowhere/none.txt")


def test_the_function_is_public():
    assert hanlin.evaluate is evaluate
