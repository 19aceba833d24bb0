"""Tagged words from CoNLL, CoNLL-U and tables, and the chunks that tags spell."""

import gzip
import json
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hanlin.data.conll import (
    TaggedText,
    chunks,
    columns_of,
    labels_of,
    marks_entities,
    read_tagged,
    segments,
    tagged,
)
from hanlin.errors import ConfigError, InputError

CONLL = """-DOCSTART- -X- -X- O

EU NNP B-NP B-ORG
rejects VBZ B-VP O
German JJ B-NP B-MISC
call NN I-NP O

Peter NNP B-NP B-PER
Blackburn NNP I-NP I-PER
"""

CONLLU = """# sent_id = 1
# text = 他 不同。
1\t他\t他\tPRON\tPRP\t_\t2\tnsubj\t_\t_
2-3\t不同\t_\t_\t_\t_\t_\t_\t_\tSpaceAfter=No
2\t不\t不\tADV\tRB\t_\t0\troot\t_\t_
3\t同\t同\tADJ\tJJ\t_\t2\tx\t_\tSpaceAfter=No
3.1\t空\t_\tX\t_\t_\t_\t_\t_\t_
4\t。\t。\tPUNCT\t.\t_\t2\tpunct\t_\t_
"""


def read(path: Path, text: str, told: list[str] | None = None, **given) -> list[TaggedText]:
    path.write_text(text, encoding="utf-8")
    return read_tagged([str(path)], tell=(told if told is not None else []).append, **given)


@pytest.mark.parametrize("ending", ["txt", "conll", "bio", "tsv"])
def test_conll_takes_the_first_column_and_the_last(tmp_path: Path, ending: str) -> None:
    text = CONLL.replace(" ", "\t") if ending == "tsv" else CONLL
    first, second = read(tmp_path / f"a.{ending}", text)
    assert first.words == ("EU", "rejects", "German", "call")
    assert first.tags == ("B-ORG", "O", "B-MISC", "O")
    assert first.text == "EU rejects German call"
    assert second == tagged(["Peter", "Blackburn"], ["B-PER", "I-PER"])


def test_other_columns_by_number(tmp_path: Path) -> None:
    [first, _] = read(tmp_path / "a.txt", CONLL, columns={"tags": "2"})
    assert first.tags == ("NNP", "VBZ", "JJ", "NN")
    with pytest.raises(ConfigError, match="'5', and there is no such column"):
        read(tmp_path / "a.txt", CONLL, columns={"tags": "5"})
    with pytest.raises(ConfigError, match="tags"):
        read(tmp_path / "a.txt", CONLL, columns={"tag": "2"})


def test_two_columns_with_any_line_ends_and_compressed(tmp_path: Path) -> None:
    text = "中 B-LOC\r\n国 I-LOC\r\n\r\n \r\n人 O"
    want = [tagged(["中", "国"], ["B-LOC", "I-LOC"]), tagged(["人"], ["O"])]
    assert read(tmp_path / "a.txt", text) == want
    packed = tmp_path / "b.conll.gz"
    packed.write_bytes(gzip.compress(text.encode()))
    assert read_tagged([str(packed)], tell=print) == want
    assert want[0].text == "中国"


def test_conllu_has_the_raw_text_and_named_columns(tmp_path: Path) -> None:
    [record] = read(tmp_path / "a.conllu", CONLLU)
    assert record.words == ("他", "不", "同", "。")
    assert record.tags == ("PRON", "ADV", "ADJ", "PUNCT")
    assert record.text == "他 不同。"
    assert [record.text[a:b] for a, b in record.spans] == list(record.words)
    [other] = read(tmp_path / "a.conllu", CONLLU, columns={"tags": "xpos"})
    assert other.tags == ("PRP", "RB", "JJ", ".")


def test_a_raw_text_without_its_words_gives_way_to_the_words(tmp_path: Path) -> None:
    [record] = read(tmp_path / "a.conllu", CONLLU.replace("他 不同。", "他 不甚同。"))
    assert record.text == "他不同。"


def test_tables_with_lists(tmp_path: Path) -> None:
    rows = [{"tokens": ["a", "b"], "ner_tags": ["O", "B-X"]}, {"tokens": ["c"], "ner_tags": [1]}]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    assert read(tmp_path / "a.jsonl", lines) == [
        tagged(["a", "b"], ["O", "B-X"]),
        tagged(["c"], ["1"]),
    ]
    array = json.dumps([{"w": ["a"], "t": ["O"], "text": "a"}])
    [only] = read(tmp_path / "b.json", array, columns={"tokens": "w", "tags": "t"})
    assert only == tagged(["a"], ["O"])


def test_a_row_without_the_named_column_is_a_bad_row(tmp_path: Path) -> None:
    rows = [{"w": ["a"], "tags": ["O"]}, {"tags": ["O"]}, {"w": "a", "tags": ["O"]}]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    given = {"columns": {"tokens": "w"}}
    with pytest.raises(InputError, match=r"2 of 3 rows.*row 2: it has no list 'w' of tokens"):
        read(tmp_path / "a.jsonl", lines, **given)
    told: list[str] = []
    assert len(read(tmp_path / "a.jsonl", lines, told, skip_bad=True, **given)) == 1
    assert "2 of 3 rows" in told[-1]


def test_where_words_and_tags_stand_is_told(tmp_path: Path) -> None:
    told: list[str] = []
    read(tmp_path / "a.txt", CONLL, told)
    read(tmp_path / "a.conllu", CONLLU, told, columns={"tags": "xpos"})
    assert told == ["Columns: tokens is 1, tags is 4.", "Columns: tokens is form, tags is xpos."]
    paths = [str(tmp_path / name) for name in ("a.txt", "a.conllu")]
    assert columns_of(paths[:1], columns={}) == {"tokens": "1", "tags": "4"}
    assert columns_of(paths, columns={}) == {}


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("a.txt", "a O\nb\n", "has 1 columns; the first has 2"),
        ("a.txt", "a\nb\n", "a word and a tag"),
        ("a.conllu", "1\ta\ta\n", "ten columns"),
        ("a.jsonl", '{"tokens": ["a"], "tags": ["O", "O"]}', "1 tokens and 2 tags"),
        ("a.jsonl", '{"tokens": [], "tags": []}', "no words"),
        ("a.jsonl", '{"tokens": [null], "tags": ["O"]}', "not text"),
        ("a.jsonl", '{"tokens": ["\\ud800"], "tags": ["O"]}', "surrogate"),
        ("a.jsonl", '{"text": "a"}', "no list of tokens"),
        ("a.jsonl", "{", "JSON"),
    ],
)
def test_a_bad_row_is_named_or_left_out(tmp_path: Path, name: str, text: str, why: str) -> None:
    good = {"a.txt": "\nx O\n", "a.conllu": f"\n{CONLLU}"}.get(
        name, '\n{"tokens": ["x"], "tags": ["O"]}\n'
    )
    if name == "a.txt" and "columns" not in why:
        good = ""
    with pytest.raises(InputError, match=why):
        read(tmp_path / name, text + good)
    if good:
        told: list[str] = []
        width = "x O\ny O\n\n" if name == "a.txt" else ""
        records = read(tmp_path / name, width + text + good, told, skip_bad=True)
        assert len(records) == (2 if width else 1)
        assert why in told[-1]


def test_what_the_chinese_treebank_holds(shared_data: Path) -> None:
    files = [str(shared_data / "ud_zh_gsdsimp" / "zh_gsdsimp-ud-dev.conllu")]
    records = read_tagged(files, tell=print)
    assert len(records) == 500
    assert {"NOUN", "VERB"} <= set(labels_of(records))
    cut = read_tagged(files, columns={"tags": "segments"}, tell=print)
    for one, other in zip(records, cut, strict=True):
        assert one.text == other.text
        assert all(other.text[a:b] == w for w, (a, b) in zip(other.words, other.spans, strict=True))
        ends = {end for _, end in one.spans}
        words = [(c.first, c.last) for c in chunks(other.tags)]
        assert {other.spans[last][1] for _, last in words} == ends
    assert labels_of(cut) == ("B-word", "I-word")


# Chunks


def test_segments_spell_the_words_they_came_from() -> None:
    words = ["我们", "在", "2024年", "U.S.", "-", "读书", "。"]
    record = segments(words)
    found = [
        record.text[record.spans[c.first][0] : record.spans[c.last][1]] for c in chunks(record.tags)
    ]
    assert found == words


@pytest.mark.parametrize(
    ("tags", "want"),
    [
        ("B-A I-A O I-A B-B B-B I-A", "A0-1 A3-3 B4-4 B5-5 A6-6"),
        ("I-A I-A I-B B-B O", "A0-1 B2-2 B3-3"),
        ("S-A B-A I-A E-A E-A O", "A0-0 A1-3 A4-4"),
        ("U-A B-A L-A U-B", "A0-0 A1-2 B3-3"),
        ("B-A M-A E-A S-A", "A0-2 A3-3"),
        ("B I I B", "0-2 3-3"),
        ("O O", ""),
    ],
)
def test_chunks_of_every_scheme(tags: str, want: str) -> None:
    assert [f"{c.label}{c.first}-{c.last}" for c in chunks(tags.split())] == want.split()


@given(st.integers(0, 2**32))
def test_chunks_are_those_of_conlleval(seed: int) -> None:
    draw = random.Random(seed)
    kinds = ["O", *(f"{mark}-{kind}" for mark in "BIES" for kind in "XY")]
    tags = [draw.choice(kinds) for _ in range(draw.randint(0, 12))]
    assert [(c.label, c.first, c.last) for c in chunks(tags)] == conlleval(tags), tags


def conlleval(tags: list[str]) -> list[tuple[str, int, int]]:
    """As the published script decides, tag by tag (endOfChunk, startOfChunk)."""
    found, begun = [], 0
    previous, kind_before = "O", ""
    for at, tag in enumerate([*tags, "O"]):
        mark, kind = tag[0], tag[2:]
        ends = previous in "ES" and previous != "O"
        ends |= (previous, mark) in {
            ("B", "B"),
            ("B", "S"),
            ("B", "O"),
            ("I", "B"),
            ("I", "S"),
            ("I", "O"),
        }
        ends |= previous != "O" and kind_before != kind
        starts = mark in "BS"
        starts |= previous in "ESO" and mark in "EI"
        starts |= mark != "O" and kind_before != kind
        if ends and previous != "O":
            found.append((kind_before, begun, at - 1))
        if starts:
            begun = at
        previous, kind_before = mark, kind
    return found


def test_labels_in_order_and_what_marks_entities() -> None:
    records = [tagged(["a", "b", "c"], ["I-X", "B-Y", "O"]), tagged(["d"], ["B-X"])]
    assert labels_of(records) == ("O", "B-X", "I-X", "B-Y")
    assert marks_entities(labels_of(records))
    assert not marks_entities(["NOUN", "O"])
    assert [c.label for c in chunks(["NOUN", "VERB"], marks=False)] == ["NOUN", "VERB"]
