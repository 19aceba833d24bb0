"""Augmented texts: what a copy may differ in, and what it keeps."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hanlin.errors import ConfigError
from hanlin.text.augment import EDITS, PROVENANCE, Edit, Noise, noisy, with_noise, with_translation
from hanlin.text.words import word_spans

ENGLISH = "The quick brown fox jumps over the lazy dog, doesn't it?"
CHINESE = "酒店的服务很好，房间也很干净。"
ROWS = [
    {"text": ENGLISH, "label": "animal", "id": 7},
    {"text": CHINESE, "label": "酒店", "id": 8},
    {"text": "ok", "label": "short", "id": 9},
]
texts = st.text(st.sampled_from("ab Cd-é1.,!?酒店很好，。 \n\t😀"), max_size=40)


def words(text: str) -> list[str]:
    return [text[start:stop] for start, stop in word_spans(text) if text[start].isalnum()]


@settings(deadline=None)
@given(texts, st.floats(0.01, 1.0), st.integers(0, 5))
def test_a_copy_depends_on_its_arguments_alone(text: str, rate: float, seed: int) -> None:
    noise = Noise(rate=rate)
    assert noisy(text, noise, seed=seed) == noisy(text, noise, seed=seed)


@settings(deadline=None)
@given(texts, st.floats(0.01, 1.0), st.integers(0, 5))
def test_deleting_leaves_the_rest_as_it_was(text: str, rate: float, seed: int) -> None:
    made = noisy(text, Noise(rate=rate, edits=("delete",)), seed=seed)
    remaining = iter(text)
    assert all(character in remaining for character in made)
    assert bool(words(made)) == bool(words(text))
    if len(words(text)) <= 1:
        assert made == text.strip()


@settings(deadline=None)
@given(texts, st.floats(0.01, 1.0), st.integers(0, 5))
def test_swapping_words_keeps_every_character(text: str, rate: float, seed: int) -> None:
    made = noisy(text, Noise(rate=rate, edits=("swap",)), seed=seed)
    assert sorted(made) == sorted(text.strip())


@settings(deadline=None)
@given(texts, st.floats(0.01, 1.0), st.integers(0, 5))
def test_swapping_letters_keeps_the_ends_of_words(text: str, rate: float, seed: int) -> None:
    made = noisy(text, Noise(rate=rate, edits=("letters",)), seed=seed)
    assert sorted(made) == sorted(text.strip())
    spans = [span for span in word_spans(text.strip()) if text.strip()[span[0]].isalnum()]
    for start, stop in spans:
        assert made[start] == text.strip()[start]
        assert made[stop - 1] == text.strip()[stop - 1]


@settings(deadline=None)
@given(texts, st.floats(0.01, 1.0), st.integers(0, 5))
def test_changing_case_changes_nothing_else(text: str, rate: float, seed: int) -> None:
    made = noisy(text, Noise(rate=rate, edits=("case",)), seed=seed)
    assert made.casefold() == text.strip().casefold()


@pytest.mark.parametrize("text", [ENGLISH * 20, CHINESE * 20])
@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_the_rate_is_the_share_of_words_that_are_edited(text: str, rate: float) -> None:
    before = words(text)
    after = words(noisy(text, Noise(rate=rate, edits=("delete",)), seed=3))
    assert len(before) - len(after) == round(rate * len(before))


@pytest.mark.parametrize("edit", EDITS)
def test_each_edit_does_something_where_it_fits(edit: Edit) -> None:
    noise = Noise(rate=0.3, edits=(edit,))
    assert noisy(ENGLISH, noise, seed=0) != ENGLISH
    if edit in ("delete", "swap"):
        made = noisy(CHINESE, noise, seed=0)
        assert made != CHINESE
        assert " " not in made


def test_a_deleted_word_takes_its_space_along() -> None:
    for copy in range(20):
        assert "  " not in noisy(ENGLISH, Noise(edits=("delete",)), seed=1, copy=copy)


def test_copies_keep_their_row_and_say_what_they_are() -> None:
    made = with_noise(ROWS, Noise(rate=0.2), copies=2, seed=5)
    originals = [row for row in made.rows if PROVENANCE not in row]
    copies = [row for row in made.rows if PROVENANCE in row]
    assert originals == ROWS
    assert made.made == len(copies)
    for row in copies:
        about = row[PROVENANCE]
        of = ROWS[about["of"] - 1]
        assert (row["label"], row["id"]) == (of["label"], of["id"])
        assert about["method"] == "noise"
        assert about["seed"] == 5
        again = noisy(str(of["text"]), Noise(rate=0.2), seed=5, copy=about["copy"] - 1)
        assert row["text"] == again


def test_rows_may_come_in_any_order() -> None:
    forwards = with_noise(ROWS, Noise(), copies=2).rows
    backwards = with_noise(ROWS[::-1], Noise(), copies=2).rows
    assert sorted(str(row["text"]) for row in forwards) == sorted(
        str(row["text"]) for row in backwards
    )


def test_a_copy_that_is_there_already_is_left_out() -> None:
    rows = [{"text": "ok"}, {"text": "OK"}]
    made = with_noise(rows, Noise(edits=("case",)), copies=3)
    assert made.rows == rows
    assert (made.made, made.left_out) == (0, 6)


def test_translation_there_and_back() -> None:
    heard: list[list[str]] = []

    def there(given: Sequence[str]) -> list[str]:
        heard.append(list(given))
        return [text.upper() for text in given]

    def back(given: Sequence[str]) -> list[str]:
        return [" " + text.lower() for text in given]

    made = with_translation(ROWS, there, back, through="up and down")
    assert heard == [[row["text"] for row in ROWS]]
    assert [row["text"] for row in made.rows] == [ENGLISH, ENGLISH.lower(), CHINESE, "ok"]
    assert made.rows[1]["label"] == "animal"
    assert made.rows[1][PROVENANCE] == {
        "method": "back-translation",
        "through": "up and down",
        "of": 1,
        "copy": 1,
    }
    assert made.left_out == 2


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"review": "a"}], "Row 1 has no text in the column 'text'; it has review"),
        ([{"text": "a"}, {"text": 3}], "Row 2 has no text"),
        ([{"text": "a", PROVENANCE: {}}], "made before"),
    ],
)
def test_rows_that_cannot_be_augmented_are_refused(rows: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        with_noise(rows, Noise())


def test_settings_that_mean_nothing_are_refused() -> None:
    with pytest.raises(ConfigError, match="rate is 0"):
        Noise(rate=0)
    with pytest.raises(ConfigError, match="at most 1"):
        Noise(rate=1.5)
    with pytest.raises(ConfigError, match="typo is no edit"):
        Noise(edits=("typo",))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="copies is 0"):
        with_noise(ROWS, Noise(), copies=0)
