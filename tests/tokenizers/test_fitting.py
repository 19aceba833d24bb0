"""Pairs of texts beside transformers: what stands between them, and what is cut off."""

from pathlib import Path

import pytest
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer

from hanlin.errors import ConfigError
from hanlin.tokenizers.fitting import fit
from tiny_models import byte_tokenizer, save_decoder, word_tokenizer

PAIRS = [
    ("What is a token?", "A part of a word."),
    ("翰林院的学士", "The academy drafted, examined and explained the words of the emperor."),
    ("", "alone"),
    ("alone", ""),
]


def test_the_end_token_stands_where_a_tokenizer_puts_nothing(tmp_path: Path) -> None:
    theirs = AutoTokenizer.from_pretrained(save_decoder(tmp_path / "model"))
    ours = byte_tokenizer()
    glued = [*theirs("a")["input_ids"], *theirs("b")["input_ids"]]
    assert theirs("a", "b")["input_ids"] == glued
    found = fit(ours, PAIRS, length=96)
    for ids, types, (first, second) in zip(found.ids, found.types or [], PAIRS, strict=True):
        assert ids == theirs(first + theirs.eos_token + second)["input_ids"]
        assert len(types) == len(ids)
        assert types.count(1) == len(theirs(second)["input_ids"])
        assert types == sorted(types)
    assert found.cut == 0


@pytest.mark.parametrize("length", [7, 12, 25])
def test_what_is_too_long_is_cut_as_transformers_cuts_it(length: int, tmp_path: Path) -> None:
    theirs = AutoTokenizer.from_pretrained(save_decoder(tmp_path / "model"))
    ours = byte_tokenizer()
    found = fit(ours, PAIRS, length=length)
    for ids, (first, second) in zip(found.ids, PAIRS, strict=True):
        want = theirs(first, second, truncation="longest_first", max_length=length - 1)
        assert len(ids) <= length
        assert [token for token in ids if token != ours.eos_id] == want["input_ids"]
        assert ids.count(ours.eos_id) == 1
    whole = [len(theirs(*pair)["input_ids"]) for pair in PAIRS]
    assert found.cut == sum(size > length - 1 for size in whole)
    with pytest.raises(ConfigError, match="no room in 2 tokens"):
        fit(ours, PAIRS, length=2)


def test_a_new_line_stands_where_there_is_no_end_token() -> None:
    tokenizer = byte_tokenizer()
    tokenizer.eos_id = None
    found = fit(tokenizer, PAIRS[:1], length=96)
    assert tokenizer.decode(found.ids[0]) == "\n".join(PAIRS[0])


def test_a_tokenizer_with_a_place_for_pairs_keeps_it() -> None:
    tokenizer = word_tokenizer()
    found = fit(tokenizer, PAIRS, length=96)
    for ids, types, pair in zip(found.ids, found.types or [], PAIRS, strict=True):
        assert (ids, types) == tokenizer.encode_pair(*pair)


def test_texts_that_nothing_sets_apart_are_an_error() -> None:
    tokenizer = word_tokenizer()
    tokenizer.backend.post_processor = TemplateProcessing(single="$A", pair="$A:0 $B:1")
    tokenizer.eos_id = None
    assert tokenizer.encode("\n", add_special_tokens=False) == []
    with pytest.raises(ConfigError, match="nothing to put between"):
        fit(tokenizer, [("a", "b")], length=20)
