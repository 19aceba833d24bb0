"""Encoders, masked language models and classifiers, against the libraries they come from."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import hanlin
from hanlin.errors import FormatError, InputError
from hanlin.models.directory import save_directory
from hanlin.models.new import new_config
from hanlin.models.transformer import Transformer
from hanlin.tasks import Classifier, Encoder, Label, MaskedLanguageModel
from hanlin.tasks.batches import batches
from tiny_models import CONTEXT, CORPUS, add_sentence_files, byte_tokenizer, save_encoder

SENTENCES = [*CORPUS[:5], "", "a", "翰林", "token " * 60, "Is it? " * 7, *CORPUS[:2]]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_encoder(tmp_path_factory.mktemp("tiny") / "bert")


@pytest.fixture(scope="module")
def masked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_encoder(tmp_path_factory.mktemp("tiny") / "masked", head="masked-lm")


def sentence_transformer(directory: Path):
    library = pytest.importorskip("sentence_transformers")
    return library.SentenceTransformer(str(directory), device="cpu")


# Vectors


@pytest.mark.parametrize(
    ("modes", "normalise"),
    [
        (("mean",), True),
        (("mean",), False),
        (("cls",), False),
        (("max",), True),
        (("mean_sqrt_len_tokens",), False),
        (("weightedmean",), False),
        (("lasttoken",), True),
        (("cls", "max", "mean"), False),
    ],
)
def test_vectors_are_those_of_sentence_transformers(plain, tmp_path, modes, normalise):
    directory = shutil.copytree(plain, tmp_path / "sentences")
    add_sentence_files(directory, modes=modes, normalise=normalise)
    want = sentence_transformer(directory).encode(SENTENCES)
    model = hanlin.load(directory)
    assert isinstance(model, Encoder)
    got = model.embed(SENTENCES)
    assert got.dtype == np.float32
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, atol=2e-5)


def test_without_sentence_files_it_is_the_mean_over_real_tokens(plain):
    model = hanlin.load(plain)
    [got] = model.embed(CORPUS[0])
    ids = torch.tensor([model.tokenizer.encode(CORPUS[0])])
    want = model.network(ids).hidden[0].double().mean(0)
    np.testing.assert_allclose(got, want.detach().numpy(), atol=1e-5)


def test_a_vector_does_not_depend_on_the_rest_of_the_batch(plain):
    model = hanlin.load(plain)
    together = model.embed(SENTENCES)
    for order in (range(len(SENTENCES)), range(len(SENTENCES) - 1, -1, -1)):
        for i in order:
            np.testing.assert_allclose(model.embed(SENTENCES[i])[0], together[i], atol=1e-6)


def test_batches_hold_every_sequence_once_within_the_budget():
    lengths = [3, 50, 1, 7, 7, 20, 2, 90]
    seen = []
    for batch in batches([[1] * n for n in lengths], pad=0, max_tokens=64):
        assert len(batch.order) == 1 or batch.ids.numel() <= 64
        mask = torch.ones_like(batch.ids, dtype=torch.bool) if batch.mask is None else batch.mask
        assert mask.sum(1).tolist() == [lengths[i] for i in batch.order]
        assert torch.equal(batch.ids.bool(), mask)
        seen += batch.order
    assert sorted(seen) == list(range(len(lengths)))


def test_a_step_we_cannot_take_is_refused_by_name(plain, tmp_path):
    directory = shutil.copytree(plain, tmp_path / "sentences")
    add_sentence_files(directory, modes=("mean",), normalise=True)
    listing = directory / "modules.json"
    listing.write_text(listing.read_text().replace("Normalize", "Dense"))
    with pytest.raises(FormatError, match="'Dense'"):
        hanlin.load(directory)
    listing.write_text("{")
    with pytest.raises(FormatError, match="not JSON"):
        hanlin.load(directory)


@pytest.mark.real
def test_minilm_is_sentence_transformers_minilm(minilm_dir):
    sentences = [*CORPUS[:5], "How do I reset my password?", "word " * 400, "x", "😀 ok", "a\nb"]
    assert _worst_cosine(minilm_dir, sentences) >= 0.99999


@pytest.mark.real
@pytest.mark.slow
def test_minilm_on_a_thousand_reviews(minilm_dir, shared_data):
    with (shared_data / "sst2" / "train.tsv").open(encoding="utf-8", newline="") as file:
        rows = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        sentences = [row[0] for _, row in zip(range(1000), rows, strict=False)]
    assert len(sentences) == 1000
    assert _worst_cosine(minilm_dir, sentences) >= 0.99999


def _worst_cosine(directory: Path, sentences: list[str]) -> float:
    want = sentence_transformer(directory).encode(sentences).astype(np.float64)
    got = hanlin.load(directory).embed(sentences).astype(np.float64)
    np.testing.assert_allclose(np.linalg.norm(got, axis=1), 1, atol=1e-5)
    cosine = (want * got).sum(1) / np.linalg.norm(want, axis=1) / np.linalg.norm(got, axis=1)
    return float(cosine.min())


# Masked words


def test_fill_is_what_transformers_fills(masked):
    transformers = pytest.importorskip("transformers")
    model = hanlin.load(masked)
    assert isinstance(model, MaskedLanguageModel)
    text = "The [MASK] drafted, and [MASK] 翰林 words"
    reference = transformers.AutoModelForMaskedLM.from_pretrained(masked).eval()
    ids = model.tokenizer.encode(text)
    with torch.no_grad():
        probabilities = reference(torch.tensor([ids])).logits[0].softmax(-1)
    guesses = model.fill(text, top_k=4)
    places = [i for i, token in enumerate(ids) if token == model.tokenizer.mask_id]
    assert len(guesses) == len(places) == 2
    for candidates, place in zip(guesses, places, strict=True):
        best = probabilities[place].topk(4)
        assert [c.score for c in candidates] == pytest.approx(best.values.tolist(), abs=1e-5)
        spelt = [model.tokenizer.token(t).removeprefix("##") for t in best.indices.tolist()]
        assert [c.token for c in candidates] == spelt
    first = guesses[0][0]
    assert first.text.replace(" ", "") == text.replace("[MASK]", first.token, 1).replace(" ", "")
    assert first.text.count("[MASK]") == 1


def test_pseudo_log_likelihood_masks_one_token_at_a_time(masked):
    transformers = pytest.importorskip("transformers")
    reference = transformers.AutoModelForMaskedLM.from_pretrained(masked).eval()
    model = hanlin.load(masked)
    text = "A language model continues 什么 text"
    ids = model.tokenizer.encode(text)
    want, first_choices = [], []
    for place in range(1, len(ids) - 1):
        hidden = [*ids[:place], model.tokenizer.mask_id, *ids[place + 1 :]]
        with torch.no_grad():
            logs = reference(torch.tensor([hidden])).logits[0, place].log_softmax(-1)
        want.append(logs[ids[place]].item())
        first_choices.append(int(logs.argmax()) == ids[place])
    score = model.score(text)
    assert score.tokens == tuple(ids[1:-1])
    assert score.logprobs == pytest.approx(want, abs=1e-4)
    assert score.is_greedy == all(first_choices)


def test_a_text_that_cannot_be_filled_is_refused(masked):
    model = hanlin.load(masked)
    with pytest.raises(InputError, match=r"no \[MASK\]"):
        model.fill("nothing is missing")
    with pytest.raises(InputError, match=rf"at most {CONTEXT}"):
        model.fill("[MASK] " * 100)
    with pytest.raises(ValueError, match="top_k is 0"):
        model.fill("[MASK]", top_k=0)


# Labels


@pytest.mark.parametrize("problem", ["single", "multiple"])
def test_labels_are_those_of_transformers(tmp_path, problem):
    transformers = pytest.importorskip("transformers")
    directory = save_encoder(tmp_path / "m", head="classify", problem=problem)
    model = hanlin.load(directory)
    assert isinstance(model, Classifier)
    reference = transformers.AutoModelForSequenceClassification.from_pretrained(directory).eval()
    texts = ["great", "太差了", *CORPUS[:5], "word " * 300]
    labels = model(texts)
    for text, label in zip(texts, labels, strict=True):
        ids = model.tokenizer.encode(text)
        ids = ids if len(ids) <= CONTEXT else [*ids[: CONTEXT - 1], ids[-1]]
        with torch.no_grad():
            logits = reference(torch.tensor([ids])).logits[0]
        want = logits.softmax(-1) if problem == "single" else logits.sigmoid()
        assert list(label.scores) == ["good", "bad", "neither"]
        assert list(label.scores.values()) == pytest.approx(want.tolist(), abs=1e-5)
        assert label.name == ("good", "bad", "neither")[int(want.argmax())]
    single = model("great")
    assert isinstance(single, Label)
    assert (single.name, single.score) == (labels[0].name, pytest.approx(labels[0].score, abs=1e-6))


def test_a_head_without_a_task_is_refused_with_the_way_out(tmp_path):
    tokenizer = byte_tokenizer()
    config = new_config("bart", tokenizer=tokenizer, hidden_size=32, num_layers=1, num_heads=2)
    network = Transformer(config.with_changes(head="none"))
    directory = save_directory(network, tmp_path / "m", tokenizer=tokenizer)
    with pytest.raises(InputError, match=r"hanlin\.models\.load"):
        hanlin.load(directory)


def test_importing_hanlin_does_not_import_torch():
    import subprocess
    import sys

    code = "import sys, hanlin; assert 'torch' not in sys.modules; hanlin.models; dir(hanlin)"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        hanlin.lod  # noqa: B018
