"""Bytes become text: encodings are told apart, blocks make no difference, nothing crashes."""

import json
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hanlin.errors import FormatError
from hanlin.text.encodings import BinaryError, Decoder, detect

JAPANESE = (
    "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。何でも薄暗いじめじめした所で"
    "ニャーニャー泣いていた事だけは記憶している。"
)
KOREAN = "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다."
FRENCH = "L'été dernier, à Noël, le garçon a mangé une pâte brisée. Où êtes-vous allés?"
RUSSIAN = "Все люди рождаются свободными и равными в своем достоинстве и правах."
CHINESE = "翰林院的学士起草诏书，翻译外文，主持考试，讲解经典。"


def decode(data: bytes, *, encoding: str | None = None, step: int = 1 << 18) -> tuple[str, Decoder]:
    """All of `data`, which comes in pieces of at most `step` bytes."""
    at = 0

    def read(size: int) -> bytes:
        nonlocal at
        piece = data[at : at + min(size, step)]
        at += len(piece)
        return piece

    decoder = Decoder(encoding)
    return "".join(decoder.decode(read)), decoder


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufeff")))
@settings(max_examples=200, deadline=None)
def test_utf8_and_marked_encodings_come_back_as_they_were(text):
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-32"):
        found, decoder = decode(text.encode(encoding))
        assert found == text
        assert decoder.replaced == 0


@given(st.binary(max_size=400), st.integers(1, 7))
@settings(max_examples=150, deadline=None)
def test_any_bytes_are_text_or_refused_and_pieces_make_no_difference(data, step):
    try:
        whole, one = decode(data)
    except FormatError:
        with pytest.raises(FormatError):
            decode(data, step=step)
        return
    pieces, other = decode(data, step=step)
    assert (pieces, other.encoding, other.replaced) == (whole, one.encoding, one.replaced)


@given(st.lists(st.sampled_from(["a", "é", "翰", "\U0001f600", "\ufffd", b"\xff", b"\xe7\xbf"])))
@settings(max_examples=200, deadline=None)
def test_broken_utf8_is_replaced_and_counted_as_python_replaces_it(pieces):
    data = b"".join(piece if isinstance(piece, bytes) else piece.encode() for piece in pieces)
    text, decoder = decode(data, encoding="utf-8", step=3)
    assert text == data.decode("utf-8", "replace")
    own = sum(piece == "\ufffd" for piece in pieces)
    assert decoder.replaced == text.count("\ufffd") - own


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (CHINESE, "gb18030"),
        (CHINESE, "utf-16-le"),
        (CHINESE, "utf-16-be"),
        ("翰林院的學士起草詔書，翻譯外文，主持考試，講解經典。", "big5"),
        (JAPANESE, "cp932"),
        (JAPANESE, "euc_jp"),
        (KOREAN, "euc_kr"),
        (FRENCH, "cp1252"),
        (FRENCH, "latin-1"),
        (RUSSIAN, "cp1251"),
        (RUSSIAN, "koi8-r"),
        ("caf\xe9 au lait", "latin-1"),
    ],
)
@pytest.mark.parametrize("ascii_before", [0, 3000, 300_000])
def test_encodings_are_told_apart(text, encoding, ascii_before):
    text = "plain words\n" * (ascii_before // 12) + text * 3
    found, decoder = decode(text.encode(encoding))
    assert found == text, decoder.encoding
    assert decoder.replaced == 0


def test_real_text_in_the_old_encodings(shared_data):
    novel = (shared_data / "zh_novels" / "红楼梦.txt").read_text(encoding="utf-8")
    poems = json.loads((shared_data / "chinese_poetry/全唐诗/poet.tang.0.json").read_bytes())
    verses = "\n".join(line for poem in poems for line in poem["paragraphs"])
    for text, encoding in ((novel, "gb18030"), (verses, "gb18030"), (verses, "big5hkscs")):
        data = text.encode(encoding, "ignore")
        for start in range(0, 100_000, 20_000):
            # A line at least, from the start of a line.
            piece = data[data.index(b"\n", start) + 1 :][:2000]
            piece = piece[: piece.rindex(b"\n")]
            name = detect(piece)
            assert piece.decode(name) == piece.decode(encoding), (encoding, start, name)


def test_a_few_broken_bytes_do_not_make_utf8_something_else():
    data = CHINESE.encode() * 4 + b"\xff\xfe" + CHINESE.encode() * 4
    text, decoder = decode(data)
    assert (decoder.encoding, decoder.replaced) == ("utf-8", 2)
    assert text == CHINESE * 4 + "\ufffd\ufffd" + CHINESE * 4


@pytest.mark.parametrize(
    "data",
    [
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(range(256)) * 8,
        b"%PDF-1.7\n1 0 obj",
        b"\x7fELF\x02\x01\x01\0\0\0\0\0" * 40,
        bytes(255 - (n * 37 + n * n) % 256 for n in range(5000)),
    ],
)
def test_what_is_binary_is_said_to_be(data):
    with pytest.raises(BinaryError):
        decode(data)


def test_a_forced_encoding_is_taken_and_its_mark_left_out():
    assert decode(b"\xef\xbb\xbfabc", encoding="utf-8")[0] == "abc"
    assert decode("é".encode("cp437"), encoding="cp437")[0] == "é"
    assert decode(b"a\x81b", encoding="cp1252")[1].replaced == 1


def test_without_charset_normalizer_the_remedy_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "charset_normalizer", None)
    with pytest.raises(FormatError, match=r"pip install 'hanlin\[data\]'"):
        decode((RUSSIAN * 3).encode("cp1251"))
