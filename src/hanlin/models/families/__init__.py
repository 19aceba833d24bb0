"""The families: how each kind of Hugging Face directory describes a Transformer, and names its weights.

A family is a small file with a `FAMILY`. To add one: write the file, add it to `_MODULES`, and add its
random configurations to tests/models/test_families_*.py.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hanlin.errors import FormatError, nearest
from hanlin.models.config import ModelConfig
from hanlin.models.weights import Table


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
    ignored: str = r"$^"
    """A pattern of stored tensors that hold no weights (masks, position ids)."""


# model_type in config.json -> the module that knows it.
_MODULES = {
    "llama": "llama",
    "mistral": "llama",
}


def family_of(model_type: str) -> Family:
    """The family that reads and writes `model_type`; raises FormatError naming the nearest."""
    if model_type not in _MODULES:
        raise FormatError(
            f"hanlin has no model family {model_type!r}.{nearest(str(model_type), list(_MODULES))} "
            f"It has: {', '.join(sorted(_MODULES))}."
        )
    module = importlib.import_module(f"hanlin.models.families.{_MODULES[model_type]}")
    family = module.FAMILY
    assert isinstance(family, Family)
    return family
