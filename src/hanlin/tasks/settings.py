"""The settings of generation where the user gives only some of them."""

from collections.abc import Mapping
from typing import Any

from hanlin.errors import ConfigError
from hanlin.generation import Sampling

DEFAULTS: Mapping[str, Any] = {"do_sample": True, "temperature": 0.7, "top_p": 0.9}
"""For models without a generation_config.json (GGUF files have none): lively, not wild."""

_DRAWN = ("top_k", "top_p", "min_p", "typical_p")


def sampling_of(defaults: Mapping[str, Any] | None, overrides: Mapping[str, Any]) -> Sampling:
    """The settings of a directory's generation_config.json (`DEFAULTS` where None), overridden.

    Where the defaults are greedy, asking for top_k, top_p, min_p, typical_p or several sequences
    (without beams) means drawing, at the defaults' temperature or 1. Raises `ConfigError` for an
    unknown setting, naming the nearest, and for settings that would be ignored.
    """
    overrides = dict(overrides)
    config = DEFAULTS if defaults is None else defaults
    for name in ("temperature", "n", "beams"):
        if name in overrides:
            Sampling(**{name: overrides[name]})  # what they are decides what follows
    shaping = [name for name in _DRAWN if name in overrides]
    if overrides.get("temperature") == 0:
        if shaping:
            raise ConfigError(
                f"temperature 0 always takes the likeliest token, so {', '.join(shaping)} would be "
                "ignored. Leave that out, or raise the temperature."
            )
        if overrides.get("n", 1) != 1 and overrides.get("beams", 1) == 1:
            raise ConfigError(
                f"temperature 0 would give the same text {overrides['n']} times. "
                "Raise the temperature, or set beams."
            )
    sampling = Sampling.from_generation_config(config, **overrides)
    wants_draws = bool(shaping) or sampling.n > 1
    if (
        wants_draws
        and not sampling.draws
        and sampling.beams == 1
        and "temperature" not in overrides
    ):
        overrides["temperature"] = config.get("temperature") or 1.0
        sampling = Sampling.from_generation_config(config, **overrides)
    return sampling
