"""Rotary settings in a config.json: transformers 5's rope_parameters, and the keys before it."""

import math
from typing import Any

from hanlin.errors import FormatError
from hanlin.models.config import LARGEST, Rope
from hanlin.models.families.keys import Keys

_KINDS = ("default", "linear", "llama3", "yarn")

# Their key -> our field, for each kind of scaling.
_FIELDS = {
    "factor": "factor",
    "original_max_position_embeddings": "original_context",
    "low_freq_factor": "low_freq_factor",
    "high_freq_factor": "high_freq_factor",
    "beta_fast": "beta_fast",
    "beta_slow": "beta_slow",
    "attention_factor": "attention_factor",
    "mscale": "mscale",
    "mscale_all_dim": "mscale_all_dim",
    "truncate": "truncate",
}


def read_rope(
    keys: Keys,
    *,
    theta: float,
    theta_key: str = "rope_theta",
    kind: str | None = None,
    scaled: bool = True,
) -> Rope:
    """Rotary settings; `theta` and `theta_key` are the family's default and its older key.

    kind: "full_attention" or "sliding_attention" where a config has one set for each. scaled:
    whether the older rope_scaling applies to these layers.
    """
    nested = _mapping(keys, "rope_parameters")
    if kind is not None and isinstance(nested.get(kind), dict):
        nested = nested[kind]
    legacy = _mapping(keys, "rope_scaling")
    scaling = {k: v for k, v in nested.items() if not isinstance(v, dict)}
    if scaled:
        scaling = legacy | scaling
    older = keys.positive(theta_key, theta)
    base = scaling.pop("rope_theta", None) or older
    fraction = scaling.pop("partial_rotary_factor", None) or keys.given(
        "partial_rotary_factor", 1.0
    )
    types = [scaling.pop("rope_type", None), scaling.pop("type", None)]
    name: Any = next((t for t in types if t is not None), "default")
    if name not in _KINDS:
        raise FormatError(
            f"config.json asks for {name!r} rotary scaling, which hanlin does not compute. "
            f"It computes {', '.join(_KINDS)}."
        )
    unknown = set(scaling) - set(_FIELDS)
    if unknown:
        raise FormatError(
            f"config.json's rotary scaling has {', '.join(sorted(map(repr, unknown)))}, which "
            "hanlin does not know. Remove it only if it changes nothing."
        )
    numbers = {**scaling, "rope_theta": base, "partial_rotary_factor": fraction}
    for key, value in numbers.items():
        _check(key, value)
    if name == "default":
        return Rope(theta=float(base), fraction=fraction)
    given = {_FIELDS[k]: v for k, v in scaling.items() if v is not None}
    if name in ("llama3", "yarn") and "original_context" not in given:
        given["original_context"] = keys.whole("max_position_embeddings")
    return Rope(theta=float(base), kind=name, fraction=fraction, **given)


def _mapping(keys: Keys, name: str) -> dict[str, Any]:
    value = keys.take(name, None)
    if value is not None and not isinstance(value, dict):
        raise keys.wrong(name, "an object")
    return value or {}


def _check(key: str, value: Any) -> None:
    if value is None or key == "truncate":
        fine = value is None or isinstance(value, bool)
    elif key == "original_max_position_embeddings":
        fine = isinstance(value, int) and 1 <= value <= LARGEST
    else:
        fine = isinstance(value, int | float) and math.isfinite(value) and value > 0
    if not fine:
        raise FormatError(
            f"config.json's rotary scaling has {key} {value!r}, which is not a fitting number. "
            "Fetch the config again."
        )


def rope_parameters(rope: Rope) -> dict[str, Any]:
    """The inverse of `read_rope`: transformers 5's rope_parameters."""
    out: dict[str, Any] = {"rope_type": rope.kind, "rope_theta": rope.theta}
    if rope.fraction != 1.0:
        out["partial_rotary_factor"] = rope.fraction
    if rope.kind == "default":
        return out
    out["factor"] = rope.factor
    if rope.kind in ("llama3", "yarn"):
        out["original_max_position_embeddings"] = rope.original_context
    if rope.kind == "llama3":
        out |= {"low_freq_factor": rope.low_freq_factor, "high_freq_factor": rope.high_freq_factor}
    if rope.kind == "yarn":
        plain = Rope()
        for key in ("beta_fast", "beta_slow", "attention_factor", "mscale", "mscale_all_dim"):
            if getattr(rope, key) != getattr(plain, key):
                out[key] = getattr(rope, key)
        if not rope.truncate:
            out["truncate"] = False
    return out
