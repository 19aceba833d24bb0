"""The settings of a run: sections as people write them, and no setting without an effect."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hanlin.config import descriptions, read_config, write_config
from hanlin.config.yaml_text import parse_yaml
from hanlin.errors import ConfigError
from hanlin.training.config import (
    SHAPES,
    BatchSettings,
    CheckpointSettings,
    DataSettings,
    EvaluateSettings,
    GuardSettings,
    TrainConfig,
)
from hanlin.training.durations import Duration
from hanlin.training.objectives import OBJECTIVES
from hanlin.training.optimizer_settings import OptimizerSettings
from hanlin.training.schedules import Schedule, Warmup

LEAST = {"model": {"family": "llama"}, "data": "corpus/", "duration": "1 epoch", "output": "out"}

EXAMPLE = """
model: {family: llama, hidden_size: 384, num_layers: 6, num_heads: 6}   # from nothing
tokenizer: runs/tokenizer
objective: causal-lm
data: {train: [corpus/], validation: 5%}
batch: {sequences: 32, length: 256}
optimizer: {name: adamw, lr: 1e-3}
schedule: {name: cosine, warmup: 100 steps}
duration: 10 minutes
precision: bf16
checkpoint: {every: 10 minutes, keep: 2}
seed: 0
output: runs/first
"""


def read(*overrides: str, **changes: Any) -> TrainConfig:
    return read_config(LEAST | changes, overrides, into=TrainConfig)


def said(*overrides: str, **changes: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        read(*overrides, **changes)
    return str(caught.value)


def test_the_example_of_the_design() -> None:
    config = read_config(parse_yaml(EXAMPLE, source="the example"), into=TrainConfig)
    assert config.model == {
        "family": "llama", "hidden_size": 384, "num_layers": 6, "num_heads": 6,
    }  # fmt: skip
    assert config.objective.name == "causal-lm"
    assert config.data == DataSettings(train=("corpus/",), validation=("5%",))
    assert config.data.validation_share == 0.05
    assert config.batch == BatchSettings(sequences=32, length=256)
    assert config.optimizer == OptimizerSettings(name="adamw", lr=1e-3)
    assert config.schedule == Schedule(warmup=Warmup(duration=Duration(steps=100)))
    assert config.duration == Duration(seconds=600.0)
    assert config.checkpoint == CheckpointSettings(every=Duration(seconds=600.0), keep=2)
    assert (config.precision, config.output) == ("bf16", Path("runs/first"))


def test_fields_of_a_fresh_model_by_either_name() -> None:
    fields = {"family": "llama", "n_layer": 3, "hidden_size": 64, "multiple": 64, "rope": {}}
    assert read(model=fields).model == fields


def test_what_must_be_said() -> None:
    with pytest.raises(ConfigError) as caught:
        read_config({}, into=TrainConfig)
    missing = [line.split()[0] for line in str(caught.value).splitlines()[1:]]
    assert missing == ["model", "data", "duration", "output"]


def test_short_forms() -> None:
    config = read(
        model="smollm2-135m",
        data=["a.txt", "b.txt"],
        optimizer="muon",
        schedule="linear",
        evaluate="5 minutes",
        duration={"steps": 2000, "minutes": 10},
        track="tensorboard",
    )
    assert not config.fresh
    assert config.data.train == ("a.txt", "b.txt")
    assert config.optimizer == OptimizerSettings(name="muon")
    assert config.schedule == Schedule(name="linear")
    assert config.evaluate == EvaluateSettings(every=Duration(seconds=300.0))
    assert config.duration == Duration(steps=2000, seconds=600.0)
    assert config.track == ("tensorboard",)


@pytest.mark.parametrize(
    ("validation", "kept", "share"),
    [
        ("10%", ("10%",), 0.1),
        (0.1, ("10%",), 0.1),
        (None, (), None),
        ("held-out.txt", ("held-out.txt",), None),
        (["a", "b"], ("a", "b"), None),
    ],
)
def test_what_is_held_out(validation: Any, kept: tuple[str, ...], share: float | None) -> None:
    data = read(data={"train": "corpus/", "validation": validation}).data
    assert data.validation == kept
    assert data.validation_share == share


def test_options_of_an_objective_are_checked() -> None:
    config = read(model={"family": "bert"}, objective={"name": "masked-lm", "rate": 0.2})
    assert config.objective.build().rate == 0.2  # type: ignore[attr-defined]
    told = said(model={"family": "bert"}, objective={"name": "masked-lm", "rat": 1, "random": "x"})
    assert "objective: rat is not a setting. Did you mean rate?" in told
    assert "objective: random is 'x'; it must be a number." in told


def test_the_shapes_are_those_of_the_objectives() -> None:
    assert {name: kind.shapes for name, kind in OBJECTIVES.items()} == {
        name: shapes for name, shapes in SHAPES.items() if name in OBJECTIVES
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objective": "masked-lm"}, "trains encoder models, and llama is a decoder"),
        ({"objective": "span-corruption"}, "Use causal-lm, or a family such as t5"),
        ({"model": {"family": "bert"}}, "bert is an encoder. Use masked-lm"),
        ({"model": {"family": "t5"}}, "Use span-corruption or denoising, or a family"),
        ({"model": {"family": "lama"}}, "Did you mean 'llama'"),
        ({"model": {"hidden_size": 3}}, "model has no family"),
        ({"model": {"family": "llama", "width": 3}}, "model.width is not a field"),
        ({"model": {"family": "llama", "hiden_size": 3}}, "Did you mean 'hidden_size'"),
        ({"tokenizer": {"kind": "bpe", "vocabsize": 3}}, "Did you mean 'vocab_size'"),
        ({"model": "smollm2-135m", "tokenizer": {"kind": "bpe"}}, "Remove tokenizer"),
        ({"batch": {"sequences": 32, "micro": 5}}, "micro 5 does not divide sequences 32"),
        ({"batch": {"sequences": 0}}, "sequences is 0"),
        ({"batch": {"length": 1}}, "length is 1"),
        ({"duration": "100 steps", "schedule": {"warmup": "100 steps"}}, "as long as the run"),
        ({"duration": "10 minutes", "schedule": {"warmup": "1 hour"}}, "as long as the run"),
        ({"data": {"train": []}}, "train names no source"),
        ({"data": {"train": "x", "validation": ["5%", "y"]}}, "not both"),
        ({"data": {"train": "x", "validation": "100%"}}, "below 100 %"),
        ({"data": {"train": "x", "validation": 0}}, "above 0 %"),
        ({"data": {"train": "x", "source": "en"}}, "have no effect on causal-lm"),
        (
            {"data": {"train": "x", "validation": None}, "evaluate": "1 epoch"},
            "evaluate.every has no effect without data.validation",
        ),
        ({"evaluate": {"prompts": "Once", "samples": 0}}, "prompts have no effect"),
        ({"guard": {"spike": 0}}, "spike is 0"),
        ({"guard": {"patience": 0}}, "patience is 0"),
        ({"checkpoint": {"keep": 0}}, "keep is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"precision": "fp16"}, "precision is 'fp16'; it must be fp32 or bf16"),
        ({"distributed": "fsdp2"}, "Did you mean 'fsdp'"),
        ({"track": "wandb"}, "must be tensorboard"),
        ({"lr": 1e-3}, "lr is not a setting. Did you mean optimizer.lr?"),
        ({"optimizer": {"name": "sgd", "betas": [0.9, 0.99]}}, "betas has no effect on sgd"),
        ({"optimizer": {"name": "adamw", "momentum": 0.9}}, "momentum has no effect on adamw"),
        ({"optimizer": {"name": "adamw", "rest_lr": 1}}, "rest_lr has no effect on adamw"),
        ({"optimizer": {"name": "sgd", "decay_embeddings": True}}, "no effect with weight_decay 0"),
        ({"optimizer": {"lr": 0}}, "lr is 0; it must be above zero"),
        ({"optimizer": {"clip": 0}}, "null turns it off"),
        ({"optimizer": {"betas": [0.9, 1.0]}}, "betas must be at least 0 and below 1"),
        ({"optimizer": {"betas": [0.9]}}, "optimizer.betas"),
        ({"optimizer": {"name": "sgd", "momentum": 0, "nesterov": True}}, "needs momentum"),
    ],
)
def test_settings_that_cannot_be_or_have_no_effect(changes: dict[str, Any], message: str) -> None:
    assert message in said(**changes)


def test_problems_of_all_sections_are_told_together() -> None:
    told = said("batch.micro=5", "optimizer.lr=-1", "duration=soon", "guard.patience=0")
    assert told.splitlines()[0] == "The configuration has 4 problems:"


def test_every_setting_has_a_description() -> None:
    for section in (
        TrainConfig,
        DataSettings,
        BatchSettings,
        CheckpointSettings,
        EvaluateSettings,
        GuardSettings,
        OptimizerSettings,
        Schedule,
        Duration,
    ):
        assert set(descriptions(section)) == set(section.__dataclass_fields__), section


CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "model": st.sampled_from(
            [{"family": "llama", "num_layers": 3}, {"family": "qwen3", "tie_embeddings": False}]
        ),
        "tokenizer": st.sampled_from([None, "runs/tok", "no"]),
        "data": st.sampled_from(["x", {"train": ["a b", "中文"], "validation": 0.1, "field": "t"}]),
        "batch": st.sampled_from([{}, {"sequences": 8, "micro": 2}]),
        "optimizer": st.sampled_from(["sgd", {"lr": 3e-4, "betas": [0.9, 0.99], "clip": None}]),
        "schedule": st.sampled_from(["constant", {"warmup": "1k tokens"}, {"warmup": 0.1}]),
        "duration": st.sampled_from(["3 epochs", {"steps": 20, "hours": 0.1}]),
        "evaluate": st.sampled_from(["1 epoch", {"prompts": ["a", "# b"], "tokens": 5}]),
        "seed": st.integers(0, 2**62),
        "output": st.sampled_from(["a/b", "1e3", "no"]),
    },
)


@settings(max_examples=60, deadline=None)
@given(CHANGES)
def test_the_resolved_config_reads_back_to_the_same(changes: dict[str, Any]) -> None:
    config = read(**changes)
    text = write_config(config)
    assert read_config(parse_yaml(text, source="the text"), into=TrainConfig) == config


def test_settings_need_no_torch() -> None:
    code = (
        "import sys; from hanlin.config import read_config\n"
        "from hanlin.training.config import TrainConfig\n"
        f"read_config({LEAST!r}, into=TrainConfig)\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=100).returncode == 0
