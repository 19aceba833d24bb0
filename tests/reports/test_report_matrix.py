"""A matrix of counts is shaded by rows, and says on a terminal what it says on the page."""

import re

import pytest
from balanced_html import Page

from hanlin.reports import Matrix
from hanlin.reports.cells import width

NAMES = ("正面 positive", "负面 negative", "neutral")
COUNTS = ((8, 2, 0), (0, 0, 0), (1_000, 0, 3_000))


def confusion() -> Matrix:
    return Matrix(("Confusion", "混淆"), NAMES, NAMES, COUNTS, ("right", "正确"), ("said", "预测"))


def test_each_cell_is_shaded_by_its_share_of_the_row():
    html = confusion().html()
    cells = re.findall(r'<td class="(hit|miss)" style="--share:(\d+)%">([\d,]*)</td>', html)
    assert [shown for _, _, shown in cells] == ["8", "2", "", "", "", "", "1,000", "", "3,000"]
    assert [int(share) for _, share, _ in cells] == [80, 20, 0, 0, 0, 0, 25, 0, 75]
    assert [kind for kind, _, _ in cells] == ["hit", *["miss"] * 3, "hit", *["miss"] * 3, "hit"]
    Page(html)


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("columns", [30, 60, 120])
def test_a_terminal_shows_the_counts_no_wider_than_it_is(language, columns):
    text = confusion().terminal(width=columns, language=language)
    assert all(width(line) <= columns for line in text.splitlines())
    if columns > 40:
        assert "8" in text
        assert "1,000" in text
        assert ("said" in text) == (language == "en")


def test_the_json_holds_names_and_counts():
    data = confusion().data()
    assert data["kind"] == "matrix"
    assert data["counts"] == [list(row) for row in COUNTS]
    assert data["rows"] == list(NAMES)


@pytest.mark.parametrize(
    ("rows", "columns", "counts"),
    [
        (("a",), ("a",), ((1, 2),)),
        (("a", "b"), ("a",), ((1,),)),
        (("a",), ("a",), ((-1,),)),
    ],
)
def test_counts_that_do_not_fit_their_names_are_refused(rows, columns, counts):
    with pytest.raises(ValueError, match="count"):
        Matrix("", rows, columns, counts, "", "")
