"""A task, a model and data are enough: what is chosen, why, and that it is what then runs."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tiny_runs import Recorder

import hanlin
import hanlin.training.quickstart as quickstart
import hanlin.training.run as run_module
from hanlin.cli.group import hanlin as command
from hanlin.config import read_config
from hanlin.errors import ConfigError
from hanlin.training.budget import settle
from hanlin.training.config import TrainConfig
from hanlin.training.quickstart import output_of
from hanlin.training.run import train
from tiny_models import save_decoder, save_encoder


@pytest.fixture(autouse=True)
def no_measuring(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every machine is the same here."""
    monkeypatch.setattr(run_module, "machine_peak", lambda precision, seconds: None)
    monkeypatch.setattr(quickstart, "machine_peak", lambda precision, seconds: 1e9)


@pytest.fixture
def model(tmp_path: Path) -> str:
    return str(save_encoder(tmp_path / "reference", head="none"))


@pytest.fixture
def reviews(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A table, in the folder that a run is started from."""
    monkeypatch.chdir(tmp_path)
    draw = random.Random(0)
    words = "the words text model part emperor token".split()
    rows = [f"{' '.join(draw.choices(words, k=n % 20 + 4))} {n},{n % 2}" for n in range(200)]
    path = tmp_path / "reviews.csv"
    path.write_text("\n".join(["review,stars", *rows]))
    return path


def test_columns_labels_and_settings_are_found_and_told(model: str, reviews: Path) -> None:
    given = {"task": "classify", "model": model, "data": str(reviews)}
    settings, choice = settle(given)
    assert choice is not None
    assert settings.data.columns == {"text": "review", "label": "stars"}
    assert settings.objective.name == "classify"
    assert settings.data.validation == ("10%",)
    assert str(settings.output) == "runs/classify-reviews"
    # Twenty-four words of a token each, and a number; 95 of 100 texts fit.
    assert 24 <= settings.batch.length <= 64
    assert settings.batch.length % 8 == 0
    assert settings.duration.epochs == 10  # few records are read often
    assert settings.optimizer.lr == pytest.approx(5e-4)  # as much as the smallest model bears
    for language in ("en", "zh"):
        lines = "\n".join(choice.lines(language))
        assert "2 个标签" in lines if language == "zh" else "2 labels in 200 records" in lines
        for name in ("batch.length", "optimizer.lr", "duration", "data.validation", "output"):
            assert name in lines


def test_what_is_given_stays(model: str, reviews: Path) -> None:
    given = {
        "task": "classify", "model": model, "data": {"train": str(reviews), "validation": "20%"},
        "objective": {"weights": "balanced"}, "output": "here", "duration": "3 steps",
        "batch": {"length": 16}, "optimizer": {"name": "sgd"},
        "method": {"kind": "lora", "rank": 2},
    }  # fmt: skip
    settings, _ = settle(given, ["evaluate.every=1 step", "seed=3"])
    assert settings.data.validation == ("20%",)
    assert settings.objective.options == {"weights": "balanced"}
    assert (str(settings.output), settings.duration.steps, settings.seed) == ("here", 3, 3)
    assert (settings.batch.length, settings.optimizer.name) == (16, "sgd")
    assert (settings.method.kind, settings.method.rank) == ("lora", 2)
    assert settings.batch.sequences == 16


def test_a_validation_part_of_its_own_is_taken_whole(model: str, reviews: Path) -> None:
    given = {"task": "classify", "model": model, "data": str(reviews), "validation": str(reviews)}
    assert settle(given)[0].data.validation == (str(reviews),)


def test_lengths_and_passes_follow_the_data(model: str, tmp_path: Path) -> None:
    chosen = {}
    for name, number, words, labels in (
        ("few", 60, 3, 2), ("many", 6000, 3, 2), ("long", 60, 60, 2), ("fine", 6000, 3, 60)
    ):  # fmt: skip
        path = tmp_path / f"{name}.tsv"
        rows = [f"{'the text ' * words}{n}\tclass {n % labels}" for n in range(number)]
        path.write_text("\n".join(rows))
        chosen[name] = settle({"task": "classify", "model": model, "data": str(path)})[0]
    assert chosen["long"].batch.length == 96  # all that the model reads
    assert chosen["few"].batch.length <= 24
    assert chosen["many"].duration.epochs == 3
    assert chosen["few"].duration.epochs == 10
    assert chosen["fine"].duration.epochs == 5  # 500 readings of each of 60 labels
    assert chosen["many"].batch.sequences == 32


def test_a_large_decoder_gets_a_lora(
    tmp_path: Path, reviews: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder = str(save_decoder(tmp_path / "decoder", pad_id=0))
    given = {"task": "classify", "model": decoder, "data": str(reviews)}
    assert settle(given)[0].method.kind == "full"
    monkeypatch.setattr(quickstart, "_LARGE", 1000.0)
    settings, choice = settle(given)
    assert settings.method.kind == "lora"
    assert choice is not None
    assert any("method: lora, as all of" in line for line in choice.lines())
    assert settings.optimizer.lr == pytest.approx(5e-3)


@pytest.mark.parametrize(
    ("given", "output"),
    [
        ({"data": "a/reviews.csv.gz"}, "runs/classify-reviews"),
        ({"data": ["sst2/train.tsv", "x"]}, "runs/classify-sst2"),
        ({"data": {"good": "films/pos.txt", "bad": "films/neg.txt"}}, "runs/classify-pos"),
        ({"data": {"train": {"good": ["a.txt"]}}}, "runs/classify-a"),
        ({"data": "x.csv", "output": "o"}, "o"),
    ],
)
def test_where_a_run_goes(given: dict[str, Any], output: str) -> None:
    assert output_of({"task": "classify", **given}) == output


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"task": "clasify"}, "no task 'clasify'. Did you mean 'classify'"),
        ({"task": "causal-lm"}, "no task 'causal-lm'"),
        ({"task": "classify", "data": "x.csv"}, "needs model"),
        ({"task": "classify", "model": "minilm"}, "needs data"),
        ({"task": "classify", "model": {"family": "bert"}, "data": "x"}, "Name one, or write"),
        ({"task": "classify", "model": "m", "data": "x", "objective": "tag"}, "not both"),
        ({"task": "classify", "model": "m", "data": "x", "budget": "1 hour"}, "Remove the budget"),
    ],
)
def test_what_is_missing_is_told(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        settle(given)


def test_the_run_is_what_was_chosen_and_goes_on(model: str, reviews: Path) -> None:
    given = {"task": "classify", "model": model, "data": str(reviews), "duration": "4 steps"}
    settings, _ = settle(given)
    watcher = Recorder()
    result = train(given, watchers=[watcher])
    assert any(text.startswith("batch.length: ") for text in watcher.messages)
    kept = read_config(result.output / "config.yaml", into=TrainConfig)
    assert kept == settings
    again = train(given, overrides=["duration=6 steps"], resume=True, watchers=[])
    assert again.steps == 6


def test_the_command_takes_them_as_options(model: str, reviews: Path, tmp_path: Path) -> None:
    arguments = ["train", "--task", "classify", "--model", model, "--data", str(reviews)]
    told = CliRunner().invoke(command, [*arguments, "duration=4 steps", "--dry-run", "--json"])
    assert told.exit_code == 0, told.output
    plan = json.loads(told.stdout)
    assert plan["config"]["data"]["columns"] == {"text": "review", "label": "stars"}
    assert plan["forecast"]["steps"] == 4
    assert plan["reasons"]
    assert not (tmp_path / "runs").exists()
    done = CliRunner().invoke(
        command, [*arguments, "--output", "made", "--skip-bad", "duration=4 steps", "--json"]
    )
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["output"] == "made"
    assert hanlin.load("made")("the words").name in ("0", "1")
    files = {}
    for label in ("good", "bad"):
        files[label] = tmp_path / f"{label}.txt"
        files[label].write_text("".join(f"the {label} text {n}\n" for n in range(40)))
    labelled = [f"--data={label}={path}" for label, path in files.items()]
    start = ["train", "--task", "classify", "--model", model, "duration=2 steps"]
    done = CliRunner().invoke(command, [*start, *labelled, "--output", "labelled", "--json"])
    assert done.exit_code == 0, done.output
    assert hanlin.load("labelled")("the text").name in ("good", "bad")


@pytest.mark.parametrize(
    "arguments", [[], ["--model", "minilm"], ["--data", "x.csv", "config.yaml"]]
)
def test_the_command_says_what_it_wants(arguments: list[str]) -> None:
    done = CliRunner().invoke(command, ["train", *arguments])
    assert done.exit_code == 2
    assert "--task" in done.output
