"""Text from a model, decoder or encoder-decoder: greedy, sampled, streamed or beam-searched.

    results = generate(model, tokenizer, [prompt_ids], Sampling(temperature=0))
    for piece in stream(model, tokenizer, prompt_ids, Sampling(seed=1)): ...

`Sampling` can be had without importing torch; the rest is imported when it is first used.
"""

from typing import TYPE_CHECKING, Any

from hanlin.generation.results import Generation, Piece, TokenLogprob
from hanlin.generation.settings import Sampling

if TYPE_CHECKING:
    from hanlin.generation.engine import generate, stream

__all__ = ["Generation", "Piece", "Sampling", "TokenLogprob", "generate", "stream"]


def __getattr__(name: str) -> Any:
    if name not in ("generate", "stream"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from hanlin.generation import engine

    return getattr(engine, name)
