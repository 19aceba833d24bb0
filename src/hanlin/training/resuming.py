"""What must be the same for a run to go on: its settings, data, tokenizer and model.

Kept in every checkpoint, compared when a run is taken up again; a difference is an error that names
it, except where the run stays the same run.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from hanlin.config import to_plain
from hanlin.errors import ConfigError
from hanlin.models.config import ModelConfig
from hanlin.provenance import versions
from hanlin.training.config import TrainConfig
from hanlin.training.corpus import Corpus

MAY_CHANGE = (
    "duration",
    "checkpoint",
    "evaluate",
    "guard",
    "track",
    "output",
    "device",
    "distributed",
    "compile",
    "batch.micro",
    "budget",
)
"""Settings that may differ when a run goes on; another micro-batch, device, number of processes or
compiled code rounds otherwise, and a longer duration stretches what is left of the schedule."""


def identity(config: TrainConfig, corpus: Corpus, model: ModelConfig) -> dict[str, Any]:
    """What a checkpoint keeps of the run it belongs to, ready for JSON."""
    return {
        "config": to_plain(config),
        "data": dict(corpus.hashes),
        "tokenizer": corpus.tokenizer.hash,
        "model": to_plain(asdict(model)),
        "versions": versions(),
    }


def refuse_another_run(kept: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise `ConfigError` naming every difference that would make it another run."""
    found = []
    before, after = _flat(kept["config"]), _flat(now["config"])
    for name in sorted({*before, *after}):
        if not _may_change(name) and before.get(name) != after.get(name):
            found.append(f"{name} was {before.get(name)!r} and is {after.get(name)!r}")
    for part in sorted({*kept["data"], *now["data"]}):
        if kept["data"].get(part) != now["data"].get(part):
            found.append(f"the tokens of the {part} part are others")
    if kept["tokenizer"] != now["tokenizer"]:
        found.append("the tokenizer is another")
    if not found:
        before, after = _flat(kept["model"]), _flat(now["model"])
        found = [
            f"the model's {name} was {before.get(name)!r} and is {after.get(name)!r}"
            for name in sorted({*before, *after})
            if before.get(name) != after.get(name)
        ]
    if found:
        raise ConfigError(
            f"This is not the run that was begun: {'; '.join(found)}. Put that back, or begin "
            f"a new run in another output. What may change: {', '.join(MAY_CHANGE)}."
        )


def refuse_other_models(kept: Mapping[str, str], now: Mapping[str, str]) -> None:
    """Raise `ConfigError` where a model that a run reads again as it goes on is not what it was:
    a LoRA's base, a teacher, what preferences are held to. By their names, the hashes of both."""
    for name, found in now.items():
        if kept.get(name) != found:
            raise ConfigError(
                f"{name} is another model than this run began with, and the run needs the very "
                "same to go on. Put that back, or begin a new run in another output."
            )


def _may_change(name: str) -> bool:
    return any(name == allowed or name.startswith(f"{allowed}.") for allowed in MAY_CHANGE)


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    """Leaves of nested mappings by their path."""
    if not isinstance(value, Mapping):
        return {path: value}
    out: dict[str, Any] = {}
    for name, item in value.items():
        out |= _flat(item, f"{path}.{name}" if path else str(name))
    return out
