"""What generation gives back: whole sequences, or pieces of one as they come."""

from dataclasses import dataclass
from typing import Literal

FinishReason = Literal["stop", "length"]
"""stop: an end token, a stop id or a stop string; length: max_new_tokens or context used up."""


@dataclass(frozen=True)
class TokenLogprob:
    """A token and its log probability under the model's own distribution, before any setting."""

    token: str
    """The token's bytes as text; part of a character shows as U+FFFD."""
    id: int
    logprob: float
    """Natural logarithm, from a float32 log_softmax of the unmodified logits."""
    bytes: bytes
    top: tuple["TokenLogprob", ...] = ()
    """The most likely tokens at this place, best first, as many as `Sampling.logprobs` asks for."""


@dataclass(frozen=True)
class Generation:
    """One generated sequence."""

    text: str
    """Without the end token, and without the stop string and what follows it."""
    tokens: tuple[int, ...]
    """All that was generated: with the end token, up to the token that completed a stop string."""
    finish_reason: FinishReason
    logprobs: tuple[TokenLogprob, ...] | None = None
    """One per token, where `Sampling.logprobs` asks for them."""
    prompt_tokens: int = 0
    """Tokens read: the prompt, or an encoder-decoder's source."""
    seed: int | None = None
    """Repeats this sequence when given back as `Sampling.seed`; None where nothing was drawn."""
    score: float | None = None
    """Beam search: log probability divided by length ** length_penalty."""
    stopped_by: str | int | None = None
    """The stop string or the token id that ended it."""


@dataclass(frozen=True)
class Piece:
    """Some text, as soon as its characters are whole and cannot become part of a stop string."""

    text: str
    tokens: tuple[int, ...]
    """Tokens generated since the piece before."""
    logprobs: tuple[TokenLogprob, ...] | None = None
    """One per token, where `Sampling.logprobs` asks for them."""
    finish_reason: FinishReason | None = None
    """Set on the last piece alone."""
    prompt_tokens: int = 0
    seed: int | None = None
    stopped_by: str | int | None = None
