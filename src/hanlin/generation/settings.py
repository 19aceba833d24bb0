"""How to choose the next token and when to stop: one frozen, validated description.

The names are those of the field (OpenAI's API, vLLM, transformers); `from_generation_config` reads
a Hugging Face ``generation_config.json``.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any, Literal, Self

from hanlin.errors import ConfigError, nearest

MAX_SEED = 2**64 - 1


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """The settings of generation. Raises `ConfigError` that names the field and its range."""

    max_new_tokens: int = 256
    """Stop after this many tokens."""
    min_new_tokens: int = 0
    """No end token, stop id or stop string before this many tokens."""
    max_length: int | None = None
    """Stop when prompt and answer together have this many tokens (an encoder-decoder counts its
    start token as the prompt)."""
    min_length: int = 0
    """No end token or stop id before prompt and answer together have this many tokens."""
    temperature: float = 1.0
    """Divides the logits before drawing; 0 always takes the likeliest token (greedy)."""
    top_k: int = 0
    """Draw from the k likeliest tokens; 0 draws from all."""
    top_p: float = 1.0
    """Draw from the fewest likeliest tokens that hold this probability (Holtzman et al. 2020)."""
    min_p: float = 0.0
    """Drop tokens less likely than this share of the likeliest (Nguyen et al. 2024)."""
    typical_p: float = 1.0
    """Draw from the tokens nearest to the expected information that hold this much probability
    (Meister et al. 2023)."""
    repetition_penalty: float = 1.0
    """Divides positive and multiplies negative logits of tokens in prompt or answer (Keskar et al.
    2019)."""
    frequency_penalty: float = 0.0
    """Subtracted from a token's logit once for every time it was generated (-2 to 2)."""
    presence_penalty: float = 0.0
    """Subtracted from the logit of every token that was generated (-2 to 2)."""
    no_repeat_ngram: int = 0
    """No run of this many tokens may occur twice in prompt and answer; 0 is off."""
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    """Added to the logits of these token ids."""
    banned: tuple[tuple[int, ...], ...] = ()
    """Token sequences that may not be generated."""
    forced_first: int | None = None
    """The first token, whatever the model says (mBART's language code)."""
    forced_last: int | None = None
    """The token at the length limit, whatever the model says (BART ends its summaries so)."""
    stop: tuple[str, ...] = ()
    """Strings that end the answer; they are not part of its text."""
    stop_ids: tuple[int, ...] = ()
    """Token ids that end the answer beside the end tokens."""
    eos_ids: tuple[int, ...] | None = None
    """End tokens; those of the model and the tokenizer when None."""
    ignore_eos: bool = False
    """Keep going past end tokens (stop_ids still stop)."""
    seed: int | None = None
    """Repeats the draws, whatever else is in the batch; a fresh one is drawn when None."""
    n: int = 1
    """Sequences per prompt; with beams, the n best."""
    beams: int = 1
    """Hypotheses kept by beam search; 1 is no beam search."""
    length_penalty: float = 1.0
    """Beam search divides log probability by length to this power; above 0 favours the longer."""
    early_stopping: bool | Literal["never"] = False
    """Beam search: stop at as many finished hypotheses as beams (True), when improving is unlikely
    (False), or when it is impossible ("never")."""
    logprobs: int | None = None
    """Report each token's log probability and this many alternatives (0 to 20); None: nothing."""

    def __post_init__(self) -> None:
        def freeze(name: str, value: Any) -> None:
            object.__setattr__(self, name, value)

        stop: object = self.stop
        if isinstance(stop, str):
            raise ConfigError(
                f"stop is {stop!r}; it must be a list of strings. Put it in brackets."
            )
        for name in ("stop", "stop_ids"):
            freeze(name, tuple(getattr(self, name)))
        if self.eos_ids is not None:
            freeze("eos_ids", tuple(self.eos_ids))
        freeze("banned", tuple(tuple(ids) for ids in self.banned))
        freeze("logit_bias", MappingProxyType(dict(self.logit_bias)))
        self._validate_numbers()
        self._validate_tokens()
        self._validate_together()

    def _validate_numbers(self) -> None:
        for name, (kind, allowed, meaning) in _RANGES.items():
            value = getattr(self, name)
            if value is None and name in _OPTIONAL:
                continue
            good = not isinstance(value, bool) and isinstance(value, kind)
            if not good or not math.isfinite(value) or not allowed(value):
                raise ConfigError(f"{name} is {value!r}; it must be {meaning}.")
        if not isinstance(self.ignore_eos, bool):
            raise ConfigError(f"ignore_eos is {self.ignore_eos!r}; it must be true or false.")
        if self.early_stopping not in (True, False, "never"):
            raise ConfigError(
                f'early_stopping is {self.early_stopping!r}; it must be true, false or "never".'
            )

    def _validate_tokens(self) -> None:
        for text in self.stop:
            if not isinstance(text, str) or not text:
                raise ConfigError(f"stop holds {text!r}; it must hold strings that are not empty.")
        lists: dict[str, tuple[Any, ...]] = {
            "stop_ids": self.stop_ids,
            "eos_ids": self.eos_ids or (),
            "logit_bias": tuple(self.logit_bias),
            "banned": tuple(token for ids in self.banned for token in ids),
        }
        for name, ids in lists.items():
            for token in ids:
                if not isinstance(token, int) or isinstance(token, bool) or token < 0:
                    raise ConfigError(
                        f"{name} holds {token!r}; token ids are whole numbers from 0."
                    )
        if () in self.banned:
            raise ConfigError("banned holds an empty sequence; each needs at least one token id.")
        for token, bias in self.logit_bias.items():
            if isinstance(bias, bool) or not isinstance(bias, int | float) or math.isnan(bias):
                raise ConfigError(f"logit_bias of token {token} is {bias!r}; it must be a number.")
            if bias == math.inf:
                raise ConfigError(
                    f"logit_bias of token {token} is infinite; use 100 to all but force a token."
                )

    def _validate_together(self) -> None:
        if self.min_new_tokens > self.max_new_tokens:
            raise ConfigError(
                f"min_new_tokens {self.min_new_tokens} is above max_new_tokens "
                f"{self.max_new_tokens}. Raise the one or lower the other."
            )
        if self.beams == 1:
            return
        if self.n > self.beams:
            raise ConfigError(f"n is {self.n} but beams is {self.beams}; n may be at most beams.")
        drawn = {"top_k": 0, "top_p": 1.0, "min_p": 0.0, "typical_p": 1.0, "seed": None}
        wrong = [name for name, neutral in drawn.items() if getattr(self, name) != neutral]
        if self.temperature not in (0, 1):
            wrong.insert(0, "temperature")
        if wrong:
            raise ConfigError(
                f"Beam search draws nothing, so {', '.join(wrong)} would be ignored. "
                "Leave that out, or set beams to 1."
            )

    @property
    def draws(self) -> bool:
        """Whether tokens are drawn at random."""
        return self.temperature > 0 and self.beams == 1

    def with_changes(self, **changes: Any) -> Self:
        """A copy with some fields replaced; an unknown field is an error that names the nearest."""
        _check_names(changes)
        return replace(self, **changes)

    @classmethod
    def from_generation_config(cls, config: Mapping[str, Any], **overrides: Any) -> Self:
        """Settings out of a Hugging Face ``generation_config.json``, some of them overridden.

        Without ``do_sample`` it means greedy, as there, unless an override sets a temperature.
        Raises `ConfigError` naming an option that we lack, unless it stands at its neutral value.
        """
        _check_names(overrides)
        settings: dict[str, Any] = {}
        for key, value in config.items():
            if key in _SILENT or value is None:
                continue
            if key in _SAME:
                settings[_SAME[key]] = value
            elif key in ("eos_token_id", "suppress_tokens", "bad_words_ids", "forced_eos_token_id"):
                _translate(key, value, settings)
            elif key not in _NEUTRAL or value not in _NEUTRAL[key]:
                raise ConfigError(
                    f"The generation config sets {key} to {value!r}, which hanlin does not have. "
                    "Remove it from generation_config.json."
                )
        if "max_new_tokens" in settings or "max_new_tokens" in overrides:
            settings.pop("max_length", None)
        elif "max_length" in settings:
            settings["max_new_tokens"] = settings["max_length"]
        beams = overrides.get("beams", settings.get("beams", 1))
        if not (config.get("do_sample") or overrides.get("temperature", 0) != 0) or beams != 1:
            for name in ("top_k", "top_p", "min_p", "typical_p"):
                settings.pop(name, None)
            settings["temperature"] = 0.0
        return cls(**{**settings, **overrides})


def _check_names(settings: Mapping[str, Any]) -> None:
    known = [f.name for f in fields(Sampling)]
    for name in settings:
        if name not in known:
            raise ConfigError(f"There is no setting {name!r}.{nearest(name, known)}")


def _translate(key: str, value: Any, settings: dict[str, Any]) -> None:
    """Options whose value has another form here."""
    if key == "eos_token_id":
        settings["eos_ids"] = (value,) if isinstance(value, int) else tuple(value)
    elif key == "forced_eos_token_id":
        ids = [value] if isinstance(value, int) else list(value)
        if len(ids) != 1:
            raise ConfigError(
                f"The generation config sets forced_eos_token_id to {value!r}; hanlin forces one "
                "token. Name one."
            )
        settings["forced_last"] = ids[0]
    else:
        new = [(token,) for token in value] if key == "suppress_tokens" else value
        settings["banned"] = (*settings.get("banned", ()), *(tuple(ids) for ids in new))


_Rule = tuple[Any, Callable[[Any], bool], str]
_NUMBER = int | float
_RANGES: dict[str, _Rule] = {
    "max_new_tokens": (int, lambda x: x >= 1, "a whole number of at least 1"),
    "min_new_tokens": (int, lambda x: x >= 0, "a whole number of at least 0"),
    "max_length": (int, lambda x: x >= 1, "a whole number of at least 1, or left out"),
    "min_length": (int, lambda x: x >= 0, "a whole number of at least 0"),
    "temperature": (_NUMBER, lambda x: x >= 0, "a number of at least 0 (0 is greedy)"),
    "top_k": (int, lambda x: x >= 0, "a whole number of at least 0 (0 is off)"),
    "top_p": (_NUMBER, lambda x: 0 < x <= 1, "above 0 and at most 1 (1 is off)"),
    "min_p": (_NUMBER, lambda x: 0 <= x <= 1, "from 0 to 1 (0 is off)"),
    "typical_p": (_NUMBER, lambda x: 0 < x <= 1, "above 0 and at most 1 (1 is off)"),
    "repetition_penalty": (_NUMBER, lambda x: x > 0, "above 0 (1 is off)"),
    "frequency_penalty": (_NUMBER, lambda x: -2 <= x <= 2, "from -2 to 2 (0 is off)"),
    "presence_penalty": (_NUMBER, lambda x: -2 <= x <= 2, "from -2 to 2 (0 is off)"),
    "no_repeat_ngram": (int, lambda x: x >= 0, "a whole number of at least 0 (0 is off)"),
    "forced_first": (int, lambda x: x >= 0, "a token id, or left out"),
    "forced_last": (int, lambda x: x >= 0, "a token id, or left out"),
    "seed": (int, lambda x: 0 <= x <= MAX_SEED, "from 0 to 2**64 - 1, or left out"),
    "n": (int, lambda x: x >= 1, "a whole number of at least 1"),
    "beams": (int, lambda x: x >= 1, "a whole number of at least 1 (1 is no beam search)"),
    "length_penalty": (_NUMBER, lambda x: True, "a number"),
    "logprobs": (int, lambda x: 0 <= x <= 20, "from 0 to 20, or left out"),
}
_OPTIONAL = {"max_length", "forced_first", "forced_last", "seed", "logprobs"}

# generation_config.json: options that mean the same here,
_SAME = {
    "max_new_tokens": "max_new_tokens",
    "min_new_tokens": "min_new_tokens",
    "max_length": "max_length",
    "min_length": "min_length",
    "temperature": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "typical_p": "typical_p",
    "repetition_penalty": "repetition_penalty",
    "no_repeat_ngram_size": "no_repeat_ngram",
    "forced_bos_token_id": "forced_first",
    "num_return_sequences": "n",
    "num_beams": "beams",
    "length_penalty": "length_penalty",
    "early_stopping": "early_stopping",
    "stop_strings": "stop",
}
# options that say nothing about which tokens come out, or that the model's own config holds too,
_SILENT = {
    "_from_model_config", "transformers_version", "do_sample", "use_cache", "cache_implementation",
    "cache_config", "bos_token_id", "pad_token_id", "decoder_start_token_id", "output_attentions",
    "output_hidden_states", "output_scores", "output_logits", "return_dict_in_generate",
    "low_memory", "disable_compile", "compile_config", "chat_format", "max_window_size",
}  # fmt: skip
# and options we lack, with the values at which they change nothing.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "encoder_repetition_penalty": (1.0,),
    "encoder_no_repeat_ngram_size": (0,),
    "diversity_penalty": (0.0,),
    "num_beam_groups": (1,),
    "epsilon_cutoff": (0.0,),
    "eta_cutoff": (0.0,),
    "guidance_scale": (1.0,),
    "renormalize_logits": (False, True),  # the distribution drawn from is normalised anyhow
    "remove_invalid_values": (False,),
    "begin_suppress_tokens": ([],),
    "token_healing": (False,),
    "is_assistant": (False,),
    "num_assistant_tokens": (20,),
    "num_assistant_tokens_schedule": ("constant",),
    "assistant_confidence_threshold": (0.4,),
    "assistant_early_exit": (),
    "assistant_lookbehind": (10,),
    "target_lookbehind": (10,),
    "prompt_lookup_num_tokens": (),
    "penalty_alpha": (0.0,),
    "dola_layers": (),
    "top_h": (1.0,),
    "trust_remote_code": (False,),
}
