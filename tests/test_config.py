"""Settings from YAML: what people write is what they get, and every mistake is told at once."""

import io
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hanlin.config import descriptions, read_config, refuse, write_config, written_as
from hanlin.config.plain import name_or_mapping
from hanlin.config.yaml_text import dump_yaml, parse_yaml
from hanlin.errors import ConfigError, NotFoundError

quick = settings(max_examples=60, deadline=None)


@dataclass(frozen=True, kw_only=True)
class Rate:
    """How fast."""

    name: Literal["constant", "cosine"] = "constant"
    """The curve."""
    peak: float = 1.0
    """The most,
    in units."""
    steps: int | None = None

    def __post_init__(self) -> None:
        refuse(
            [f"peak is {self.peak:g}; it must be above zero."] * (self.peak <= 0)
            + [f"steps is {self.steps}; it must not be negative."] * ((self.steps or 0) < 0)
        )


written_as(name_or_mapping())(Rate)


@dataclass(frozen=True, kw_only=True)
class Run:
    language: str = "en"
    """A language."""
    rate: Rate = Rate()
    other: Rate | None = None
    flag: bool = False
    count: int = 0
    files: tuple[str, ...] = ()
    open: dict[str, Any] = field(default_factory=dict)
    either: str | dict[str, Any] = ""
    where: Path = Path("x")


def read(text: str, tmp_path: Path, *overrides: str) -> Run:
    path = tmp_path / "run.yaml"
    path.write_bytes(text.encode())
    return read_config(path, overrides, into=Run)


def said(text: str, tmp_path: Path, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read(text, tmp_path, *overrides)
    return str(caught.value).replace(str(tmp_path / "run.yaml"), "FILE")


# What is written is what is meant


def test_a_whole_file(tmp_path: Path) -> None:
    text = "language: zh\nrate: {name: cosine, peak: 3e-4}\nflag: true\nfiles: [a, b]\nwhere: out"
    assert read(text, tmp_path) == Run(
        language="zh",
        rate=Rate(name="cosine", peak=3e-4),
        flag=True,
        files=("a", "b"),
        where=Path("out"),
    )


@pytest.mark.parametrize("written", ["3e-4", "3E-4", "0.0003", "3.e-4", "+3e-4", "'3e-4'"])
def test_a_power_of_ten_is_a_number(written: str, tmp_path: Path) -> None:
    assert read(f"rate: {{peak: {written}}}", tmp_path).rate.peak == 3e-4


@pytest.mark.parametrize("word", ["no", "yes", "on", "off", "y", "2024-01-01", "1:30", "=", "NO"])
def test_words_that_yaml_1_1_takes_for_something_else_stay_text(word: str, tmp_path: Path) -> None:
    assert read(f"language: {word}", tmp_path).language == word


@pytest.mark.parametrize("word", ["yes", "on", "true", "True"])
def test_a_truth_value_may_be_said_in_words(word: str, tmp_path: Path) -> None:
    assert read(f"flag: {word}", tmp_path).flag is True


def test_whole_numbers(tmp_path: Path) -> None:
    assert read("count: 1_000", tmp_path).count == 1000
    assert read("count: 010", tmp_path).count == 10
    assert read("count: 0x10", tmp_path).count == 16
    assert read("count: 1e4", tmp_path).count == 10_000


def test_a_name_stands_for_a_mapping_with_that_name(tmp_path: Path) -> None:
    assert read("rate: cosine", tmp_path).rate == Rate(name="cosine")
    assert read("other: cosine\nrate: cosine", tmp_path).other == Rate(name="cosine")


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    assert read("\ufefflanguage: zh", tmp_path).language == "zh"


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("language: 中文".encode())))
    assert read_config("-", into=Run).language == "中文"


def test_a_mapping_is_left_as_it_was() -> None:
    given = {"rate": {"name": "cosine"}}
    assert read_config(given, ["rate.peak=2"], into=Run).rate == Rate(name="cosine", peak=2.0)
    assert given == {"rate": {"name": "cosine"}}


# Overrides


def test_overrides(tmp_path: Path) -> None:
    run = read("rate: cosine", tmp_path, "rate.peak=3e-4", "files=[a, b]", "language=no", "count=1")
    assert run.rate == Rate(name="cosine", peak=3e-4)
    assert (run.files, run.language, run.count) == (("a", "b"), "no", 1)


def test_the_last_override_wins(tmp_path: Path) -> None:
    assert read("count: 1", tmp_path, "count=2", "count=3").count == 3
    assert read("rate: {peak: 2}", tmp_path, "rate=cosine").rate == Rate(name="cosine")


def test_an_override_makes_the_section_it_needs(tmp_path: Path) -> None:
    assert read("{}", tmp_path, "other.peak=2").other == Rate(peak=2.0)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("count", "is not an override"),
        ("=3", "is not an override"),
        ("rate..peak=3", "is not an override"),
        ("language.x=3", "language is 'zh', not a mapping"),
        ("rate.peek=3", "rate.peek is not a setting. Did you mean rate.peak?"),
        ("count=[1", "is not YAML"),
    ],
)
def test_overrides_that_cannot_be(override: str, message: str, tmp_path: Path) -> None:
    assert message in said("language: zh", tmp_path, override)


# Mistakes


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    text = "langage: x\nrate: {name: cosin, peek: 3}\ncount: many\nflag: perhaps\nfiles: a"
    assert said(text, tmp_path).splitlines() == [
        "FILE has 6 problems:",
        "  rate.name is 'cosin'; it must be constant or cosine. Did you mean 'cosine'?",
        "  rate.peek is not a setting. Did you mean rate.peak?",
        "  flag is 'perhaps'; it must be true or false.",
        "  count is 'many'; it must be a whole number.",
        "  files is 'a'; it must be a list.",
        "  langage is not a setting. Did you mean language?",
    ]


def test_a_setting_in_the_wrong_section_is_found(tmp_path: Path) -> None:
    assert "Did you mean rate.peak?" in said("peak: 3", tmp_path)
    assert "Did you mean count?" in said("rate: {count: 3}", tmp_path)


def test_every_problem_of_a_section_is_told(tmp_path: Path) -> None:
    told = said("rate: {peak: -1, steps: -1}", tmp_path).splitlines()
    assert told[1:] == [
        "  rate: peak is -1; it must be above zero.",
        "  rate: steps is -1; it must not be negative.",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("# only a comment", "is empty"),
        ("- a\n- b", "must be a mapping"),
        ("text", "must be a mapping"),
        ("count: 1\ncount: 2", "comes twice (line 2, column 1)"),
        ("rate: {peak: 1, peak: 2}", "comes twice"),
        ("rate:\n\tpeak: 1", "spaces; replace the tabs"),
        ("language: a: b", "Quote the text"),
        ("language: [", "is not YAML"),
        ("language: !!python/object:os.system x", "is not YAML"),
        ("open: &a {b: *a}", "repeats itself"),
        ("open: &a [*a]", "repeats itself"),
        ("count: true", "count is true, a truth value"),
        ("rate: {peak: true}", "rate.peak is true, a truth value"),
        ("language: true", "language is true, a truth value. Put the text in quotes."),
        ("language: 3", "language is 3; it must be a text."),
        ("count: 1.5", "count is 1.5; it must be a whole number."),
        ("rate: {peak: .nan}", "rate.peak is nan; it must be a finite number."),
        ("rate: {peak: .inf}", "rate.peak is inf; it must be a finite number."),
        ("rate: 3", "rate is 3; it must be a mapping."),
        ("either: 3", "either is 3; it must be a"),
        ("3: x", "3 is not a setting"),
        ("? [a]\n: b", "a key must be a plain text"),
        ("count: " + "9" * 5000, "cannot be read"),
        ("language: " + "[" * 3000, "cannot be read"),
    ],
)
def test_mistakes(text: str, message: str, tmp_path: Path) -> None:
    assert message in said(text, tmp_path)


def test_bytes_that_are_not_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_bytes("count: 1\nlanguage: 中文\n".encode("gb18030"))
    with pytest.raises(ConfigError, match="not UTF-8 in line 2"):
        read_config(path, into=Run)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="There is no file"):
        read_config(tmp_path / "no.yaml", into=Run)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_config(tmp_path, into=Run)


def test_anchors_and_merges_work(tmp_path: Path) -> None:
    text = "rate: &r {peak: 2, name: cosine}\nother:\n  <<: *r\n  peak: 3"
    run = read(text, tmp_path)
    assert run.other == Rate(name="cosine", peak=3.0)


# Back to YAML

TEXTS = st.text(max_size=12) | st.sampled_from(
    ["no", "1e3", "3e-4", "null", "~", "", "0x1f", "1:30", "true", "- a", "a: b", "#", "2024-01-01",
     "<<", "=", "0o17", "1_000", ".5", ".inf", "\n", "a\n\nb ", "\r\n", "\x85",
     "\u2028 x", "\t", "'", '"', "%", "@", "中文"]
)  # fmt: skip
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


@quick
@given(PLAIN)
def test_what_is_written_reads_back(value: Any) -> None:
    back = parse_yaml(dump_yaml({"x": value}), source="the text")
    assert back == {"x": value}
    assert repr(back) == repr({"x": value})


RATES = st.builds(
    Rate,
    name=st.sampled_from(["constant", "cosine"]),
    peak=st.floats(1e-30, 1e30),
    steps=st.none() | st.integers(0),
)
RUNS = st.builds(
    Run,
    language=TEXTS,
    rate=RATES,
    other=st.none() | RATES,
    flag=st.booleans(),
    count=st.integers(),
    files=st.lists(TEXTS, max_size=3).map(tuple),
    open=st.dictionaries(TEXTS, PLAIN, max_size=3),
    either=TEXTS | st.dictionaries(TEXTS, PLAIN, max_size=2),
)


@quick
@given(RUNS, st.booleans())
def test_settings_that_are_written_read_back(run: Run, comments: bool) -> None:
    text = write_config(run, comments=comments)
    assert read_config(parse_yaml(text, source="the text"), into=Run) == run


def test_each_setting_stands_under_its_description() -> None:
    assert descriptions(Rate) == {"name": "The curve.", "peak": "The most, in units."}
    assert "rate:\n  # The curve.\n  name: constant\n" in write_config(Run())
    assert "#" not in write_config(Run(), comments=False)
