"""The n-gram model of text: units, choosing among them, writing, saving."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hanlin.errors import ConfigError, FormatError, InputError
from hanlin.evaluation import NgramModel
from hanlin.evaluation.ngram.alphabet import Bytes, Characters, Tokens, alphabet_from
from hanlin.tokenizers import train
from tiny_models import CORPUS

TEXT = " ".join(CORPUS)
UNSEEN = "翰林 zeta Ω 😀 the academy"


def bits_per_byte(model: NgramModel, text: str) -> float:
    [score] = model.score_texts([text])
    assert score.ends[-1] == len(text.encode())
    return float(score.nats.sum()) / math.log(2) / len(text.encode())


@pytest.mark.parametrize("unit", ["bytes", "characters", "tokens"])
def test_each_unit_pays_for_every_byte(unit):
    model = NgramModel.train([TEXT], unit=unit, order=3)
    assert model.counts.order == 3
    assert unit in model.name
    assert 0 < bits_per_byte(model, TEXT) < 2
    assert bits_per_byte(model, TEXT) < bits_per_byte(model, UNSEEN) < 20


def test_bytes_and_characters_of_ascii_are_the_same_model_but_for_the_symbols_never_seen():
    text = "abracadabra " * 40
    as_bytes = NgramModel.train([text], unit="bytes", order=4)
    as_characters = NgramModel.train([text], unit="characters", order=4)
    assert bits_per_byte(as_bytes, text) == pytest.approx(
        bits_per_byte(as_characters, text), abs=0.02
    )


def test_a_character_never_seen_costs_its_share_of_all_others():
    model = NgramModel.train(["abab" * 30], unit="characters", order=2)
    [score] = model.score_texts(["a😀"])
    p = model.counts.distribution([model.alphabet.size, 0])
    others = 0x110000 - 0x800 - 2
    assert score.nats[1] == pytest.approx(-math.log(p[2]) + math.log(others))


def test_documents_are_scored_apart():
    model = NgramModel.train([TEXT], unit="characters", order=4)
    first, second = "什么是词元？", "A token"
    together = model.score_texts([first, second])
    for text, score in zip((first, second), together, strict=True):
        [alone] = model.score_texts([text])
        np.testing.assert_array_equal(alone.nats, score.nats)


def test_it_chooses_what_its_held_out_part_asks_for():
    rng = np.random.default_rng(0)
    noise = "".join(rng.choice(list("abcdefgh"), 6000))
    assert NgramModel.train([noise], unit="characters").counts.order == 1
    pattern = ("the quick brown fox jumps over the lazy dog; " * 200)[:6000]
    assert NgramModel.train([pattern], unit="characters").counts.order >= 3


def test_left_to_itself_it_does_as_well_as_its_best_candidate():
    text = TEXT * 3 + " ".join(reversed(CORPUS))
    asked = " ".join(CORPUS[:3])
    alone = [
        bits_per_byte(NgramModel.train([text], unit=unit), asked)
        for unit in ("characters", "tokens")
    ]
    assert bits_per_byte(NgramModel.train([text]), asked) <= max(alone) + 1e-9


def test_many_short_documents_train_it_too():
    texts = [f"line {number}: {CORPUS[number % len(CORPUS)]}" for number in range(150)]
    model = NgramModel.train(texts, unit="characters")
    assert bits_per_byte(model, "line 7: A language model") < 3
    assert NgramModel.train(["a"]).trained_on == 1


def test_it_writes_what_it_read():
    model = NgramModel.train(["abcabc" * 50], unit="characters", order=3)
    assert model.generate("abc", symbols=9, seed=1).startswith("abcabc")
    text = NgramModel.train([TEXT]).generate("翰林", symbols=40, seed=2)
    assert text == NgramModel.train([TEXT]).generate("翰林", symbols=40, seed=2)
    assert text


@pytest.mark.parametrize("unit", ["bytes", "characters", "tokens"])
def test_saved_and_loaded_it_is_the_same(tmp_path, unit):
    model = NgramModel.train([TEXT], unit=unit, order=3)
    model.save(tmp_path / "model.safetensors")
    again = NgramModel.load(tmp_path / "model.safetensors")
    assert again.name == model.name
    assert again.trained_on == len(TEXT.encode())
    assert bits_per_byte(again, UNSEEN) == bits_per_byte(model, UNSEEN)


def test_another_file_is_no_model(tmp_path):
    from safetensors.numpy import save_file

    path = tmp_path / "x.safetensors"
    save_file({"a": np.zeros(2)}, str(path))
    with pytest.raises(FormatError, match="n-gram"):
        NgramModel.load(path)
    path.write_bytes(b"12345")
    with pytest.raises(FormatError, match="safetensors"):
        NgramModel.load(path)


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(InputError, match="no text"):
        NgramModel.train(["", ""])
    with pytest.raises(ConfigError, match="bytes, characters, tokens"):
        NgramModel.train(["a"], unit="words")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="at least 1"):
        NgramModel.train(["a"], order=0)


# Alphabets


@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=80))
@settings(deadline=None)
def test_symbols_spell_their_text_and_end_where_it_ends(text):
    for alphabet in (Bytes(), Characters.of([text, "a"]), BPE):
        symbols = alphabet.symbols(text)
        assert alphabet.text(symbols.ids.tolist()) == text
        assert (symbols.ids < alphabet.size).all()
        assert len(symbols.ids) == len(symbols.ends)
        if text:
            assert symbols.ends[-1] == len(text.encode())
            assert (np.diff(symbols.ends) >= 0).all()
        again = alphabet_from(alphabet.to_dict())
        np.testing.assert_array_equal(again.symbols(text).ids, symbols.ids)


[BPE] = Tokens.of([TEXT], sizes=(330,))


def test_a_smaller_bpe_is_the_beginning_of_a_larger():
    small, large = Tokens.of([TEXT], sizes=(300, 400))
    assert (small.size, large.size) == (300, 400)
    for alphabet in (small, large):
        apart = train([TEXT], kind="bpe", vocab_size=alphabet.size)
        assert alphabet.symbols(UNSEEN).ids.tolist() == apart.encode(UNSEEN)
