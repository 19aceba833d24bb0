"""Reading a Hugging Face config.json so that no key is overlooked.

A family takes the keys it understands; what is left over must be bookkeeping (`BOOKKEEPING`) or
stand at a value that changes nothing. Anything else is an error that names the key.
"""

from collections.abc import Mapping
from typing import Any

from hanlin.errors import FormatError
from hanlin.models.config import LARGEST, Activation, LayerKind, ModelConfig

_MISSING = object()

MOST_LAYERS = 10_000

ACTIVATIONS: dict[str, Activation] = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}
"""Names that transformers gives to the activations -> ours."""

PROBLEMS = {
    "single_label_classification": "single",
    "multi_label_classification": "multiple",
    "regression": "regression",
}

# Keys that every config may carry and that do not change what the network computes.
BOOKKEEPING = frozenset(
    """_name_or_path _attn_implementation_autoset _commit_hash adapters architectures auto_map
    chunk_size_feed_forward custom_pipelines dtype finetuning_task gradient_checkpointing
    id2label label2id is_composition is_encoder_decoder is_decoder add_cross_attention
    cross_attention_hidden_size max_length min_length model_type name_or_path output_attentions
    output_hidden_states output_past unsloth_version _attn_implementation prefix problem_type
    pruned_heads return_dict return_dict_in_generate sep_token_id task_specific_params
    tf_legacy_loss tie_encoder_decoder tokenizer_class torch_dtype torchscript
    transformers_version transformers.js_config use_bfloat16 use_cache do_sample early_stopping
    num_beams num_beam_groups diversity_penalty temperature top_k top_p typical_p
    repetition_penalty length_penalty no_repeat_ngram_size encoder_no_repeat_ngram_size
    bad_words_ids num_return_sequences output_scores forced_bos_token_id forced_eos_token_id
    remove_invalid_values exponential_decay_length_penalty suppress_tokens begin_suppress_tokens
    bos_token_id eos_token_id pad_token_id cls_token_id mask_token_id unk_token_id
    decoder_start_token_id tie_word_embeddings initializer_range vocab_size _num_labels
    num_labels tokenizer_name model_max_length""".split()
)


class Keys:
    """A config.json being read; `finish` refuses what nobody took."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config = config
        self._left = set(config) - BOOKKEEPING

    def take(self, name: str, default: Any = _MISSING) -> Any:
        """The value of a key, of its default's type; without a default its absence is an error."""
        self._left.discard(name)
        if name not in self.config:
            if default is _MISSING:
                raise FormatError(f"config.json lacks {name!r}. Is it the config of this model?")
            return default
        value = self.config[name]
        if isinstance(default, bool) and not isinstance(value, bool):
            raise self.wrong(name, "true or false")
        if isinstance(default, str) and not isinstance(value, str):
            raise self.wrong(name, "a text")
        if isinstance(default, float) and (
            not isinstance(value, int | float) or isinstance(value, bool) or value != value
        ):
            raise self.wrong(name, "a number")
        return value

    def given(self, name: str, default: Any) -> Any:
        """As `take`, but null counts as absent."""
        if self.config.get(name) is None:
            self._left.discard(name)
            return default
        return self.take(name, default)

    def whole(self, name: str, default: Any = _MISSING, *, most: int = LARGEST) -> int:
        """A whole number from 1 to `most`; null counts as absent where there is a default."""
        value = self.take(name) if default is _MISSING else self.given(name, default)
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
            raise self.wrong(name, f"a whole number from 1 to {most}")
        return value

    def maybe_whole(self, name: str) -> int | None:
        """As `whole`, or None where the key is absent or null."""
        if self.config.get(name) is None:
            self.skip(name)
            return None
        return self.whole(name)

    def positive(self, name: str, default: float) -> float:
        """A number above zero."""
        value: float = self.given(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e30:
            raise self.wrong(name, "a number above zero")
        return value

    def maybe_positive(self, name: str) -> float | None:
        """As `positive`, or None where the key is absent or null."""
        if self.config.get(name) is None:
            self.skip(name)
            return None
        return self.positive(name, 1.0)

    def activation(self, name: str, default: str) -> Activation:
        """An activation by the name transformers has for it."""
        value = self.given(name, default)
        if value not in ACTIVATIONS:
            raise self.wrong(name, f"one of {', '.join(ACTIVATIONS)}")
        return ACTIVATIONS[value]

    def layer_kinds(self, layers: int) -> tuple[LayerKind, ...] | None:
        """layer_types, one for each of `layers`; None where the config leaves them to a rule."""
        value = self.take("layer_types", None)
        if value is None:
            return None
        kinds: dict[str, LayerKind] = {"full_attention": "full", "sliding_attention": "sliding"}
        if not isinstance(value, list) or not set(map(str, value)) <= set(kinds):
            raise self.wrong("layer_types", f"a list of {' and '.join(kinds)}")
        if len(value) != layers:
            raise self.wrong("layer_types", f"one entry for each of {layers} layers")
        return tuple(kinds[kind] for kind in value)

    def wrong(self, name: str, wanted: str) -> FormatError:
        """The error for a key whose value is not `wanted`."""
        shown = repr(self.config.get(name))
        shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
        return FormatError(
            f"config.json's {name} is {shown}; it must be {wanted}. Fetch the config again."
        )

    def neutral(self, name: str, *values: Any) -> None:
        """A key we do not implement: fine at these values, null or absent, refused otherwise."""
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
        ids = value if isinstance(value, list) else [] if value is None else [value]
        if not all(isinstance(i, int) and -1 <= i < LARGEST for i in ids):
            raise self.wrong("eos_token_id", "a token id or a list of them")
        return tuple(i for i in ids if i >= 0)

    def token(self, name: str) -> int | None:
        """A special token's id, or None (also for the -1 some old configs mean by it)."""
        value = self.config.get(f"{name}_token_id")
        if value is not None and not (isinstance(value, int) and -1 <= value < LARGEST):
            raise self.wrong(f"{name}_token_id", "a token id")
        return value if value is None or value >= 0 else None

    def labels(self, number: int = 2) -> tuple[str, ...]:
        """Class names in order of their ids; LABEL_0 ... where only their number is known."""
        names = self.config.get("id2label")
        if names:
            if not isinstance(names, dict) or not all(key.isdecimal() for key in names):
                raise self.wrong("id2label", "an object from ids to names")
            return tuple(str(names[key]) for key in sorted(names, key=int))
        number = self.whole("num_labels", number, most=1 << 20)
        return tuple(f"LABEL_{i}" for i in range(number))

    def task(self, labels: int = 2) -> dict[str, Any]:
        """The fields of a model that classifies: its labels and the kind of problem.

        labels: how many the family has where the config does not say.
        """
        names = self.labels(labels)
        # As transformers guesses where nothing is said.
        guess = "regression" if len(names) == 1 else "single"
        given = self.take("problem_type", None)
        if given is not None and given not in PROBLEMS:
            raise self.wrong("problem_type", f"one of {', '.join(PROBLEMS)}")
        return {"labels": names, "problem": PROBLEMS.get(given, guess)}

    def tied(self, default: bool) -> bool:
        """tie_word_embeddings, or the family's default."""
        value: bool = self.given("tie_word_embeddings", default)
        return value


def write_labels(config: ModelConfig) -> dict[str, Any]:
    """id2label, label2id and problem_type of a model with labels."""
    if not config.labels:
        return {}
    problems = {ours: theirs for theirs, ours in PROBLEMS.items()}
    return {
        "id2label": {str(i): name for i, name in enumerate(config.labels)},
        "label2id": {name: i for i, name in enumerate(config.labels)},
        "problem_type": problems[config.problem] if config.head == "classify" else None,
    }


def write_tokens(config: ModelConfig) -> dict[str, Any]:
    """The special tokens' ids, as config.json has them."""
    eos: Any = list(config.eos_ids) if len(config.eos_ids) > 1 else None
    if len(config.eos_ids) == 1:
        eos = config.eos_ids[0]
    return {"bos_token_id": config.bos_id, "eos_token_id": eos, "pad_token_id": config.pad_id}


def activation_name(activation: str, *, tanh: str = "gelu_new") -> str:
    """The inverse of `Keys.activation`; `tanh` is the family's name for gelu_tanh."""
    return tanh if activation == "gelu_tanh" else activation


def write_kinds(config: ModelConfig) -> list[str]:
    """The inverse of `Keys.layer_kinds`: layer_types."""
    return [f"{kind}_attention" for kind in config.kinds]
