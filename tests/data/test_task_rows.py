"""From tables to the records of a task: which column is which, and what becomes of bad rows."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from hanlin.data.classify_records import ClassifyRecord, labels_of, read_classify
from hanlin.data.columns import find_columns, looks_like_labels, looks_like_text
from hanlin.data.records import BadRowError, collect, label_in, labels_in, sampled, text_in
from hanlin.errors import ConfigError, InputError
from hanlin.text.tables import USUAL, BadRow, Row

ROLES = {"text": USUAL["text"], "label": USUAL["label"]}
LOOKS = {"text": looks_like_text, "label": looks_like_labels}


def found(values: Sequence[dict[str, Any]], **given: str) -> dict[str, str]:
    rows = [Row(one, "f", n) for n, one in enumerate(values, start=1)]
    return find_columns(list(values[0]), ROLES, given, rows, looks=LOOKS)


def test_columns_are_found_by_their_usual_names_in_both_languages() -> None:
    assert found([{"id": 1, "review": "x", "category": "a"}]) == {
        "text": "review", "label": "category"}  # fmt: skip
    assert found([{"标签": "1", "评论": "好"}]) == {"text": "评论", "label": "标签"}
    assert found([{" Text ": "x", "LABEL": "a"}]) == {"text": " Text ", "label": "LABEL"}
    # The part's own name is plain, whatever else there is.
    assert found([{"content": "x", "text": "y", "label": "a"}])["text"] == "text"


def test_columns_are_found_by_what_stands_in_them() -> None:
    rows = [{"1": f"the film number {n} is fine", "2": str(n % 3)} for n in range(40)]
    assert found(rows) == {"text": "1", "label": "2"}
    rows = [{"a": ["x", "y"][n % 2], "b": f"这是第{n}条评论"} for n in range(40)]
    assert found(rows) == {"text": "b", "label": "a"}
    lists = [
        {"tags": [["x"], ["x", "y"], []][n % 3], "body": f"text number {n}"} for n in range(40)
    ]
    assert found(lists) == {"text": "body", "label": "tags"}


def test_what_may_be_several_is_an_error_that_lists_them() -> None:
    rows = [{"a": f"one text {n}", "b": f"other text {n}", "label": "x"} for n in range(40)]
    with pytest.raises(ConfigError, match=r"Several columns may be the text: a, b.*text=a"):
        found(rows)
    with pytest.raises(ConfigError, match="Several columns may be the text: content, review"):
        found([{"content": "x", "review": "y", "label": "a"}])
    with pytest.raises(ConfigError, match=r"No column is plainly the label; there are: text, n"):
        found([{"text": f"text {n}", "n": n + 0.5} for n in range(40)])


def test_columns_that_are_given_are_checked() -> None:
    rows = [{"content": "x", "review": "y", "label": "a"}]
    assert found(rows, text="review") == {"text": "review", "label": "label"}
    with pytest.raises(ConfigError, match=r"'revew', and there is no such column. Did you mean"):
        found(rows, text="revew")
    with pytest.raises(ConfigError, match=r"columns.texts means nothing to this task. Did you"):
        found(rows, texts="review")


def test_bad_rows_are_counted_and_the_first_is_told() -> None:
    rows = [
        Row({"t": "a"}, "one.csv", 2),
        Row({"t": " "}, "one.csv", 3),
        BadRow("two.jsonl", 7, "it is not JSON."),
        Row({"t": "b"}, "two.jsonl", 8),
        Row({"u": "b"}, "two.jsonl", 9),
    ]
    told: list[str] = []

    def parse(row: Row) -> str:
        return text_in(row, "t")

    with pytest.raises(InputError, match=r"3 of 5 rows .* one.csv, row 3: t is empty.*skip_bad=t"):
        collect(rows, parse, skip_bad=False, tell=told.append)
    assert not told
    assert collect(rows, parse, skip_bad=True, tell=told.append) == ["a", "b"]
    assert told == ["3 of 5 rows cannot be used; the first is one.csv, row 3: t is empty."]
    with pytest.raises(InputError, match="No row is left"):
        collect(rows[1:3], parse, skip_bad=True, tell=told.append)
    with pytest.raises(InputError, match="no rows to read"):
        collect([], parse, skip_bad=True, tell=told.append)


def test_labels_are_texts_whatever_the_file_has() -> None:
    def label(value: Any) -> str:
        return label_in(Row({"l": value}, "f", 1), "l")

    assert [label(v) for v in (1, 1.0, True, " spam ", -3)] == ["1", "1", "true", "spam", "-3"]
    for value in (None, "", " ", 1.5, {}, []):
        with pytest.raises(BadRowError):
            label(value)
    row = Row({"l": "a; b;;c", "m": ["a", 2], "n": "a;a", "e": ""}, "f", 1)
    assert labels_in(row, "l", separator=";") == ("a", "b", "c")
    assert labels_in(row, "m") == ("a", "2")
    assert labels_in(row, "e", separator=";") == ()
    for column, separator in (("n", ";"), ("l", None)):
        with pytest.raises(BadRowError):
            labels_in(row, column, separator=separator)


def read(sources: Sequence[Path], **how: Any) -> list[ClassifyRecord]:
    given = {"columns": {}, "file_labels": {}, "separator": None, "skip_bad": False, **how}
    return read_classify([str(s) for s in sources], tell=lambda text: None, **given)


def test_a_file_for_each_label(tmp_path: Path) -> None:
    for name in ("good", "bad"):
        (tmp_path / f"{name}.txt").write_text(f"a {name} film\nanother {name} one\n")
    files = [tmp_path / "good.txt", tmp_path / "bad.txt"]
    labels = {str(files[0]): "positive", str(files[1]): "negative"}
    records = read(files, file_labels=labels)
    assert [record.label for record in records] == ["positive"] * 2 + ["negative"] * 2
    assert records[2].text == "a bad film"


def test_pairs_several_labels_and_mixtures(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [{"sentence1": f"a {n}", "sentence2": f"b {n}", "label": n % 2} for n in range(4)]
    path.write_text("\n".join(map(json.dumps, rows)))
    assert read([path])[1] == ClassifyRecord("a 1", "1", "b 1")
    several = [{"text": "a", "labels": ["x", "y"]}, {"text": "b", "labels": []}]
    path.write_text("\n".join(map(json.dumps, several)))
    assert [record.labels for record in read([path])] == [("x", "y"), ()]
    path.write_text("\n".join(map(json.dumps, [several[0], {"text": "c", "labels": "x"}])))
    with pytest.raises(InputError, match="Some rows have a list"):
        read([path])


def test_labels_that_are_numbers_stand_by_size() -> None:
    records = [ClassifyRecord("t", label) for label in ("10", "9", "0")]
    assert labels_of(records) == ("0", "9", "10")
    assert labels_of([*records, ClassifyRecord("t", "b")]) == ("0", "10", "9", "b")


def test_columns_by_number_mean_a_table_without_a_header(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("text,label\nfine,1\n")  # looks like a header, and is said to be none
    records = read([path], columns={"text": "1", "label": "2"})
    assert records[0] == ClassifyRecord("text", "label")


def test_a_sample_is_spread_over_all() -> None:
    assert sampled(list(range(10)), 20) == list(range(10))
    some = sampled(list(range(1000)), 10)
    assert len(some) == 10
    assert some == sampled(list(range(1000)), 10)
    assert all(100 * n <= each < 100 * (n + 1) for n, each in enumerate(some))
