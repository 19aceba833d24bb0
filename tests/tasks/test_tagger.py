"""Taggers: the tags of transformers, entities with their places, the same in any batch."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

import hanlin
from hanlin.data.conll import tagged
from hanlin.errors import InputError
from hanlin.models import load as load_network
from hanlin.models.directory import save_directory
from hanlin.models.heading import with_head
from hanlin.models.transformer import Transformer
from hanlin.tasks import Entity, Tagger
from tiny_models import CONTEXT, CORPUS, byte_tokenizer, save_decoder, save_encoder

LABELS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
SENTENCES = [text.split() for text in CORPUS[:3]] + [list("翰林院的学士"), ["😀", "Numbers"]]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_encoder(tmp_path_factory.mktemp("tagger") / "model", head="tag", labels=LABELS)


@pytest.fixture(scope="module")
def tagger(directory: Path) -> Tagger:
    model = hanlin.load(directory)
    assert isinstance(model, Tagger)
    return model


def test_the_tags_of_words_are_those_of_transformers(directory: Path, tagger: Tagger) -> None:
    library = pytest.importorskip("transformers")
    theirs = library.BertForTokenClassification.from_pretrained(directory).eval()
    tokenizer = library.PreTrainedTokenizerFast(tokenizer_file=str(directory / "tokenizer.json"))
    for words, ours in zip(SENTENCES, tagger.tag(SENTENCES), strict=True):
        encoding = tokenizer(words, is_split_into_words=True, return_tensors="pt")
        with torch.no_grad():
            inputs = {k: encoding[k] for k in ("input_ids", "attention_mask")}
            p = theirs(**inputs).logits[0].softmax(-1)
        owners = encoding.word_ids()
        for at, tag in enumerate(ours):
            first = owners.index(at)
            assert tag.word == words[at]
            assert tag.tag == LABELS[int(p[first].argmax())]
            assert tag.score == pytest.approx(float(p[first].max()), abs=1e-5)


def test_entities_stand_where_they_say(tagger: Tagger) -> None:
    for text in CORPUS[:5]:
        entities = tagger(text)
        for entity in entities:
            assert text[entity.start : entity.end] == entity.text != ""
            assert entity.label in ("PER", "LOC")
            assert 0 < entity.score <= 1
        places = [(entity.start, entity.end) for entity in entities]
        assert places == sorted(places)
        assert all(one[1] <= two[0] for one, two in itertools.pairwise(places))
    assert any(tagger(text) for text in CORPUS[:5]), "random weights find something"


def test_a_text_does_not_depend_on_the_rest_of_the_batch(tagger: Tagger) -> None:
    texts = [*CORPUS[:5], "", "a", " ".join(CORPUS), "你好"]
    together = tagger(texts)
    assert together[5] == []
    for text, want in zip(texts, together, strict=True):
        got = tagger(text)
        assert [(e.label, e.start, e.end) for e in got] == [(e.label, e.start, e.end) for e in want]
        np.testing.assert_allclose([e.score for e in got], [e.score for e in want], atol=1e-6)


def test_long_texts_are_read_in_windows_to_the_end(tagger: Tagger) -> None:
    words = " ".join(CORPUS).split()
    pieces = tagger.tokenizer.encode(" ".join(words))
    assert len(pieces) > 2 * CONTEXT
    [tags] = tagger.tag([words])
    assert len(tags) == len(words)
    assert all(tag.score > 0 for tag in tags)


def test_words_that_no_token_shows_are_called_o(tagger: Tagger) -> None:
    [tags] = tagger.tag([["a", "\u200b\u200b", "b"]])
    assert (tags[1].tag, tags[1].score) == ("O", 0.0)
    assert tags[2].score > 0


def test_raw_texts_of_records_are_read_as_they_stand(tagger: Tagger) -> None:
    record = tagged(["什么", "是"], ["O", "O"], text=" 什么\n是")
    assert record.spans == ((1, 3), (4, 5))
    [got] = tagger.tag([record])
    [plain] = tagger.tag([["什么", "是"]])
    assert [t.tag for t in got] == [t.tag for t in plain]


def test_tags_of_single_words_name_every_word(tmp_path: Path) -> None:
    labels = ("NOUN", "VERB", "PUNCT")
    model = hanlin.load(save_encoder(tmp_path / "pos", head="tag", labels=labels))
    found = model("什么是a token?")
    assert [entity.text for entity in found] == ["什", "么", "是", "a", "token", "?"]
    assert all(isinstance(entity, Entity) and entity.label in labels for entity in found)


def test_a_decoder_can_tag(tmp_path: Path) -> None:
    plain = load_network(save_decoder(tmp_path / "llama", chat=False), dtype="float32")
    network = Transformer(with_head(plain.config, "tag", labels=LABELS)).eval()
    tokenizer = byte_tokenizer(chat=False)
    model = hanlin.load(save_directory(network, tmp_path / "tagger", tokenizer=tokenizer))
    assert isinstance(model, Tagger)
    [tags] = model.tag([["Numbers", "你好", "😀"]])
    assert all(tag.score > 0 for tag in tags)


def test_what_it_cannot_do_is_said(tagger: Tagger) -> None:
    with pytest.raises(InputError, match="is a tagger and cannot generate"):
        tagger.generate("x")
    with pytest.raises(InputError, match="type int"):
        tagger([3])
    assert tagger([]) == []
    assert tagger.tag([[]]) == [[]]
