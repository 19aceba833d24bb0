"""The tokens with a part to play: what begins and ends a sequence, what pads, hides, separates."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True, kw_only=True)
class SpecialTokens:
    """The text of each special token a tokenizer names; None where it has none."""

    bos: str | None = None
    """Begins a sequence."""
    eos: str | None = None
    """Ends a sequence; generation stops at it."""
    pad: str | None = None
    """Fills the shorter sequences of a batch."""
    unk: str | None = None
    """Stands for what the vocabulary cannot spell."""
    mask: str | None = None
    """Hides a token that a masked language model has to guess."""
    cls: str | None = None
    """Begins an encoder's sequence; its state is read by classifiers."""
    sep: str | None = None
    """Ends an encoder's segment."""
    also_eos: tuple[str, ...] = ()
    """Further tokens at which generation stops, such as the end of a turn."""
    extra: tuple[str, ...] = ()
    """Special tokens without one of these parts: languages, sentinels, marks of a chat format."""

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "SpecialTokens":
        """Read the names out of tokenizer_config.json or special_tokens_map.json, merged."""
        extra = config.get("additional_special_tokens") or config.get("extra_special_tokens") or []
        if isinstance(extra, Mapping):
            extra = list(extra.values())
        return cls(
            bos=token_text(config.get("bos_token")),
            eos=token_text(config.get("eos_token")),
            pad=token_text(config.get("pad_token")),
            unk=token_text(config.get("unk_token")),
            mask=token_text(config.get("mask_token")),
            cls=token_text(config.get("cls_token")),
            sep=token_text(config.get("sep_token")),
            extra=tuple(text for text in map(token_text, extra) if text is not None),
        )

    def to_config(self) -> dict[str, Any]:
        """Return the same names as tokenizer_config.json has them."""
        config: dict[str, Any] = {
            f"{part}_token": text for part in PARTS if (text := getattr(self, part)) is not None
        }
        if self.extra:
            config["additional_special_tokens"] = list(self.extra)
        return config

    def all(self) -> tuple[str, ...]:
        """Every named text once, in the order of the fields."""
        named = [text for part in PARTS if (text := getattr(self, part)) is not None]
        return tuple(dict.fromkeys([*named, *self.also_eos, *self.extra]))


PARTS = tuple(f.name for f in fields(SpecialTokens) if f.name not in ("also_eos", "extra"))


def token_text(value: Any) -> str | None:
    """Return the text of a token written as a string or as ``{"content": ...}``."""
    if isinstance(value, Mapping):
        value = value.get("content")
    return value if isinstance(value, str) and value else None
