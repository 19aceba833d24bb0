"""One description for every Transformer: decoder, encoder, encoder-decoder.

A family (`models/families/`) translates a Hugging Face ``config.json`` into a `ModelConfig` and
back; the network (`models/transformer.py`) reads nothing else. What a family does not use keeps its
default.

Shape letters used throughout `models`: ``B`` sequences, ``T`` tokens, ``S`` tokens attended to,
``D`` hidden size, ``H`` query heads, ``K`` key/value heads, ``C`` channels of a head, ``F`` width
of the feed-forward, ``V`` vocabulary, ``L`` layers.
"""

import math
from dataclasses import dataclass, field, fields, replace
from types import UnionType
from typing import Any, Literal, Self, Union, get_args, get_origin, get_type_hints

from hanlin.errors import ConfigError, nearest

Shape = Literal["decoder", "encoder", "encoder-decoder"]
HeadKind = Literal["none", "language-model", "masked-lm", "classify", "tag", "extract"]
Position = Literal["none", "learned", "sinusoidal", "rotary", "relative"]
NormPlace = Literal["before", "after", "both"]
Activation = Literal["gelu", "gelu_tanh", "relu", "silu"]
LayerKind = Literal["full", "sliding"]

LARGEST = 1 << 24
"""No width, vocabulary, context or token id is larger: a wrong config must not ask for memory."""


def _fits(value: Any, hint: Any) -> bool:
    """Whether a field's value is of its annotated type; a whole number is also a real one."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Literal:
        return value in parts
    if origin in (Union, UnionType):
        return any(_fits(value, part) for part in parts)
    if origin is tuple:
        return isinstance(value, tuple) and all(_fits(item, parts[0]) for item in value)
    if hint is float:
        return type(value) in (int, float) and math.isfinite(value)
    return type(value) is hint


def _said(hint: Any) -> str:
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
    parts = [] if get_origin(hint) is tuple else get_args(hint)
    said = [names.get(part) or str(part) for part in parts if part is not type(None)]
    return " or ".join(said) or names.get(hint) or str(hint).replace("typing.", "")


@dataclass(frozen=True, kw_only=True)
class Rope:
    """Rotary positions (Su et al. 2021), with the long-context scalings in use."""

    theta: float = 10000.0
    """Base of the geometric series of wavelengths."""
    kind: Literal["default", "linear", "llama3", "yarn"] = "default"
    """How frequencies are rescaled: position interpolation, Llama 3's bands, or YaRN (Peng et al.
    2023)."""
    factor: float = 1.0
    """Ratio of the extended context to the trained one."""
    original_context: int | None = None
    """Context the unscaled frequencies were trained for (llama3, yarn)."""
    low_freq_factor: float = 1.0
    """llama3: wavelengths longer than original_context / this are fully interpolated."""
    high_freq_factor: float = 4.0
    """llama3: wavelengths shorter than original_context / this are kept."""
    beta_fast: float = 32.0
    """yarn: rotations above which a dimension is extrapolated."""
    beta_slow: float = 1.0
    """yarn: rotations below which a dimension is interpolated."""
    attention_factor: float | None = None
    """yarn: multiplies cosine and sine; derived from `factor` (and the mscales) when None."""
    mscale: float | None = None
    """yarn: DeepSeek's numerator of the attention factor."""
    mscale_all_dim: float | None = None
    """yarn: DeepSeek's denominator of the attention factor."""
    truncate: bool = True
    """yarn: round the correction range to whole dimensions."""
    fraction: float = 1.0
    """Share of a head's channels that are rotated."""

    def __post_init__(self) -> None:
        for name, hint in get_type_hints(Rope).items():
            if not _fits(value := getattr(self, name), hint):
                raise ConfigError(f"rope.{name} is {value!r}; it must be {_said(hint)}.")
        if self.kind in ("llama3", "yarn") and self.original_context is None:
            raise ConfigError(f"rope.kind {self.kind!r} needs original_context. Set it.")
        if self.theta <= 0 or self.factor <= 0 or not 0 < self.fraction <= 1:
            raise ConfigError(
                f"rope has theta {self.theta}, factor {self.factor}, fraction {self.fraction}; "
                "theta and factor must be above zero and fraction at most 1."
            )


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """A Transformer of any shape. Validated when made; raises `ConfigError` naming the field."""

    family: str
    """Which table of weight names and config keys a directory of this model is written with."""
    shape: Shape
    """decoder (causal), encoder (bidirectional) or encoder-decoder."""
    head: HeadKind
    """What stands on top of the stack; "none" returns hidden states."""

    vocab_size: int
    hidden_size: int
    """Width D of the residual stream."""
    num_layers: int
    """Blocks in the stack; for an encoder-decoder, in the encoder."""
    num_heads: int
    intermediate_size: int
    """Width F of the feed-forward."""
    num_kv_heads: int | None = None
    """Key/value heads K: = num_heads is multi-head, 1 is multi-query, between is grouped-query."""
    head_dim: int | None = None
    """Channels C of a head; hidden_size / num_heads when None."""
    max_context: int = 2048
    """Longest sequence the model was made for, in tokens."""
    decoder_layers: int | None = None
    """Encoder-decoder: blocks in the decoder; num_layers when None."""
    decoder_heads: int | None = None
    """Encoder-decoder: heads in the decoder; num_heads when None."""
    decoder_intermediate_size: int | None = None
    """Encoder-decoder: feed-forward width in the decoder; intermediate_size when None."""

    # Positions
    position: Position = "rotary"
    position_offset: int = 0
    """Learned positions: rows skipped at the start of the table (BART 2, RoBERTa pad_id + 1)."""
    rope: Rope = field(default_factory=Rope)
    rope_local: Rope | None = None
    """Rotary settings of sliding layers where they differ (Gemma 3, ModernBERT)."""
    relative_buckets: int = 32
    relative_max_distance: int = 128

    # Attention
    attention_bias: bool = False
    """Bias in the query, key and value projections."""
    attention_out_bias: bool = False
    attention_scale: float | None = None
    """Multiplies query-key products; head_dim ** -0.5 when None, 1.0 for T5."""
    attention_softcap: float | None = None
    """Gemma 2: scores become cap * tanh(scores / cap)."""
    qk_norm: bool = False
    """RMSNorm over each head's query and key, before rotation (Qwen3, Gemma 3)."""
    sliding_window: int | None = None
    """Sliding layers: a query sees this many tokens back, itself included; in an encoder half as
    many each way."""
    layer_kinds: tuple[LayerKind, ...] | None = None
    """One per layer; all "full" when None."""

    # Norms
    norm: Literal["layernorm", "rmsnorm"] = "rmsnorm"
    norm_eps: float = 1e-5
    norm_place: NormPlace = "before"
    """before each sublayer, after the residual sum (BERT), or before and after the sublayer (Gemma
    2)."""
    norm_bias: bool = False
    norm_plus_one: bool = False
    """Gemma: the stored weight is the offset from one."""
    final_norm: bool = True
    """A norm after the last block."""
    first_attention_norm: bool = True
    """ModernBERT has none in block 0: the embeddings are already normalised."""

    # Feed-forward
    activation: Activation = "silu"
    gated: bool = True
    """SwiGLU (silu) or GeGLU (gelu): activation(gate) * up (Shazeer 2020)."""
    mlp_bias: bool = False

    # Embeddings
    embedding_norm: bool = False
    embedding_scale: float = 1.0
    """Multiplies token embeddings (sqrt(D) in Gemma, Marian and the original Transformer)."""
    token_types: int = 0
    """BERT's segment embeddings; 0 for none."""
    tie_embeddings: bool = True
    """The output projection is the embedding matrix."""

    # Heads
    lm_head_bias: bool = False
    """Bias of the output projection (BERT's MLM decoder, BART's and Marian's final_logits_bias)."""
    logit_scale: float = 1.0
    """Multiplies the last hidden state before the output projection (tied T5: D ** -0.5)."""
    logit_softcap: float | None = None
    """Gemma 2: logits become cap * tanh(logits / cap)."""
    head_transform: bool = False
    """masked-lm: dense, activation, norm before the output projection (BERT, RoBERTa,
    ModernBERT); in ModernBERT before the labels of a tag or extract head too."""
    head_transform_bias: bool = True
    head_activation: Activation | Literal["tanh"] = "gelu"
    pooler: bool = False
    """encoder: the dense + tanh over the first token that BERT was pretrained with."""
    pooling: Literal["first", "mean", "last", "eos"] = "first"
    """classify: which hidden state stands for the sequence."""
    classifier: Literal["pooler", "dense", "transform", "linear"] = "linear"
    """classify: what comes between pooling and the label logits: the pooler; dense + activation;
    dense + activation + norm; or nothing."""
    classifier_bias: bool = True
    labels: tuple[str, ...] = ()
    """Names of the classes; their number is the width of a classify or tag head."""
    problem: Literal["single", "multiple", "regression"] = "single"

    # Regularisation while training
    dropout: float = 0.0
    attention_dropout: float = 0.0
    initializer_range: float = 0.02

    # Special tokens
    pad_id: int | None = None
    bos_id: int | None = None
    eos_ids: tuple[int, ...] = ()
    decoder_start_id: int | None = None
    """Encoder-decoder: the token decoding starts from."""

    def __post_init__(self) -> None:
        for name, hint in get_type_hints(ModelConfig).items():
            if not _fits(value := getattr(self, name), hint):
                shown = repr(value)[:60]
                raise ConfigError(f"{name} is {shown}; it must be {_said(hint)}.")
        for name in ("hidden_size", "num_heads"):
            self._check_size(name)
        if self.head_dim is None:
            if self.hidden_size % self.num_heads:
                raise ConfigError(
                    f"hidden_size {self.hidden_size} is not a multiple of num_heads "
                    f"{self.num_heads}. Choose a divisor, or set head_dim."
                )
            object.__setattr__(self, "head_dim", self.hidden_size // self.num_heads)
        if self.num_kv_heads is None:
            object.__setattr__(self, "num_kv_heads", self.num_heads)
        if self.shape == "encoder-decoder":
            for name, default in (
                ("decoder_layers", self.num_layers),
                ("decoder_heads", self.num_heads),
                ("decoder_intermediate_size", self.intermediate_size),
            ):
                if getattr(self, name) is None:
                    object.__setattr__(self, name, default)
        self._validate()

    def _validate(self) -> None:
        for name in ("vocab_size", "hidden_size", "num_layers", "num_heads", "intermediate_size",
                     "num_kv_heads", "head_dim", "max_context"):  # fmt: skip
            self._check_size(name)
        if self.num_heads * self.channels % (self.decoder_heads or 1):
            raise ConfigError(
                f"decoder_heads {self.decoder_heads} does not divide the encoder's "
                f"{self.num_heads} heads of {self.channels} channels. Choose a divisor."
            )
        if self.num_heads % self.kv_heads:
            raise ConfigError(
                f"num_heads {self.num_heads} is not a multiple of num_kv_heads {self.kv_heads}: "
                "each key/value head must serve the same number of query heads."
            )
        if self.position == "rotary" and int(self.channels * self.rope.fraction) % 2:
            raise ConfigError(
                f"head_dim {self.channels} cannot be rotated in pairs. Use an even head_dim."
            )
        if self.layer_kinds is not None:
            if len(self.layer_kinds) != self.num_layers:
                raise ConfigError(
                    f"layer_kinds names {len(self.layer_kinds)} layers, num_layers is "
                    f"{self.num_layers}. Make them the same."
                )
            if "sliding" in self.layer_kinds and not self.sliding_window:
                raise ConfigError("layer_kinds has sliding layers but sliding_window is not set.")
        for name in ("dropout", "attention_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be in [0, 1).")
        if self.head in ("classify", "tag") and not self.labels:
            raise ConfigError(f"A {self.head} head needs labels: the names of its classes.")
        if self.head == "masked-lm" and self.shape != "encoder":
            raise ConfigError("A masked-lm head belongs on an encoder; use head: language-model.")
        if self.head == "language-model" and self.shape == "encoder":
            raise ConfigError("An encoder cannot generate left to right; use head: masked-lm.")

    def _check_size(self, name: str) -> None:
        value = getattr(self, name)
        if not 1 <= value <= LARGEST:
            raise ConfigError(f"{name} is {value}; it must be from 1 to {LARGEST}.")

    @property
    def kv_heads(self) -> int:
        """Key/value heads K, resolved."""
        assert self.num_kv_heads is not None
        return self.num_kv_heads

    @property
    def channels(self) -> int:
        """Channels C of a head, resolved."""
        assert self.head_dim is not None
        return self.head_dim

    @property
    def decoder_channels(self) -> int:
        """Channels of a head in an encoder-decoder's decoder."""
        return self.num_heads * self.channels // (self.decoder_heads or self.num_heads)

    def reads(self, *limits: int | None, learnt: int | None = None) -> int | None:
        """Tokens of the longest text: the least of `limits` (None: no limit), and where positions
        come to an end of max_context and of `learnt`; None where there is no limit at all."""
        found = list(limits)
        if self.position not in ("relative", "none"):
            found += [self.max_context, learnt]
        return min((limit for limit in found if limit), default=None)

    @property
    def kinds(self) -> tuple[LayerKind, ...]:
        """The kind of every layer, resolved."""
        full: LayerKind = "full"
        return self.layer_kinds or (full,) * self.num_layers

    def with_changes(self, **changes: Any) -> Self:
        """A copy with some fields replaced; an unknown field is an error that names the nearest.

        Fields that follow from a changed one (heads, their channels, the decoder's sizes) follow it
        again, unless they were set to something else.
        """
        known = [f.name for f in fields(self)]
        for name in changes:
            if name not in known:
                raise ConfigError(f"ModelConfig has no field {name!r}.{nearest(name, known)}")
        follows = {
            "num_kv_heads": self.num_heads,
            "head_dim": self.hidden_size / self.num_heads,
            "decoder_layers": self.num_layers,
            "decoder_heads": self.num_heads,
            "decoder_intermediate_size": self.intermediate_size,
        }
        derived = {name: None for name, value in follows.items() if getattr(self, name) == value}
        return replace(self, **{**derived, **changes})
