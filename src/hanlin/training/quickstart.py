"""From a task, a model and data to all the settings of a run, with the reasons.

    hanlin.train({"task": "classify", "model": "minilm", "data": "reviews.csv"})

The data are read, their columns and labels found, and what decides is counted: how many records
there are, how long they are in the model's tokens, how large the model is. Whatever the user has
set stays.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hanlin.config import read_config
from hanlin.data.grouping import sides
from hanlin.data.records import sampled
from hanlin.errors import ConfigError, nearest
from hanlin.models.config import ModelConfig
from hanlin.models.named import resolve
from hanlin.tokenizers import Tokenizer
from hanlin.training.budget import Choice, Reason, merge
from hanlin.training.config import TrainConfig
from hanlin.training.cost import count, machine_peak, outline
from hanlin.training.objectives import RecordObjective, on_records
from hanlin.training.rates import tuning_lr
from hanlin.training.sections import ON_TEXT, SHAPES
from hanlin.training.starting_model import fitted_to
from hanlin.training.surveying import model_of

_LOOKED = 5000
"""Records whose lengths are measured."""
_ROOM = 8192
"""Tokens that are held between the passes at a time: some hundred megabytes in a small model."""
_LARGE = 100e6
"""Parameters of a decoder beyond which only a LoRA is trained."""


def output_of(given: Mapping[str, Any]) -> str:
    """Where a run goes that names no output: runs/TASK-NAME-OF-THE-DATA."""
    if given.get("output"):
        return str(given["output"])
    data = given.get("data") or "data"
    if isinstance(data, Mapping):
        data = data.get("train") or next(iter(data.values()))
    if isinstance(data, Mapping):
        data = next(iter(data.values()))
    first = Path(str(data[0] if isinstance(data, list | tuple) else data))
    name = first.name.split(".")[0]
    # Of a file train.tsv in a folder that says more.
    plain = name in ("train", "data", "all", "dev", "") and first.parent.name
    return f"runs/{given['task']}-{first.parent.name if plain else name}"


def settle_task(given: Mapping[str, Any]) -> tuple[TrainConfig, Choice]:
    """The settings for a task: `task`, `model`, `data`, and what else is given of a `TrainConfig`.

    data: sources, a mapping of labels to files, or the data section; validation: sources of a part
    to look at, or a share. Reads the data; writes nothing. Raises `ConfigError` for what is missing
    or unknown, and what reading the data raises.
    """
    task = str(given.get("task"))
    tasks: list[str] = [name for name in SHAPES if name not in ON_TEXT]
    if task not in tasks:
        raise ConfigError(
            f"There is no task {task!r}.{nearest(task, tasks)} There are: {', '.join(tasks)}."
        )
    for name, example in (("model", "minilm"), ("data", "reviews.csv")):
        if not given.get(name):
            raise ConfigError(f"The task {task} needs {name}. Give one, such as {name}: {example}.")
    if given.get("budget") is not None:
        raise ConfigError(
            "A budget chooses the sizes of a fresh model, and a task begins with one that is "
            "there. Remove the budget, and set a duration."
        )
    if not isinstance(given["model"], str):
        raise ConfigError(
            "The quickstart begins with a model that knows something. Name one, or write a whole "
            "configuration for a fresh one."
        )
    raw = as_config(given)
    first = read_config({**raw, "duration": raw.get("duration", "1 epoch")}, into=TrainConfig)
    objective = first.objective.build()
    assert on_records(objective)
    told: list[str] = []
    records = objective.read(first.data.train, first.data, tell=told.append)
    model, fitted = fitted_to(model_of(first, None), objective, records)
    if model.shape not in objective.shapes:
        raise ConfigError(
            f"{first.model} is a {model.shape}, and {task} trains a "
            f"{' or '.join(objective.shapes)}. Choose another model."
        )
    assert on_records(fitted)
    choice = _choose(first, raw, fitted, records, model, told)
    return read_config(merge(choice.changes, raw), into=TrainConfig), choice


def as_config(given: Mapping[str, Any]) -> dict[str, Any]:
    """What was given, as a configuration has it."""
    raw = {k: v for k, v in given.items() if k not in ("task", "validation", "data")}
    data = given["data"]
    section = dict(data) if isinstance(data, Mapping) and "train" in data else {"train": data}
    if given.get("validation") is not None:
        section["validation"] = given["validation"]
    objective = given.get("objective") or {}
    if isinstance(objective, str):
        raise ConfigError("Give a task or an objective, not both. Remove one.")
    return {
        **raw,
        "objective": {**objective, "name": given["task"]},
        "data": section,
        "output": output_of(given),
    }


def _choose(
    config: TrainConfig,
    raw: Mapping[str, Any],
    objective: RecordObjective,
    records: list[Any],
    model: ModelConfig,
    told: list[str],
) -> Choice:
    reasons = [Reason(line, line) for line in told]
    number = len(records)
    reasons += _labels(records)
    data: dict[str, Any] = {}
    columns = getattr(objective, "columns", None)
    if columns is not None and (found := columns(config.data.train, config.data)):
        data["columns"] = found
    own = "validation" in raw["data"]
    if not own:
        data["validation"] = "10%" if number < 10_000 else "5%" if number < 40_000 else "2%"
        share = data["validation"]
        reasons.append(
            Reason(
                f"data.validation: {share} of {number:,} records are kept out, to be looked at.",
                f"data.validation：{number:,} 条记录中留出 {share} 用于评估。",
            )
        )
    length, why = _length(config, objective, records, model)
    reasons.append(why)
    given = raw.get("batch") or {}
    sequences = given.get("sequences") or (16 if number < 2000 else 32 if number < 50_000 else 64)
    batch: dict[str, Any] = {"length": length, "sequences": sequences}
    length = given.get("length") or length
    if sequences * length > _ROOM and "micro" not in given:
        fitting = [n for n in range(1, sequences + 1) if sequences % n == 0 and n * length <= _ROOM]
        batch["micro"] = max(fitting, default=1)
    epochs = min(10, max(2 if number < 50_000 else 1, round(20_000 / number)))
    reasons.append(
        Reason(
            f"batch.sequences: {sequences}; duration: {epochs} epochs, as there are {number:,} "
            "records: few are read more often.",
            f"batch.sequences：{sequences}；duration：{epochs} 轮，因为有 {number:,} 条记录，"
            "越少则读得越多遍。",
        )
    )
    whole = outline(model)
    size = count(whole).total
    lora = model.shape == "decoder" and size > _LARGE
    if "method" in raw:
        lora = config.method.kind == "lora"
    lr = tuning_lr(whole, lora=lora)
    reasons.append(_method(size, lr, lora=lora, chosen="method" not in raw))
    changes: dict[str, Any] = {
        "method": {"kind": "lora", "rank": 16, "alpha": 32} if lora else {"kind": "full"},
        "data": data,
        "batch": batch,
        "optimizer": {"name": "adamw", "lr": lr, "weight_decay": 0.01, "betas": [0.9, 0.999]},
        "schedule": {"name": "linear", "warmup": "10%"},
        "duration": f"{epochs} epochs",
        "evaluate": {"every": "1 epoch"},
        "precision": "fp32",
    }
    if own and not raw["data"]["validation"]:
        del changes["evaluate"]
    if "precision" not in raw:
        ratio = machine_peak("bf16", seconds=0.3) / machine_peak("fp32", seconds=0.3)
        if ratio > 1.5:
            changes["precision"] = "bf16"
            reasons.append(
                Reason(
                    f"precision: bf16, in which this machine multiplies {ratio:.1f} times as fast.",
                    f"precision：bf16，本机以它做乘法快 {ratio:.1f} 倍。",
                )
            )
    reasons.append(
        Reason(
            f"output: {raw['output']}; all settings stand in its config.yaml.",
            f"output：{raw['output']}；全部设置写在其中的 config.yaml。",
        )
    )
    return Choice(changes=changes, reasons=tuple(reasons))


def _labels(records: list[Any]) -> list[Reason]:
    """How many records each label has, where records have labels."""
    counts: dict[str, int] = {}
    for record in records:
        label = getattr(record, "label", None)
        for each in label if isinstance(label, tuple) else (label,):
            if isinstance(each, str):
                counts[each] = counts.get(each, 0) + 1
    if not counts:
        return []
    most = sorted(counts, key=counts.__getitem__, reverse=True)
    shown = ", ".join(f"{label} ({counts[label]:,})" for label in most[:6])
    more = ", ..." if len(most) > 6 else ""
    return [
        Reason(
            f"{len(counts)} labels in {len(records):,} records: {shown}{more}.",
            f"{len(records):,} 条记录，{len(counts)} 个标签：{shown}{more}。",
        )
    ]


def _length(
    config: TrainConfig, objective: RecordObjective, records: list[Any], model: ModelConfig
) -> tuple[int, Reason]:
    """Tokens of a sequence: what 95 of 100 records need."""
    longest = 512 if model.shape == "encoder" else 1024
    if model.position not in ("relative", "none", "rotary", "sinusoidal"):
        longest = min(longest, model.max_context)
    tokenizer = Tokenizer.load(resolve(str(config.model)))
    some = sampled(records, _LOOKED)
    examples = objective.examples(some, tokenizer=tokenizer, length=longest, seed=config.seed)
    if examples.lengths is None:
        return longest, Reason(
            f"batch.length: {longest} tokens, which records are packed into.",
            f"batch.length：{longest} 个词元，记录打包其中。",
        )
    needed = float(np.quantile(sides(examples.lengths).max(1), 0.95))
    length = int(min(longest, max(16, -(-needed // 8) * 8)))
    return length, Reason(
        f"batch.length: {length} tokens; 95 % of the records have at most {needed:.0f}.",
        f"batch.length：{length} 个词元；95% 的记录不超过 {needed:.0f} 个。",
    )


def _method(size: int, lr: float, *, lora: bool, chosen: bool) -> Reason:
    shown = f"{size / 1e6:.3g}"
    if lora:
        why = (
            f", as all of {shown} million weights would take {size * 16 / 1e9:.1f} GB to train",
            f"，因为训练全部 {shown} 百万个权重要占 {size * 16 / 1e9:.1f} GB 内存",
        )
        return Reason(
            f"method: lora{why[0] if chosen else ''}; optimizer.lr: {lr:g}, ten times what all "
            "weights would bear.",
            f"method：lora{why[1] if chosen else ''}；optimizer.lr：{lr:g}，"
            "为训练全部权重时的十倍。",
        )
    return Reason(
        f"method: full; optimizer.lr: {lr:g}, which suits a model of {shown} million weights that "
        "is tuned (BERT's 3e-5, more for a smaller one).",
        f"method：full；optimizer.lr：{lr:g}，适合微调 {shown} 百万权重的模型"
        "（BERT 为 3e-5，模型越小越大）。",
    )
