"""Scripts of characters, against their Unicode names."""

import unicodedata

import pytest

from hanlin.text.scripts import language, script

NAMED = {
    "LATIN": "Latin",
    "CJK UNIFIED": "Han",
    "CJK COMPATIBILITY IDEOGRAPH": "Han",
    "HIRAGANA LETTER": "Kana",
    "KATAKANA LETTER": "Kana",
    "HANGUL SYLLABLE": "Hangul",
    "CYRILLIC": "Cyrillic",
    "GREEK": "Greek",
    "ARABIC LETTER": "Arabic",
    "HEBREW LETTER": "Hebrew",
    "DEVANAGARI LETTER": "Devanagari",
    "THAI CHARACTER": "Thai",
    "ARMENIAN": "Armenian",
    "GEORGIAN LETTER": "Georgian",
    "TIBETAN LETTER": "Tibetan",
}


@pytest.mark.parametrize("prefix", NAMED)
def test_letters_have_the_script_of_their_name(prefix: str) -> None:
    seen = wrong = 0
    for code in range(0x30000):
        character = chr(code)
        if not unicodedata.category(character).startswith("L"):
            continue
        if unicodedata.name(character, "").startswith(prefix):
            seen += 1
            wrong += script(character) != NAMED[prefix]
    assert seen > 20
    assert wrong <= seen * 0.2  # supplements far from the main block are "other"
    if prefix in ("CJK UNIFIED", "HANGUL SYLLABLE", "HIRAGANA LETTER"):
        assert wrong <= seen * 0.01


@pytest.mark.parametrize(
    ("characters", "expected"),
    [
        ("0９٣", "digit"),
        (" \t\n\u3000\u00a0", "space"),
        (".,，。！《—$+@", "punctuation"),
        ("🤗👍🇨☀\u200d\ufe0f", "emoji"),
        ("\x00\u0301\ufffe", "other"),
        ("〇々漢汉𠀀", "Han"),
        ("ｱカｶ", "Kana"),
        ("Ａéǅ", "Latin"),
    ],
)
def test_classes(characters: str, expected: str) -> None:
    assert {script(character) for character in characters} == {expected}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The cat sat on the mat, didn't it?", "en"),
        ("翰林院是中国古代的官署。", "zh"),
        ("用 Python 写一个函数，返回列表中的最大值。", "zh"),
        ("def f(x):\n    return x + 1\n", "code"),
        ("if (a == b) {\n  print(a);\n}\n", "code"),
        ("これは日本語の文章です。", "other"),
        ("Это русский текст.", "other"),
        ("12345 ...", "other"),
        ("", "other"),
    ],
)
def test_language(text: str, expected: str) -> None:
    assert language(text) == expected
