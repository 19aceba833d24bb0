"""Runs that teach a model a task: from a table to a directory that is a function, and on again."""

import json
import random
import shutil
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import Recorder

import hanlin
import hanlin.training.run as run_module
from hanlin.config import read_config
from hanlin.data.classify_records import ClassifyRecord
from hanlin.data.pairs import PairRecord
from hanlin.data.preferences import Preference
from hanlin.errors import ConfigError, InputError
from hanlin.models import load
from hanlin.training.config import TrainConfig
from hanlin.training.events import TrainResult
from hanlin.training.foreseeing import foresee
from hanlin.training.run import train
from hanlin.training.task_records import hold_out, records_hash
from tiny_models import save_decoder, save_encoder


@pytest.fixture(autouse=True)
def no_measuring(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the fifth of a second that each run measures the machine."""
    monkeypatch.setattr(run_module, "machine_peak", lambda precision, seconds: None)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Texts of which two words tell the label."""
    draw = random.Random(0)
    rows = []
    for n in range(48):
        word = ("emperor", "token")[n % 2]
        words = [draw.choice(["the", "words", "text", "model", "part"]) for _ in range(n % 7 + 2)]
        rows.append({"review": " ".join([*words, word, word]), "label": ("no", "yes")[n % 2]})
    path = tmp_path / "reviews.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


@pytest.fixture
def config(tmp_path: Path, table: Path) -> dict[str, Any]:
    """A run of eight steps from a tiny encoder."""
    return {
        "model": str(save_encoder(tmp_path / "reference", head="none")),
        "objective": "classify",
        "data": {"train": str(table), "validation": "25%"},
        "batch": {"sequences": 6, "length": 32, "micro": 3},
        "optimizer": {"lr": 3e-3},
        "duration": "8 steps",
        "checkpoint": {"every": "3 steps"},
        "evaluate": {"every": "4 steps"},
        "output": str(tmp_path / "run"),
    }


def go(config: Any, **how: Any) -> tuple[TrainResult, Recorder]:
    watcher = how.pop("watcher", None) or Recorder()
    return train(config, watchers=[watcher], **how), watcher


def judge(
    network: Any, tokenizer: Any, objective: Any, records: Sequence[Any]
) -> Mapping[str, float]:
    """Accuracy, found in the plainest way."""
    assert not network.training
    examples = objective.examples(records, tokenizer=tokenizer, length=32, seed=0, validation=True)
    right = 0
    with torch.no_grad():
        for n, record in enumerate(records):
            batch = objective.collate([examples.example(n, 0)])
            best = int(network(batch.ids, batch.mask).logits.argmax())
            right += network.config.labels[best] == record.label
    return {"accuracy": right / len(records)}


def test_a_table_becomes_a_function(config: dict[str, Any], tmp_path: Path) -> None:
    config["duration"] = "60 steps"
    result, watcher = go(config, judge=judge)
    assert result.validation["accuracy"] == watcher.evaluations[-1].metrics["accuracy"] == 1.0
    assert watcher.evaluations[-1].targets == 12
    assert not watcher.evaluations[-1].samples
    reviews = hanlin.load(tmp_path / "run")
    found = reviews(["the emperor emperor", "text token token"])
    assert [label.name for label in found] == ["no", "yes"]
    about = json.loads((tmp_path / "run" / "hanlin.json").read_text())
    assert about["task"]["name"] == "classify"
    assert about["task"]["labels"] == {"no": 18, "yes": 18}
    assert about["results"]["validation"]["accuracy"] == 1.0
    assert any("head.projection.weight" in text for text in watcher.messages)
    lines = (tmp_path / "run" / "metrics.jsonl").exists()
    assert not lines  # no watcher of that kind was there


def test_what_the_reference_knows_is_taken_over(config: dict[str, Any], tmp_path: Path) -> None:
    go({**config, "optimizer": {"name": "sgd", "lr": 1e-12, "momentum": 0.0}})
    before, after = load(config["model"]), load(tmp_path / "run")
    old = dict(before.named_parameters())
    for name, parameter in after.named_parameters():
        if name.startswith("head."):
            assert name not in old
        else:
            torch.testing.assert_close(parameter, old[name], rtol=0, atol=1e-7)


def test_the_new_head_is_drawn_from_the_seed(config: dict[str, Any], tmp_path: Path) -> None:
    runs = {}
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        go({**config, "seed": seed, "duration": "1 step", "output": str(tmp_path / name)})
        runs[name] = load(tmp_path / name).head.projection.weight  # type: ignore[union-attr]
    assert torch.equal(runs["a"], runs["b"])
    assert not torch.allclose(runs["a"], runs["c"], atol=1e-2)


def test_a_classifier_goes_on_as_it_is_and_forgets_other_labels(
    config: dict[str, Any], tmp_path: Path
) -> None:
    go(config)
    on = {**config, "model": str(tmp_path / "run"), "output": str(tmp_path / "on")}
    _, watcher = go({**on, "duration": "1 step"})
    assert not any("New weights" in text for text in watcher.messages)
    other = {**on, "objective": {"name": "classify", "names": {"no": "left", "yes": "right"}}}
    _, watcher = go({**other, "duration": "1 step", "output": str(tmp_path / "other")})
    assert any("head.projection.weight" in text for text in watcher.messages)
    assert load(tmp_path / "other").config.labels == ("left", "right")


def interrupted(config: dict[str, Any], at: int) -> None:
    """Begin a run that a signal ends after step `at`, and go on with it to its end."""

    def leave(record: Any) -> None:
        if record.step == at:
            signal.raise_signal(signal.SIGTERM)

    result, _ = go(config, watcher=Recorder(leave))
    assert not result.finished
    result, _ = go(config, resume=True)
    assert result.finished


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("shape", ["encoder", "decoder"])
def test_a_run_that_goes_on_gives_the_same_bits(
    shape: str, method: str, config: dict[str, Any], tmp_path: Path
) -> None:
    if shape == "decoder":
        config["model"] = str(save_decoder(tmp_path / "decoder", pad_id=0))
    config |= {"method": method, "objective": {"name": "classify", "dropout": 0.1}}
    if method == "lora":
        config["method"] = {"kind": "lora", "rank": 2, "dropout": 0.1}
    broken = {**config, "output": str(tmp_path / "broken")}
    go(config)
    interrupted(broken, at=random.Random().randint(2, 6))
    name = "adapter_model.safetensors" if method == "lora" else "model.safetensors"
    assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "broken" / name).read_bytes()


def test_a_lora_leaves_an_adapter_and_small_checkpoints(
    config: dict[str, Any], tmp_path: Path
) -> None:
    config["method"] = {"kind": "lora", "rank": 2}
    _, watcher = go(config)
    run = tmp_path / "run"
    wanted = {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json", "hanlin.json"}
    assert wanted <= {path.name for path in run.iterdir()}
    assert not (run / "model.safetensors").exists()
    newest = max((run / "checkpoints").glob("step-*"))
    assert (newest / "trained.safetensors").stat().st_size < 40_000
    assert any(text.startswith("LoRA: ") for text in watcher.messages)
    # The base must be the very same when the run goes on.
    shutil.rmtree(config["model"])
    save_encoder(Path(config["model"]), head="none", seed=1)
    with pytest.raises(ConfigError, match="another model than this run began with"):
        go(config, resume=True, overrides=["duration=9 steps"])


def test_other_data_are_another_run(config: dict[str, Any], table: Path) -> None:
    go(config)
    rows = table.read_text().splitlines()
    table.write_text("\n".join(rows[:-1]))
    with pytest.raises(ConfigError, match="tokens of the train part are others"):
        go(config, resume=True, overrides=["duration=9 steps"])


def test_bad_rows_stop_a_run_unless_they_may_be_left_out(
    config: dict[str, Any], table: Path, tmp_path: Path
) -> None:
    table.write_text(table.read_text() + '\n{"review": "a text"}\nnot json')
    with pytest.raises(InputError, match=r"2 of 50 rows .*reviews.jsonl, row 49"):
        go(config)
    assert not (tmp_path / "run" / "config.yaml").exists()
    _, watcher = go(config, overrides=["data.skip_bad=true"])
    assert any(text.startswith("2 of 50 rows") for text in watcher.messages)


def test_a_classifier_from_nothing_learns_its_own_tokenizer(
    config: dict[str, Any], tmp_path: Path
) -> None:
    config["model"] = {"family": "bert", "hidden_size": 32, "num_layers": 2, "max_context": 64}
    config["tokenizer"] = {"kind": "wordpiece", "vocab_size": 120, "min_frequency": 1}
    result, _ = go(config)
    assert result.finished
    assert hanlin.load(tmp_path / "run")("the token").name in ("no", "yes")


def test_no_text_is_read_beyond_what_a_fresh_model_learnt_from(
    config: dict[str, Any], tmp_path: Path
) -> None:
    """What it makes of later positions is noise; a published model knows how much it reads."""
    tokenizer = {"kind": "wordpiece", "vocab_size": 120, "min_frequency": 1}
    fresh = {"family": "bert", "hidden_size": 32, "num_layers": 2, "max_context": 64}
    runs: dict[str, tuple[dict[str, Any], int, int]] = {
        "fresh": ({"model": fresh, "tokenizer": tokenizer}, 32, 32),
        "longer": ({"model": str(tmp_path / "fresh")}, 40, 40),
        "shorter": ({"model": str(tmp_path / "longer")}, 16, 40),
        "tuned": ({}, 16, 96),
    }
    long = "the words text model part token " * 20
    for name, (changes, length, read) in runs.items():
        batch = {"sequences": 4, "length": length}
        output = tmp_path / name
        go({**config, **changes, "batch": batch, "duration": "1 step", "output": str(output)})
        model = hanlin.load(output)
        ids = model.tokenizer.encode(long)
        with torch.no_grad():
            logits = model.network(torch.tensor([[*ids[: read - 1], ids[-1]]])).logits[0]
        shares = logits.softmax(-1).numpy()
        assert model.probabilities(long)[0] == pytest.approx(shares, abs=1e-5), name


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_task_is_foreseen_as_it_is_read(method: str, config: dict[str, Any]) -> None:
    settings = read_config({**config, "method": method}, into=TrainConfig)
    told = foresee(settings)
    assert told.steps == 8
    # Texts are far shorter than batch.length.
    assert 6 * 4 < told.tokens_per_step < 6 * 16
    assert told.loss is None
    assert all(told.lines(language) for language in ("zh", "en"))
    full = foresee(read_config(config, into=TrainConfig))
    if method == "lora":
        assert told.checkpoint_bytes < full.checkpoint_bytes / 3
        assert told.gradient_bytes < full.gradient_bytes / 3


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"objective": "causal-lm", "data": {"train": "x", "columns": {"text": "a"}}},
         "data.columns has no effect on causal-lm"),
        ({"objective": "masked-lm", "data": {"train": "x", "skip_bad": True}}, "data.skip_bad has"),
        ({"data": {"train": "x", "field": "a"}}, "data.field has no effect on classify"),
        ({"evaluate": {"prompts": "a"}}, "evaluate.prompts has no effect on classify"),
        ({"model": {"family": "bert"}, "tokenizer": {}, "method": "lora"}, "drawn from nothing"),
        ({"method": {"kind": "full", "rank": 4}}, "rank has no effect with kind full"),
        ({"method": {"kind": "lora", "rank": 0}}, "rank is 0"),
        ({"method": "lora", "distributed": "fsdp"}, "does not go with distributed: fsdp"),
        ({"data": {"train": ["x"], "file_labels": {"y": "a"}}}, "names y, which is no source"),
    ],
)  # fmt: skip
def test_settings_without_an_effect_are_refused(
    changes: dict[str, Any], said: str, config: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError, match=said):
        read_config(config | changes, into=TrainConfig)


def test_a_file_for_each_label_is_written_as_a_mapping(config: dict[str, Any]) -> None:
    from hanlin.config import to_plain

    data = {
        "train": {"positive": "pos.txt", "negative": ["a.txt", "b.txt"]},
        "columns": {"text": 1},
    }
    settings = read_config(config | {"data": data}, into=TrainConfig)
    assert settings.data.train == ("pos.txt", "a.txt", "b.txt")
    assert settings.data.file_labels == {
        "pos.txt": "positive", "a.txt": "negative", "b.txt": "negative"}  # fmt: skip
    assert settings.data.columns == {"text": "1"}
    assert read_config(to_plain(settings), into=TrainConfig) == settings


def test_what_is_held_out_has_each_labels_share() -> None:
    draw = random.Random(seed := random.randrange(10**6))
    print("seed", seed)
    labels = [draw.choice("aaaaaabbbc") for _ in range(1000)] + ["single"]
    records = [ClassifyRecord(f"text {n}", label) for n, label in enumerate(labels)]
    train_part, held = hold_out(records, 0.1, seed=seed)
    assert len(held) == 100
    assert sorted([*train_part, *held], key=lambda r: r.text) == sorted(
        records, key=lambda r: r.text
    )
    for label in "abc":
        count = labels.count(label)
        assert abs(sum(r.label == label for r in held) - count / 10) <= 1
    assert all(record.label != "single" for record in held)
    assert hold_out(records, 0.1, seed=seed)[1] == held
    assert hold_out(records, 0.1, seed=seed + 1)[1] != held
    with pytest.raises(InputError):
        hold_out(records[:1], 0.5, seed=0)


def test_copies_stand_on_one_side() -> None:
    draw = random.Random(seed := random.randrange(10**6))
    print("seed", seed)
    labelled = [
        ClassifyRecord(f"text {draw.randrange(300)}", draw.choice("aaab")) for _ in range(600)
    ]
    several = [ClassifyRecord(r.text, (r.label, "c")) for r in labelled]  # type: ignore[arg-type]
    pairs = [PairRecord(r.text, (f"translation {n}",)) for n, r in enumerate(labelled)]
    asked = [
        Preference(({"role": "user", "content": r.text},), {"content": "a"}, {"content": f"{n}"})
        for n, r in enumerate(labelled)
    ]
    everything: list[list[Any]] = [labelled, several, pairs, asked]
    for records in everything:
        train_part, held = hold_out(records, 0.2, seed=seed)
        assert len(train_part) + len(held) == len(records)
        assert {r.group for r in train_part}.isdisjoint(r.group for r in held)
        assert 60 <= len(held) <= 180
    # Of a label that comes with one text alone, though in many copies, none is held out.
    alone = [*labelled, *[ClassifyRecord("the only one", "z")] * 50]
    assert "z" not in {r.label for r in hold_out(alone, 0.2, seed=seed)[1]}


def test_of_texts_with_several_labels_each_label_has_its_share() -> None:
    draw = random.Random(seed := random.randrange(10**6))
    print("seed", seed)
    often = {label: 0.05 * (n + 1) for n, label in enumerate("abcdefghij")}
    sets = [tuple(c for c, p in often.items() if draw.random() < p) for _ in range(400)]
    records = [ClassifyRecord(f"text {n}", found) for n, found in enumerate(sets)]
    records.append(ClassifyRecord("the only one", ("a", "single")))
    train_part, held = hold_out(records, 0.1, seed=seed)
    assert 40 <= len(held) <= 52
    for label in "abcdefghij":
        count = sum(label in found for found in sets)
        assert count // 10 <= sum(label in r.labels for r in held) <= count / 10 + 14
    assert all("single" not in record.labels for record in held)
    assert {record.text for record in train_part}.isdisjoint(record.text for record in held)
    assert len(train_part) + len(held) == len(records)
    assert hold_out(records, 0.1, seed=seed)[1] == held
    assert hold_out(records, 0.1, seed=seed + 1)[1] != held


def test_combinations_that_come_once_are_held_out_too() -> None:
    pairs = [(a, b) for a in range(20) for b in range(a + 1, 21)][:200]
    records = [ClassifyRecord(f"{a} {b}", (f"l{a}", f"l{b}")) for a, b in pairs]
    train_part, held = hold_out(records, 0.05, seed=0)
    assert 10 <= len(held) <= 14
    assert {label for r in held for label in r.labels} <= {
        label for r in train_part for label in r.labels
    }
    with pytest.raises(InputError, match="cannot be held out"):
        hold_out([ClassifyRecord(str(n), (f"l{n}",)) for n in range(20)], 0.1, seed=0)


def test_copies_of_one_text_are_not_held_out() -> None:
    copies = [ClassifyRecord("the same", "x")] * 4
    with pytest.raises(InputError, match=r"one text and stay together.*data\.validation"):
        hold_out(copies, 0.5, seed=0)


def test_records_have_one_hash() -> None:
    records = [ClassifyRecord("a", "x"), ClassifyRecord("b", ("x", "y"), "c")]
    assert records_hash(records) == records_hash(list(records))
    assert len({records_hash(part) for part in (records, records[::-1], records[:1], [])}) == 4
