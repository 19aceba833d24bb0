"""Stages of cleaning: what they change and drop, and what their results depend on."""

import unicodedata
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hanlin.errors import ConfigError
from hanlin.text.documents import Document, Dropped
from hanlin.text.stages import MaximumReplaced, MinimumLength, Normalise, clean, key


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_normalised_text_is_composed_and_stays_as_it_is(text):
    once = Normalise()(Document(text, "x")).text
    assert Normalise()(Document(once, "x")).text == once
    assert unicodedata.is_normalized("NFC", once)
    assert all(c in "\n\t" or unicodedata.category(c) != "Cc" for c in once)
    kept = [c for c in once if c.isalpha()]
    assert kept == [c for c in unicodedata.normalize("NFC", text) if c.isalpha()]


def test_normalising_ends_of_lines_and_marks():
    assert Normalise()(Document("a\r\nb\rc\x00\x1b[0m\ufeff e\u0301", "x")).text == "a\nb\nc[0m é"


def test_what_is_dropped_and_why():
    short = Document("  ab  ", "x")
    assert clean(short, [MinimumLength(3)]) == Dropped("shorter than 3 characters")
    assert clean(short, [MinimumLength(2)]) == short
    assert clean(Document(" \n", "x"), []) == Dropped("empty")
    assert clean(Document("a\ufffd", "x"), [MaximumReplaced()]) == Dropped("broken characters")
    assert clean(Document("a\x00", "x"), [Normalise(), MinimumLength(2)]) == Dropped(
        "shorter than 2 characters"
    )


def test_the_last_part_of_a_long_document_may_be_short():
    last = Document("x", "x", {"part": 3, "more": False})
    assert clean(last, [MinimumLength(100)]) == last


def shout(document: Document) -> Document:
    return Document(document.text.upper(), document.source)


@dataclass(frozen=True)
class Own:
    n: int

    def __call__(self, document: Document) -> Document:
        return document


class Opaque:
    def __call__(self, document: Document) -> Document:
        return document


def test_a_key_depends_on_name_settings_and_code():
    keys = {key(stage) for stage in (shout, Own(1), Own(2), Normalise(), MinimumLength(1))}
    assert len(keys) == 5
    assert key(Own(1)) == key(Own(1))
    with pytest.raises(ConfigError, match="dataclass"):
        key(Opaque())


def test_settings_out_of_range():
    with pytest.raises(ConfigError, match="minimum length"):
        MinimumLength(0)
    with pytest.raises(ConfigError, match=r"U\+FFFD"):
        MaximumReplaced(1.0)
