"""Passages: nothing of a text is lost, none is too long, each says where it stands."""

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hanlin.errors import ConfigError, InputError, NotFoundError
from hanlin.tasks.retrieval import read_passages, split_passages
from hanlin.text.words import word_spans

PIECES = [
    "word ",
    "a b c. ",
    "你好。",
    "\n",
    "\n\n",
    "x! ",
    "长" * 9,
    "e.g. ",
    "”",
    " \n \n",
    "3.14",
]


def size_of(text: str) -> int:
    return len(word_spans(text))


@given(st.lists(st.sampled_from(PIECES), max_size=40), st.integers(1, 25), st.integers(0, 24))
def test_every_word_is_in_a_passage_and_none_is_too_long(
    pieces: list[str], size: int, overlap: int
) -> None:
    text = "".join(pieces)
    if overlap >= size:
        return
    passages = split_passages(text, size=size, overlap=overlap)
    covered: set[int] = set()
    for one, two in itertools.pairwise(passages):
        assert one.start < two.start
        assert one.end < two.end
        assert size_of(text[two.start : one.end]) <= overlap
    for passage in passages:
        assert passage.text == text[passage.start : passage.end] == passage.text.strip() != ""
        assert size_of(passage.text) <= size
        covered |= set(range(passage.start, passage.end))
    for start, end in word_spans(text):
        assert set(range(start, end)) <= covered


def test_a_passage_ends_where_a_paragraph_does() -> None:
    first = "One two three four. " * 2
    text = f"{first}\n\n{'Five six seven eight. ' * 3}"
    passages = split_passages(text, size=12, overlap=4)
    assert passages[0].text == first.strip()
    assert passages[1].text.startswith("Five")


def test_inside_a_paragraph_the_last_sentence_comes_again() -> None:
    text = "一二三四。五六七八。九十甲乙。丙丁戊己。"
    passages = split_passages(text, size=10, overlap=5)
    assert [p.text for p in passages] == [
        "一二三四。五六七八。", "五六七八。九十甲乙。", "九十甲乙。丙丁戊己。",
    ]  # fmt: skip
    assert [p.text for p in split_passages(text, size=10, overlap=0)] == [
        "一二三四。五六七八。", "九十甲乙。丙丁戊己。",
    ]  # fmt: skip


def test_files_folders_rows_and_texts_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Alpha.\r\n\r\nBeta.", encoding="utf-8")
    (tmp_path / "b.jsonl").write_text('{"text": "甲。"}\n{"text": "乙。"}\n', encoding="utf-8")
    found = read_passages(tmp_path)
    assert [(Path(p.file).name, p.document, p.start, p.text) for p in found] == [
        ("a.txt", 1, 0, "Alpha.\n\nBeta."), ("b.jsonl", 1, 0, "甲。"), ("b.jsonl", 2, 0, "乙。"),
    ]  # fmt: skip
    [only] = read_passages({"note": "Gamma."})
    assert (only.file, only.text) == ("note", "Gamma.")


def test_a_document_that_comes_in_parts_is_one(tmp_path: Path) -> None:
    text = "A sentence of six words is. " * 45_000  # 1.2 million characters
    (tmp_path / "long.txt").write_text(text, encoding="utf-8")
    found = read_passages(tmp_path / "long.txt")
    assert {passage.document for passage in found} == {1}
    assert found[-1].end > 1_200_000
    assert all(text[p.start : p.end] == p.text for p in found[:: len(found) // 50])


def test_what_cannot_be_cut_or_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="do not get on"):
        split_passages("a", size=5, overlap=5)
    (tmp_path / "empty.txt").write_text(" \n")
    with pytest.raises(InputError, match="no text"):
        read_passages(tmp_path)
    with pytest.raises(NotFoundError):
        read_passages(tmp_path / "nowhere")
