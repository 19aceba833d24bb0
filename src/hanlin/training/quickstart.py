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
from hanlin.training.durations import Duration
from hanlin.training.objectives import Distil, RecordObjective, on_records
from hanlin.training.rates import preference_share, tuning_lr
from hanlin.training.sections import ON_TEXT, SHAPES
from hanlin.training.starting_model import fitted_to
from hanlin.training.surveying import model_of

_LOOKED = 5000
"""Records whose lengths are measured."""
_FAR = 1 << 20
"""Tokens of a pair at most where nothing limits what a model reads."""
_ROOM = 8192
"""Tokens that are held between the passes at a time: some hundred megabytes in a small model."""
_READINGS = 20_000
"""Records that are read in all, those that are read again counted again."""
_READINGS_OF_LABEL = 500
"""The same for each label: 77 intents are not told apart by what suffices for two."""
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
    # What is to be chosen beside the user's settings does not judge them yet.
    begun = {"duration": raw.get("duration", "1 epoch"), "batch": {}}
    first = read_config({**raw, **begun}, into=TrainConfig)
    objective = first.objective.build()
    if isinstance(objective, Distil) and not on_records(objective):
        raise ConfigError(
            f"{objective.teacher} teaches {objective.task.name}, which is learnt from text, and the"
            " quickstart chooses for what is learnt from records. Name a task (objective.of), or "
            "write a whole configuration."
        )
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
    counts = _labels(records)
    reasons += _labels_told(counts, number)
    data: dict[str, Any] = {}
    learnt: Any = objective.task if isinstance(objective, Distil) else objective
    own = "validation" in raw["data"]
    held = config.data.validation if config.data.validation_share is None else ()
    if found := learnt.columns([*config.data.train, *held], config.data):
        data["columns"] = found
    if not own:
        data["validation"] = "10%" if number < 10_000 else "5%" if number < 40_000 else "2%"
        share = data["validation"]
        reasons.append(
            Reason(
                f"data.validation: {share} of {number:,} records are kept out, to be looked at.",
                f"data.validation：{number:,} 条记录中留出 {share} 用于评测。",
            )
        )
    given = raw.get("batch") or {}
    length, why = _length(config, objective, records, model)
    if given.get("length") is None:
        reasons.append(why)
    batch, activation = _batch(given, learnt.name, records, length)
    if "sequences" in batch and given.get("sequences") is None:
        shown = batch["sequences"]
        reasons.append(Reason(f"batch.sequences: {shown}.", f"batch.sequences：{shown}。"))
    epochs, why = _epochs(learnt.name, number, len(counts))
    if raw.get("duration") is None:
        reasons.append(why)
    if activation:
        reasons.append(
            Reason(
                "checkpoint.activation: true, as so many texts are read together: it saves memory "
                "and takes a third more time.",
                "checkpoint.activation：true，因为一次读入的文本很多：节省内存，时间多三分之一。",
            )
        )
    whole = outline(model)
    size = count(whole).total
    lora = model.shape == "decoder" and size > _LARGE
    if "method" in raw:
        lora = config.method.kind == "lora"
    part = 1.0
    if learnt.name == "prefer":
        duration = Duration(epochs=epochs) if raw.get("duration") is None else config.duration
        part = _preferences(duration, merge(batch, given), number)
    lr = tuning_lr(whole, lora=lora, share=part)
    if "method" not in raw:
        reasons.append(_method(size, lora=lora))
    if not {"name", "lr"} & set(raw.get("optimizer") or ()):
        reasons.append(_rate(size, lr, lora=lora, share=part))
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
    if activation:
        changes["checkpoint"] = {"activation": True}
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


def _batch(
    given: Mapping[str, Any], task: str, records: list[Any], length: int
) -> tuple[dict[str, Any], bool]:
    """What a step reads, and whether it fits into memory only where activations are made twice.

    given: what the user set of it, beside which nothing is chosen that would clash with it.
    """
    batch: dict[str, Any] = {"length": length}
    if given.get("tokens") is not None:
        return batch, False
    number, micro = len(records), given.get("micro")
    sequences = given.get("sequences") or (16 if number < 2000 else 32 if number < 50_000 else 64)
    if micro is not None and given.get("sequences") is None:
        sequences = -(-sequences // micro) * micro
    batch["sequences"] = sequences
    # A pair of answers is two sequences; texts to embed come with another, perhaps with two.
    texts = 2 if task in ("embed", "prefer") else 1
    texts += any(getattr(record, "negative", None) for record in records)
    size = texts * (given.get("length") or length)
    if sequences * size <= _ROOM or "micro" in given:
        return batch, False
    if task == "embed":  # whose texts all have to stand against each other
        return batch, True
    batch["micro"] = max(
        (n for n in range(1, sequences + 1) if sequences % n == 0 and n * size <= _ROOM), default=1
    )
    return batch, False


def _epochs(task: str, number: int, labels: int) -> tuple[int, Reason]:
    """How often `number` records of so many labels (0: of none) are read."""
    readings = max(_READINGS, _READINGS_OF_LABEL * labels)
    epochs = min(10, max(2 if number < 50_000 else 1, round(readings / number)))
    if task == "prefer":
        epochs = min(2, epochs)
        return epochs, Reason(
            f"duration: {epochs} epochs: preferences that are read more often spoil what is "
            "written.",
            f"duration：{epochs} 轮，偏好数据多读几遍反而会损害生成的文字。",
        )
    of, labelled = (f" of {labels} labels", f"、{labels} 个标签") if labels else ("", "")
    return epochs, Reason(
        f"duration: {epochs} epochs, as there are {number:,} records{of}: few are read more often, "
        "and many labels.",
        f"duration：{epochs} 轮，因为有 {number:,} 条记录{labelled}："
        "记录越少、标签越多，读得越多遍。",
    )


def _labels(records: list[Any]) -> dict[str, int]:
    """How many records each label has; empty where records have none."""
    counts: dict[str, int] = {}
    for record in records:
        label = getattr(record, "label", None)
        for each in label if isinstance(label, tuple) else (label,):
            if isinstance(each, str):
                counts[each] = counts.get(each, 0) + 1
    return counts


def _labels_told(counts: dict[str, int], number: int) -> list[Reason]:
    if not counts:
        return []
    most = sorted(counts, key=counts.__getitem__, reverse=True)
    shown = ", ".join(f"{label} ({counts[label]:,})" for label in most[:6])
    more = ", ..." if len(most) > 6 else ""
    return [
        Reason(
            f"{len(counts)} labels in {number:,} records: {shown}{more}.",
            f"{number:,} 条记录，{len(counts)} 个标签：{shown}{more}。",
        )
    ]


def _length(
    config: TrainConfig, objective: RecordObjective, records: list[Any], model: ModelConfig
) -> tuple[int, Reason]:
    """Tokens of a sequence: what 95 of 100 records need; all pairs of answers, as what is longer is
    not cut but left out."""
    longest = 512 if model.shape == "encoder" else 1024
    longest = model.reads(longest) or longest
    prefer = config.objective.task == "prefer"
    far = (model.reads() or _FAR) if prefer else longest  # pairs that are longer are not there
    tokenizer = Tokenizer.load(resolve(str(config.tokenizer or config.model)))
    some = sampled(records, _LOOKED)
    examples = objective.examples(some, tokenizer=tokenizer, length=far, seed=config.seed)
    if examples.lengths is None:
        return longest, Reason(
            f"batch.length: {longest} tokens, which records are packed into.",
            f"batch.length：{longest} 个词元，记录打包其中。",
        )
    lengths, share = sides(examples.lengths).max(1), 95
    if prefer:
        lengths, share = lengths / 2, 100  # of both conversations
        lengths = np.append(lengths, np.full(len(some) - len(lengths), far + 1))
    needed = float(np.quantile(lengths, share / 100))
    length = int(min(longest, max(16, -(-needed // 8) * 8)))
    if needed >= longest:
        share = int(100 * np.mean(lengths < longest))
        return length, Reason(
            f"batch.length: {length} tokens; {share} % of the records are shorter.",
            f"batch.length：{length} 个词元；{share}% 的记录比这短。",
        )
    return length, Reason(
        f"batch.length: {length} tokens; {share} % of the records have at most {needed:.0f}.",
        f"batch.length：{length} 个词元；{share}% 的记录不超过 {needed:.0f} 个。",
    )


def _method(size: int, *, lora: bool) -> Reason:
    if not lora:
        return Reason("method: full.", "method：full。")
    shown, memory = f"{size / 1e6:.3g}", f"{size * 16 / 1e9:.1f} GB"
    return Reason(
        f"method: lora, as all of {shown} million weights would take {memory} to train.",
        f"method：lora，因为训练全部 {shown} 百万个权重要占 {memory} 内存。",
    )


def _preferences(duration: Duration, batch: Mapping[str, Any], number: int) -> float:
    """The share of the rate for so many pairs of answers, by about how many steps they take."""
    pair = 2 * batch["length"]  # tokens at most
    tokens = batch.get("tokens") or batch["sequences"] * pair
    return preference_share(duration.ratio(step=1, epochs=tokens / (number * pair), tokens=tokens))


def _rate(size: int, lr: float, *, lora: bool, share: float) -> Reason:
    english = [f"which suits a model of {size / 1e6:.3g} million weights that is tuned (BERT's "
               "3e-5, more for a smaller one)"]  # fmt: skip
    chinese = [f"适合微调 {size / 1e6:.3g} 百万权重的模型（BERT 为 3e-5，模型越小越大）"]
    if lora:
        english.append("ten times that for a LoRA")
        chinese.append("LoRA 取十倍")
    if share < 1:
        english.append(f"{share:.0%} of it for preferences, by the number of steps")
        chinese.append(f"偏好学习按步数再取其 {share:.0%}")
    return Reason(
        f"optimizer.lr: {lr:g}, {'; '.join(english)}.",
        f"optimizer.lr：{lr:g}，{'；'.join(chinese)}。",
    )
