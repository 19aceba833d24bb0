"""How token states become one vector, and how a directory says so: sentence-transformers' files.

modules.json lists the steps (Transformer, Pooling, perhaps Normalize), 1_Pooling/config.json the
kind of pooling, sentence_bert_config.json the longest input. Without them it is the mean.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hanlin.errors import FormatError, nearest
from hanlin.models.directory import read_json

MODES = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")

_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
"""The older spelling: one flag a mode."""


@dataclass(frozen=True, kw_only=True)
class Pooling:
    """How states [B, T, D] become vectors. Raises `FormatError` for a mode it does not know."""

    modes: tuple[str, ...] = ("mean",)
    """Several are put side by side."""
    normalise: bool = False
    """Whether vectors are scaled to length 1."""
    max_length: int | None = None
    """Texts are cut after this many tokens, special ones included."""
    lower: bool = False
    """Whether texts are put in lower case first."""
    prompt: str = ""
    """Put before every text."""

    def __post_init__(self) -> None:
        for mode in self.modes:
            if mode not in MODES:
                raise FormatError(
                    f"hanlin has no pooling mode {mode!r}.{nearest(mode, list(MODES))} "
                    f"It has: {', '.join(MODES)}."
                )

    def __call__(self, states_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        """Pool states into vectors [B, D * modes]; mask: True at real tokens, right padded."""
        weight = mask_BT.unsqueeze(-1).to(states_BTD.dtype)
        vectors = torch.cat([_pool(mode, states_BTD, mask_BT, weight) for mode in self.modes], -1)
        return torch.nn.functional.normalize(vectors) if self.normalise else vectors

    def files(self, width: int) -> dict[str, Any]:
        """What sentence-transformers reads beside a model of this width: path -> JSON.

        Raises `FormatError` for a prompt, which these files cannot say.
        """
        if self.prompt:
            raise FormatError("A pooling with a prompt cannot be written. Leave the prompt out.")
        steps = [("", "Transformer"), ("1_Pooling", "Pooling")]
        if self.normalise:
            steps.append(("2_Normalize", "Normalize"))
        modules = [
            {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for i, (path, kind) in enumerate(steps)
        ]
        pooling = {flag: mode in self.modes for flag, mode in _FLAGS.items()}
        return {
            "modules.json": modules,
            "1_Pooling/config.json": {"word_embedding_dimension": width, **pooling},
            "sentence_bert_config.json": {
                "max_seq_length": self.max_length,
                "do_lower_case": self.lower,
            },
        }

    @classmethod
    def of(cls, directory: Path) -> "Pooling":
        """Read what a directory says; raises `FormatError` for a step it cannot take."""
        listing = directory / "modules.json"
        settings: dict[str, Any] = {}
        if listing.is_file():
            settings = _steps(directory, listing)
        limits = directory / "sentence_bert_config.json"
        if limits.is_file():
            config = read_json(limits)
            settings["max_length"] = config.get("max_seq_length")
            settings["lower"] = bool(config.get("do_lower_case"))
        prompts = directory / "config_sentence_transformers.json"
        if prompts.is_file():
            config = read_json(prompts)
            if (name := config.get("default_prompt_name")) is not None:
                settings["prompt"] = (config.get("prompts") or {}).get(name, "")
        if settings.get("prompt") and not settings.pop("include_prompt", True):
            raise FormatError(
                f"{directory} leaves its prompt out of the pooling, which hanlin cannot do. "
                "Use the model with sentence-transformers."
            )
        settings.pop("include_prompt", None)
        return cls(**settings)


def _steps(directory: Path, listing: Path) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for step in _read_steps(listing):
        kind = str(step.get("type", "")).rpartition(".")[2]
        if kind == "Pooling":
            config = read_json(directory / str(step.get("path", "")) / "config.json")
            settings["modes"] = _modes(config)
            settings["include_prompt"] = config.get("include_prompt", True)
        elif kind == "Normalize":
            settings["normalise"] = True
        elif kind != "Transformer":
            raise FormatError(
                f"{listing} has a step {kind!r}, which hanlin cannot take. It takes Transformer, "
                "Pooling and Normalize; use this model with sentence-transformers."
            )
    return settings


def _read_steps(listing: Path) -> list[dict[str, Any]]:
    try:
        steps = json.loads(listing.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise FormatError(f"{listing} is not JSON ({error}). Fetch or write it again.") from error
    if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
        raise FormatError(f"{listing} must list the model's steps. Fetch or write it again.")
    return steps


def _modes(config: Mapping[str, Any]) -> tuple[str, ...]:
    named = config.get("pooling_mode")
    if named is not None:
        return (named,) if isinstance(named, str) else tuple(named)
    return tuple(mode for flag, mode in _FLAGS.items() if config.get(flag)) or ("mean",)


def _pool(mode: str, states: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
    if mode == "cls":
        return states[:, 0]
    if mode == "lasttoken":
        return states[torch.arange(len(states)), mask.sum(1) - 1]
    if mode == "max":
        return states.masked_fill(weight == 0, float("-inf")).amax(1)
    if mode == "weightedmean":
        weight = weight * torch.arange(1, states.shape[1] + 1).view(1, -1, 1)
    total = (states * weight).sum(1)
    count = weight.sum(1).clamp(min=1e-9)
    return total / (count.sqrt() if mode == "mean_sqrt_len_tokens" else count)
