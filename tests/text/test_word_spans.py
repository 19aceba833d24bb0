"""Words of raw text: the rule, and what puts words together again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hanlin.text.words import joined, word_spans


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The U.S. economy's 3.14, don't!", "The U.S . economy's 3.14 , don't !"),
        ("state-of-the-art 600-1100", "state-of-the-art 600 - 1100"),
        ("2012年，中国“你好”", "2012 年 ， 中 国 “ 你 好 ”"),
        ("ω-force开发的 GPT2", "ω-force 开 发 的 GPT2"),
        ("ひらカナ漢字", "ひ ら カ ナ 漢 字"),
        ("a_b 😀 ", "a_b 😀"),
        ("", ""),
    ],
)
def test_the_rule(text: str, words: str) -> None:
    assert [text[start:end] for start, end in word_spans(text)] == words.split()


@given(st.text(alphabet="aZ1.,-'_ \n中文，。😀é", max_size=40))
def test_every_character_but_white_space_is_in_one_word(text: str) -> None:
    covered = [at for start, end in word_spans(text) for at in range(start, end)]
    assert covered == sorted(set(covered))
    assert [at for at in range(len(text)) if not text[at].isspace()] == covered


@given(st.lists(st.text(alphabet="aZ1.中文，", min_size=1, max_size=5), max_size=12))
def test_words_stand_where_they_are_said_to_stand(words: list[str]) -> None:
    text, spans = joined(words)
    assert [text[start:end] for start, end in spans] == words
    assert text.replace(" ", "") == "".join(words)


def test_spaces_stand_between_words_that_have_them() -> None:
    assert joined(["London", "is", "here"])[0] == "London is here"
    assert joined(["我", "爱", "AI", "和", "GPT"])[0] == "我爱AI和GPT"
