"""Settings turned into the functions that act on next-token scores, in the field's order.

First what bans and penalises (bias, repetition, frequency and presence, n-grams, banned sequences,
end tokens before the minimum, forced tokens), then what shapes a draw (temperature, top-k, top-p,
min-p, typical). What is switched off is not there and costs nothing.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from hanlin.generation import processors
from hanlin.generation.settings import Sampling


@dataclass(frozen=True)
class Progress:
    """Where a sequence stands when its next token is chosen."""

    history: Sequence[int]
    """Prompt and generated tokens; for an encoder-decoder, from the start token on."""
    prompt: int
    """How many of them were given."""
    limit: int
    """How many may be generated in all."""

    @property
    def generated(self) -> int:
        """How many were generated so far."""
        return len(self.history) - self.prompt


Control = Callable[[Tensor, Progress], Tensor]
Filter = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Controls:
    """What is done to a sequence's scores [V] before a token is chosen."""

    bans: tuple[Control, ...]
    temperature: float
    filters: tuple[Filter, ...]

    def judge(self, scores_V: Tensor, progress: Progress) -> Tensor:
        """The scores after bans and penalties: all that beam search and greedy choice need."""
        for control in self.bans:
            scores_V = control(scores_V, progress)
        return scores_V

    def shape(self, scores_V: Tensor) -> tuple[Tensor, Tensor | None]:
        """What to draw from: scores [C] of the tokens that are left, and their ids [C] (None: all).

        Each filter sees only what those before it left: the first cuts a vocabulary to a handful.
        """
        if self.temperature != 1:
            scores_V = processors.warm(scores_V, self.temperature)
        scores_C, ids_C = scores_V, None
        for keep in self.filters:
            scores_C = keep(scores_C)
            left = processors.positions(scores_C > processors.NEVER)
            scores_C = scores_C[left]
            ids_C = left if ids_C is None else ids_C[left]
        return scores_C, ids_C


def controls_of(sampling: Sampling, ends: Collection[int]) -> Controls:
    """The controls that `sampling` switches on; `ends` are the tokens that end a sequence."""
    return Controls(
        tuple(_bans(sampling, sorted(ends))), sampling.temperature, tuple(_filters(sampling))
    )


def _bans(sampling: Sampling, ends: list[int]) -> list[Control]:
    bans: list[Control] = []
    if sampling.logit_bias:
        ids, values = zip(*sampling.logit_bias.items(), strict=True)
        bans.append(lambda scores, progress: processors.bias(scores, ids, values))
    if sampling.repetition_penalty != 1:
        penalty = sampling.repetition_penalty
        bans.append(lambda s, at: processors.penalise_repetition(s, at.history, penalty))
    if sampling.frequency_penalty or sampling.presence_penalty:
        penalise = partial(
            processors.penalise_frequency,
            frequency=sampling.frequency_penalty,
            presence=sampling.presence_penalty,
        )
        bans.append(lambda s, at: penalise(s, at.history[at.prompt :]))
    if sampling.no_repeat_ngram:
        size = sampling.no_repeat_ngram
        bans.append(lambda s, at: processors.ban(s, processors.repeats(at.history, size)))
    if sampling.banned:
        banned = sampling.banned
        bans.append(lambda s, at: processors.ban(s, processors.completions(at.history, banned)))
    if ends and (sampling.min_new_tokens or sampling.min_length):
        bans.append(partial(_not_yet, sampling=sampling, ends=ends))
    if sampling.forced_first is not None:
        first = sampling.forced_first
        bans.append(lambda s, at: s if at.generated else processors.force(s, first))
    if sampling.forced_last is not None:
        final = sampling.forced_last
        bans.append(lambda s, at: processors.force(s, final) if at.generated == at.limit - 1 else s)
    return bans


def _not_yet(scores: Tensor, progress: Progress, *, sampling: Sampling, ends: list[int]) -> Tensor:
    early = (
        progress.generated < sampling.min_new_tokens or len(progress.history) < sampling.min_length
    )
    return processors.ban(scores, ends) if early else scores


def _filters(sampling: Sampling) -> list[Filter]:
    if not sampling.draws:
        return []
    settings: list[tuple[float, float, Callable[..., Tensor]]] = [
        (sampling.top_k, 0, processors.keep_top_k),
        (sampling.top_p, 1.0, processors.keep_top_p),
        (sampling.min_p, 0.0, processors.keep_min_p),
        (sampling.typical_p, 1.0, processors.keep_typical),
    ]

    def bind(function: Callable[..., Tensor], value: float) -> Filter:
        return lambda scores: function(scores, value)

    return [bind(function, value) for value, off, function in settings if value != off]
