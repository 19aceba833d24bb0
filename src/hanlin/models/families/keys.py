"""Reading a Hugging Face config.json so that no key is overlooked.

A family takes the keys it understands; what is left over must be bookkeeping (`BOOKKEEPING`) or stand
at a value that changes nothing. Anything else is an error that names the key.
"""

from collections.abc import Mapping
from typing import Any

from hanlin.errors import FormatError
from hanlin.models.config import Rope

_MISSING = object()

# Keys that every config may carry and that do not change what the network computes.
BOOKKEEPING = frozenset(
    """_name_or_path _attn_implementation_autoset _commit_hash adapters architectures auto_map
    chunk_size_feed_forward custom_pipelines dtype finetuning_task gradient_checkpointing
    id2label label2id is_composition is_encoder_decoder is_decoder add_cross_attention
    cross_attention_hidden_size max_length min_length model_type name_or_path output_attentions
    output_hidden_states prefix problem_type pruned_heads return_dict return_dict_in_generate
    sep_token_id task_specific_params tf_legacy_loss tie_encoder_decoder tokenizer_class
    torch_dtype torchscript transformers_version transformers.js_config use_bfloat16 use_cache
    do_sample early_stopping num_beams num_beam_groups diversity_penalty temperature top_k top_p
    typical_p repetition_penalty length_penalty no_repeat_ngram_size encoder_no_repeat_ngram_size
    bad_words_ids num_return_sequences output_scores forced_bos_token_id forced_eos_token_id
    remove_invalid_values exponential_decay_length_penalty suppress_tokens begin_suppress_tokens
    bos_token_id eos_token_id pad_token_id cls_token_id mask_token_id unk_token_id
    decoder_start_token_id tie_word_embeddings initializer_range vocab_size
    _num_labels num_labels tokenizer_name model_max_length""".split()
)


class Keys:
    """A config.json being read; `finish` refuses what nobody took."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config = config
        self._left = set(config) - BOOKKEEPING

    def take(self, name: str, default: Any = _MISSING) -> Any:
        """The value of a key; without a default its absence is an error."""
        self._left.discard(name)
        if name in self.config:
            return self.config[name]
        if default is _MISSING:
            raise FormatError(f"config.json lacks {name!r}. Is it the config of this model?")
        return default

    def given(self, name: str, default: Any) -> Any:
        """As `take`, but null counts as absent."""
        value = self.take(name, default)
        return default if value is None else value

    def neutral(self, name: str, *values: Any) -> None:
        """A key we do not implement: fine at these values (or null, or absent), refused otherwise."""
        value = self.take(name, None)
        if value is not None and value not in values:
            raise FormatError(
                f"config.json sets {name} to {value!r}, which hanlin does not compute "
                f"(only {', '.join(map(repr, values))})."
            )

    def skip(self, *names: str) -> None:
        """Keys of training or of other task heads: they do not change what is computed here."""
        self._left.difference_update(names)

    def finish(self) -> None:
        """Raise FormatError if a key was left over."""
        if self._left:
            names = ", ".join(sorted(repr(name) for name in self._left))
            raise FormatError(
                f"config.json has {names}, which hanlin does not know for a "
                f"{self.config.get('model_type')} model. Remove it only if it changes nothing."
            )

    @property
    def eos_ids(self) -> tuple[int, ...]:
        """eos_token_id as a tuple: absent, one or several."""
        value = self.config.get("eos_token_id")
        if value is None:
            return ()
        return tuple(value) if isinstance(value, list) else (value,)

    def token(self, name: str) -> int | None:
        """A special token's id, or None (also for the -1 some old configs mean by it)."""
        value = self.config.get(f"{name}_token_id")
        return value if value is None or value >= 0 else None

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in order of their ids; LABEL_0 ... where only a number is known."""
        names = self.config.get("id2label")
        if names:
            return tuple(names[key] for key in sorted(names, key=int))
        return tuple(f"LABEL_{i}" for i in range(self.config.get("num_labels", 2)))

    def rope(self, theta: float, kind: str | None = None) -> Rope:
        """Rotary settings, in the layout of transformers 5 (rope_parameters) or before it.

        kind: "full_attention" or "sliding_attention" where a config has one set for each.
        """
        nested = self.take("rope_parameters", None) or {}
        if kind is not None and kind in nested:
            nested = nested[kind]
        legacy = self.take("rope_scaling", None) or {}
        scaling = {**legacy, **{k: v for k, v in nested.items() if not isinstance(v, dict)}}
        base = scaling.pop("rope_theta", None) or self.take("rope_theta", None) or theta
        self._left.discard("rope_theta")
        fraction = scaling.pop("partial_rotary_factor", None) or self.given(
            "partial_rotary_factor", 1.0
        )
        name = scaling.pop("rope_type", None) or scaling.pop("type", None) or "default"
        scaling.pop("type", None)
        kinds = {"default", "linear", "llama3", "yarn"}
        if name not in kinds:
            raise FormatError(
                f"config.json asks for {name!r} rotary scaling; hanlin computes {', '.join(sorted(kinds))}."
            )
        fields = {
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
        unknown = set(scaling) - set(fields)
        if unknown:
            raise FormatError(f"config.json's rotary scaling has unknown keys {sorted(unknown)}.")
        given = {fields[k]: v for k, v in scaling.items() if v is not None}
        if name in ("llama3", "yarn") and "original_context" not in given:
            given["original_context"] = self.config.get("max_position_embeddings")
        return Rope(theta=float(base), kind=name, fraction=fraction, **given)


def rope_parameters(rope: Rope) -> dict[str, Any]:
    """The inverse of `Keys.rope`: transformers 5's rope_parameters."""
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
        out |= {"beta_fast": rope.beta_fast, "beta_slow": rope.beta_slow}
        out |= {"truncate": rope.truncate}
        optional = {
            "attention_factor": rope.attention_factor,
            "mscale": rope.mscale,
            "mscale_all_dim": rope.mscale_all_dim,
        }
        out |= {k: v for k, v in optional.items() if v is not None}
    return out
