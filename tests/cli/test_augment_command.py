"""`hanlin augment`: what it writes, and what it refuses."""

import json

import pytest
import torch

import hanlin as library
from hanlin.models.directory import save_directory
from hanlin.models.new import new_config
from hanlin.models.transformer import Transformer
from hanlin.text.augment import Noise, noisy
from tiny_models import byte_tokenizer


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
        "too_long": 0,
    }
    assert rows[0] == {"label": "1", "review": "the food was really good"}
    assert rows[1]["label"] == "1"
    assert rows[1]["review"] == noisy(rows[0]["review"], Noise(rate=0.3), seed=4)
    before = target.read_bytes()
    assert hanlin(*words).status == 0
    assert target.read_bytes() == before


@pytest.fixture
def translators(tmp_path):
    """Two encoder-decoders with first weights, which read 30 tokens."""
    tokenizer = byte_tokenizer(chat=False)
    sizes = {"hidden_size": 32, "num_layers": 1, "num_heads": 2, "max_context": 30}
    config = new_config("vaswani", vocab_size=tokenizer.vocab_size, **sizes)
    ends = {"eos_ids": tokenizer.eos_ids, "decoder_start_id": tokenizer.eos_ids[0]}
    for seed, name in enumerate(("there", "back")):
        torch.manual_seed(seed)
        network = Transformer(config.with_changes(initializer_range=0.5, **ends)).eval()
        save_directory(network, tmp_path / name, tokenizer=tokenizer)
        (tmp_path / name / "generation_config.json").write_text(
            '{"max_new_tokens": 6, "min_new_tokens": 6}'
        )
    return tmp_path / "there", tmp_path / "back"


def test_back_translation_goes_through_two_models(hanlin, tmp_path, translators):
    texts = ["one token", "after the other " * 20, "the words of the emperor", "翰林院"]
    source, target = tmp_path / "rows.jsonl", tmp_path / "more.jsonl"
    source.write_text("".join(json.dumps({"text": text, "label": "a"}) + "\n" for text in texts))
    ways = ("--there", translators[0], "--back", translators[1])
    words = ("augment", source, "-o", target, "--method", "back-translation", *ways)
    outcome = hanlin(*words, "--json")
    assert outcome.status == 0, outcome.err
    there, back = (library.load(path) for path in translators)
    short = [text for text in texts if len(text) < 100]
    expected = [back(there(text)) for text in short]
    assert len(set(expected)) == 3
    copies = {row["augmented"]["of"]: row for row in rows_of(target) if "augmented" in row}
    assert {of: row["text"] for of, row in copies.items()} == dict(
        zip((1, 3, 4), expected, strict=True)
    )
    assert copies[1]["augmented"]["through"] == ", ".join(map(str, translators))
    assert copies[1]["label"] == "a"
    told = {name: outcome.json[name] for name in ("originals", "copies", "left_out", "too_long")}
    assert told == {"originals": 4, "copies": 3, "left_out": 0, "too_long": 1}
    assert "1 texts are longer than a translator reads" in hanlin(*words).out


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
