"""A report says the same on the terminal, in JSON and on its page, whatever its data hold."""

import json
import math
import os
from itertools import pairwise
from pathlib import Path

import pytest
from balanced_html import Page, assert_loads_nothing
from hypothesis import given, settings
from hypothesis import strategies as st

from hanlin.reports import Axis, Facts, Figure, Matrix, Report, Sample, Samples, Series, Table, Text
from hanlin.reports.cells import width
from hanlin.reports.plot import Scale, scale, spread, tick_texts

HOSTILE = [
    "</script><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "<!-- ]]> &amp; &lt;b&gt;",
    "</style></title></textarea>",
    "' onmouseover='alert(1)",
    "\x00\x1b[31m\u202e\ud800",
    "翰林 <b>院</b>",
]
STEP = Axis(("step", "步"))


def curve(*ys: float, name: str = "loss", **more: object) -> Series:
    return Series(name, [float(i) for i in range(len(ys))], ys, **more)  # type: ignore[arg-type]


def whole(text: str = "word") -> Report:
    """A report of every part with `text` in every place."""
    series = (curve(3, 2, 1, name=text), curve(3, math.nan, 2, name=text, dots=True))
    return Report(
        (text, text),
        (
            Facts(((text, text, text), (text, 1.5, ""))),
            Figure(text, series, Axis(text), Axis(text, log=True), marks=((1.0, text),), note=text),
            Matrix(text, (text, "b"), (text, "b"), ((3, 1), (0, 2)), text, (text, text), note=text),
            Table(text, (text, "n"), ((text, 1), ((text, text), None)), note=text, folded=True),
            Text(text, text),
            Text(text, text, exact=True),
            Samples(text, (Sample(text, text, text),), folded=False),
        ),
        subtitle=text,
        footer=(text, text),
    )


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_shown_not_obeyed(text: str) -> None:
    harmless, page = Page(whole("word").html()), Page(whole(text).html())
    assert page.tags == harmless.tags
    assert [(tag, name) for tag, name, _ in page.attributes] == [
        (tag, name) for tag, name, _ in harmless.attributes
    ]
    # The names of two lines, in two languages, are cut where they are long.
    cut = 4 if width(text) > 18 else 0
    assert page.text.count(text) == harmless.text.count("word") - cut
    assert_loads_nothing(whole(text).html())
    points = json.loads(page.scripts[0][1])
    assert points["series"][0]["name"] == [text, text]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("language", ["en", "zh"])
def test_no_control_character_reaches_the_terminal(text: str, language: str) -> None:
    shown = whole(text).terminal(language=language)  # type: ignore[arg-type]
    assert all(c == "\n" or c.isprintable() or ord(c) > 0x2000 for c in shown)
    assert "\x1b" not in shown
    assert "\u202e" not in shown


@given(st.text(max_size=30))
@settings(max_examples=100, deadline=None)
def test_any_text_gives_a_balanced_page_strict_json_and_lines_that_fit(text: str) -> None:
    report = whole(text)
    assert_loads_nothing(report.html())
    json.loads(report.json(), parse_constant=pytest.fail)
    for columns in (40, 80):
        shown = report.terminal(width=columns, language="en")
        assert all(width(line) <= columns for line in shown.splitlines())


floats = st.one_of(
    st.floats(), st.sampled_from([math.nan, math.inf, 0.0, 5e-324, 1e308, -1e308, 1.0])
)
serieses = st.lists(
    st.lists(st.tuples(floats, floats), max_size=12).map(
        lambda points: Series("s", [x for x, _ in points], [y for _, y in points])
    ),
    max_size=3,
)


@given(serieses, st.booleans(), st.booleans(), st.sampled_from([None, 0.5]))
@settings(max_examples=150, deadline=None)
def test_any_numbers_can_be_drawn(
    series: list[Series], x_log: bool, y_log: bool, low: float | None
) -> None:
    figure = Figure("f", tuple(series), Axis("x", log=x_log), Axis("y", log=y_log, low=low))
    report = Report("r", (figure,))
    assert_loads_nothing(report.html())
    assert "nan" not in " ".join(value for *_, value in Page(report.html()).attributes).lower()
    json.loads(report.json(), parse_constant=pytest.fail)
    shown = report.terminal(width=70, language="en")
    assert all(width(line) <= 70 for line in shown.splitlines())


def test_values_that_are_no_numbers_are_visible_everywhere() -> None:
    figure = Figure("f", (curve(1, math.nan, math.inf, 2),), STEP, Axis("y"))
    table = Table("t", ("a",), ((math.nan,), (math.inf,), (None,)))
    report = Report("r", (figure, table))
    page = Page(report.html())
    assert page.text.count("×") == 2 + 2  # two crosses, and a note in two languages
    assert [cell in page.texts for cell in ("NaN", "∞", "–")] == [True] * 3
    assert "×" in report.terminal(language="en")
    data = report.data()["parts"]
    assert data[0]["series"][0]["y"] == [1, "NaN", "Infinity", 2]
    assert data[1]["rows"] == [["NaN"], ["Infinity"], [None]]


def test_a_curve_passes_through_its_points() -> None:
    figure = Figure("f", (curve(0, 10, 5),), STEP, Axis("y", low=0.0, high=10.0))
    [path] = [v for tag, name, v in Page(Report("r", (figure,)).html()).attributes
              if (tag, name) == ("path", "d")]  # fmt: skip
    assert path == "M0 1000L500 0L1000 500"


def test_lines_are_named_at_their_ends_without_overlap() -> None:
    series = tuple(curve(3, 1 + n / 1000, name=f"line {n}") for n in range(4))
    page = Page(Report("r", (Figure("f", series, STEP, Axis("y")),)).html())
    places = [float(v) for tag, name, v in page.attributes
              if (tag, name) == ("text", "y") and "%" not in v]  # fmt: skip
    values = sorted(places[0::3])
    assert all(f"line {n}" in page.text for n in range(4))
    assert all(b - a >= 29 for a, b in pairwise(values))


def test_both_languages_are_on_the_page_and_one_on_the_terminal() -> None:
    report = Report(("Loss", "损失"), (Text("", ("one", "一")),))
    assert "Loss" in report.html()
    assert "损失" in report.html()
    assert report.terminal(language="en") == "Loss\n\none\n"
    assert report.terminal(language="zh") == "损失\n\n一\n"


def test_columns_line_up_with_wide_characters() -> None:
    table = Table("", ("名称", "value"), (("翰林", 1.5), ("ab", 22)))
    lines = table.terminal(width=60, language="en").splitlines()
    assert lines == ["名称  value", "────  ─────", "翰林  1.500", "ab       22"]


def test_a_wide_table_is_cut_to_the_terminal() -> None:
    table = Table("", ("a", "b"), (("x" * 100, "y" * 100),))
    assert all(width(line) <= 40 for line in table.terminal(width=40, language="en").splitlines())


def test_figures_are_not_cut() -> None:
    interval = "0.8516 … 0.8978"
    heads = ("model", *["a name that is long"] * 5, "interval")
    table = Table("", heads, (("x" * 50, *[0.123456] * 5, interval),))
    lines = table.terminal(width=70, language="en").splitlines()
    assert all(width(line) <= 70 for line in lines)
    assert lines[-1].count("0.1235") == 5
    assert lines[-1].endswith(interval)
    # Where not even they have room, the line is longer.
    assert table.terminal(width=40, language="en").splitlines()[-1].endswith(interval)


def test_names_of_columns_take_two_lines_where_they_have_no_room_on_one() -> None:
    row = ("x" * 24, 0.123456, 0.5, 0.25)
    heads = (("model", "模型"), ("precision (spam)", "精确率（垃圾短信）"), "unbreakable", "F1")
    table = Table("", heads, (row,))
    assert table.terminal(width=48, language="en").splitlines()[:3] == [
        "                  precision",
        "model                (spam)  unbreakable      F1",
        "────────────  ─────────────  ───────────  ──────",
    ]
    assert table.terminal(width=48, language="zh").splitlines()[:2] == [
        "               精确率（垃圾",
        "模型                 短信）  unbreakable      F1",
    ]
    assert "unbreakab…" in table.terminal(width=42, language="en").splitlines()[1]
    assert len(table.terminal(width=80, language="en").splitlines()) == 3


@given(st.floats(1e-12, 1e12), st.floats(1.001, 1e6), st.booleans())
def test_ticks_lie_inside_are_few_and_told_apart(low: float, factor: float, log: bool) -> None:
    ends = Scale(low, low * factor, log)
    ticks = ends.ticks(5)
    assert 2 <= len(ticks) <= 9
    assert all(-1e-6 <= ends.share(tick) <= 1 + 1e-6 for tick in ticks)
    texts = tick_texts(ticks, Axis("", log=log))
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize(
    ("low", "high", "texts"),
    [
        (0, 3000, ["0", "500", "1,000", "1,500", "2,000", "2,500", "3,000"]),
        (0, 30_000, ["0", "5k", "10k", "15k", "20k", "25k", "30k"]),
        (0, 1e-3, ["0", "2e−4", "4e−4", "6e−4", "8e−4", "1e−3"]),
        (0.9, 2.1, ["1.0", "1.2", "1.4", "1.6", "1.8", "2.0"]),
        (-1, 1, ["−1.0", "−0.5", "0.0", "0.5", "1.0"]),
    ],
)
def test_ticks_are_round(low: float, high: float, texts: list[str]) -> None:
    assert tick_texts(Scale(low, high).ticks(5), Axis("")) == texts


def test_logarithmic_ticks_are_decades_or_between_them() -> None:
    assert Scale(1e-4, 10, log=True).ticks() == [1e-4, 1e-3, 1e-2, 0.1, 1, 10]
    assert Scale(1.4, 11, log=True).ticks() == [1.5, 2, 3, 5, 7, 10]


@given(st.lists(st.floats(0, 220), min_size=1, max_size=6))
def test_labels_moved_apart_stay_in_order_and_in_bounds(places: list[float]) -> None:
    moved = spread(places, gap=16, low=6, high=216)
    order = sorted(range(len(places)), key=lambda i: places[i])
    heights = [moved[i] for i in order]
    assert all(6 <= height <= 216 for height in heights)
    assert all(b - a >= 16 - 1e-9 for a, b in pairwise(heights))


def test_an_axis_refuses_what_it_cannot_show() -> None:
    with pytest.raises(ValueError, match="axis"):
        Axis("", low=2.0, high=1.0)
    with pytest.raises(ValueError, match="logarithmic"):
        Axis("", log=True, low=0.0)
    with pytest.raises(ValueError, match="columns"):
        Table("", ("a", "b"), (("one",),))
    with pytest.raises(ValueError, match="for"):
        Series("s", [1.0], [])
    assert scale(Axis(""), []).low < scale(Axis(""), []).high


def test_a_report_is_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = whole("first").write(tmp_path / "report.html")
    before = path.read_text()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="space"):
        whole("second").write(path)
    assert path.read_text() == before
    assert [one.name for one in tmp_path.iterdir()] == ["report.html"]


def test_the_ending_chooses_the_form(tmp_path: Path) -> None:
    report = Report("Title", (Text("", "body"),))
    assert json.loads(report.write(tmp_path / "r.json").read_text())["title"] == "Title"
    assert report.write(tmp_path / "r.txt").read_text() == "Title\n\nbody\n"
    with pytest.raises(ValueError, match="ends in"):
        report.write(tmp_path / "r.pdf")
