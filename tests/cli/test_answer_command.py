"""`hanlin answer`, and `hanlin predict` for models that tag, extract, write and label pairs."""

import json
from pathlib import Path

import pytest

import hanlin as library
from tiny_models import save_encoder

TEXT = "The library opens at nine. On Sunday it stays closed.\n"


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    folder = tmp_path / "documents"
    folder.mkdir()
    (folder / "hours.txt").write_text(TEXT, encoding="utf-8")
    (folder / "规则.txt").write_text("图书馆每天九点开门。", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def extractor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("models") / "extractor"
    return save_encoder(place, head="extract", initializer_range=0.6)


def test_passages_without_any_model(hanlin, documents: Path) -> None:
    outcome = hanlin("answer", "When does the library open?", documents)
    assert outcome.status == 0
    assert outcome.out.startswith(f"[1] {documents / 'hours.txt'}: 0-{len(TEXT) - 1}\n")
    assert "opens at nine" in outcome.out
    found = hanlin("answer", "-", documents, "--top", 1, "--json", stdin="何时开门？".encode()).json
    assert found["answer"] == ""
    assert [c["file"] for c in found["citations"]] == [str(documents / "规则.txt")]
    assert found["citations"][0]["text"] == "图书馆每天九点开门。"


def test_nothing_found_is_said(hanlin, documents: Path) -> None:
    outcome = hanlin("answer", "xyzzy", documents)
    assert outcome.status == 0
    assert outcome.out.strip() == ""
    assert "None of the 2 passages" in outcome.err


def test_an_answer_with_its_source(hanlin, documents: Path, extractor: Path) -> None:
    question = "When does the library open?"
    found = hanlin("answer", question, documents, "--reader", extractor, "--json").json
    [citation] = found["citations"]
    text = Path(citation["file"]).read_text(encoding="utf-8")
    assert text[citation["answer_start"] : citation["answer_end"]] == found["answer"] != ""
    printed = hanlin("answer", question, documents, "--reader", extractor).out
    assert printed.splitlines()[0] == found["answer"]
    assert f"{citation['answer_start']}-{citation['answer_end']}" in printed


def test_what_cannot_be_answered(hanlin, documents: Path, tiny_bert: Path) -> None:
    for arguments, word in (
        (["x", documents / "nowhere"], "no file or folder"),
        ([" ", documents], "empty"),
        (["x", documents, "--reader", tiny_bert], "reads passages"),
        (["x", documents, "--max-new-tokens", 3], "only a language model"),
    ):
        outcome = hanlin("answer", *arguments)
        assert outcome.status == 2
        assert word in outcome.err
        assert "Traceback" not in outcome.err
    assert hanlin("answer", "x").status == 2


# predict


def lines_of(outcome) -> list[dict]:
    return [json.loads(line) for line in outcome.out.splitlines()]


def test_predict_extracts(hanlin, extractor: Path, tmp_path: Path) -> None:
    rows = [
        {"id": 7, "question": "When?", "context": TEXT},
        {"question": "何时？", "context": "九点。"},
    ]
    source = tmp_path / "asked.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    first, second = lines_of(hanlin("predict", extractor, source))
    assert first["id"] == 7
    assert TEXT[first["start"] : first["end"]] == first["answer"]
    assert "id" not in second
    model = library.load(extractor)
    assert second["answer"] == model("何时？", "九点。").text
    assert lines_of(hanlin("predict", extractor, "-", stdin=source.read_bytes())) == [first, second]
    source.write_text('{"question": "a", "context": "b"}\n{"question": "a"}\n')
    outcome = hanlin("predict", extractor, source)
    assert outcome.status == 2
    assert "row 2" in outcome.err
    assert '"context"' in outcome.err
    assert outcome.out == ""


def test_predict_tags_raw_texts_and_words(hanlin, tmp_path: Path) -> None:
    labels = ("O", "B-X", "I-X")
    place = save_encoder(tmp_path / "tagger", head="tag", labels=labels)
    source = tmp_path / "a.jsonl"
    source.write_text('{"text": "A token is a word"}\n{"tokens": ["A", "token"]}\n')
    raw, cut = lines_of(hanlin("predict", place, source))
    model = library.load(place)
    assert [e["text"] for e in raw["entities"]] == [e.text for e in model("A token is a word")]
    assert cut["tags"] == [tag.tag for tag in model.tag([["A", "token"]])[0]]
    plain = lines_of(hanlin("predict", place, "-", stdin=b"A token is a word\n"))
    assert plain == [raw]
    source.write_text('{"tokens": []}\n')
    assert "row 1" in hanlin("predict", place, source).err


def test_predict_labels_pairs(hanlin, tiny_classifier: Path, tmp_path: Path) -> None:
    source = tmp_path / "a.jsonl"
    source.write_text('{"text": "a", "text_pair": "b", "id": "x"}\n{"text": "a"}\n')
    pair, single = lines_of(hanlin("predict", tiny_classifier, source))
    model = library.load(tiny_classifier)
    want = model([("a", "b"), "a"])
    assert (pair["id"], pair["label"]) == ("x", want[0].name)
    assert pair["scores"] == pytest.approx(dict(want[0].scores))
    assert single["scores"] == pytest.approx(dict(want[1].scores))
