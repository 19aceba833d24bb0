"""Special tokens that a model is given before it is trained further."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_runs import Recorder

import hanlin
import hanlin.training.run as run_module
from hanlin.config import read_config
from hanlin.data.middle import FORMS
from hanlin.errors import ConfigError, InputError
from hanlin.models import load
from hanlin.models.directory import save_directory
from hanlin.models.transfer import take_weights
from hanlin.models.transformer import Transformer
from hanlin.tokenizers import Tokenizer
from hanlin.training.config import TrainConfig
from hanlin.training.foreseeing import foresee
from hanlin.training.run import train
from tiny_models import CORPUS, byte_tokenizer, decoder, save_decoder, save_encoder

MARKS = list(FORMS[0])


@pytest.fixture(autouse=True)
def no_measuring(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the fifth of a second that each run measures the machine."""
    monkeypatch.setattr(run_module, "machine_peak", lambda precision, seconds: None)


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.jsonl"
    path.write_text("\n".join(json.dumps({"text": line}) for line in CORPUS), encoding="utf-8")
    return path


def settings(model: Path, text: Path, **changes: Any) -> dict[str, Any]:
    return {
        "model": str(model),
        "tokenizer": {"special_tokens": MARKS},
        "objective": {"name": "causal-lm", "fim": 0.5},
        "data": {"train": str(text)},
        "batch": {"sequences": 4, "length": 24},
        "optimizer": {"lr": 1e-3},
        "schedule": "constant",
        "duration": "6 steps",
        "output": str(model.parent / "run"),
    } | changes


@pytest.mark.parametrize("tied", [True, False])
def test_a_model_learns_to_fill_gaps(tied: bool, tmp_path: Path, text: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = save_decoder(tmp_path / "base", tie_embeddings=tied)
    watcher = Recorder()
    run = train(settings(base, text), watchers=[watcher]).output
    assert any("3 more tokens" in message for message in watcher.messages), watcher.messages
    before, after = Tokenizer.load(base), Tokenizer.load(run)
    assert [after.id(mark) for mark in MARKS] == [before.vocab_size + n for n in range(3)]
    for line in CORPUS:
        assert after.encode(line) == before.encode(line)
    lm = hanlin.load(run, dtype="float32")
    assert lm.network.config.vocab_size == before.vocab_size + 3
    assert lm.infill("The ", " of words", temperature=0, max_new_tokens=4)
    # transformers reads the same vocabulary and computes the same.
    marked = f"{MARKS[0]}The {MARKS[1]} words{MARKS[2]}"
    ids = AutoTokenizer.from_pretrained(run)(marked)["input_ids"]
    assert ids == after.encode(marked)
    theirs = AutoModelForCausalLM.from_pretrained(run).eval()
    with torch.no_grad():
        want = theirs(input_ids=torch.tensor([ids])).logits
        torch.testing.assert_close(load(run)(torch.tensor([ids])).logits, want)


def test_the_old_rows_stay_and_the_new_ones_lie_near_their_mean() -> None:
    tokenizer = byte_tokenizer()
    reference = decoder(tokenizer, tie_embeddings=False)
    size = reference.config.vocab_size
    network = Transformer(reference.config.with_changes(vocab_size=size + 40))
    assert take_weights(network, reference) == []
    for name in ("embedding.weight", "head.projection.weight"):
        old, new = reference.get_parameter(name).detach(), network.get_parameter(name).detach()
        assert torch.equal(new[:size], old)
        gap = (new[size:] - old.mean(0)) / old.std(0)
        assert 0.08 < gap.std() < 0.12
        assert len(np.unique(new[size:].numpy(), axis=0)) == 40
    ids = torch.tensor([tokenizer.encode("A token")])
    logits = network(ids).logits
    torch.testing.assert_close(logits[..., :size], reference(ids).logits)


def test_a_run_that_goes_on_ends_as_one_that_was_not_interrupted(
    tmp_path: Path, text: Path
) -> None:
    base = save_decoder(tmp_path / "base")
    whole = train(settings(base, text, output=str(tmp_path / "whole"))).output
    parts = settings(base, text, output=str(tmp_path / "parts"))
    train({**parts, "duration": "3 steps"})
    train(parts, resume=True)
    want = load(whole).state_dict()
    for name, found in load(tmp_path / "parts").state_dict().items():
        assert torch.equal(found, want[name]), name


def test_what_is_there_is_not_added_again(tmp_path: Path, text: Path) -> None:
    base = save_decoder(tmp_path / "base")
    once = train(settings(base, text)).output
    watcher = Recorder()
    given = settings(once, text, output=str(tmp_path / "twice"))
    twice = train(given, watchers=[watcher]).output
    assert not any("more tokens" in message for message in watcher.messages)
    assert load(twice).config.vocab_size == load(once).config.vocab_size
    assert Tokenizer.load(twice).hash == Tokenizer.load(once).hash


def test_rows_that_a_model_has_to_spare_are_taken_first(tmp_path: Path, text: Path) -> None:
    tokenizer = byte_tokenizer()
    spare = decoder(tokenizer, vocab_size=tokenizer.vocab_size + 8)
    base = save_directory(spare, tmp_path / "base", tokenizer=tokenizer)
    run = train(settings(base, text)).output
    assert load(run).config.vocab_size == tokenizer.vocab_size + 8
    assert Tokenizer.load(run).id(MARKS[0]) == tokenizer.vocab_size


def test_an_encoder_takes_them_too(tmp_path: Path) -> None:
    base = save_encoder(tmp_path / "base")
    rows = [{"text": f"[E1] {line}", "label": "ab"[n % 2]} for n, line in enumerate(CORPUS)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    given = settings(base, tmp_path / "rows.jsonl", objective="classify")
    run = train(given | {"tokenizer": {"special_tokens": ["[E1]"]}}).output
    tokenizer = Tokenizer.load(run)
    assert tokenizer.id("[E1]") == Tokenizer.load(base).vocab_size
    assert tokenizer.id("[E1]") in tokenizer.encode("[E1] word")
    assert load(run).config.vocab_size == tokenizer.vocab_size


def test_such_a_run_is_foreseen(tmp_path: Path, text: Path) -> None:
    base = save_decoder(tmp_path / "base")
    known = foresee(read_config(settings(base, text), into=TrainConfig))
    assert known.steps == 6
    plain = settings(base, text, tokenizer=None, objective="causal-lm")
    more = known.parameters - foresee(read_config(plain, into=TrainConfig)).parameters
    assert more in (3 * 32, 2 * 3 * 32)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"method": {"kind": "lora"}}, "a LoRA leaves the table"),
        ({"objective": "prefer"}, "as it was, which has none"),
        ({"objective": {"name": "distil", "teacher": "smollm2-135m"}}, "tokenizer of its teacher"),
        ({"tokenizer": {"special_tokens": "<a>"}}, "must be a list"),
        ({"tokenizer": {"special_tokens": []}}, "must be a list"),
        ({"tokenizer": {"special_tokens": ["<a>", " "]}}, "must be a list"),
        ({"tokenizer": {"special_tokens": ["<a>"], "kind": "bpe"}}, "keep special_tokens alone"),
    ],
)
def test_what_cannot_learn_them_is_refused(
    changes: dict[str, Any], said: str, tmp_path: Path
) -> None:
    given = settings(tmp_path / "base", tmp_path / "text.jsonl", **changes)
    with pytest.raises(ConfigError, match=said):
        read_config(given, into=TrainConfig)


def test_a_word_of_the_vocabulary_is_no_special_token(tmp_path: Path, text: Path) -> None:
    base = save_decoder(tmp_path / "base")
    with pytest.raises(InputError, match="word of the vocabulary"):
        train(settings(base, text) | {"tokenizer": {"special_tokens": ["a"]}})


def test_the_remedy_that_fim_names_is_one(tmp_path: Path, text: Path) -> None:
    base = save_decoder(tmp_path / "base")
    with pytest.raises(InputError, match=r"special_tokens: \[<fim_prefix>"):
        train(settings(base, text, tokenizer=None))
