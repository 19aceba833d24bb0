"""The settings of a training run: its sections put together, and checked against each other.

A setting that would have no effect under the others is an error, and so are two that contradict
each other. Importing this does not import torch.
"""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from hanlin.config import refuse, written_as
from hanlin.config.plain import texts
from hanlin.errors import nearest
from hanlin.training.durations import Duration
from hanlin.training.optimizer_settings import OptimizerSettings
from hanlin.training.schedules import Schedule
from hanlin.training.sections import (
    LABELLING,
    ON_TEXT,
    SHAPES,
    BatchSettings,
    CheckpointSettings,
    DataSettings,
    EvaluateSettings,
    GuardSettings,
    MethodSettings,
    ObjectiveName,
    ObjectiveSettings,
)

__all__ = [
    "SHAPES",
    "BatchSettings",
    "CheckpointSettings",
    "DataSettings",
    "EvaluateSettings",
    "GuardSettings",
    "MethodSettings",
    "ObjectiveName",
    "ObjectiveSettings",
    "TrainConfig",
]


def _read_track(value: Any) -> Any:
    return texts(value) if value is not None else []


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """A training run."""

    model: str | dict[str, Any]
    """A model to start from (a name, a directory), or a mapping for a fresh one: family, and the
    fields of ModelConfig that differ from its defaults."""
    tokenizer: str | dict[str, Any] | None = None
    """A directory with a tokenizer, or a mapping for one to be learnt from the text: kind (bpe,
    wordpiece, unigram), vocab_size, and what else `hanlin.tokenizers.train` takes; of a named model
    the mapping has special_tokens alone, which its own tokenizer is given. Needed for a
    fresh model unless the data are token shards."""
    objective: ObjectiveSettings = field(default_factory=ObjectiveSettings)
    """What the model learns to do."""
    data: DataSettings
    """What is learnt from."""
    method: MethodSettings = field(default_factory=MethodSettings)
    """Which weights are trained: full or lora."""
    batch: BatchSettings = field(default_factory=BatchSettings)
    """What one step reads."""
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    """How the weights are changed."""
    schedule: Schedule = field(default_factory=Schedule)
    """How the learning rate goes over the run."""
    duration: Duration
    """How long: 2000 steps, 3 epochs, 50M tokens, 10 minutes, or several, of which the first to be
    over ends the run."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16: products in bfloat16; the weights and the optimiser stay in float32."""
    compile: bool = False
    """Compile the blocks with torch.compile: a minute at the start, faster steps after it."""
    average: float | None = None
    """Decay of an exponential moving average of the weights, such as 0.999 (about the last thousand
    steps), which is evaluated and becomes the model; none when not given."""
    checkpoint: CheckpointSettings = field(default_factory=CheckpointSettings)
    """When the run is saved."""
    evaluate: EvaluateSettings = field(default_factory=EvaluateSettings)
    """When the validation part is looked at."""
    guard: GuardSettings = field(default_factory=GuardSettings)
    """What happens when the loss jumps."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where it is computed; auto takes a graphics processor where there is one."""
    distributed: Literal["none", "ddp", "fsdp"] = "none"
    """Under torchrun: ddp copies the model to every process, fsdp shards it."""
    budget: str | None = None
    """"2 cores, 30 minutes": sizes, batch, learning rate and duration are chosen for the text where
    they are not given."""
    seed: int = 0
    """Everything random is drawn from it."""
    output: Path
    """The directory of the model, its checkpoints, metrics and report."""
    track: tuple[Literal["tensorboard"], ...] = ()
    """Other places that metrics are written to: tensorboard."""

    def __post_init__(self) -> None:
        refuse(
            [
                *_model_problems(self),
                *_tokenizer_problems(self),
                *_data_problems(self),
                *_task_problems(self),
                *_method_problems(self),
                *_time_problems(self),
                *(
                    []
                    if self.average is None or 0 < self.average < 1
                    else [f"average is {self.average:g}; it must be above 0 and below 1."]
                ),
                *(
                    []
                    if 0 <= self.seed < 2**63
                    else [f"seed is {self.seed}; it must be 0 or more."]
                ),
            ]
        )

    @property
    def fresh(self) -> bool:
        """Whether the model is drawn from nothing."""
        return not isinstance(self.model, str)


def _read_train(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    out = dict(value)
    if "track" in out:
        out["track"] = _read_track(out["track"])
    objective = out.get("objective")
    fresh = isinstance(out.get("model"), Mapping) and out.get("tokenizer") is None
    if fresh and isinstance(objective, Mapping) and objective.get("name") == "distil":
        out["tokenizer"] = objective.get("teacher")  # the only one that goes with it
    return out


written_as(_read_train)(TrainConfig)


def _model_problems(config: TrainConfig) -> list[str]:
    """A fresh model's fields exist, and its shape is one that the objective trains."""
    from hanlin.models.new import NEW, field_problems

    if isinstance(config.model, str):
        return []
    if not isinstance(family := config.model.get("family"), str):
        known = ", ".join(NEW)
        return [f"model has no family. Name one of {known}."]
    if family not in NEW:
        return [f"model.family {family!r} is not known.{nearest(family, list(NEW))}"
                f" There are: {', '.join(NEW)}."]  # fmt: skip
    problems = [f"model.{problem}" for problem in field_problems(config.model)]
    objective, shape = config.objective.name, config.model.get("shape", NEW[family].shape)
    if objective == "distil" and config.objective.options.get("student"):
        problems.append(
            "objective.student takes layers of a model that knows something, and this one is drawn "
            "from nothing. Set model to the teacher, or remove student."
        )
    if shape not in SHAPES[objective]:
        fitting = [
            name
            for name, shapes in SHAPES.items()
            if shape in shapes and (name in ON_TEXT) == (objective in ON_TEXT)
        ]
        problems.append(
            f"objective {objective} trains {SHAPES[objective][0]} models, and {family} is "
            f"{'an' if shape[0] == 'e' else 'a'} {shape}. Use {' or '.join(fitting)}, or a family "
            f"such as {_example(SHAPES[objective][0])}."
        )
    return problems


def _example(shape: str) -> str:
    return {"decoder": "llama", "encoder": "modernbert", "encoder-decoder": "t5"}[shape]


def _tokenizer_problems(config: TrainConfig) -> list[str]:
    """A tokenizer that is to be learnt has settings that `hanlin.tokenizers.train` takes; to the
    one of a named model special tokens may be added, where the run can learn what they mean."""
    if not isinstance(config.tokenizer, dict):
        return []
    if isinstance(config.model, str):
        if set(config.tokenizer) != {"special_tokens"}:
            return [f"tokenizer: {config.model} has its own, and another one's ids mean nothing to "
                    "it. Remove tokenizer, or keep special_tokens alone, which are added to its "
                    "own."]  # fmt: skip
        if not _are_names(special := config.tokenizer["special_tokens"]):
            return [f"tokenizer.special_tokens is {special!r}; it must be a list of tokens, such "
                    "as [<fim_prefix>, <fim_suffix>, <fim_middle>]."]  # fmt: skip
        whole = {
            "a LoRA leaves the table of the vocabulary as it is": config.method.kind == "lora",
            "preferences are held to the model as it was, which has none":
                config.objective.name == "prefer",
            "a student needs the tokenizer of its teacher": config.objective.name == "distil",
        }  # fmt: skip
        return [
            f"tokenizer.special_tokens: new tokens cannot be learnt here, for {why}. Add them in a "
            "full run on text or conversations first, and go on from that model."
            for why, true in whole.items()
            if true
        ]
    from hanlin.tokenizers import train

    known = [p.name for p in inspect.signature(train).parameters.values()][1:]
    return [
        f"tokenizer.{name} is not a setting of a tokenizer.{nearest(name, known)}"
        f" There are: {', '.join(known)}."
        for name in config.tokenizer
        if name not in known
    ]


def _are_names(tokens: Any) -> bool:
    return (
        isinstance(tokens, list | tuple)
        and bool(tokens)
        and all(isinstance(one, str) and one.strip() for one in tokens)
    )


def _data_problems(config: TrainConfig) -> list[str]:
    problems = []
    data, pair = config.data, (config.data.source, config.data.target)
    if config.evaluate.remember and config.fresh:
        problems.append(
            "evaluate.remember has no effect on a fresh model, which knows nothing that it could "
            "forget. Name a model to go on from, or remove it."
        )
    if config.objective.task == "seq2seq":
        if any(pair) and not all(pair):
            problems.append("data: give both source and target, or neither (source, target).")
        if any(pair) and data.columns:
            problems.append("data.columns and data.source say the same. Keep columns.")
    elif any(pair) and config.objective.task in ON_TEXT:
        problems.append(
            f"data.source and data.target have no effect on {config.objective.task}; they are for "
            "seq2seq. Use field."
        )
    if not data.validation and config.evaluate != EvaluateSettings():
        shown = ", ".join(
            f"evaluate.{f.name}"
            for f in fields(EvaluateSettings)
            if f.name in ("every", "start", "tokens")
            and getattr(config.evaluate, f.name) != getattr(EvaluateSettings(), f.name)
        )
        if shown:
            problems.append(
                f"{shown} has no effect without data.validation. Give a part to look at."
            )
    return problems


def _task_problems(config: TrainConfig) -> list[str]:
    """Tasks read columns; objectives on text read a field."""
    problems, name, data = [], config.objective.task, config.data
    if name is None:
        return []
    if name in ON_TEXT:
        given = [at for at in ("columns", "file_labels", "skip_bad") if getattr(data, at)]
        if given:
            shown = " and ".join(f"data.{at}" for at in given)
            problems.append(
                f"{shown} has no effect on {name}, which reads text. Remove it, or choose a task: "
                f"{', '.join(task for task in SHAPES if task not in ON_TEXT)}."
            )
        return problems
    for at in ("field",) if name == "seq2seq" else ("field", "source", "target"):
        if getattr(data, at) is not None:
            problems.append(f"data.{at} has no effect on {name}. Use data.columns.")
    if data.file_labels and name != "classify":
        problems.append(f"data.file_labels has no effect on {name}; it is for classify. Remove it.")
    if name == "embed" and config.batch.micro is not None:
        problems.append(
            "batch.micro would change what embed learns, which sets the texts of a step against "
            "each other. Remove it; checkpoint.activation=true saves memory."
        )
    if name in LABELLING and config.evaluate.prompts:
        problems.append(f"evaluate.prompts has no effect on {name}, which writes no text.")
    return problems


def _method_problems(config: TrainConfig) -> list[str]:
    if config.method.kind == "full":
        return []
    problems = []
    if config.fresh:
        problems.append(
            "method lora adds to a model that knows something, and this one is drawn from nothing. "
            "Name a model, or set method: full."
        )
    if config.distributed == "fsdp":
        problems.append("method lora does not go with distributed: fsdp. Use ddp.")
    if config.optimizer.decay_embeddings:
        problems.append(
            "optimizer.decay_embeddings has no effect with method lora, which trains none."
        )
    return problems


def _time_problems(config: TrainConfig) -> list[str]:
    problems = []
    warmup = config.schedule.warmup.duration
    if warmup is not None:
        for name, amount in warmup.amounts.items():
            if (whole := config.duration.amounts.get(name)) is not None and amount >= whole:
                problems.append(
                    f"schedule.warmup ({warmup}) is as long as the run ({config.duration}). "
                    "Shorten it, or write a share such as 2%."
                )
    return problems
