"""`hanlin.train`: from settings to a model directory, on from a checkpoint, and what it refuses."""

import fcntl
import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import Recorder

import hanlin
import hanlin.training.run as run_module
from hanlin.data.prepare import prepare
from hanlin.errors import ConfigError, NotFoundError
from hanlin.models import load
from hanlin.tasks import LanguageModel, MaskedLanguageModel
from hanlin.training.config import TrainConfig
from hanlin.training.events import TrainResult
from tiny_models import CORPUS, byte_tokenizer, save_decoder, save_encoder

SIZES = {"hidden_size": 32, "num_layers": 2, "num_heads": 4, "max_context": 96}
Train = Callable[..., TrainResult]


@pytest.fixture(autouse=True)
def no_measuring(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the fifth of a second that each run measures the machine."""
    monkeypatch.setattr(run_module, "machine_peak", lambda precision, seconds: None)


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.jsonl"
    path.write_text("\n".join(json.dumps({"text": line}) for line in CORPUS))
    return path


@pytest.fixture
def config(tmp_path: Path, text: Path) -> dict[str, Any]:
    """A run of six steps."""
    return {
        "model": {"family": "llama", **SIZES},
        "tokenizer": {"kind": "bpe", "vocab_size": 300},
        "data": {"train": str(text), "validation": "20%"},
        "batch": {"sequences": 4, "length": 24},
        "duration": "6 steps",
        "checkpoint": {"every": "2 steps"},
        "evaluate": {"every": "3 steps"},
        "output": str(tmp_path / "run"),
    }


def train(config: Any, **changes: Any) -> tuple[TrainResult, Recorder]:
    """Train with a watcher that keeps what it is told."""
    watcher = changes.pop("watcher", None) or Recorder()
    return hanlin.train(config, watchers=[watcher], **changes), watcher


def bits(path: Path) -> bytes:
    return (path / "model.safetensors").read_bytes()


def test_a_run_leaves_a_model_directory(config: dict[str, Any], tmp_path: Path) -> None:
    result, watcher = train(config)
    assert result.finished
    assert (result.steps, result.tokens) == (6, 6 * 4 * 24)
    assert result.validation["loss"] == watcher.evaluations[-1].loss
    assert [r.step for r in watcher.evaluations] == [3, 6]
    assert watcher.evaluations[-1].samples
    lm = hanlin.load(tmp_path / "run")
    assert isinstance(lm, LanguageModel)
    assert lm.generate("The academy", max_new_tokens=4, seed=0)
    about = json.loads((tmp_path / "run" / "hanlin.json").read_text())
    assert about["results"]["steps"] == 6
    assert about["results"]["validation"] == dict(result.validation)
    assert about["provenance"]["config"]["batch"]["sequences"] == 4
    assert set(about["provenance"]["data"]) == {"train", "validation"}
    assert about["provenance"]["versions"]["torch"]
    assert not [p.name for p in (tmp_path / "run").iterdir() if p.name.endswith(".partial")]


def test_what_was_resolved_trains_the_same_again(config: dict[str, Any], tmp_path: Path) -> None:
    train(config)
    again = tmp_path / "again"
    train(tmp_path / "run" / "config.yaml", overrides=[f"output={again}"])
    assert bits(again) == bits(tmp_path / "run")


def test_settings_may_be_a_dataclass(config: dict[str, Any], tmp_path: Path) -> None:
    from hanlin.config import read_config

    train(read_config(config, into=TrainConfig), overrides=["duration=1 step"])
    assert json.loads((tmp_path / "run" / "hanlin.json").read_text())["results"]["steps"] == 1


@pytest.mark.parametrize("name", ["masked-lm", "span-corruption", "denoising", "seq2seq"])
def test_every_objective_trains_and_shows_samples(
    name: str, config: dict[str, Any], tmp_path: Path
) -> None:
    family = {"masked-lm": "bert", "span-corruption": "t5", "denoising": "bart"}
    config["model"] = {"family": family.get(name, "vaswani"), **SIZES}
    config["objective"] = name
    config["tokenizer"] = {"kind": "bpe", "vocab_size": 500}
    if name == "masked-lm":
        config["tokenizer"] = {"kind": "wordpiece", "vocab_size": 300}
    if name == "seq2seq":
        pairs = tmp_path / "pairs.tsv"
        rows = ["one\tother", *(f"{line}\t{line[::-1]}" for line in CORPUS)]
        pairs.write_text("\n".join(rows))
        config["data"] = {"train": str(pairs), "source": "one", "target": "other"}
    result, watcher = train(config)
    assert result.validation["loss"] > 0
    [sample] = watcher.evaluations[-1].samples
    assert sample.prompt
    model = hanlin.load(tmp_path / "run")
    assert isinstance(model, MaskedLanguageModel if name == "masked-lm" else LanguageModel)
    # It goes on as well.
    longer, _ = train(config, resume=True, overrides=["duration=8 steps"])
    assert longer.steps == 8


def test_prompts_are_continued_and_filled(config: dict[str, Any], tmp_path: Path) -> None:
    config["evaluate"] = {"every": "3 steps", "prompts": ["The academy", "什么是"], "samples": 2}
    _, watcher = train(config)
    prompts = [sample.prompt for sample in watcher.evaluations[0].samples]
    assert prompts == ["The academy", "The academy", "什么是", "什么是"]


def test_an_output_that_holds_a_run_is_not_touched(config: dict[str, Any], tmp_path: Path) -> None:
    train(config)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*") if p.is_file()}
    with pytest.raises(ConfigError, match=r"holds a run already.*--resume"):
        train(config)
    after = {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*") if p.is_file()}
    assert {p: t for p, t in after.items() if p.name != ".lock"} == {
        p: t for p, t in before.items() if p.name != ".lock"
    }


def test_a_model_that_lies_there_is_not_touched(config: dict[str, Any], tmp_path: Path) -> None:
    save_decoder(tmp_path / "run")
    before = bits(tmp_path / "run")
    with pytest.raises(ConfigError, match="holds a run already"):
        train(config)
    assert bits(tmp_path / "run") == before


def test_a_finished_run_says_so_and_may_be_made_longer(
    config: dict[str, Any], tmp_path: Path
) -> None:
    first, _ = train(config)
    before = bits(tmp_path / "run")
    second, watcher = train(config, resume=True)
    assert any("finished" in text and "longer duration" in text for text in watcher.messages)
    assert watcher.steps == []
    assert second.steps == first.steps == 6
    assert second.validation == first.validation
    assert bits(tmp_path / "run") == before
    third, watcher = train(config, resume=True, overrides=["duration=9 steps"])
    assert [r.step for r in watcher.steps] == [7, 8, 9]
    assert third.steps == 9
    assert bits(tmp_path / "run") != before


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("optimizer.lr=0.5", "optimizer.lr was None and is 0.5"),
        ("seed=3", "seed was 0 and is 3"),
        ("batch.sequences=8", "batch.sequences was 4 and is 8"),
        ("model.num_layers=3", "model.num_layers was 2 and is 3"),
        ("data.validation=10%", "data.validation"),
        ("tokenizer.vocab_size=310", "tokenizer.vocab_size was 300 and is 310"),
        ("objective={name: causal-lm, respect_documents: true}", "objective"),
    ],
)
def test_another_run_is_refused_by_name(
    change: str, said: str, config: dict[str, Any], tmp_path: Path
) -> None:
    train(config, overrides=["duration=2 steps"])
    before = bits(tmp_path / "run")
    with pytest.raises(ConfigError, match="not the run that was begun") as refused:
        train(config, resume=True, overrides=["duration=4 steps", change])
    assert said in str(refused.value)
    assert "duration, checkpoint, evaluate" in str(refused.value)
    assert bits(tmp_path / "run") == before
    # And nothing is lost: as it was begun it goes on.
    assert train(config, resume=True, overrides=["duration=4 steps"])[0].steps == 4


def test_other_text_in_the_same_shards_is_refused(
    config: dict[str, Any], text: Path, tmp_path: Path
) -> None:
    prepare(text, tmp_path / "shards", tokenizer=byte_tokenizer())
    config |= {"data": {"train": str(tmp_path / "shards")}, "tokenizer": None}
    train(config, overrides=["duration=2 steps"])
    with text.open("a") as file:
        file.write('\n{"text": "One more."}\n')
    prepare(text, tmp_path / "shards", tokenizer=byte_tokenizer())
    with pytest.raises(ConfigError, match="the tokens of the train part are others"):
        train(config, resume=True)


def test_a_run_goes_on_without_its_sources(
    config: dict[str, Any], text: Path, tmp_path: Path
) -> None:
    whole = {**config, "output": str(tmp_path / "whole")}
    train(whole)
    train(config, overrides=["duration=6 steps"], watcher=Recorder(at_step=terminate_at(3)))
    text.unlink()
    train(config, resume=True)
    assert bits(tmp_path / "run") == bits(tmp_path / "whole")


def terminate_at(step: int, number: int = signal.SIGTERM) -> Callable[[Any], None]:
    def ask(record: Any) -> None:
        if record.step == step:
            os.kill(os.getpid(), number)

    return ask


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_says_how_to_go_on(
    number: int, config: dict[str, Any], tmp_path: Path
) -> None:
    watcher = Recorder(at_step=terminate_at(3, number))
    result, _ = train(config, watcher=watcher)
    assert not result.finished
    assert (result.signal, result.steps) == (number, 3)
    assert watcher.saves[-1] == 3
    command = f"hanlin train {tmp_path / 'run' / 'config.yaml'} --resume"
    assert any(command in text for text in watcher.messages)
    assert not (tmp_path / "run" / "config.json").exists()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert train(tmp_path / "run" / "config.yaml", resume=True)[0].finished


def test_nothing_to_resume_begins_at_the_beginning(config: dict[str, Any]) -> None:
    result, watcher = train(config, resume=True)
    assert result.steps == 6
    assert any("starting from the beginning" in text for text in watcher.messages)


def test_two_runs_cannot_share_an_output(config: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with (tmp_path / "run" / ".lock").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(ConfigError, match="Another process is training"):
            train(config)


def test_validation_may_be_named_or_left_out(config: dict[str, Any], tmp_path: Path) -> None:
    held = tmp_path / "held.txt"
    held.write_text("Some other words that nobody has learnt.")
    config["data"] = {"train": config["data"]["train"], "validation": str(held)}
    result, watcher = train(config)
    assert result.validation["targets"] == watcher.evaluations[0].targets
    config["data"]["validation"] = None
    config |= {"evaluate": {}, "output": str(tmp_path / "without")}
    result, watcher = train(config)
    assert result.validation == {}
    assert watcher.evaluations == []
    assert hanlin.load(tmp_path / "without")


def test_validation_reads_every_token_once(config: dict[str, Any], tmp_path: Path) -> None:
    """Mean loss over the part, against the model's own pass over the whole of a short document."""
    held = tmp_path / "held.txt"
    held.write_text("A short text that fits.")
    config["data"] = {"train": config["data"]["train"], "validation": str(held)}
    result, _ = train(config)
    model = load(tmp_path / "run")
    tokenizer = hanlin.load(tmp_path / "run").tokenizer
    ids = [*tokenizer.encode(held.read_text(), add_special_tokens=False), tokenizer.eos_id]
    read = torch.tensor([ids])
    with torch.no_grad():
        logits = model(read).logits[0, :-1].double()
    loss = torch.nn.functional.cross_entropy(logits, read[0, 1:], reduction="sum")
    assert result.validation["targets"] == len(ids) - 1
    assert result.validation["loss"] == pytest.approx(float(loss) / (len(ids) - 1), rel=1e-5)
    first = len(tokenizer.token_bytes(ids[0]))
    expected = float(loss) / 0.6931471805599453 / (len(held.read_bytes()) - first)
    assert result.validation["bits_per_byte"] == pytest.approx(expected, rel=1e-5)


def test_a_model_is_trained_further(config: dict[str, Any], tmp_path: Path) -> None:
    parent = save_decoder(tmp_path / "parent")
    config |= {"model": str(parent), "tokenizer": None}
    config["optimizer"] = {"name": "sgd", "lr": 1e-9, "momentum": 0.0}
    train(config)
    one, other = load(parent), load(tmp_path / "run")
    for p, q in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.allclose(p, q, atol=1e-6)
    about = json.loads((tmp_path / "run" / "hanlin.json").read_text())
    [(named, digest)] = about["provenance"]["parents"].items()
    assert named == str(parent)
    assert len(digest) == 64
    # It goes on without the parent, which may have changed or gone.
    shutil.rmtree(parent)
    assert train(config, resume=True, overrides=["duration=7 steps"])[0].steps == 7


def test_a_budget_chooses_and_keeps_its_choice(config: dict[str, Any], tmp_path: Path) -> None:
    for name in ("model", "batch", "duration", "evaluate"):
        del config[name]
    config |= {"budget": "1 core, 6 seconds", "evaluate": {"samples": 0}}
    watcher = Recorder(at_step=terminate_at(2))
    result, _ = train(config, watcher=watcher)
    assert result.steps == 2
    assert any("operations" in text or "运算" in text for text in watcher.messages)
    chosen = (tmp_path / "run" / "config.yaml").read_text()
    assert train(config, resume=True, watcher=Recorder(at_step=terminate_at(4)))[0].steps == 4
    assert (tmp_path / "run" / "config.yaml").read_text() == chosen
    assert train(config, resume=True, overrides=["duration=5 steps"])[0].finished


def test_an_objective_for_another_shape_is_refused(config: dict[str, Any], tmp_path: Path) -> None:
    parent = save_encoder(tmp_path / "parent", head="masked-lm")
    config |= {"model": str(parent), "tokenizer": None}
    with pytest.raises(ConfigError, match="is an encoder, and causal-lm trains a decoder"):
        train(config)


def test_a_missing_source_is_named_and_nothing_stays(
    config: dict[str, Any], tmp_path: Path
) -> None:
    config["data"]["train"] = str(tmp_path / "nowhere")
    with pytest.raises(NotFoundError, match="nowhere"):
        train(config)
    config["data"]["train"] = str(tmp_path / "text.jsonl")
    assert train(config)[0].finished


def test_what_failed_before_it_began_leaves_nothing_in_the_way(
    config: dict[str, Any], text: Path, tmp_path: Path
) -> None:
    wrong = {**config, "objective": "span-corruption", "model": {"family": "t5", **SIZES}}
    wrong |= {"tokenizer": {"kind": "bpe", "vocab_size": 300, "special_tokens": ["</s>"]}}
    with pytest.raises(ConfigError, match="sentinels"):
        train(wrong)
    text.write_text("\n".join(json.dumps({"text": f"New words: {line}"}) for line in CORPUS))
    train(config)
    fresh = {**config, "output": str(tmp_path / "fresh")}
    train(fresh)
    assert bits(tmp_path / "fresh") == bits(tmp_path / "run")


def test_the_same_bits_with_saves_and_looks_at_other_times(
    config: dict[str, Any], tmp_path: Path
) -> None:
    """Neither saving nor evaluating leaves a trace in what is learnt."""
    train(config)
    rare = {**config, "output": str(tmp_path / "rare")}
    rare |= {"checkpoint": {"every": "1 hour"}, "evaluate": {"every": "1 hour", "samples": 0}}
    train(rare)
    assert bits(tmp_path / "rare") == bits(tmp_path / "run")
    shutil.rmtree(tmp_path / "rare")
