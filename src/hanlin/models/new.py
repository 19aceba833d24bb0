"""A fresh model of any family from a few numbers: what is not said follows from the width.

`new_config("llama", tokenizer=tokenizer, hidden_size=384, num_layers=6)` gives a `ModelConfig` that
its family can write to a directory; `Transformer(config)` draws its weights.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from hanlin.errors import ConfigError, nearest
from hanlin.models.config import HeadKind, LayerKind, ModelConfig, Rope, Shape

if TYPE_CHECKING:
    from hanlin.tokenizers import Tokenizer

Derived = Callable[[dict[str, Any]], dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Pattern:
    """What makes a fresh model one of its family."""

    shape: Shape
    head: HeadKind
    fixed: Mapping[str, Any]
    """Fields of ModelConfig that differ from its defaults."""
    derived: Derived = lambda known: {}
    """Fields that follow from others, the sizes among them."""
    start: str = "pad"
    """Encoder-decoder: which of the tokenizer's special tokens decoding starts from."""


_BIASES: dict[str, Any] = {"attention_bias": True, "attention_out_bias": True, "mlp_bias": True}
_LAYERNORM: dict[str, Any] = {"norm": "layernorm", "norm_bias": True}
_PLAIN: dict[str, Any] = {**_BIASES, **_LAYERNORM, "gated": False}
_BERT: dict[str, Any] = {
    **_PLAIN,
    "position": "learned",
    "norm_eps": 1e-12,
    "norm_place": "after",
    "final_norm": False,
    "activation": "gelu",
    "embedding_norm": True,
    "lm_head_bias": True,
    "head_transform": True,
}
_GEMMA: dict[str, Any] = {"activation": "gelu_tanh", "norm_plus_one": True, "norm_eps": 1e-6}
_T5: dict[str, Any] = {
    "position": "relative",
    "attention_scale": 1.0,
    "norm_eps": 1e-6,
    "max_context": 512,
}
_TOWERS: dict[str, Any] = {**_PLAIN, "norm_place": "after", "final_norm": False}
_BART: dict[str, Any] = {**_TOWERS, "position": "learned", "position_offset": 2,
         "activation": "gelu", "embedding_norm": True}  # fmt: skip


def _gemma(known: dict[str, Any]) -> dict[str, Any]:
    return {"embedding_scale": known["hidden_size"] ** 0.5}


def _windows(every: int, *, offset: int, window: int) -> Derived:
    """Sliding layers with a full one in every so many, and the last full: it sees the whole."""

    def derive(known: dict[str, Any]) -> dict[str, Any]:
        last = known["num_layers"] - 1
        full, sliding = "full", "sliding"
        kinds: tuple[LayerKind, ...] = tuple(
            full if (layer + offset) % every == 0 or layer == last else sliding  # type: ignore[misc]
            for layer in range(last + 1)
        )
        return {"sliding_window": window, "layer_kinds": kinds}

    return derive


def _gemma_2(known: dict[str, Any]) -> dict[str, Any]:
    every = 2 if known["family"] == "gemma2" else 6
    windows = _windows(every, offset=1, window=512)(known)
    return {**_gemma(known), **windows, "attention_scale": known["head_dim"] ** -0.5}


def _roberta(known: dict[str, Any]) -> dict[str, Any]:
    return {"position_offset": known["pad_id"] + 1}


def _scaled_embedding(known: dict[str, Any]) -> dict[str, Any]:
    return {"embedding_scale": known["hidden_size"] ** 0.5}


def near_identity(width: int) -> float:
    """The deviation of a translator's first weights: a third of Glorot's.

    Where norms stand after the sublayers, a stack learns several times faster when it begins near
    the identity (measured in docs/benchmarks.md; Liu et al. 2020, "Understanding the difficulty of
    training Transformers", say why).
    """
    return float(width**-0.5 / 3)


def _small(known: dict[str, Any]) -> dict[str, Any]:
    return {**_scaled_embedding(known), "initializer_range": near_identity(known["hidden_size"])}


def _t5(known: dict[str, Any]) -> dict[str, Any]:
    return {"logit_scale": known["hidden_size"] ** -0.5 if known["tie_embeddings"] else 1.0}


def _decoder(derived: Derived = lambda known: {}, **fixed: Any) -> Pattern:
    return Pattern(shape="decoder", head="language-model", fixed=fixed, derived=derived)


def _encoder(derived: Derived = lambda known: {}, **fixed: Any) -> Pattern:
    return Pattern(shape="encoder", head="masked-lm", fixed=fixed, derived=derived)


def _both(derived: Derived = lambda known: {}, *, start: str = "pad", **fixed: Any) -> Pattern:
    return Pattern(
        shape="encoder-decoder", head="language-model", fixed=fixed, derived=derived, start=start
    )


_GATED_GELU: dict[str, Any] = {"activation": "gelu_tanh"}
_GEMMA_2: dict[str, Any] = {**_GEMMA, "norm_place": "both"}
_MODERN_BERT: dict[str, Any] = {
    "norm": "layernorm",
    "first_attention_norm": False,
    "activation": "gelu",
    "embedding_norm": True,
    "rope": Rope(theta=160_000.0),
    "rope_local": Rope(theta=10_000.0),
    "lm_head_bias": True,
    "head_transform": True,
    "head_transform_bias": False,
    "head_activation": "gelu",
}

NEW: dict[str, Pattern] = {
    "llama": _decoder(),
    "mistral": _decoder(),
    "qwen2": _decoder(attention_bias=True, norm_eps=1e-6),
    "qwen3": _decoder(qk_norm=True, norm_eps=1e-6),
    "gemma": _decoder(_gemma, **_GEMMA),
    "gemma2": _decoder(_gemma_2, **_GEMMA_2, attention_softcap=50.0, logit_softcap=30.0),
    "gemma3_text": _decoder(
        _gemma_2,
        **_GEMMA_2,
        qk_norm=True,
        rope=Rope(theta=1_000_000.0),
        rope_local=Rope(theta=10_000.0),
    ),
    "gpt2": _decoder(**_PLAIN, position="learned", activation="gelu_tanh"),
    "bert": _encoder(**_BERT, token_types=2),
    "roberta": _encoder(_roberta, **_BERT, token_types=1),
    "xlm-roberta": _encoder(_roberta, **_BERT, token_types=1),
    "distilbert": _encoder(**_BERT),
    "modernbert": _encoder(_windows(3, offset=0, window=128), **_MODERN_BERT),
    "t5": _both(_t5, **_T5, **_GATED_GELU),
    "mt5": _both(**_T5, **_GATED_GELU, tie_embeddings=False),
    "bart": _both(start="eos", **_BART),
    "mbart": _both(_scaled_embedding, start="eos",
                   **(_BART | {"norm_place": "before", "final_norm": True})),
    "marian": _both(_small, **_TOWERS, position="sinusoidal", activation="silu"),
    "vaswani": _both(_small, **_TOWERS, position="sinusoidal", activation="relu"),
}  # fmt: skip
"""The families that a fresh model can be of."""

# Hugging Face's names for our fields, which people know as well.
ALIASES = {
    "n_embd": "hidden_size", "d_model": "hidden_size", "dim": "hidden_size",
    "num_hidden_layers": "num_layers", "n_layer": "num_layers", "n_layers": "num_layers",
    "encoder_layers": "num_layers",
    "num_attention_heads": "num_heads", "n_head": "num_heads", "n_heads": "num_heads",
    "encoder_attention_heads": "num_heads",
    "num_key_value_heads": "num_kv_heads", "d_kv": "head_dim",
    "n_inner": "intermediate_size", "d_ff": "intermediate_size", "hidden_dim": "intermediate_size",
    "encoder_ffn_dim": "intermediate_size", "decoder_ffn_dim": "decoder_intermediate_size",
    "num_decoder_layers": "decoder_layers", "decoder_attention_heads": "decoder_heads",
    "max_position_embeddings": "max_context", "n_positions": "max_context",
    "tie_word_embeddings": "tie_embeddings", "rms_norm_eps": "norm_eps",
    "layer_norm_eps": "norm_eps",
    "hidden_dropout_prob": "dropout", "attention_probs_dropout_prob": "attention_dropout",
    "init_std": "initializer_range",
}  # fmt: skip

# A family or the tokenizer decides them.
_DECIDED = ("family", "shape")
_SETTABLE = [*(f.name for f in fields(ModelConfig) if f.name not in _DECIDED), "multiple"]


def field_problems(given: Mapping[str, Any]) -> list[str]:
    """What is wrong with the names of the fields given for a fresh model; empty when nothing is."""
    problems, meant = [], dict[str, str]()
    for name in given:
        field = ALIASES.get(name, name)
        if field in _DECIDED[1:]:
            problems.append(f"{name} follows from the family. Remove it.")
        elif field not in _SETTABLE and field != "family":
            hint = nearest(name, [*_SETTABLE, *ALIASES])
            problems.append(f"{name} is not a field of a model.{hint}")
        elif field in meant:
            problems.append(f"{name} and {meant[field]} are the same. Keep one.")
        meant[field] = name
    return problems


def new_config(
    family: str,
    *,
    tokenizer: "Tokenizer | None" = None,
    vocab_size: int | None = None,
    multiple: int = 1,
    **given: Any,
) -> ModelConfig:
    """The config of a fresh model.

    tokenizer: brings the vocabulary and the ids of special tokens. vocab_size: may be larger than
    the tokenizer's. multiple: round the vocabulary up to one of this. given: fields of ModelConfig,
    or Hugging Face's names for them. Raises ConfigError naming the nearest family or field.
    """
    if family not in NEW:
        raise ConfigError(
            f"hanlin cannot make a fresh {family!r}.{nearest(family, list(NEW))} "
            f"It can make: {', '.join(NEW)}."
        )
    if problems := field_problems(given):
        raise ConfigError("\n".join(problems))
    pattern = NEW[family]
    asked = {ALIASES.get(name, name): _plain(value) for name, value in given.items()}
    known: dict[str, Any] = {
        "family": family,
        "shape": pattern.shape,
        "head": pattern.head,
        "vocab_size": _vocabulary(tokenizer, vocab_size, multiple),
        "hidden_size": 256,
        "num_layers": 6,
        **_special(pattern, family, tokenizer),
        "tie_embeddings": True,
        "max_context": 1024,
        **pattern.fixed,
        **asked,
    }
    gated = known.get("gated", True)
    known = {**_sizes(known, gated=gated), **known}
    # What follows from the sizes follows from those that were asked for.
    known |= {name: value for name, value in pattern.derived(known).items() if name not in asked}
    if known["head"] != pattern.head:
        raise ConfigError(
            f"A fresh {family} has a {pattern.head} head. Train it, then give it another head."
        )
    config = ModelConfig(**known)
    _check_ids(config)
    return config


def _plain(value: Any) -> Any:
    """YAML has no tuples, and its mappings for rope are ours."""
    if isinstance(value, list):
        return tuple(value)
    if isinstance(value, Mapping):
        known = [f.name for f in fields(Rope)]
        for name in value:
            if name not in known:
                raise ConfigError(f"rope has no field {name!r}.{nearest(str(name), known)}")
        return Rope(**value)
    return value


def _vocabulary(tokenizer: "Tokenizer | None", vocab_size: int | None, multiple: int) -> int:
    least = 0 if tokenizer is None else tokenizer.vocab_size
    if vocab_size is None and tokenizer is None:
        raise ConfigError("A fresh model needs a vocabulary. Give a tokenizer, or vocab_size.")
    size = least if vocab_size is None else vocab_size
    if size < least:
        raise ConfigError(
            f"vocab_size {size} is smaller than the tokenizer's {least}. Leave it out, or raise it."
        )
    if multiple < 1:
        raise ConfigError(f"multiple is {multiple}; it must be at least 1.")
    return -(-size // multiple) * multiple


def _special(pattern: Pattern, family: str, tokenizer: "Tokenizer | None") -> dict[str, Any]:
    """The ids of special tokens; without a tokenizer only where the family cannot do without."""
    if tokenizer is None:
        pad: int | None = 1 if family.endswith("roberta") else None
        if pattern.shape != "encoder-decoder":
            return {"pad_id": pad}
        start = {"pad": 0, "eos": 1}[pattern.start]
        return {"pad_id": 0, "eos_ids": (1,), "decoder_start_id": start}
    bos, eos = tokenizer.bos_id, tokenizer.eos_ids
    if pattern.shape == "encoder":
        bos = tokenizer.cls_id if bos is None else bos
        ends = tokenizer.sep_id
        eos = eos or (() if ends is None else (ends,))
    ids: dict[str, Any] = {"pad_id": tokenizer.pad_id, "bos_id": bos, "eos_ids": eos}
    if family.endswith("roberta") and ids["pad_id"] is None:
        raise ConfigError(
            f"{family} counts its positions from the padding token, and the tokenizer has none. "
            "Use bert or modernbert, or a tokenizer with one."
        )
    if pattern.shape == "encoder-decoder":
        first_eos = eos[0] if eos else None
        order = [tokenizer.pad_id, bos, first_eos]
        if pattern.start == "eos":
            order.reverse()
        found = [i for i in order if i is not None]
        if not found:
            raise ConfigError(
                "The tokenizer has no padding, beginning or end token for decoding to start from. "
                "Train it with one."
            )
        ids["decoder_start_id"] = found[0]
    return ids


def _sizes(known: dict[str, Any], *, gated: bool) -> dict[str, Any]:
    """Heads of 64 channels (32 in a narrow model), a feed-forward of the usual cost."""
    width = known["hidden_size"]
    if isinstance(width, bool) or not isinstance(width, int) or width < 1:
        raise ConfigError(f"hidden_size is {width!r}; it must be a whole number above zero.")
    wanted = 64 if width >= 384 else 32
    # Rotation turns channels in pairs.
    heads = [h for h in range(1, width + 1) if width % h == 0 and width // h % 2 == 0] or [1]
    number = known.get("num_heads") or min(heads, key=lambda h: abs(width // h - wanted))
    inner = max(64, round(width * 8 / 3 / 64) * 64) if gated else 4 * width
    out = {
        "num_heads": number,
        "intermediate_size": inner,
        # Nguyen & Salazar 2019: 0.02 at a width of 1000, and more in a narrower model.
        "initializer_range": round((2 / (5 * width)) ** 0.5, 4),
    }
    if "head_dim" not in known and isinstance(number, int) and number and width % number == 0:
        out["head_dim"] = width // number
    return out


def _check_ids(config: ModelConfig) -> None:
    ids = (config.pad_id, config.bos_id, config.decoder_start_id, *config.eos_ids)
    for token in ids:
        if token is not None and not 0 <= token < config.vocab_size:
            raise ConfigError(
                f"A special token has the id {token}, outside the vocabulary of "
                f"{config.vocab_size}. Raise vocab_size or correct the id."
            )
