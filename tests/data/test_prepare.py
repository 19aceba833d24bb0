"""Preparing: what comes out is a function of sources and settings alone, and says what it is."""

import io
import json
import os
import shutil
import sys
from dataclasses import dataclass

import numpy as np
import pytest
from preparing import corpus, digest, text, tokenizer

from hanlin.data import plan
from hanlin.data import prepare as module
from hanlin.data.prepare import prepare
from hanlin.data.shards import TokenShards
from hanlin.errors import ConfigError, HanlinError, InputError, NotFoundError
from hanlin.provenance import file_hash
from hanlin.text import plain, sources
from hanlin.text.documents import Document, Dropped, chosen, document_hash
from hanlin.text.read import read_documents
from hanlin.text.stages import MinimumLength, Normalise
from hanlin.tokenizers import Tokenizer


@pytest.fixture(scope="module")
def tok() -> Tokenizer:
    return tokenizer()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A corpus in which files of more than some kilobytes are large ones, of several blocks."""
    monkeypatch.setattr(plan, "BLOCK", 9000)
    monkeypatch.setattr(sources.SourceFile, "small", property(lambda file: file.size <= 4096))
    return corpus(tmp_path / "corpus")


def rows(shards: TokenShards) -> list[list[int]]:
    return [shards.read(*shards.document_bounds(n)).tolist() for n in range(shards.documents)]


def test_tokens_are_those_of_each_document_and_the_manifest_adds_up(folder, tok, tmp_path):
    made = prepare(folder, tmp_path / "out", tokenizer=tok, workers=2, licence="CC0-1.0")
    shards = TokenShards.open(made.path, verify=True)
    texts = [d.text for d in read_documents(folder) if d.text.strip()]
    assert rows(shards) == [[*tok.encode(t, add_special_tokens=False), tok.eos_id] for t in texts]
    assert made.tokens == shards.tokens
    assert made.kept == len(texts)
    assert made.bytes == sum(len(t.encode()) for t in texts)
    assert made.dropped["binary"] == 1
    assert made.documents == made.kept + sum(made.dropped.values())
    assert len(made.problems) == 1
    assert "picture.png" in made.problems[0]
    manifest = shards.manifest
    assert manifest["tokenizer"]["hash"] == tok.hash
    by_path = {source["path"]: source for source in manifest["sources"]}
    assert set(by_path) == {str(p) for p in folder.rglob("*") if p.is_file()}
    for path, source in by_path.items():
        assert source["sha256"] == file_hash(path)
        assert source["size"] == os.path.getsize(path)
        assert source["licence"] == "CC0-1.0"
    assert by_path[str(folder / "small" / "old.txt")]["encoding"] == "gb18030"
    for name in ("kept", "bytes", "tokens"):
        assert sum(source[name] for source in by_path.values()) == manifest[name]
    assert manifest["provenance"]["versions"]["python"]


@pytest.mark.parametrize("with_tokenizer", [True, False])
def test_the_number_of_workers_changes_nothing(folder, tok, tmp_path, with_tokenizer):
    settings = {"tokenizer": tok if with_tokenizer else None, "validation": 0.2}
    results = []
    for workers in (1, 2, 3):
        out = tmp_path / f"out{workers}"
        prepare(folder, out, workers=workers, shard_size=20_000, **settings)
        results.append(digest(out))
    assert results[0] == results[1] == results[2]
    assert len(results[0]) > 6


def test_a_second_time_nothing_is_made(folder, tok, tmp_path):
    first = prepare(folder, tmp_path / "out", tokenizer=tok)
    before = digest(tmp_path / "out")
    second = prepare(folder, tmp_path / "out", tokenizer=tok)
    assert first.made > 15
    assert second.made == 0
    assert digest(tmp_path / "out") == before
    assert (second.tokens, second.kept, second.dropped) == (
        first.tokens, first.kept, first.dropped,
    )  # fmt: skip
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def fresh(folder, tmp_path, **settings):
    """What preparing without anything there before gives."""
    shutil.rmtree(tmp_path / "fresh", ignore_errors=True)
    prepare(folder, tmp_path / "fresh", **settings)
    return digest(tmp_path / "fresh")


def test_a_change_makes_again_what_depends_on_it_and_nothing_else(folder, tok, tmp_path):
    out = tmp_path / "out"
    settings = {"tokenizer": tok, "shard_size": 20_000}
    everything = prepare(folder, out, **settings).made

    (folder / "small" / "05.md").write_text("something else")
    assert prepare(folder, out, **settings).made == 1
    assert digest(out) == fresh(folder, tmp_path, **settings)

    (folder / "new.txt").write_text("new\n")
    (folder / "small" / "03.md").unlink()
    (folder / "lines.jsonl").rename(folder / "a.jsonl")
    assert prepare(folder, out, **settings).made == 1
    assert digest(out) == fresh(folder, tmp_path, **settings)

    with (folder / "a.jsonl").open("a") as file:
        file.write('\n{"text": "one more"}')
    again = prepare(folder, out, **settings).made
    assert 1 < again < everything / 2
    assert digest(out) == fresh(folder, tmp_path, **settings)

    # What is only stated changes the manifest.
    assert prepare(folder, out, licence="CC0-1.0", **settings).made == 0
    assert TokenShards.open(out).manifest["sources"][0]["licence"] == "CC0-1.0"

    # Another layout of the same tokens is copied; another tokenizer or stage makes all of it again.
    settings["shard_size"] = 5000
    assert prepare(folder, out, **settings).made == 0
    assert digest(out) == fresh(folder, tmp_path, **settings)
    everything = prepare(folder, tmp_path / "count", **settings).made
    assert prepare(folder, out, **{**settings, "tokenizer": tokenizer(300)}).made == everything
    assert prepare(folder, out, stages=[Normalise()], **settings).made == everything
    assert digest(out) == fresh(folder, tmp_path, stages=[Normalise()], **settings)


def test_a_draft_that_stopped_fitting_still_gives_what_it_has(folder, tok, tmp_path, monkeypatch):
    """Stopped after some units, then a source changes that came before them."""
    out = tmp_path / "out"
    counted = 0

    class StopError(Exception):
        pass

    real = module.Draft.append

    def stop(self, *args, **kwargs):
        nonlocal counted
        counted += 1
        if counted > 12:
            raise StopError
        real(self, *args, **kwargs)

    monkeypatch.setattr(module.Draft, "append", stop)
    with pytest.raises(StopError):
        prepare(folder, out, tokenizer=tok, workers=1)
    monkeypatch.setattr(module.Draft, "append", real)
    assert not out.exists()
    (folder / "a.txt").write_text("before all others\n")
    made = prepare(folder, out, tokenizer=tok, workers=1).made
    assert digest(out) == fresh(folder, tmp_path, tokenizer=tok)
    everything = prepare(folder, tmp_path / "count", tokenizer=tok).made
    assert made == everything - 12
    assert sorted(p.name for p in tmp_path.iterdir()) == ["corpus", "count", "fresh", "out"]


def test_a_long_text_is_one_document_in_bounded_pieces(tmp_path, tok, monkeypatch):
    import random

    monkeypatch.setattr(plain, "PART", 5000)
    monkeypatch.setattr(plan, "BLOCK", 9000)
    monkeypatch.setattr(sources.SourceFile, "small", property(lambda file: file.size <= 4096))
    whole = text(random.Random(3), 900)
    (tmp_path / "a.txt").write_text("before\n")
    (tmp_path / "b.txt").write_text(whole)
    (tmp_path / "c.txt").write_text("after\n")
    for workers in (1, 2):
        out = tmp_path / f"out{workers}"
        files = [tmp_path / f"{name}.txt" for name in "abc"]
        made = prepare(files, out, tokenizer=tok, workers=workers, shard_size=4000)
        shards = TokenShards.open(out, verify=True)
        assert made.made > 5
        assert len(shards.manifest["shards"]) > 2
        assert shards.documents == made.kept == 3
        assert rows(shards)[1] == [*tok.encode(whole, add_special_tokens=False), tok.eos_id]
        assert shards.document_bytes(1) == len(whole.encode())
        assert shards.document_at(shards.tokens // 2) == 1
        assert len(shards.bounds_within(0, shards.tokens)) == 3

    # As lines of JSON it stays in parts, which are read as one document again.
    clean = prepare(files, tmp_path / "clean")
    assert clean.kept == 3
    again = prepare(clean.path, tmp_path / "again", tokenizer=tok)
    assert again.kept == 3
    assert np.array_equal(
        TokenShards.open(again.path).read(0, shards.tokens), shards.read(0, shards.tokens)
    )


@dataclass(frozen=True)
class WithoutMiddles:
    """Takes out every part of a long document but the given ones."""

    keep: tuple[int, ...]

    def __call__(self, document: Document) -> Document | Dropped:
        long = document.part or document.more
        return Dropped("middle") if long and document.part not in self.keep else document


@pytest.mark.parametrize("keep", [(), (0,), (2,), (0, 1, 2, 3)])
def test_parts_that_are_taken_out_leave_the_rest_one_document(tmp_path, tok, monkeypatch, keep):
    import random

    monkeypatch.setattr(plain, "PART", 5000)
    monkeypatch.setattr(plan, "BLOCK", 4000)
    monkeypatch.setattr(sources.SourceFile, "small", property(lambda file: file.size <= 4096))
    (tmp_path / "b.txt").write_text(text(random.Random(3), 200))
    (tmp_path / "c.txt").write_text("after\n")
    files = [tmp_path / "b.txt", tmp_path / "c.txt"]
    kept = "".join(d.text for d in read_documents(files[0]) if d.part in keep)
    made = prepare(files, tmp_path / "out", tokenizer=tok, stages=[WithoutMiddles(keep)], workers=1)
    shards = TokenShards.open(made.path)
    expected = [kept, "after\n"] if kept else ["after\n"]
    assert made.kept == shards.documents == len(expected)
    assert [shards.document_bytes(n) for n in range(len(expected))] == [
        len(t.encode()) for t in expected
    ]
    assert shards.tokens == len(np.concatenate(rows(shards)))


def test_validation_is_chosen_by_the_text(folder, tok, tmp_path):
    made = prepare(folder, tmp_path / "out", tokenizer=tok, validation=0.25, seed=3)
    train = TokenShards.open(tmp_path / "out" / "train", verify=True)
    held = TokenShards.open(tmp_path / "out" / "validation", verify=True)
    texts = [d.text for d in read_documents(folder) if d.text.strip()]
    expected = [chosen(document_hash(t), 0.25, seed=3) for t in texts]
    ids = [[*tok.encode(t, add_special_tokens=False), tok.eos_id] for t in texts]
    assert rows(held) == [one for one, yes in zip(ids, expected, strict=True) if yes]
    assert rows(train) == [one for one, yes in zip(ids, expected, strict=True) if not yes]
    assert made.sides["validation"]["kept"] == held.documents > 50
    assert made.tokens == train.tokens + held.tokens
    assert train.bytes + held.bytes == made.bytes
    assert held.tokenizer.hash == tok.hash
    with pytest.raises(NotFoundError, match="train"):
        TokenShards.open(tmp_path / "out")
    (folder / "one.txt").write_text("one document\n")
    with pytest.raises(ConfigError, match="No document was chosen for validation"):
        prepare(folder / "one.txt", tmp_path / "one", tokenizer=tok, validation=1e-9)


def test_clean_documents_can_be_prepared_again(folder, tok, tmp_path):
    clean = prepare(folder, tmp_path / "clean", stages=[MinimumLength(40)], shard_size=30_000)
    lines = [
        json.loads(line)
        for path in sorted(clean.path.glob("*.jsonl"))
        if path.name != ".units.jsonl"
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    texts = [d.text for d in read_documents(folder) if len(d.text.strip()) >= 40]
    assert [line["text"] for line in lines] == texts
    assert {line["source"] for line in lines} <= {str(p) for p in folder.rglob("*")}
    assert clean.tokens is None
    assert clean.dropped["shorter than 40 characters"] > 0
    for named in (clean.path, f"{clean.path}/*.jsonl"):
        assert [d.text for d in read_documents(named)] == texts
    shards = prepare(clean.path, tmp_path / "out", tokenizer=tok)
    assert shards.kept == len(texts)
    with pytest.raises(ConfigError, match="token shards"):
        prepare(shards.path, tmp_path / "other", tokenizer=tok)


def test_standard_input(tok, tmp_path, monkeypatch):
    def given(data: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))

    given(b'{"text": "a"}\n{"text": "b"}\n')
    made = prepare("-", tmp_path / "out", tokenizer=tok, format="jsonl")
    assert made.kept == 2
    given(b'{"text": "a"}\n{"text": "b"}\n')
    assert prepare("-", tmp_path / "out", tokenizer=tok, format="jsonl").made == 0
    given(b"")
    with pytest.raises(InputError, match="no text"):
        prepare("-", tmp_path / "other", tokenizer=tok)


def nothing(folder):
    pass


@pytest.mark.parametrize(
    ("content", "settings", "error", "word"),
    [
        ({}, {}, InputError, "no files"),
        ({".a.txt": b"x"}, {}, InputError, "1 hidden"),
        ({"a.txt": b""}, {}, InputError, "empty"),
        ({"a.txt": b" \n\n "}, {}, InputError, "empty"),
        ({"a.png": b"\x89PNG\0\0"}, {}, InputError, "no text has"),
        ({"a.jsonl": b'{"body": "x"}\n'}, {}, InputError, "the fields are: body"),
        ({"a.csv": b"label,body\n1,x\n"}, {}, InputError, "the columns are: label, body"),
        ({"a.csv": b"1,x\n"}, {"field": "0"}, InputError, "counted from 1"),
        ({"a.jsonl": b'{"text": 3}\n'}, {}, InputError, "a number, not text"),
        ({"a.txt.gz": b"\x1f\x8b\x08garbage"}, {}, InputError, "cut off"),
        ({"a.zip": b"PK\x03\x04"}, {}, InputError, "damaged"),
        ({"a.txt": b"x"}, {"stages": [MinimumLength(9)]}, InputError, "1 shorter than 9"),
        ({"a.txt": b"x"}, {"format": "docx"}, ConfigError, "no format 'docx'"),
        ({"a.txt": b"x"}, {"encoding": "utf-9"}, ConfigError, "no encoding 'utf-9'"),
        ({"a.txt": b"x"}, {"validation": 1.0}, ConfigError, "validation"),
        ({"a.txt": b"x"}, {"workers": 0}, ConfigError, "workers"),
        ({"a.txt": b"x"}, {"split": ""}, ConfigError, "separator"),
        ({"a.po": b'msgid "a"\n'}, {"field": "text"}, ConfigError, "msgstr"),
        ({"a.txt": b"x"}, {"stages": [nothing.__call__]}, ConfigError, "dataclass"),
    ],
)
@pytest.mark.parametrize("workers", [1, 2])
def test_what_cannot_be_prepared(tmp_path, content, settings, error, word, workers):
    folder = tmp_path / "folder"
    folder.mkdir()
    for name, data in content.items():
        (folder / name).write_bytes(data)
    with pytest.raises(error, match=word):
        prepare(folder, tmp_path / "out", **{"workers": workers, **settings})
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


def test_an_output_that_is_something_else_is_left_alone(tmp_path, tok):
    (tmp_path / "a.txt").write_text("text\n")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.doc").write_text("years of work")
    with pytest.raises(ConfigError, match="did not make"):
        prepare(tmp_path / "a.txt", tmp_path / "mine", tokenizer=tok)
    with pytest.raises(ConfigError, match="is a file"):
        prepare(tmp_path / "a.txt", tmp_path / "a.txt", tokenizer=tok)
    (tmp_path / "empty").mkdir()
    assert prepare(tmp_path / "a.txt", tmp_path / "empty", tokenizer=tok).kept == 1
    with pytest.raises(NotFoundError):
        prepare(tmp_path / "b.txt", tmp_path / "other", tokenizer=tok)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.txt", "empty", "mine"]


def test_a_stage_of_main_cannot_go_to_workers(tmp_path, tok, monkeypatch):
    def own(document: Document) -> Document:
        return document

    monkeypatch.setattr(own, "__module__", "__main__")
    (tmp_path / "a.txt").write_text("text\n")
    with pytest.raises(ConfigError, match="workers=1"):
        prepare(tmp_path / "a.txt", tmp_path / "out", tokenizer=tok, stages=[own], workers=2)
    assert prepare(tmp_path / "a.txt", tmp_path / "out", stages=[own], workers=1).kept == 1


def fail(document: Document) -> Document:
    raise HanlinError("This stage does not like it. Change it.")


def crash(document: Document) -> Document:
    os._exit(3)


@pytest.mark.parametrize(("stage", "word"), [(fail, "does not like it"), (crash, "status 3")])
def test_a_worker_that_fails_or_dies_is_told(tmp_path, stage, word):
    (tmp_path / "a.txt").write_text("text\n")
    with pytest.raises(HanlinError, match=word):
        prepare(tmp_path / "a.txt", tmp_path / "out", stages=[stage], workers=2)


def test_it_is_part_of_the_public_surface():
    import hanlin

    assert hanlin.prepare is prepare


def test_two_at_once_do_not_mix(tmp_path, tok):
    (tmp_path / "a.txt").write_text("text\n")
    partial = tmp_path / ".out.partial"
    partial.mkdir()
    with (
        module._place(partial),
        pytest.raises(ConfigError, match="Another process"),
    ):
        prepare(tmp_path / "a.txt", tmp_path / "out", tokenizer=tok)
    assert prepare(tmp_path / "a.txt", tmp_path / "out", tokenizer=tok).kept == 1
