"""The families: how each kind of Hugging Face directory describes a model and names its weights.

A family is a small file with a `FAMILY`. To add one: write the file, add it to `_MODULES`, and add
its random configurations to tests/models/test_families_*.py.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from hanlin.errors import ConfigError, FormatError, nearest
from hanlin.models.config import ModelConfig
from hanlin.models.weights import Table, Tensors


@dataclass(frozen=True, kw_only=True)
class Family:
    """One family of models."""

    name: str
    read: Callable[[dict[str, Any]], ModelConfig]
    """A config.json to ours; refuses what it does not know."""
    write: Callable[[ModelConfig], dict[str, Any]]
    """Ours to a config.json, with model_type and architectures."""
    weights: Callable[[ModelConfig], Table]
    """Our parameters and where they lie."""
    tied: Callable[[ModelConfig], dict[str, str]] = lambda config: {}
    """Tensors that some writers repeat -> the stored tensor they must equal."""
    spellings: Callable[[str], tuple[str, ...]] = lambda name: ()
    """Other names that files give to a stored tensor, tried where it is missing."""
    ignored: str = r"$^"
    """A pattern of stored tensors that hold no weights (masks, position ids)."""
    fit: Callable[[ModelConfig, Tensors], ModelConfig] = lambda config, tensors: config
    """What only the weights can say: the config corrected by what is stored."""
    unsaid: tuple[str, ...] = ()
    """Fields that a config.json of this family has no key for, and that may be lost."""


# model_type in config.json -> the module that knows it.
_MODULES = {
    "llama": "llama",
    "mistral": "llama",
    "gpt2": "gpt2",
    "qwen2": "qwen",
    "qwen3": "qwen",
    "gemma": "gemma",
    "gemma2": "gemma",
    "gemma3_text": "gemma",
    "bert": "bert",
    "roberta": "roberta",
    "xlm-roberta": "roberta",
    "distilbert": "distilbert",
    "modernbert": "modernbert",
    "t5": "t5",
    "mt5": "t5",
    "bart": "bart",
    "mbart": "bart",
    "marian": "marian",
    "vaswani": "vaswani",
}

# Kinds that a user may well try, and what to do about them.
_REFUSED = {
    "gemma3": "It reads pictures beside text. Extract its text part, model_type 'gemma3_text'.",
}


def family_of(model_type: str) -> Family:
    """The family that reads and writes `model_type`; raises FormatError naming the nearest."""
    if not isinstance(model_type, str) or model_type not in _MODULES:
        remedy = _REFUSED.get(str(model_type)) or (
            f"It has: {', '.join(sorted(_MODULES))}.{nearest(str(model_type), list(_MODULES))}"
        )
        raise FormatError(f"hanlin has no model family {model_type!r}. {remedy}")
    module = importlib.import_module(f"hanlin.models.families.{_MODULES[model_type]}")
    family = module.FAMILY
    assert isinstance(family, Family)
    return family


def describe(config: ModelConfig) -> dict[str, Any]:
    """The config.json of `config`; raises ConfigError naming what the family has no key for."""
    family = family_of(config.family)
    raw = family.write(config)
    back = family.read(raw)
    # The weights say whether there is a pooler; no key does.
    unsaid = ("pooler", *family.unsaid)
    lost = [
        field.name
        for field in fields(config)
        if field.name not in unsaid and getattr(back, field.name) != getattr(config, field.name)
    ]
    if lost:
        shown = ", ".join(f"{name} = {getattr(config, name)!r}" for name in lost[:3])
        raise ConfigError(
            f"A {config.family} config.json cannot say {shown}. Choose another family or leave "
            "the default."
        )
    return raw
