"""Files of every kind become documents; what is wrong with one is told and the rest goes on."""

import bz2
import csv
import gzip
import io
import json
import lzma
import os
import sys
import zipfile

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from hanlin.errors import ConfigError, FormatError, NotFoundError
from hanlin.text import plain
from hanlin.text.documents import PART, Document, chosen, cut, document_hash, parts
from hanlin.text.read import read_documents
from hanlin.text.reading import Reading, ReadSettings


def read(path, **changes) -> tuple[list[str], Reading]:
    """The texts of one file and the account of it."""
    reports: list[Reading] = []
    found = read_documents(path, settings=ReadSettings(**changes), report=reports.append)
    texts = [document.text for document in found]
    return texts, reports[0] if len(reports) == 1 else reports


def put(tmp_path, name: str, content: bytes | str):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


# Plain text


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        ("file", ["a\nb\n\n \nc\n--\nd"]),
        ("paragraph", ["a\nb", "c\n--\nd"]),
        ("line", ["a", "b", "c", "--", "d"]),
        ("--", ["a\nb\n\n \nc", "d"]),
        ("|", ["a\nb\n\n \nc\n--\nd"]),
    ],
)
@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_ways_to_split_a_text(tmp_path, split, expected, ends):
    path = put(tmp_path, "a.txt", "a\nb\n\n \nc\n--\nd".replace("\n", ends))
    assert read(path, split=split)[0] == expected


@given(
    st.text("ab \n\r-", max_size=60),
    st.lists(st.integers(1, 9), max_size=20),
    st.sampled_from(["file", "paragraph", "line", "--"]),
)
@settings(max_examples=150, deadline=None)
def test_chunks_make_no_difference(text, sizes, split):
    whole = [d.text for d in plain.documents([text], source="x", split=split)]
    chunks, at = [], 0
    for size in sizes:
        chunks.append(text[at : at + size])
        at += size
    chunks.append(text[at:])
    assert [d.text for d in plain.documents(chunks, source="x", split=split)] == whole


def test_a_long_text_comes_in_parts_that_make_the_whole(monkeypatch):
    monkeypatch.setattr(plain, "PART", 100)
    line = "word " * 5 + "end.\n"
    chunks = [line[:17], line[17:]] * 40
    found = list(plain.documents(chunks, source="x"))
    assert "".join(d.text for d in found) == line * 40
    assert [d.part for d in found] == list(range(len(found)))
    assert len(found) > 10
    assert max(len(d.text) for d in found) <= 100
    assert [d.more for d in found] == [True] * (len(found) - 1) + [False]
    assert len({d.metadata["document"] for d in found}) == 1


@given(st.text("a \n", min_size=60, max_size=300), st.integers(16, 50))
@settings(max_examples=200, deadline=None)
def test_a_cut_is_within_the_limit_and_prefers_the_end_of_a_line(text, limit):
    at = cut(text, limit=limit)
    assert 0 < at <= limit
    found = list(parts(Document(text, "x"), limit=limit))
    assert "".join(d.text for d in found) == text
    window = text[limit // 2 : limit]
    if "a\na" in window[1:-1]:
        assert text[at - 1] == "\n"


def test_documents_are_chosen_by_their_text_alone():
    hashes = [document_hash(f"document {n}") for n in range(4000)]
    held = [chosen(h, 0.1) for h in hashes]
    assert 300 < sum(held) < 500
    assert [chosen(h, 0.1) for h in reversed(hashes)] == held[::-1]
    assert [chosen(h, 0.1, seed=1) for h in hashes] != held
    assert all(b or not a for a, b in zip(held, (chosen(h, 0.3) for h in hashes), strict=True))


# Records


def test_json_lines_with_bad_ones_among_them(tmp_path):
    lines = [
        '{"text": "a"}', "", "{", '{"text": 3}', '{"title": "b"}', "[1]", '"plain"',
        '{"text": ["c", "d"]}', '{"text": null}', '{"text": "\\ud800x"}', "1e999", "[" * 9999,
    ]  # fmt: skip
    texts, reading = read(put(tmp_path, "a.jsonl", "\n".join(lines)))
    assert texts == ["a", "plain", "c\nd", "\ufffdx"]
    assert reading.dropped == {
        "not JSON": 2, "not text": 2, "no such field": 1, "not a record": 2,
    }  # fmt: skip
    assert reading.replaced == 1
    assert "line 3 is not JSON" in reading.problems[0]
    assert any("the fields are: title" in problem for problem in reading.problems)
    assert len(reading.problems) == 4


def test_fields_inside_fields(tmp_path):
    path = put(tmp_path, "a.jsonl", '{"a": {"b": "x"}, "c.d": "y"}\n')
    assert read(path, field="a.b")[0] == ["x"]
    assert read(path, field="c.d")[0] == ["y"]


@given(
    st.lists(
        st.recursive(
            st.text(max_size=8) | st.none() | st.booleans() | st.integers(),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner),
        ),
        max_size=6,
    ),
    st.sampled_from([None, 2]),
    st.integers(1, 40),
)
@settings(max_examples=50, deadline=None)
def test_json_values_are_those_json_reads(values, indent, step):
    from hanlin.text import records

    values = [{"text": json.dumps(value)} for value in values]
    for content in (
        json.dumps(values, indent=indent),
        "\n".join(json.dumps(value, indent=indent, ensure_ascii=False) for value in values),
    ):
        chunks = [content[at : at + step] for at in range(0, len(content), step)]
        reading = Reading("x")
        found = records.json_values(chunks, ReadSettings(), reading)
        assert [d.text for d in found] == [value["text"] for value in values]
        assert not reading.dropped


def test_a_json_file_that_breaks_off_keeps_what_came_before(tmp_path):
    texts, reading = read(put(tmp_path, "a.json", '[{"text": "a"}, {"text": "b"}, {"te'))
    assert texts == ["a", "b"]
    assert reading.dropped == {"unreadable": 1}
    assert "value 2 is not JSON" in reading.problems[0]


CELLS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\r\0\ufeff"), max_size=12
)


@given(st.lists(st.tuples(CELLS, CELLS), min_size=1), st.integers(1, 30))
@settings(max_examples=150, deadline=None)
def test_csv_is_read_as_the_csv_module_writes_it(rows, step):
    from hanlin.text import records

    buffer = io.StringIO()
    writer = csv.writer(buffer, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writerows([("label", "text"), *rows])
    content = buffer.getvalue()
    chunks = [content[at : at + step] for at in range(0, len(content), step)]
    for field in (None, "text", "2"):
        found = records.separated(
            chunks, ReadSettings(field=field, header=True), Reading("x"), delimiter=","
        )
        assert [d.text for d in found] == [text for _, text in rows]


def test_columns_by_name_and_by_number(tmp_path):
    path = put(tmp_path, "a.csv", "label,text\n1,a\n2\n\n3,c,d\n")
    texts, reading = read(path)
    assert texts == ["a", "c"]
    assert reading.dropped == {"no such column": 1}
    assert read(path, field="label")[0] == ["1", "2", "3"]
    assert read(path, field="2")[0] == ["text", "a", "c"]
    texts, reading = read(path, field="nothing")
    assert texts == []
    assert "no column 'nothing'; the columns are: label, text" in reading.problems[0]


def test_tsv_has_no_quotes(tmp_path):
    path = put(tmp_path, "a.tsv", 'he said "no\t1\n"yes" she said\t2\n')
    assert read(path, field="1")[0] == ['he said "no', '"yes" she said']


def test_parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")

    path = tmp_path / "a.parquet"
    table = pyarrow.table({"n": [1, 2, 3], "text": ["甲", None, "丙"], "in": [{"x": "y"}] * 3})
    parquet.write_table(table, path, row_group_size=1)
    texts, reading = read(path)
    assert texts == ["甲", "丙"]
    assert reading.dropped == {"not text": 1}
    assert read(path, field="in.x")[0] == ["y"] * 3
    assert "the columns are: n, text" in read(path, field="nothing")[1].problems[0]
    path.write_bytes(path.read_bytes()[:-20])
    assert read(path)[1].dropped == {"unreadable": 1}


def test_records_of_any_length_need_bounded_memory(monkeypatch):
    from hanlin.text import records

    monkeypatch.setattr(records, "RECORD", 1000)
    good, long = json.dumps({"text": "good"}), json.dumps({"text": "x" * 5000})

    def chunks(text: str) -> list[str]:
        return [text[at : at + 300] for at in range(0, len(text), 300)]

    reading = Reading("x")
    lines = records.json_lines(chunks(f"{good}\n{long}\n{good}\n{long}"), ReadSettings(), reading)
    assert [d.text for d in lines] == ["good", "good"]
    assert reading.dropped == {"too long": 2}
    with pytest.raises(FormatError, match="value 1 is not JSON"):
        list(records.json_values(chunks(f"[{good}, {long}]"), ReadSettings(), Reading("x")))
    rows = records.separated(
        chunks('text\ngood\n"' + "never closed\n" * 500),
        ReadSettings(),
        Reading("x"),
        delimiter=",",
    )
    with pytest.raises(FormatError, match="is not CSV"):
        list(rows)


def test_what_can_be_read_only_once_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="name the source -"):
        list(read_documents(tmp_path / "pipe"))
    assert list(read_documents(tmp_path)) == []


# Pages


def test_html_gives_the_title_and_the_main_text(tmp_path):
    page = (
        '<html><head><meta charset="gb2312"><title>翰林院</title></head>'
        "<body><nav><a>菜单</a></nav><main><p>学士起草诏书，翻译外文，主持考试。</p><p>讲解经典。</p></main>"
        "<footer>版权所有</footer></body></html>"
    )
    texts, reading = read(put(tmp_path, "a.html", page.encode("gb18030")))
    assert texts[0].startswith("翰林院\n\n学士起草诏书")
    assert "菜单" not in texts[0]
    assert reading.encoding == "gb18030"


# Compression


PACK = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": lambda data: zstandard.compress(data),
}


@pytest.mark.parametrize("kind", PACK)
def test_compressed_files_and_broken_ones(tmp_path, kind):
    lines = [json.dumps({"text": f"document {n} " + "x" * (n % 7)}) for n in range(4_000)]
    packed = PACK[kind]("\n".join(lines).encode())
    texts, reading = read(put(tmp_path, f"a.jsonl.{kind}", packed))
    assert len(texts) == 4_000
    assert not reading.dropped
    # Two archives one after the other are one file, the lines where they meet are no JSON.
    assert len(read(put(tmp_path, f"b.jsonl.{kind}", packed + packed))[0]) == 7_998
    texts, reading = read(put(tmp_path, f"c.jsonl.{kind}", packed[: len(packed) // 2]))
    assert len(texts) < 4_000
    assert sum(reading.dropped.values()) >= 1
    texts, reading = read(put(tmp_path, f"d.jsonl.{kind}", b"not compressed at all"))
    assert texts == []
    assert reading.dropped == {"unreadable": 1}


def test_a_zip_with_members_of_several_kinds(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("b.txt", "乙".encode("gb18030") * 30)
        archive.writestr("a.jsonl", '{"text": "a"}\n{\n')
        archive.writestr("c/d.csv.gz", gzip.compress(b"text\nc\n"))
        archive.writestr("e.png", b"\x89PNG\0\0" + bytes(range(256)))
    texts, reading = read(path)
    assert texts == ["a", "乙" * 30, "c"]
    assert reading.dropped == {"not JSON": 1, "binary": 1}
    assert any("a.zip::e.png" in problem for problem in reading.problems)
    path.write_bytes(path.read_bytes()[:-30])
    assert read(path)[1].dropped == {"unreadable": 1}


def test_an_encrypted_member_is_unreadable(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "a")
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + offset] |= 1
    path.write_bytes(data)
    texts, reading = read(path)
    assert (texts, reading.dropped) == ([], {"unreadable": 1})
    assert "encrypted" in reading.problems[0]


# Folders


def test_folders_globs_and_hidden_files(tmp_path):
    put(tmp_path, "b/2.txt", "two")
    put(tmp_path, "a/1.md", "one")
    put(tmp_path, "a/.hidden.txt", "no")
    put(tmp_path, ".git/config", "no")
    put(tmp_path, "c.bin", b"\0\1\2\3" * 100)
    texts, reports = read(tmp_path)
    assert texts == ["one", "two"]
    assert [dict(r.dropped) for r in reports] == [{}, {}, {"binary": 1}]
    assert read(str(tmp_path / "*" / "*.md"))[0] == ["one"]
    assert read(tmp_path / "a" / ".hidden.txt")[0] == ["no"]


def test_sources_that_are_not_there(tmp_path):
    put(tmp_path, "corpus.txt", "x")
    for name, word in (("corpsu.txt", "'corpus.txt'"), ("*.gz", "No file matches")):
        with pytest.raises(NotFoundError, match=word):
            list(read_documents(tmp_path / name))
    with pytest.raises(ConfigError, match="jsonl"):
        list(read_documents(tmp_path, settings=ReadSettings(format="jsnl")))


def test_a_forced_format_and_its_compression(tmp_path):
    path = put(tmp_path, "data", gzip.compress(b'{"text": "a"}\n'))
    assert read(path, format="jsonl.gz")[0] == ["a"]


def test_a_file_without_permission_is_told(tmp_path, monkeypatch):
    path = put(tmp_path, "a.txt", "x")
    real = type(path).open

    def refuse(self, *args, **kwargs):
        if self == path:
            raise PermissionError(13, "Permission denied", str(path))
        return real(self, *args, **kwargs)

    monkeypatch.setattr(type(path), "open", refuse)
    texts, reading = read(path)
    assert (texts, reading.dropped) == ([], {"unreadable": 1})
    assert "Permission denied" in reading.problems[0]


@pytest.mark.parametrize(
    ("name", "module", "content"),
    [
        ("a.parquet", "pyarrow", b"PAR1"),
        ("a.html", "resiliparse.extract.html2text", b"<p>x"),
    ],
)
def test_what_needs_the_data_extra_says_so(tmp_path, monkeypatch, name, module, content):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=r"pip install 'hanlin\[data\]'"):
        read(put(tmp_path, name, content))


def test_a_long_text_that_breaks_off_is_closed(tmp_path):
    # The compressed text is longer than a part; its end is missing.
    text = "".join(f"line {n} of a long text\n" for n in range(PART // 10))
    packed = gzip.compress(text.encode())
    path = put(tmp_path, "a.txt.gz", packed[: len(packed) * 9 // 10])
    found = list(read_documents(path))
    assert len(found) > 1
    assert found[-1].more is False
    assert all(d.more for d in found[:-1])
    assert text.startswith("".join(d.text for d in found))
