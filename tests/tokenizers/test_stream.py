"""Text that streams out in whole characters is the text that decoding gives."""

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models

from hanlin.errors import FormatError, InputError
from hanlin.tokenizers import SpecialTokens, Tokenizer, train

TEXTS = [
    "Hello, world! It's fine.",
    "你好，世界。翰林",
    "🤗👩‍👩‍👧 かな カナ 한국어 हिन्दी العربية",
    "x = {1: 'a'}\n\n",
]
KINDS = ("bpe", "wordpiece", "unigram")


@cache
def tokenizer(kind: str) -> Tokenizer:
    size = {"bpe": 320, "wordpiece": 150, "unigram": 480}[kind]
    return train(TEXTS * 4, kind=kind, vocab_size=size)


def streamed(tokenizer: Tokenizer, ids: list[int], *, skip: bool) -> list[str]:
    stream = tokenizer.stream(skip_special_tokens=skip)
    return [*(stream.push(token) for token in ids), stream.finish()]


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_any_ids(kind: str, data: st.DataObject) -> None:
    ours = tokenizer(kind)
    ids = data.draw(st.lists(st.integers(0, ours.vocab_size + 3), max_size=40))
    for skip in (True, False):
        pieces = streamed(ours, ids, skip=skip)
        assert "".join(pieces) == ours.decode(ids, skip_special_tokens=skip)


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
@given(text=st.text(max_size=60))
@settings(max_examples=200, deadline=None)
def test_any_text_never_shows_half_a_character(kind: str, text: str) -> None:
    ours = tokenizer(kind)
    ids = ours.encode(text, add_special_tokens=False)
    want = text
    if kind == "unigram":  # which normalises (NFKC) and writes a space as ▁
        want = ours.backend.normalizer.normalize_str(text).replace("▁", " ")
        want = want.removeprefix(" ")
    pieces = streamed(ours, ids, skip=False)
    assert "".join(pieces) == want
    if "\ufffd" not in want:
        assert not any("\ufffd" in piece for piece in pieces)


@given(text=st.text(max_size=60))
@settings(max_examples=100, deadline=None)
def test_decoding_equals_the_rust_decoder_on_whole_texts(text: str) -> None:
    for kind in KINDS:
        ours = tokenizer(kind)
        ids = ours.encode(text)
        assert ours.decode(ids) == ours.backend.decode(ids, skip_special_tokens=False)
        assert ours.decode(ids, skip_special_tokens=True) == ours.backend.decode(ids)


def test_an_emoji_appears_once_it_is_whole() -> None:
    ours = tokenizer("bpe")
    ids = [ours.id(letter) for letter in "ðŁ¤Ĺ"]  # F0 9F A4 97 in the byte-level alphabet
    assert None not in ids
    assert streamed(ours, ids, skip=True) == ["", "", "", "🤗", ""]
    # A byte that can no longer be completed shows as U+FFFD at once, the rest is read anew.
    assert streamed(ours, [ids[0], ids[1], ours.id("a"), ids[0]], skip=True) == [
        "",
        "",
        "\ufffda",
        "",
        "\ufffd",
    ]


def test_invalid_bytes_do_not_spoil_their_neighbours() -> None:
    ours = tokenizer("unigram")
    ids = [ours.id(f"<0x{byte:02X}>") for byte in "好".encode()] + [ours.id("<0xFF>")]
    assert ours.decode(ids) == "好\ufffd"


def test_token_bytes_joined_are_the_text() -> None:
    text = "Hello, 你好 🤗"
    for kind in ("bpe", "unigram"):
        ours = tokenizer(kind)
        ids = ours.encode(text, add_special_tokens=False)
        assert b"".join(map(ours.token_bytes, ids)).decode().strip() == text.replace("，", ",")
    words = tokenizer("wordpiece")
    ids = words.encode("hello world", add_special_tokens=False)
    assert b"".join(map(words.token_bytes, ids)) == b" hello world"


def test_ids_that_are_none() -> None:
    ours = tokenizer("bpe")
    assert ours.decode([ours.vocab_size + 7]) == ""
    with pytest.raises(InputError, match="not a token id"):
        ours.decode([-1])
    with pytest.raises(InputError, match="No token has the id"):
        ours.token(ours.vocab_size + 7)


def test_clean_up_is_asked_for_twice() -> None:
    backend = Backend(models.WordLevel({"it": 0, "is": 1, ".": 2, "n't": 3}, unk_token="it"))
    ids = [0, 1, 3, 2]
    assert Tokenizer(backend, cleans_up=True).decode(ids) == "it is n't ."
    assert Tokenizer(backend, cleans_up=True).decode(ids, clean_up=True) == "it isn't."
    assert Tokenizer(backend).decode(ids, clean_up=True) == "it is n't ."


def test_an_unknown_decoder_is_refused() -> None:
    backend = Backend(models.BPE())
    backend.decoder = decoders.CTC()
    with pytest.raises(FormatError, match="CTC"):
        Tokenizer(backend, special=SpecialTokens())
