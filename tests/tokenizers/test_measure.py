"""What is measured is what one counts by hand."""

import pytest

from hanlin.errors import InputError
from hanlin.tokenizers import measure, train


def test_counts_by_hand() -> None:
    bytes_only = train(["a"], kind="bpe", vocab_size=257)  # every byte a token
    texts = ["Hello there, friend", "你好世界", "", "🤗"]
    found = measure(bytes_only, texts)
    size = sum(len(text.encode()) for text in texts)
    assert (found.texts, found.bytes, found.tokens) == (3, size, size)
    assert found.bytes_per_token == 1
    assert found.characters == sum(map(len, texts))
    assert found.tokens_per_character == size / found.characters
    assert (found.exact, found.first_failure, found.unknown) == (1, None, 0)
    assert set(found.by_language) == {"en", "zh", "other"}
    assert found.by_script == {
        name: pytest.approx(1) for name in ("Latin", "Han", "emoji", "punctuation")
    }
    assert found.megabytes_per_second > 0


def test_longer_tokens_count_for_their_script() -> None:
    learnt = train(["hello hello 你好你好"] * 20, kind="bpe", vocab_size=290)
    found = measure(learnt, ["hello", "你好", "hello 你好"])
    assert found.by_script["Latin"] == pytest.approx(5, rel=0.2)
    assert found.by_script["Han"] > 3
    assert found.by_language["en"] == pytest.approx(5, rel=0.2)


def test_what_is_lost_is_shown() -> None:
    learnt = train(["some plain words"] * 5, kind="wordpiece", vocab_size=60)
    found = measure(learnt, ["some words", "Some Words", "some 好 words"])
    assert found.exact == pytest.approx(1 / 3)
    assert found.first_failure == ("Some Words", "some words")
    assert found.unknown > 0
    data = found.to_dict()
    assert data["round_trip"] == pytest.approx(1 / 3, abs=1e-6)
    assert data["first_failure"] == ["Some Words", "some words"]


@pytest.mark.parametrize("texts", [[], ["", ""]])
def test_nothing_to_measure(texts: list[str]) -> None:
    learnt = train(["a"], kind="bpe", vocab_size=257)
    with pytest.raises(InputError, match="no text to measure"):
        measure(learnt, texts)
