"""The quickstart of every task: columns found and told, settings that go together, a run that goes
through."""

import json
import random
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from tiny_runs import Recorder

import hanlin.training.quickstart as quickstart
import hanlin.training.run as run_module
from hanlin.config import read_config
from hanlin.errors import ConfigError
from hanlin.training.budget import settle
from hanlin.training.config import TrainConfig
from hanlin.training.cost import outline
from hanlin.training.rates import optimizer_of, preference_share, tuning_lr
from hanlin.training.run import train
from hanlin.training.surveying import model_of
from tiny_models import save_decoder, save_encoder

WORDS = "the words text model part emperor token".split()
Texts = Callable[[int], str]


@pytest.fixture(autouse=True)
def no_measuring(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every machine is the same here."""
    monkeypatch.setattr(run_module, "machine_peak", lambda precision, seconds: None)
    monkeypatch.setattr(quickstart, "machine_peak", lambda precision, seconds: 1e9)


def row_of(task: str, n: int, text: Texts) -> dict[str, Any]:
    """Row `n` of a table for a task, under other names than the parts have."""
    match task:
        case "classify" | "distil":
            return {"review": text(8), "stars": ("good", "bad", "neither")[n % 3]}
        case "tag":
            words = text(6).split()
            return {"words": words, "ner_tags": [("O", "B-X")[len(w) % 2] for w in words]}
        case "extract":
            passage = text(12)
            return {"query": text(3), "passage": passage, "answer": passage.split()[n % 12]}
        case "seq2seq":
            return {"src": text(6), "tgt": text(4)}
        case "embed":
            return {"question": text(4), "passage": text(9)}
        case "instruct":
            return {"prompt": text(4), "response": text(5)}
        case _:
            return {"prompt": text(4), "preferred": text(5), "dispreferred": text(3)}


COLUMNS: Mapping[str, Mapping[str, str]] = {
    "classify": {"text": "review", "label": "stars"},
    "distil": {"text": "review", "label": "stars"},
    "tag": {"tokens": "words", "tags": "ner_tags"},
    "extract": {"question": "query", "context": "passage", "answers": "answer"},
    "seq2seq": {"source": "src", "target": "tgt"},
    "embed": {"anchor": "question", "positive": "passage"},
    "instruct": {"instruction": "prompt", "output": "response"},
    "prefer": {"instruction": "prompt", "chosen": "preferred", "rejected": "dispreferred"},
}
DECODERS = ("seq2seq", "instruct", "prefer")


def given_for(task: str, folder: Path, *, number: int = 40, **more: Any) -> dict[str, Any]:
    """What a user gives: a task, a model, data."""
    draw = random.Random(0)
    rows = [row_of(task, n, lambda k: " ".join(draw.choices(WORDS, k=k))) for n in range(number)]
    data = folder / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    model = folder / "model"
    if not model.exists():
        if task in DECODERS:
            save_decoder(model)
        else:
            save_encoder(model, head="classify" if task == "distil" else "none")
    given = {"task": task, "model": str(model), "data": str(data), "output": str(folder / "run")}
    if task == "distil":
        given["objective"] = {"teacher": str(model), "student": {"layers": [0]}}
    return given | more


@pytest.mark.parametrize("task", COLUMNS)
def test_every_task_is_settled_told_and_trained(task: str, tmp_path: Path) -> None:
    given = given_for(task, tmp_path)
    settings, choice = settle(given)
    assert choice is not None
    assert settings.data.columns == COLUMNS[task]
    shown = ", ".join(f"{role} is {name}" for role, name in COLUMNS[task].items())
    assert f"Columns: {shown}." in choice.lines()
    assert settings.batch.length <= 96  # all that the models read
    result = train({**given, "duration": "2 steps"}, watchers=[])
    assert result.finished
    kept = read_config(result.output / "config.yaml", into=TrainConfig)
    assert kept.data.columns == COLUMNS[task]
    assert kept.batch == settings.batch


@pytest.mark.parametrize("task", COLUMNS)
def test_what_does_not_fit_into_memory_is_made_to(
    task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quickstart, "_ROOM", 100)
    settings, choice = settle(given_for(task, tmp_path))
    assert choice is not None
    told = any(line.startswith("checkpoint.activation: true") for line in choice.lines())
    assert told == settings.checkpoint.activation == (task == "embed")
    if task == "embed":
        assert settings.batch.micro is None
    else:
        assert settings.batch.micro is not None
        assert settings.batch.sequences % settings.batch.micro == 0
        texts = 2 if task == "prefer" else 1
        held = settings.batch.micro * texts * settings.batch.length
        assert held <= 100 or settings.batch.micro == 1


@pytest.mark.parametrize("task", [task for task in COLUMNS if task != "instruct"])
def test_a_batch_of_tokens_stands_alone(task: str, tmp_path: Path) -> None:
    settings, _ = settle(given_for(task, tmp_path, batch={"tokens": 200}))
    assert (settings.batch.tokens, settings.batch.micro) == (200, None)
    assert not settings.checkpoint.activation


def test_sequences_are_a_multiple_of_the_micro_batch_that_is_given(tmp_path: Path) -> None:
    settings, _ = settle(given_for("classify", tmp_path, batch={"micro": 5}))
    assert (settings.batch.micro, settings.batch.sequences) == (5, 20)


def test_preferences_are_learnt_slowly_and_not_often(tmp_path: Path) -> None:
    given = given_for("prefer", tmp_path)
    settings, choice = settle(given)
    assert choice is not None
    network = outline(model_of(settings, None))
    own = tuning_lr(network, lora=False)
    assert settings.optimizer.lr == own  # of a handful of steps
    assert settings.duration.epochs == 2
    with pytest.raises(ConfigError, match=r"batch\.length is None"):
        settle({**given, "batch": {"length": None}})
    lora, _ = settle({**given, "method": "lora"})
    assert lora.optimizer.lr == pytest.approx(10 * own)
    assert not any("preferences" in line for line in choice.lines() if "optimizer.lr" in line)
    # The longest pair sets the length: longer ones would be left out.
    result = train({**given, "duration": "1 step"}, watchers=[(told := Recorder())])
    assert result.finished
    assert not any("are left out" in text for text in told.messages)


PER_EPOCH, TOKENS = 25, 25 * 640
"""Steps of an epoch, and what is read in it."""


@pytest.mark.parametrize(
    ("duration", "share"),
    [
        ("20 steps", 1.0),
        ("50 steps", 1.0),
        ("100 steps", 0.5),
        ("4 epochs", 0.5),
        (f"{100 * 640} tokens", 0.5),
        ({"epochs": 4, "steps": 9999}, 0.5),
        ({"epochs": 4, "seconds": 7200}, 0.5),
        ("1000 steps", 0.05),
        ("1M steps", 0.05),
        ("2 hours", 0.05),  # nobody knows how many steps
    ],
)
def test_the_rate_of_preferences_goes_by_the_steps(
    duration: Any, share: float, tmp_path: Path
) -> None:
    """Configured, and by the quickstart, the same; a twentieth for many steps."""
    told: list[str] = []
    given = given_for("prefer", tmp_path)
    bare = read_config(
        {"model": given["model"], "objective": "prefer", "data": given["data"],
         "duration": duration, "output": "x"}, into=TrainConfig,
    )  # fmt: skip
    network = outline(model_of(bare, None))
    step = bare.duration.ratio(step=1, epochs=1 / PER_EPOCH, tokens=TOKENS / PER_EPOCH)
    chosen = optimizer_of(bare, network, step=step, tell=told.append)
    own = tuning_lr(network, lora=False)
    assert chosen.lr == pytest.approx(own * share, rel=0.05)
    assert "preferences" in told[0]
    assert f"{share:.0%} of" in told[0]
    pairs = len(Path(given["data"]).read_text(encoding="utf-8").splitlines())
    settings, choice = settle({**given, "duration": duration, "batch": {"sequences": 1}})
    pair = 2 * settings.batch.length
    quick = preference_share(bare.duration.ratio(step=1, epochs=1 / pairs, tokens=pair))
    assert settings.optimizer.lr == pytest.approx(own * quick, rel=0.05)
    assert choice is not None
    [line] = [line for line in choice.lines() if line.startswith("optimizer.lr")]
    assert ("preferences" in line) == (quick < 1)


def test_pairs_that_are_too_long_are_not_said_to_fit(tmp_path: Path) -> None:
    given = given_for("prefer", tmp_path)
    rows = Path(given["data"]).read_text(encoding="utf-8").splitlines()
    long = [{**json.loads(row), "preferred": "a word " * 200} for row in rows[:10]]
    lines = [json.dumps(row) for row in long] + rows[10:]
    Path(given["data"]).write_text("\n".join(lines) + "\n", encoding="utf-8")
    settings, choice = settle(given)
    assert choice is not None
    assert settings.batch.length == 96  # all that the model reads
    shares = [re.findall(r"(\d+) % of the records are shorter", line) for line in choice.lines()]
    [share] = [int(found[0]) for found in shares if found]
    assert share == pytest.approx(75, abs=6)  # a tenth is kept out, by chance


def test_a_teacher_of_text_is_refused_with_the_remedy(tmp_path: Path) -> None:
    decoder = str(save_decoder(tmp_path / "decoder"))
    given = {"task": "distil", "model": decoder, "objective": {"teacher": decoder},
             "data": str(tmp_path / "x.txt")}  # fmt: skip
    with pytest.raises(ConfigError, match=r"teaches causal-lm.*Name a task \(objective.of\)"):
        settle(given)


def test_layouts_that_differ_are_not_pinned(tmp_path: Path) -> None:
    """Each row of conversations is read by its own columns, so none is written for all."""
    given = given_for("instruct", tmp_path)
    turns: Sequence[Mapping[str, str]] = [
        {"role": "user", "content": "the words"},
        {"role": "assistant", "content": "the text"},
    ]
    held = tmp_path / "held.jsonl"
    held.write_text(json.dumps({"messages": turns}) + "\n", encoding="utf-8")
    settings, _ = settle({**given, "validation": str(held)})
    assert settings.data.columns == {}


def test_only_what_was_chosen_is_told(tmp_path: Path) -> None:
    given = given_for(
        "classify", tmp_path, duration="3 steps", batch={"length": 24, "sequences": 4},
        optimizer={"lr": 1e-4}, method="full",
    )  # fmt: skip
    settings, choice = settle(given)
    assert choice is not None
    assert (settings.batch.length, settings.optimizer.lr) == (24, 1e-4)
    for name in ("duration", "batch.", "optimizer", "method"):
        assert not any(line.startswith(name) for line in choice.lines())
