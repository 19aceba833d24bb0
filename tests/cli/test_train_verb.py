"""`hanlin train`: results on standard output, signals, going on, and what is refused."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import hanlin as library
from tiny_models import CORPUS, byte_tokenizer

Command = Callable[..., Any]
SIZES = {"hidden_size": 32, "num_layers": 2, "num_heads": 4, "max_context": 96}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A YAML file for a run of four steps."""
    (tmp_path / "text.txt").write_text("\n".join(CORPUS))
    byte_tokenizer().save(tmp_path / "tokenizer")
    settings: dict[str, Any] = {
        "model": {"family": "llama", **SIZES},
        "tokenizer": str(tmp_path / "tokenizer"),
        "data": {"train": str(tmp_path / "text.txt"), "validation": "10%"},
        "batch": {"sequences": 4, "length": 24},
        "duration": "4 steps",
        "evaluate": {"every": "2 steps", "samples": 0},
        "output": str(tmp_path / "run"),
    }
    path = tmp_path / "train.yaml"
    path.write_text(json.dumps(settings))  # JSON is YAML
    return path


def test_it_trains_and_prints_the_result(hanlin: Command, config: Path, tmp_path: Path) -> None:
    done = hanlin("train", config, "optimizer.lr=1e-3", "--json")
    assert done.status == 0
    assert done.json["steps"] == 4
    assert done.json["output"] == str(tmp_path / "run")
    assert set(done.json) >= {"output", "steps", "train_loss", "validation"}
    assert done.json["validation"]["loss"] > 0
    assert library.load(tmp_path / "run")
    resolved = (tmp_path / "run" / "config.yaml").read_text()
    assert "lr: 0.001" in resolved


def test_settings_may_come_from_standard_input(
    hanlin: Command, config: Path, tmp_path: Path
) -> None:
    done = hanlin("train", "-", "duration=1 step", stdin=config.read_bytes())
    assert done.status == 0
    assert f"output: {tmp_path / 'run'}" in done.out
    assert "steps: 1" in done.out


def test_a_runs_directory_stands_for_its_settings(
    hanlin: Command, config: Path, tmp_path: Path
) -> None:
    assert hanlin("train", config).status == 0
    done = hanlin("train", tmp_path / "run", "--resume", "duration=6 steps", "--json")
    assert done.status == 0
    assert done.json["steps"] == 6


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["optimiser.lr=1"], "optimiser is not a setting. Did you mean optimizer?"),
        (["batch.sequences=none"], "batch.sequences is 'none'; it must be a whole number"),
        (["duration"], "is not an override"),
        (["--budget", "much", "duration=null"], "'much' is not a duration"),
        (["--budget", "1 minute"], "A budget chooses the duration, and 4 steps is given"),
        (["data.train=/nowhere/at/all"], "/nowhere/at/all"),
    ],
)
def test_bad_settings_are_one_line_and_leave_nothing(
    arguments: list[str], said: str, hanlin: Command, config: Path, tmp_path: Path
) -> None:
    if arguments[0] == "--budget":
        arguments = [*arguments, "model=null"]
    done = hanlin("train", config, *arguments)
    assert done.status == 2
    assert said in done.err
    assert "Traceback" not in done.err
    assert len(done.err.strip().splitlines()) == 1
    assert not (tmp_path / "run" / "config.yaml").exists()
    assert hanlin("train", config).status == 0


def test_a_missing_file_is_named(hanlin: Command, tmp_path: Path) -> None:
    done = hanlin("train", tmp_path / "no.yaml")
    assert done.status == 2
    assert "no.yaml" in done.err


def test_an_output_in_use_names_the_remedy(hanlin: Command, config: Path) -> None:
    assert hanlin("train", config).status == 0
    done = hanlin("train", config)
    assert done.status == 2
    assert "--resume" in done.err


def test_a_dry_run_forecasts_and_writes_nothing(
    hanlin: Command, config: Path, tmp_path: Path
) -> None:
    before = sorted(tmp_path.rglob("*"))
    done = hanlin("train", config, "--dry-run", "--json")
    assert done.status == 0
    told = done.json["forecast"]
    assert told["steps"] == 4
    assert sorted(tmp_path.rglob("*")) == before
    shown = hanlin("train", config, "--dry-run")
    assert "parameters: " in shown.out
    assert "duration: 4 steps" in shown.out
    assert hanlin("train", config).status == 0
    parameters = sum(p.numel() for p in library.models.load(tmp_path / "run").parameters())
    assert told["parameters"] == parameters


def test_a_dry_run_of_a_budget_says_why(hanlin: Command, config: Path) -> None:
    settings = json.loads(config.read_text())
    for name in ("model", "batch", "duration"):
        del settings[name]
    config.write_text(json.dumps(settings))
    done = hanlin("train", config, "--dry-run", "--budget", "1 core, 10 seconds", "--json")
    assert done.status == 0
    assert done.json["config"]["model"]["num_layers"] >= 2
    assert len(done.json["reasons"]) > 3
    assert done.json["forecast"]["seconds"] < 10


def start(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "hanlin.cli", "train", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "LC_ALL": "C.UTF-8"}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def wait_for_steps(output: Path, steps: int) -> None:
    """Until the metrics have so many."""
    metrics, end = output / "metrics.jsonl", time.monotonic() + 120
    while time.monotonic() < end:
        if metrics.exists() and metrics.read_text().count('"step",') > steps:
            return
        time.sleep(0.05)
    raise AssertionError("the run makes no steps")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["INT", "TERM"]
)
def test_a_signal_saves_leaves_and_tells_how_to_go_on(
    number: int, status: int, hanlin: Command, config: Path, tmp_path: Path
) -> None:
    with start(config, "duration=100000 steps", "--json") as process:
        wait_for_steps(tmp_path / "run", 3)
        process.send_signal(number)
        out, err = process.communicate(timeout=120)
    assert process.returncode == status, err
    assert not json.loads(out)["finished"]
    assert f"hanlin train {tmp_path / 'run' / 'config.yaml'} --resume" in err
    assert "Traceback" not in err
    steps = json.loads(out)["steps"]
    on = [f"duration={steps + 2} steps", "--resume", "--json"]
    assert hanlin("train", tmp_path / "run", *on).json["steps"] == steps + 2


@pytest.mark.slow
def test_a_second_ctrl_c_leaves_at_once_and_harms_nothing(
    hanlin: Command, config: Path, tmp_path: Path
) -> None:
    with start(config, "duration=100000 steps", "checkpoint.every=2 steps") as process:
        wait_for_steps(tmp_path / "run", 6)
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=120)
    assert process.returncode in (-signal.SIGINT, 130)
    done = hanlin("train", tmp_path / "run", "--resume", "duration=1 step", "--json")
    assert done.status == 0  # shorter than what is done: it only has to be finished
    assert done.json["steps"] >= 6
