"""Rows of every layout and compression: what went in comes out, and what is wrong is told."""

import bz2
import csv
import gzip
import io
import json
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hanlin.errors import FormatError, NotFoundError
from hanlin.text.tables import BadRow, Row, read_rows

ROWS = [
    {"review": "a fine film , warm", "label": "1"},
    {"review": '他说"好"，然后走了', "label": "0"},
    {"review": "two\tcolumns? no", "label": "1"},
]
PACKED: dict[str, Callable[[bytes], bytes]] = {
    "": lambda data: data,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": lambda data: zstandard.ZstdCompressor().compress(data),
}


def as_csv(rows: list[dict[str, str]], *, header: bool = True) -> bytes:
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


def as_parquet(rows: list[dict[str, str]]) -> bytes:
    import pyarrow
    import pyarrow.parquet

    out = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), out)
    return out.getvalue()


FORMATS: dict[str, Callable[[list[dict[str, str]]], bytes]] = {
    "jsonl": lambda rows: "\n".join(json.dumps(row, ensure_ascii=False) for row in rows).encode(),
    "json": lambda rows: json.dumps(rows, indent=1).encode(),
    "csv": as_csv,
    "parquet": as_parquet,
}


def values(path: Path, **how: bool) -> list[dict[str, str]]:
    rows = list(read_rows(path, **how))
    assert all(isinstance(row, Row) for row in rows), rows
    return [dict(row.values) for row in rows if isinstance(row, Row)]


@pytest.mark.parametrize("packed", PACKED)
@pytest.mark.parametrize("format", FORMATS)
def test_every_format_in_every_compression(format: str, packed: str, tmp_path: Path) -> None:
    path = tmp_path / f"rows.{format}{packed}"
    path.write_bytes(PACKED[packed](FORMATS[format](ROWS)))
    if format == "parquet" and packed:
        pytest.skip("Parquet is read at any place, which a stream of compressed bytes has not")
    assert values(path) == ROWS


def test_the_files_of_an_archive_and_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with zipfile.ZipFile(tmp_path / "in" / "b.zip", "w") as archive:
        archive.writestr("x.jsonl", FORMATS["jsonl"](ROWS))
    (tmp_path / "in" / "a.csv").write_bytes(as_csv(ROWS))
    rows = list(read_rows(tmp_path / "in"))
    assert [row.file.removeprefix(str(tmp_path)) for row in rows[::3]] == [
        "/in/a.csv", "/in/b.zip::x.jsonl"]  # fmt: skip
    assert [row.values for row in rows if isinstance(row, Row)] == ROWS * 2


LEAST = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    rows=st.lists(st.fixed_dictionaries({"text": LEAST, "label": LEAST}), min_size=1, max_size=8),
    format=st.sampled_from(["jsonl", "json", "csv"]),
)
def test_any_text_comes_back(rows: list[dict[str, str]], format: str, tmp_path: Path) -> None:
    path = tmp_path / f"any.{format}"
    path.write_bytes(FORMATS[format](rows))
    assert values(path) == rows


HEADED = [
    ("label,review\n1,fine\n0,bad\n", True),
    ("polarity,words\n1,fine and warm\n0,bad\n", True),  # numbers stand below a name
    ("情感,正文\n好,这个房间很大\n", True),
    ("1,fine\n0,bad\n", False),
    ("ham\tso it goes\nspam\tbuy this\nham\tyes\n", False),
    ('"3","Fears for pension","Unions say"\n"4","The race is on","SPACE.com"\n', False),
    ("a stirring , funny and finally transporting re imagining\t1\nsoap\t0\n", False),
    ("kind\tword\n" + "n\thouse\nv\tgo\n" * 8, True),  # few labels, and the name is none of them
]


@pytest.mark.parametrize(("text", "headed"), HEADED)
def test_whether_the_first_row_names_the_columns(text: str, headed: bool, tmp_path: Path) -> None:
    path = tmp_path / ("rows.tsv" if "\t" in text else "rows.csv")
    path.write_text(text)
    told: list[str] = []
    first = next(iter(read_rows(path, tell=told.append)))
    assert isinstance(first, Row)
    assert ("1" in first.values) is not headed
    assert len(told) == 1
    assert ("first row is data" in told[0]) is not headed
    # Who knows it may say so, and nothing is told.
    told.clear()
    forced = list(read_rows(path, header=not headed, tell=told.append))
    assert len(forced) == len(text.splitlines()) - (not headed)
    assert not told


def test_lines_of_text_are_rows_and_lines_with_tabs_a_table(tmp_path: Path) -> None:
    (tmp_path / "plain.txt").write_text("one line\n\nanother, with a comma\n")
    assert values(tmp_path / "plain.txt") == [
        {"text": "one line"}, {"text": "another, with a comma"}]  # fmt: skip
    (tmp_path / "SMSSpam").write_text('ham\t"so\nspam\tbuy\n')
    assert values(tmp_path / "SMSSpam") == [{"1": "ham", "2": '"so'}, {"1": "spam", "2": "buy"}]


def test_bad_rows_come_in_their_place(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "a"}\n{"text": \n\n[1]\n"bare text"\n')
    rows = list(read_rows(path))
    assert [(type(row).__name__, row.number) for row in rows] == [
        ("Row", 1), ("BadRow", 2), ("BadRow", 4), ("Row", 5)]  # fmt: skip
    assert rows[-1].values == {"text": "bare text"}  # type: ignore[union-attr]
    path = tmp_path / "rows.csv"
    path.write_text('text,label\n"a\nb",1\nc\nd,2,3\ne,4\n')
    rows = list(read_rows(path))
    assert [(type(row).__name__, row.number) for row in rows] == [
        ("Row", 2), ("BadRow", 4), ("BadRow", 5), ("Row", 6)]  # fmt: skip
    assert isinstance(rows[2], BadRow)
    assert "3 columns" in rows[2].reason


def test_files_that_are_no_tables_are_errors(tmp_path: Path) -> None:
    cases = {
        "a.html": (b"<p>text</p>", "has no rows"),
        "a.json": (b'[{"text": "a"}, {"te', "not JSON"),
        "a.csv": (b"text,text\na,b\n", "two columns of one name"),
        "a.jsonl.gz": (gzip.compress(b'{"text": "a"}\n' * 9)[:-9], "cannot be read to its end"),
        "a.jsonl": (b"%PDF-1.4 binary", "PDF"),
        "a.parquet": (b"PAR1 and no more", "Parquet"),
    }
    for name, (content, said) in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(FormatError, match=said):
            list(read_rows(tmp_path / name, header=True))
    with pytest.raises(NotFoundError):
        list(read_rows(tmp_path / "none.csv"))
