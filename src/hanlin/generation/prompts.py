"""Before the first token: what a prompt must be, what decoding starts with, how long it may be."""

from collections.abc import Sequence

import torch
from torch import Tensor

from hanlin.errors import ConfigError, InputError
from hanlin.generation.settings import Sampling
from hanlin.generation.vocabulary import Vocabulary
from hanlin.models.cache import Cache
from hanlin.models.config import ModelConfig
from hanlin.models.transformer import Transformer


def checked_prompt(
    model: Transformer, vocabulary: Vocabulary, prompt: Sequence[int], sampling: Sampling
) -> list[int]:
    """The prompt as a list, the begin token for an empty one; raises where it cannot be used."""
    config = model.config
    if config.shape == "encoder" or config.head != "language-model":
        raise InputError(
            f"This is a {config.shape} with head {config.head}; it cannot generate. "
            "Load a model with a language-model head."
        )
    if model.training:
        raise InputError("The model is in training mode. Call model.eval() before generating.")
    _check_ids(config.vocab_size, prompt, sampling)
    ids = list(prompt)
    if not ids:
        begin = config.bos_id if config.bos_id is not None else getattr(vocabulary, "bos_id", None)
        if begin is None:
            raise InputError(
                "The prompt is empty and this model has no begin token. Give it some text."
            )
        ids = [begin]
    longest = longest_prompt(config, sampling)
    if longest is None or len(ids) <= longest:
        return ids
    if config.shape == "encoder-decoder":
        raise InputError(
            f"The prompt has {len(ids)} tokens; this model reads at most "
            f"{config.max_context}. Shorten or split it."
        )
    if longest + 1 == sampling.max_length:
        raise InputError(
            f"The prompt has {len(ids)} tokens but max_length is {sampling.max_length}, prompt "
            "included. Raise max_length, or set max_new_tokens instead."
        )
    raise InputError(
        f"The prompt has {len(ids)} tokens and leaves no room for an answer: prompt and answer "
        f"may have {config.max_context} together. Shorten or split the prompt."
    )


def longest_prompt(config: ModelConfig, sampling: Sampling) -> int | None:
    """Tokens that a prompt may have, room for one more left where a decoder goes on behind it.

    None where nothing limits them.
    """
    read = config.reads()
    if config.shape == "encoder-decoder":
        return read
    limits = [limit for limit in (read, sampling.max_length) if limit is not None]
    return min(limits) - 1 if limits else None


def _check_ids(size: int, prompt: Sequence[int], sampling: Sampling) -> None:
    if prompt and not 0 <= min(prompt) <= max(prompt) < size:
        wrong = next(token for token in prompt if not 0 <= token < size)
        raise InputError(
            f"The prompt holds token id {wrong}; this model's ids are 0 to {size - 1}. "
            "Use the model's own tokenizer."
        )
    named = {
        "logit_bias": tuple(sampling.logit_bias),
        "banned": tuple(token for ids in sampling.banned for token in ids),
        "forced_first": () if sampling.forced_first is None else (sampling.forced_first,),
        "forced_last": () if sampling.forced_last is None else (sampling.forced_last,),
        "stop_ids": sampling.stop_ids,
        "eos_ids": sampling.eos_ids or (),
    }
    for name, ids in named.items():
        for token in ids:
            if token >= size:
                raise ConfigError(
                    f"{name} holds token id {token}; this model's ids are 0 to {size - 1}."
                )


def ends_of(config: ModelConfig, vocabulary: Vocabulary, sampling: Sampling) -> frozenset[int]:
    """Token ids that end a sequence under these settings."""
    if sampling.ignore_eos:
        return frozenset(sampling.stop_ids)
    ends = sampling.eos_ids
    if ends is None:
        ends = (*config.eos_ids, *vocabulary.eos_ids)
    return frozenset((*ends, *sampling.stop_ids))


def starting_tokens(config: ModelConfig, prompt: Sequence[int]) -> list[int]:
    """What the decoder has before the first new token: the prompt, or the start token."""
    if config.shape == "decoder":
        return list(prompt)
    start = config.decoder_start_id if config.decoder_start_id is not None else config.bos_id
    if start is None:
        raise ConfigError(
            "This encoder-decoder names no token to start decoding from. "
            "Set decoder_start_token_id in its config.json."
        )
    return [start]


def text_before(config: ModelConfig, prompt: Sequence[int]) -> Sequence[int]:
    """The ids that the generated text goes on from: the prompt, but not an encoder's."""
    return prompt if config.shape == "decoder" else ()


def length_limit(config: ModelConfig, start: Sequence[int], sampling: Sampling) -> int:
    """Tokens that may be generated: by the settings, and by the context."""
    limit = sampling.max_new_tokens
    if sampling.max_length is not None:
        limit = min(limit, max(1, sampling.max_length - len(start)))
    if (longest := config.reads()) is not None:
        limit = min(limit, longest - len(start))
    return limit


def read_prompt(
    model: Transformer,
    cache: Cache,
    row: int,
    prompt: Sequence[int],
    start: Sequence[int],
    *,
    chunk: int,
) -> Tensor:
    """Read a prompt into a cache row, `chunk` tokens at a time; the next-token logits [1, V]."""
    if model.config.shape == "encoder-decoder":
        model.remember(cache, row, torch.tensor(prompt, device=model.device))
    ids = torch.tensor([start], device=model.device)
    for part in torch.split(ids, chunk, dim=1):
        logits = model.extend(part, cache, rows=[row])
    return logits
