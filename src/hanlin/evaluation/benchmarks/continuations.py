"""What a model writes after many prompts, for `running` and for the harness.

Prompts are cut as lm-evaluation-harness cuts them: one that leaves too little of the context for
the answer loses its beginning. All are encoded before the first is continued.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hanlin.errors import ConfigError
from hanlin.evaluation.benchmarks.options import Pairs
from hanlin.generation import Sampling, generate
from hanlin.tasks import LanguageModel


@dataclass(frozen=True)
class Continued:
    """What was written."""

    texts: list[list[str]]
    """After each prompt, as many as were asked for."""
    cut: int
    """Prompts that lost their beginning."""


def continued(
    lm: LanguageModel,
    prompts: Sequence[str],
    sampling: Sampling,
    *,
    batch: int,
    context: int | None,
    progress: Callable[[int], None] | None = None,
) -> Continued:
    """Continue each prompt; `batch` sequences are held at a time.

    context: tokens that prompt and answer may have together, of an encoder-decoder each (None: any
    number). progress: called with how many prompts were just continued. Raises `ConfigError` where
    the answer leaves nothing of the context.
    """
    pairs = Pairs(lm)
    ids = [pairs.text_ids(prompt) for prompt in prompts]
    cut = 0
    if context is not None:
        if not sampling.max_new_tokens < context:
            raise ConfigError(
                f"{sampling.max_new_tokens} tokens are to be generated, but the context has "
                f"{context} in all. Generate fewer."
            )
        room = context if pairs.reads_apart else context - sampling.max_new_tokens
        cut = sum(len(one) > room for one in ids)
        ids = [one[-room:] for one in ids]
    answers = generate(lm.network, lm.tokenizer, ids, sampling, together=batch, progress=progress)
    return Continued([[one.text for one in each] for each in answers], cut)
