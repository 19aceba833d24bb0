"""Text on a terminal takes the cells it is said to take, and never more than there are."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hanlin.reports.cells import cut, pad, plain, spark, width, wrap
from hanlin.reports.words import clock, compact, locale_language, number, percent

CONTROLS = {chr(n) for n in (*range(32), *range(127, 160))}


@pytest.mark.parametrize(
    ("text", "cells"),
    [
        ("", 0),
        ("abc", 3),
        ("翰林", 4),
        ("ｆｕｌｌ", 8),
        ("한글", 4),
        ("かな。", 6),
        ("e\u0301", 1),
        ("\x1b[1mbold\x1b[0m", 4),
        ("▁▂█━─│×", 7),
        ("\u200b", 0),
        ("😀", 2),
    ],
)
def test_known_widths(text: str, cells: int) -> None:
    assert width(text) == cells


@given(st.text(), st.integers(0, 40))
def test_a_cut_text_fits_and_begins_as_it_did(text: str, cells: int) -> None:
    short = cut(text, cells)
    assert width(short) <= cells
    assert short == text or text.startswith(short[:-1])


def test_a_cut_keeps_colours_and_ends_them() -> None:
    assert cut("\x1b[1m翰林院学士\x1b[0m", 5) == "\x1b[1m翰林…\x1b[0m"


@given(st.text(), st.integers(0, 40), st.booleans())
def test_padding_reaches_the_width_and_cuts_nothing(text: str, cells: int, right: bool) -> None:
    padded = pad(text, cells, right=right)
    assert width(padded) == max(cells, width(text))
    assert padded.strip(" ") == text.strip(" ")


@given(st.text(), st.integers(2, 40))
def test_wrapped_lines_fit_and_lose_only_spaces(text: str, cells: int) -> None:
    lines = wrap(text, cells)
    assert all(width(line) <= cells for line in lines)
    whole = "".join(plain(line) for line in text.replace("\t", " ").splitlines())
    kept = "".join(lines)
    drop = {ord(c): None for c in kept + whole if c.isspace()}
    assert plain(kept).translate(drop) == "".join(
        plain(c) for c in text if c not in "\r\n\t"
    ).translate(drop)


@given(st.text())
def test_what_is_plain_moves_no_cursor(text: str) -> None:
    assert not CONTROLS & set(plain(text))


def test_escape_sequences_are_shown_not_obeyed() -> None:
    assert plain("\x1b]0;title\x07 \u202eevil") == "\\x1b]0;title\\x07 \\u202eevil"


@given(st.lists(st.floats()), st.integers(0, 30), st.booleans())
def test_a_spark_line_fits(values: list[float], cells: int, log: bool) -> None:
    assert len(spark(values, cells, log=log)) == min(len(values), cells)


def test_a_spark_line_rises_with_its_values() -> None:
    assert spark([1, 2, 3, 4, 5, 6, 7, 8], 8) == "▁▂▃▄▅▆▇█"
    assert spark([8, math.nan, 1], 3) == "█×▁"
    assert spark([5.0, 5.0], 2) == "▄▄"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (1.58861, "1.589"),
        (0.1, "0.1000"),
        (123.456, "123.5"),
        (34168.2, "34,168"),
        (1234567, "1,234,567"),
        (9.8e-4, "9.80e-4"),
        (1e12, "1.00e12"),
        (math.nan, "NaN"),
        (math.inf, "∞"),
        (-math.inf, "-∞"),
        (None, "–"),
        (0.0, "0"),
        (-2.5, "-2.500"),
        (True, "True"),
        ("text", "text"),
    ],
)
def test_numbers_are_short(value: object, shown: str) -> None:
    assert number(value) == shown


@given(st.floats(-1e300, 1e300))
def test_a_shown_number_is_the_number_rounded(value: float) -> None:
    assert float(number(value).replace(",", "")) == pytest.approx(value, rel=6e-3)


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (950, "950"), (999.9, "1k"), (12_345, "12.3k"), (999_999, "1M"), (1.1e9, "1.1B"),
     (0.25, "0.25"), (-1500, "-1.5k"), (math.nan, "NaN")],
)  # fmt: skip
def test_counts_are_compact(value: float, shown: str) -> None:
    assert compact(value) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0:00"), (59.6, "1:00"), (372, "6:12"), (3753, "1:02:33"), (274320, "3d 04:12"),
     (None, "–"), (math.inf, "–"), (-1, "0:00")],
)  # fmt: skip
def test_time_looks_like_a_clock(seconds: float | None, shown: str) -> None:
    assert clock(seconds) == shown


@pytest.mark.parametrize(("share", "shown"), [(0, "0%"), (0.012, "1.2%"), (0.413, "41%")])
def test_shares_are_per_cent(share: float, shown: str) -> None:
    assert percent(share) == shown


def test_the_language_is_the_locale_s() -> None:
    assert locale_language({"LANG": "zh_CN.UTF-8"}) == "zh"
    assert locale_language({"LANG": "zh_CN.UTF-8", "LC_ALL": "en_GB.UTF-8"}) == "en"
    assert locale_language({}) == "en"
