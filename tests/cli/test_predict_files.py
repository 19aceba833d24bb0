"""`hanlin predict` reads tables by their columns and lines as texts, packed or not."""

import bz2
import csv
import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import hanlin as library
from tiny_models import save_decoder

TEXTS = ["What is a token?", "the words of the emperor, and more", "什么是词元？"]


def labels_of(outcome: Any) -> list[str]:
    assert outcome.status == 0, outcome.err
    return [json.loads(line)["label"] for line in outcome.out.splitlines()]


def separated(delimiter: str, *, header: bool = True) -> bytes:
    out = io.StringIO()
    rows = [(n, text, "good") for n, text in enumerate(TEXTS)]
    writer = csv.writer(out, delimiter=delimiter)
    writer.writerows([("id", "review", "label"), *rows] if header else rows)
    return out.getvalue().encode()


def parquet() -> bytes:
    arrow, files = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    out = io.BytesIO()
    rows = [{"id": n, "review": text, "text_pair": None} for n, text in enumerate(TEXTS)]
    files.write_table(arrow.Table.from_pylist(rows), out)
    return out.getvalue()


def records(**more: Any) -> list[dict[str, Any]]:
    return [{"id": n, "review": text, **more} for n, text in enumerate(TEXTS)]


TABLES: dict[str, Callable[[], bytes]] = {
    "a.csv": lambda: separated(","),
    "a.tsv.gz": lambda: gzip.compress(separated("\t")),
    "a.parquet": parquet,
    "a.json": lambda: json.dumps(records()).encode(),
    "a.jsonl.bz2": lambda: bz2.compress("\n".join(map(json.dumps, records())).encode()),
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_are_read_by_their_columns(
    hanlin: Any, tiny_classifier: Path, tmp_path: Path, name: str
) -> None:
    source = tmp_path / name
    source.write_bytes(TABLES[name]())
    outcome = hanlin("predict", tiny_classifier, source)
    want = library.load(tiny_classifier)(TEXTS)
    assert labels_of(outcome) == [label.name for label in want]
    found = [json.loads(line) for line in outcome.out.splitlines()]
    assert [str(one["id"]) for one in found] == ["0", "1", "2"]
    assert found[1]["score"] == pytest.approx(want[1].score)


def test_a_column_may_be_named_or_numbered(
    hanlin: Any, tiny_classifier: Path, tmp_path: Path
) -> None:
    want = [label.name for label in library.load(tiny_classifier)(TEXTS)]
    named, bare = tmp_path / "named.jsonl", tmp_path / "bare.csv"
    named.write_text("\n".join(map(json.dumps, records(comment="no"))))
    bare.write_bytes(separated(",", header=False))
    outcome = hanlin("predict", tiny_classifier, named)
    assert outcome.status == 2
    assert "Several columns may be the text: review, comment. Name one: --column" in outcome.err
    assert labels_of(hanlin("predict", tiny_classifier, named, "--column", "review")) == want
    assert labels_of(hanlin("predict", tiny_classifier, bare, "--column", "2")) == want


def test_bad_rows_are_left_out_where_asked_for(
    hanlin: Any, tiny_classifier: Path, tmp_path: Path
) -> None:
    want = [label.name for label in library.load(tiny_classifier)(TEXTS[:2])]
    table, lines = tmp_path / "a.csv", tmp_path / "a.txt"
    table.write_bytes(b"text\n" + f'{TEXTS[0]}\n" "\n"{TEXTS[1]}"\n'.encode())
    lines.write_bytes(f"{TEXTS[0]}\n\n{TEXTS[1]}\n".encode() + b"\xff\xfe\n")
    for source, bad in ((table, "1 of 3"), (lines, "2 of 4")):
        outcome = hanlin("predict", tiny_classifier, source)
        assert (outcome.status, outcome.out) == (2, "")
        assert f"{bad} rows cannot be used; the first is {source}, row" in outcome.err
        outcome = hanlin("predict", tiny_classifier, source, "--skip-bad")
        assert labels_of(outcome) == want
        assert f"{bad} rows cannot be used" in outcome.err


def test_plain_text_is_a_text_a_line_whatever_stands_in_it(
    hanlin: Any, tiny_classifier: Path, tmp_path: Path
) -> None:
    lines = ["text\tlabel", "the words\tgood", '{"text": "a"}']
    want = [label.name for label in library.load(tiny_classifier)(lines)]
    data = "\n".join(lines).encode()
    (tmp_path / "a.txt").write_bytes(data)
    (tmp_path / "a.en.gz").write_bytes(gzip.compress(data))
    assert labels_of(hanlin("predict", tiny_classifier, tmp_path / "a.txt")) == want
    assert labels_of(hanlin("predict", tiny_classifier, tmp_path / "a.en.gz")) == want
    assert labels_of(hanlin("predict", tiny_classifier, "-", stdin=data)) == want
    outcome = hanlin("predict", tiny_classifier, "-", "--column", "text", stdin=data)
    assert outcome.status == 2
    assert "standard input has no columns" in outcome.err


def test_a_writer_reads_the_source_beside_whatever_else_there_is(
    hanlin: Any, tmp_path: Path
) -> None:
    model = save_decoder(tmp_path / "writer")
    about = {"task": {"name": "seq2seq", "template": "{source}\n=> {target}"}}
    (model / "hanlin.json").write_text(json.dumps(about))
    (model / "generation_config.json").write_text('{"do_sample": false, "max_new_tokens": 4}')
    source = tmp_path / "pairs.jsonl"
    rows = [{"source": text, "target": "x", "title": "y"} for text in TEXTS[:2]]
    source.write_text("\n".join(map(json.dumps, rows)))
    outcome = hanlin("predict", model, source)
    assert outcome.status == 0, outcome.err
    assert [json.loads(line)["text"] for line in outcome.out.splitlines()] == library.load(model)(
        TEXTS[:2]
    )
