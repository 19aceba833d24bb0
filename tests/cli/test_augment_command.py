"""`hanlin augment`: what it writes, and what it refuses."""

import json

import pytest

from hanlin.text.augment import Noise, noisy


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "reviews.csv"
    rows = ["label,review", "1,the food was really good", "0,terrible service", "1,房间很干净"]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def rows_of(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_noisy_copies_stand_behind_their_originals(hanlin, table, tmp_path):
    target = tmp_path / "more.jsonl"
    words = ("augment", table, "-o", target, "--rate", 0.3, "--copies", 2, "--seed", 4)
    outcome = hanlin(*words, "--json")
    assert outcome.status == 0, outcome.err
    rows = rows_of(target)
    told = outcome.json
    assert told == {
        "path": str(target),
        "originals": 3,
        "copies": len(rows) - 3,
        "left_out": 6 - (len(rows) - 3),
    }
    assert rows[0] == {"label": "1", "review": "the food was really good"}
    assert rows[1]["label"] == "1"
    assert rows[1]["review"] == noisy(rows[0]["review"], Noise(rate=0.3), seed=4)
    before = target.read_bytes()
    assert hanlin(*words).status == 0
    assert target.read_bytes() == before


def test_back_translation_goes_through_two_models(hanlin, table, tmp_path, monkeypatch):
    from hanlin.cli import augment

    heard = []

    def translator(ref, done):
        def translate(texts):
            heard.append((ref, list(texts)))
            done(len(texts))
            return [f"{ref}({text})" for text in texts]

        return translate

    monkeypatch.setattr(augment, "_translator", translator)
    target = tmp_path / "more.jsonl"
    words = ("--method", "back-translation", "--there", "en-de", "--back", "de-en")
    outcome = hanlin("augment", table, "-o", target, *words)
    assert outcome.status == 0, outcome.err
    copies = [row for row in rows_of(target) if "augmented" in row]
    assert copies[1]["review"] == "de-en(en-de(terrible service))"
    assert copies[1]["augmented"]["through"] == "en-de, de-en"
    assert [ref for ref, _ in heard] == ["en-de", "de-en"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--rate", "2"), "rate is 2"),
        (("--edits", "delete,typo"), "typo is no edit"),
        (("--copies", "0"), "copies is 0"),
        (("--there", "x"), "for --method back-translation"),
        (("--method", "back-translation"), "needs two models"),
        (("--method", "back-translation", "--rate", "0.2"), "--rate would be ignored"),
        (("--column", "text"), "no such column"),
    ],
)
def test_bad_requests_leave_nothing_behind(hanlin, table, tmp_path, more, said):
    target = tmp_path / "more.jsonl"
    outcome = hanlin("augment", table, "-o", target, *more)
    assert outcome.status == 2
    assert said in outcome.err
    assert not target.exists()


def test_only_translators_translate_and_only_json_lines_are_written(
    hanlin, table, tmp_path, tiny_llama
):
    words = ("--method", "back-translation", "--there", tiny_llama, "--back", tiny_llama)
    outcome = hanlin("augment", table, "-o", tmp_path / "more.jsonl", *words)
    assert (outcome.status, "translates nothing" in outcome.err) == (2, True)
    outcome = hanlin("augment", table, "-o", tmp_path / "more.csv")
    assert (outcome.status, "end in .jsonl" in outcome.err) == (2, True)


def test_bad_rows_are_an_error_or_left_out(hanlin, tmp_path):
    source, target = tmp_path / "rows.jsonl", tmp_path / "more.jsonl"
    source.write_text('{"text": "a b c d"}\n{"text": 3}\n{"text": "e f g h"}\n')
    outcome = hanlin("augment", source, "-o", target)
    assert outcome.status == 2
    assert "1 of 3 rows" in outcome.err
    outcome = hanlin("augment", source, "-o", target, "--skip-bad", "--json")
    assert outcome.json["originals"] == 2
