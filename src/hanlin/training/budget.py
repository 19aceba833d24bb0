"""From "2 cores, 30 minutes" and a text to the settings of a run, with the reasons.

The operations that the time allows are shared between the size of the model and the tokens it
reads, as compute-optimal training does (Hoffmann et al. 2022: about 20 tokens a parameter; small
models on small texts do better with fewer, and 10 are taken here, the head counted as parameters).
A text that is too small for so many tokens is read again, up to 40 times (Muennighoff et al. 2023:
after 4 the gain shrinks, after 16 it is small), with dropout; then the run is shorter. Whatever the
user has set stays.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from hanlin.config import read_config, read_mapping
from hanlin.errors import ConfigError
from hanlin.models.config import ModelConfig
from hanlin.models.new import ALIASES
from hanlin.provenance import usable_cores
from hanlin.training.config import TrainConfig
from hanlin.training.cost import count, flops_per_token, machine_peak, outline
from hanlin.training.durations import Duration
from hanlin.training.forecast import CorpusFacts
from hanlin.training.measuring import measure

TOKENS_PER_PARAMETER = 10.0
MOST_EPOCHS = 40.0
_TRAINING = 0.92
"""Share of the time that is training; the rest goes to evaluations, saves and the start."""
_FAMILIES = {
    "causal-lm": "qwen3",
    "masked-lm": "modernbert",
    "span-corruption": "t5",
    "denoising": "bart",
    "seq2seq": "t5",
}
_GUESS = 0.25
"""Share of the peak that a step reaches, until it is measured."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What a run may take."""

    seconds: float
    cores: int | None = None
    """Processor cores; all there are when not given."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """A budget as written: ``30 minutes``, ``2 cores, 1 hour``; raises ConfigError."""
        seconds, cores = None, None
        for part in filter(None, (p.strip() for p in re.split(r"[,;，；]| and ", text))):
            if match := re.fullmatch(r"([0-9]+)\s*(?:cores?|cpus?|核)", part, re.I):
                cores = int(match[1])
            elif seconds is None and (found := Duration.parse(part)).seconds is not None:
                seconds = found.seconds
            else:
                raise ConfigError(f"{part!r} is no part of a budget. {_REMEDY}")
        if seconds is None:
            raise ConfigError(f"The budget {text!r} names no time. {_REMEDY}")
        if cores is not None and not 1 <= cores <= usable_cores():
            raise ConfigError(
                f"The budget names {cores} cores, and this process may use {usable_cores()}. Name "
                "at most as many."
            )
        return cls(seconds=seconds, cores=cores)


_REMEDY = 'Write it like "2 cores, 30 minutes".'


@dataclass(frozen=True)
class Reason:
    """Why something was chosen, in both languages."""

    en: str
    zh: str


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Settings for what the user left open."""

    changes: dict[str, Any]
    """As they would stand in the YAML."""
    reasons: tuple[Reason, ...]

    def lines(self, language: str = "en") -> list[str]:
        """The reasons for a person, in English or Chinese ("zh")."""
        return [reason.zh if language == "zh" else reason.en for reason in self.reasons]


def settle(
    source: str | Path | Mapping[str, Any], overrides: Sequence[str] = ()
) -> tuple[TrainConfig, Choice | None]:
    """The settings of a run; where they have a budget and no duration, chosen by it; where they
    have a `task`, chosen for it (`quickstart.settle_task`).

    A file with both was settled before (the resolved config of a run): nothing is chosen again.
    Looks at the text and measures some steps, half a minute at most; writes nothing. Raises what
    `read_config` raises.
    """
    raw = read_mapping(source, overrides, into=TrainConfig)
    if "task" in raw:
        from hanlin.training.quickstart import settle_task

        return settle_task(raw)
    check_budget(raw, overrides)
    if raw.get("budget") is None or raw.get("duration") is not None:
        return read_config(raw, into=TrainConfig), None
    budget = Budget.parse(str(raw["budget"]))
    from hanlin.training.surveying import model_of, survey

    first = {**raw, "model": _model(raw, {}), "duration": f"{budget.seconds} seconds"}
    config = read_config(first, into=TrainConfig)
    facts, tokenizer = survey(config)

    def sized(model: Mapping[str, Any]) -> ModelConfig:
        return model_of(replace(config, model={**model}), tokenizer)

    choice = choose(budget, raw, config, facts, sized=sized)
    return read_config(merge(choice.changes, raw), into=TrainConfig), choice


def check_budget(raw: Mapping[str, Any], overrides: Sequence[str]) -> None:
    """Raise `ConfigError` where a budget is asked for now and there is nothing for it to choose."""
    asked = any(change.startswith("budget=") for change in overrides)
    if asked and raw.get("duration") is not None:
        raise ConfigError(
            f"A budget chooses the duration, and {raw['duration']} is given. Write duration=null, "
            "or leave the budget out."
        )


def merge(changes: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """`changes` under what the user gave: a section that names its kind stands as it was given."""
    out = dict(changes)
    for name, value in given.items():
        under = changes.get(name)
        if name == "model" and under is not None:
            continue  # what was given is in it
        if isinstance(under, Mapping) and isinstance(value, Mapping) and "name" not in value:
            out[name] = {**under, **value}
        elif value is not None or name not in out:
            out[name] = value
    return out


def _model(raw: Mapping[str, Any], sizes: Mapping[str, Any]) -> dict[str, Any]:
    given = raw.get("model") or {}
    if isinstance(given, str):
        raise ConfigError(
            f"A budget chooses the sizes of a fresh model, and {given} has its own. Remove the "
            "budget and set a duration, or name a family."
        )
    objective = raw.get("objective") or "causal-lm"
    name = objective if isinstance(objective, str) else objective.get("name", "causal-lm")
    if name not in _FAMILIES:
        raise ConfigError(
            f"A budget chooses for {', '.join(_FAMILIES)}, and not for {name}. Remove the budget, "
            "and set model and duration."
        )
    asked = {ALIASES.get(key, key) for key in given}
    return {
        "family": _FAMILIES.get(name, "qwen3"),
        **{key: value for key, value in sizes.items() if key not in asked},
        **given,
    }


@dataclass(frozen=True)
class _Candidate:
    model: dict[str, Any]
    size: int
    """Parameters that multiply: of the blocks and the head."""
    flops: float
    """Per token."""


def choose(
    budget: Budget,
    raw: Mapping[str, Any],
    config: TrainConfig,
    facts: CorpusFacts,
    *,
    sized: Callable[[Mapping[str, Any]], ModelConfig],
    peak: float | None = None,
    speed: Callable[[ModelConfig], float] | None = None,
) -> Choice:
    """Settings for a budget and a text.

    raw: what the user gave, config: the same with any sizes; sized: a model's fields to its config.
    peak, speed: operations a second of the machine's products and tokens a second of a model;
    measured when None.
    """
    import torch

    if budget.cores is not None:
        torch.set_num_threads(budget.cores)
    if raw.get("precision") is None and machine_peak("bf16") > 1.5 * machine_peak("fp32"):
        config = replace(config, precision="bf16")
    peak = peak or machine_peak(config.precision)
    seconds = budget.seconds * _TRAINING
    given = raw.get("batch") or {}
    length = given.get("length") or _length(facts, _GUESS * peak * seconds)
    candidates = [
        _candidate(_model(raw, sizes), sized, config.objective.name, length)
        for sizes in _shapes(length)
    ]
    rate = _GUESS * peak
    best = _nearest(candidates, rate * seconds)
    for _ in range(2):
        # The share of the peak depends on the size, and the size on it.
        tokens_per_second = speed(sized(best.model)) if speed else _measured(best, sized, config)
        rate = tokens_per_second * best.flops
        again = _nearest(candidates, rate * seconds)
        if again == best:
            break
        best = again
    tokens = rate * seconds / best.flops
    epochs = tokens / max(facts.tokens, 1)
    dropout = 0.0 if epochs < 4 else 0.1 if epochs < 16 else 0.2
    duration: dict[str, Any] = {"minutes": round(seconds / 60, 2)}
    if epochs > MOST_EPOCHS:
        duration["epochs"] = MOST_EPOCHS
        tokens = MOST_EPOCHS * facts.tokens
    sequences = given.get("sequences") or _sequences(tokens, length)
    model = {**best.model}
    if dropout and "dropout" not in model:
        model["dropout"] = dropout
    changes: dict[str, Any] = {
        "model": model,
        "batch": {"sequences": sequences, "length": length},
        "optimizer": {"name": "muon"},
        "schedule": {"name": "warmup-stable-decay", "warmup": 0.02, "decay": 0.4},
        "duration": duration,
        "precision": config.precision,
    }
    chosen = read_config(merge(changes, raw), into=TrainConfig)
    reasons = _reasons(budget, facts, best, sized(best.model), rate, peak, tokens, chosen)
    return Choice(changes=changes, reasons=reasons)


def _length(facts: CorpusFacts, operations: float) -> int:
    """Long enough for a document, as far as the text has hundreds of pieces of it.

    Beyond 256 tokens a small model learns more from more sequences than from longer ones.
    """
    usual = max(facts.tokens / max(facts.documents, 1), 64.0)
    longest = 256.0 if operations < 1e16 else 1024.0
    pieces = max(facts.tokens / 500, 64.0)
    return int(2 ** round(math.log2(min(usual, longest, pieces))))


def _shapes(length: int) -> list[dict[str, Any]]:
    """Models of growing size: about 40 channels of width a layer, as small models are made."""
    out = []
    for layers in (2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32):
        width = max(
            96, round(40 * layers / 32) * 32 if layers < 12 else round(40 * layers / 64) * 64
        )
        out.append({"num_layers": layers, "hidden_size": width, "max_context": max(length, 256)})
    return out


def _candidate(
    model: dict[str, Any],
    sized: Callable[[Mapping[str, Any]], ModelConfig],
    objective: str,
    length: int,
) -> _Candidate:
    config = sized(model)
    whole = outline(config)
    size = count(whole).blocks + config.vocab_size * config.hidden_size
    return _Candidate(model, size, flops_per_token(whole, objective=objective, length=length))


def _nearest(candidates: Sequence[_Candidate], operations: float) -> _Candidate:
    """The one whose tokens a parameter come nearest to the best number."""
    return min(
        candidates,
        key=lambda c: abs(math.log(operations / c.flops / c.size / TOKENS_PER_PARAMETER)),
    )


def _sequences(tokens: float, length: int) -> int:
    """A power of two: some two thousand steps, of 2 to 64 thousand tokens each."""
    wanted = min(max(tokens / 2000, 2048.0), 65536.0)
    return int(2 ** max(1, round(math.log2(wanted / length))))


def _measured(
    candidate: _Candidate, sized: Callable[[Mapping[str, Any]], ModelConfig], config: TrainConfig
) -> float:
    """Tokens a second of a whole step."""
    found = measure(sized(candidate.model), config, seconds=0.7)
    per_step = config.batch.sequences * config.batch.length
    return per_step / (found.token_seconds * per_step + found.step_seconds)


def _reasons(
    budget: Budget,
    facts: CorpusFacts,
    best: _Candidate,
    model: ModelConfig,
    rate: float,
    peak: float,
    tokens: float,
    chosen: TrainConfig,
) -> tuple[Reason, ...]:
    from hanlin.training.optimizers import default_lr

    minutes = budget.seconds / 60
    seconds = budget.seconds * _TRAINING
    epochs = tokens / max(facts.tokens, 1)
    settings, fields = chosen.optimizer, chosen.model
    dropout = fields.get("dropout", 0.0) if isinstance(fields, dict) else 0.0
    lr = settings.lr or default_lr(settings.name, outline(model))
    about = ("about ", "约 ") if facts.estimated else ("", "")
    out = [
        Reason(
            f"The text has {about[0]}{facts.tokens:,} tokens ({facts.bytes / 1e6:.2f} MB).",
            f"文本有{about[1]} {facts.tokens:,} 个词元（{facts.bytes / 1e6:.2f} MB）。",
        ),
        Reason(
            f"Of {minutes:g} minutes {seconds / 60:.3g} are training; at the measured "
            f"{rate / 1e9:.3g} GFLOP/s ({rate / peak:.0%} of this machine's peak) that is "
            f"{rate * seconds:.2g} operations.",
            f"{minutes:g} 分钟中有 {seconds / 60:.3g} 分钟用于训练；按实测 {rate / 1e9:.3g} GFLOP/s"
            f"（本机峰值的 {rate / peak:.0%}）计，共 {rate * seconds:.2g} 次运算。",
        ),
        Reason(
            f"Model: {model.family}, {model.num_layers} layers of {model.hidden_size}: "
            f"{best.size / 1e6:.3g} million parameters, whose best share of the operations is "
            f"{TOKENS_PER_PARAMETER:g} tokens a parameter; it reads {tokens / 1e6:.3g} million "
            f"tokens ({tokens / best.size:.3g} a parameter).",
            f"模型：{model.family}，{model.num_layers} 层，宽 {model.hidden_size}："
            f"{best.size / 1e6:.3g} 百万参数；每个参数约 {TOKENS_PER_PARAMETER:g} 个词元时算力"
            f"用得最好，共读 {tokens / 1e6:.3g} 百万词元（每个参数 {tokens / best.size:.3g} 个）。",
        ),
        Reason(
            f"The text is read {epochs:.3g} times"
            + (f", so with a dropout of {dropout:g}." if epochs >= 4 else "."),
            f"文本共读 {epochs:.3g} 遍"
            + (f"，因此 dropout 为 {dropout:g}。" if epochs >= 4 else "。"),
        ),
        Reason(
            f"Batch: {chosen.batch.sequences} sequences of {chosen.batch.length} tokens, about "
            f"{tokens / chosen.batch.sequences / chosen.batch.length:.0f} steps.",
            f"批量：{chosen.batch.sequences} 条，每条 {chosen.batch.length} 个词元，约 "
            f"{tokens / chosen.batch.sequences / chosen.batch.length:.0f} 步。",
        ),
        Reason(
            f"Optimiser: {settings.name} at {lr:g}, which suits this size; "
            f"{chosen.schedule.name} over {chosen.duration}, in {chosen.precision}.",
            f"优化器：{settings.name}，学习率 {lr:g}，与规模相称；{chosen.schedule.name}，"
            f"历时 {chosen.duration}，精度 {chosen.precision}。",
        ),
    ]
    return tuple(out)
