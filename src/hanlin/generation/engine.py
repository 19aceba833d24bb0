"""The decode loop: prompts in, one token per sequence and step, until every sequence has ended.

Every prompt is read by itself and every sequence has a cache row of its own, so what else is in the
batch changes nothing. Sequences that end leave the batch at once. Beam search is in `beam.py`.
"""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from hanlin.errors import ConfigError
from hanlin.generation.beam import beam_search
from hanlin.generation.controls import controls_of
from hanlin.generation.prompts import (
    checked_prompt,
    ends_of,
    length_limit,
    read_prompt,
    starting_tokens,
    text_before,
)
from hanlin.generation.results import Generation, Piece, TokenLogprob
from hanlin.generation.row import Row
from hanlin.generation.sampling import fresh_seed, likeliest
from hanlin.generation.settings import Sampling
from hanlin.generation.vocabulary import Vocabulary
from hanlin.models.transformer import Transformer


class Batch:
    """Sequences being generated together; `step` gives each of them one more token."""

    @torch.inference_mode()
    def __init__(
        self,
        model: Transformer,
        vocabulary: Vocabulary,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        *,
        seed: int | None,
        chunk: int,
    ) -> None:
        self.model = model
        ends = ends_of(model.config, vocabulary, sampling)
        controls = controls_of(sampling, ends)
        starts = [starting_tokens(model.config, prompt) for prompt in prompts]
        limits = [length_limit(model.config, start, sampling) for start in starts]
        need = max(len(start) + limit for start, limit in zip(starts, limits, strict=True))
        self.cache = model.new_cache(len(prompts), min(need, max(map(len, starts)) + 256))
        self.logits = torch.cat(
            [
                read_prompt(model, self.cache, row, prompt, starts[row], chunk=chunk)
                for row, prompt in enumerate(prompts)
            ]
        )
        n = sampling.n
        self.rows = [
            Row(
                vocabulary,
                controls,
                sampling,
                history=list(start),
                limit=limit,
                ends=ends,
                prompt_tokens=len(prompt),
                before=text_before(model.config, prompt),
                seed=seed,
                index=index,
            )
            for prompt, start, limit in zip(prompts, starts, limits, strict=True)
            for index in range(n)
        ]
        if n > 1:
            copies = [prompt for prompt in range(len(prompts)) for _ in range(n)]
            self.cache.select(copies)
            self.logits = self.logits[copies]
        self.plain = sampling.temperature == 0 and not controls.bans and sampling.logprobs is None
        self._next: Tensor | None = None

    @torch.inference_mode()
    def step(self) -> None:
        """Choose the next token of every sequence; those that end leave `rows`."""
        logits = self.logits if self._next is None else self.model.extend(self._next, self.cache)
        if self.plain:
            ids = likeliest(logits).unsqueeze(1)
            for row, token in zip(self.rows, ids[:, 0].tolist(), strict=True):
                row.append(token)
        else:
            chosen = [row.choose(logits[i]) for i, row in enumerate(self.rows)]
            ids = torch.tensor(chosen, device=logits.device).unsqueeze(1)
        alive = [i for i, row in enumerate(self.rows) if row.finish_reason is None]
        if len(alive) < len(self.rows):
            self.rows = [self.rows[i] for i in alive]
            if alive:
                self.cache.select(alive)
                ids = ids[alive]
        self._next = ids


def generate(
    model: Transformer,
    tokenizer: Vocabulary,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    *,
    together: int = 16,
    chunk: int = 512,
    progress: Callable[[int], None] | None = None,
) -> list[list[Generation]]:
    """Continue prompts of token ids (an encoder-decoder: answer them); n sequences for each.

    together: sequences held in memory at a time. chunk: tokens of a prompt read in one pass.
    Neither changes the result. progress: told how many prompts were answered since it last was,
    the longest first. Raises `InputError` for an empty or too long prompt, before
    anything runs.
    """
    prompts = [checked_prompt(model, tokenizer, prompt, sampling) for prompt in prompts]
    seed = _seed(sampling)
    width = max(1, together // max(sampling.n, sampling.beams))
    # Like lengths together: they are padded little. What does not fit into memory fails at once.
    order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))
    results: list[list[Generation]] = [[] for _ in prompts]
    for first in range(0, len(order), width):
        taken = order[first : first + width]
        some = [prompts[i] for i in taken]
        if sampling.beams > 1:
            written = beam_search(model, tokenizer, some, sampling, chunk=chunk)
        else:
            written = _together(model, tokenizer, some, sampling, seed=seed, chunk=chunk)
        for i, sequences in zip(taken, written, strict=True):
            results[i] = sequences
        if progress is not None:
            progress(len(taken))
    return results


def _together(
    model: Transformer,
    tokenizer: Vocabulary,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    *,
    seed: int | None,
    chunk: int,
) -> list[list[Generation]]:
    batch = Batch(model, tokenizer, prompts, sampling, seed=seed, chunk=chunk)
    rows = list(batch.rows)
    while batch.rows:
        batch.step()
    done = [row.result() for row in rows]
    return [done[i : i + sampling.n] for i in range(0, len(done), sampling.n)]


def stream(
    model: Transformer,
    tokenizer: Vocabulary,
    prompt: Sequence[int],
    sampling: Sampling,
    *,
    chunk: int = 512,
) -> Iterator[Piece]:
    """Yield one sequence as it is generated; the last piece carries the finish reason.

    The pieces put together are what `generate` returns with the same seed. Raises `ConfigError` for
    n or beams above 1, and as `generate`, at the call and not at the first piece.
    """
    if sampling.n > 1 or sampling.beams > 1:
        raise ConfigError("A stream is one sequence. Set n and beams to 1, or call generate.")
    prompt = checked_prompt(model, tokenizer, prompt, sampling)
    return _pieces(model, tokenizer, prompt, sampling, chunk=chunk)


def _pieces(
    model: Transformer,
    tokenizer: Vocabulary,
    prompt: Sequence[int],
    sampling: Sampling,
    *,
    chunk: int,
) -> Iterator[Piece]:
    batch = Batch(model, tokenizer, [prompt], sampling, seed=_seed(sampling), chunk=chunk)
    [row] = batch.rows
    row.open_text()
    sent = 0

    def logprobs() -> tuple[TokenLogprob, ...] | None:
        return None if row.logprobs is None else tuple(row.logprobs[sent:])

    while row.finish_reason is None:
        batch.step()
        if row.finish_reason is None and (text := row.take_text()):
            yield Piece(text, tuple(row.tokens[sent:]), logprobs())
            sent = len(row.tokens)
    row.close_text()
    yield Piece(
        row.take_text(),
        tuple(row.tokens[sent:]),
        logprobs(),
        finish_reason=row.finish_reason,
        prompt_tokens=row.prompt_tokens,
        seed=row.seed,
        stopped_by=row.stopped_by,
    )


def _seed(sampling: Sampling) -> int | None:
    if not sampling.draws:
        return None
    return fresh_seed() if sampling.seed is None else sampling.seed
