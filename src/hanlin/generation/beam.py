"""Beam search: the most probable sequences, found by keeping the best few at every step.

Scores, length penalty and the rules for stopping are those of transformers' generate (version 5),
so the same model gives the same tokens there and here. Every prompt is searched by itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from hanlin.generation.controls import Controls, Progress, controls_of
from hanlin.generation.prompts import (
    ends_of,
    length_limit,
    read_prompt,
    starting_tokens,
    text_before,
)
from hanlin.generation.results import Generation, TokenLogprob
from hanlin.generation.row import token_logprob
from hanlin.generation.settings import Sampling
from hanlin.generation.stopping import TextStream
from hanlin.generation.vocabulary import Vocabulary
from hanlin.models.transformer import Transformer

_OUT = -1.0e9
"""Added to what must not be chosen; transformers' value, which float32 rounding depends on."""


@dataclass(frozen=True)
class _Hypothesis:
    tokens: tuple[int, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    finished: bool = False
    stopped_by: str | int | None = None


@dataclass(frozen=True)
class _Task:
    """What stays the same during one prompt's search."""

    vocabulary: Vocabulary
    sampling: Sampling
    controls: Controls
    ends: frozenset[int]
    start: list[int]
    """What the decoder has before the first new token."""
    before: Sequence[int]
    """What the text goes on from."""
    limit: int

    def read(self, tokens: Sequence[int]) -> tuple[str, TextStream]:
        """The text of generated tokens so far, and the stream that may have found a stop string."""
        stream = TextStream(self.vocabulary, self.sampling.stop, self.before)
        least = self.sampling.min_new_tokens
        pieces = [stream.push(t, search=place >= least) for place, t in enumerate(tokens, 1)]
        return "".join(pieces), stream

    def extended(self, parent: _Hypothesis, token: int, logprobs_V: Tensor) -> _Hypothesis:
        """A hypothesis and one more token, and whether that ends it."""
        tokens, logprobs = (*parent.tokens, token), parent.logprobs
        if (top := self.sampling.logprobs) is not None:
            logprobs = (*logprobs, token_logprob(self.vocabulary, logprobs_V, token, top=top))
        stopped: str | int | None = None
        if token in self.ends:
            stopped = token
        elif self.sampling.stop:
            stopped = self.read(tokens)[1].found
        return _Hypothesis(
            tokens, logprobs, stopped is not None or len(tokens) >= self.limit, stopped
        )

    def result(self, hypothesis: _Hypothesis, score: float, *, prompt_tokens: int) -> Generation:
        """A finished hypothesis as it is handed out."""
        stopped = hypothesis.stopped_by
        by_token = isinstance(stopped, int)
        text, stream = self.read(hypothesis.tokens[:-1] if by_token else hypothesis.tokens)
        text += stream.finish()
        stopped = stream.found if stopped is None else stopped
        return Generation(
            text,
            hypothesis.tokens,
            "length" if stopped is None else "stop",
            None if self.sampling.logprobs is None else hypothesis.logprobs,
            prompt_tokens=prompt_tokens,
            score=score,
            stopped_by=stopped,
        )


@dataclass
class _Search:
    """One prompt's search: the live hypotheses, the best finished ones, whether to go on."""

    task: _Task
    live: list[_Hypothesis]
    live_scores: Tensor
    """Sums of log probabilities [beams]."""
    done: list[_Hypothesis]
    done_scores: Tensor
    """Penalised by length [beams]."""
    hopeful: bool = True
    """A live hypothesis may still beat a finished one."""
    ended: bool = False
    parents: list[int] = field(default_factory=list)
    """Of each live hypothesis, the place it had before the last step."""

    def advance(self, candidates: list[_Hypothesis], parents: list[int], scores_K: Tensor) -> None:
        """Sort a step's candidates, best first, into live and finished ones."""
        length = len(candidates[0].tokens)
        hit = torch.tensor([c.finished for c in candidates], device=scores_K.device)
        running = scores_K + hit.float() * _OUT
        best = running.topk(self.task.sampling.beams).indices
        keep = best.tolist()
        self.live = [candidates[i] for i in keep]
        self.parents = [parents[i] for i in keep]
        self.live_scores = running[best]
        self._finish(candidates, hit, scores_K, length)
        self._look_ahead(length)
        full = all(h.finished for h in self.done) and self.task.sampling.early_stopping is True
        self.ended = not self.hopeful or full or bool(hit.all())

    def _finish(
        self, candidates: list[_Hypothesis], hit_K: Tensor, scores_K: Tensor, length: int
    ) -> None:
        # Only the best `beams` candidates may finish; the rest are there to go on with.
        eligible = hit_K.clone()
        eligible[self.task.sampling.beams :] = False
        scores = scores_K / length**self.task.sampling.length_penalty
        scores = scores + (~eligible).float() * _OUT
        merged = torch.cat([self.done_scores, scores])
        best = merged.topk(self.task.sampling.beams).indices
        may = [h.finished for h in self.done] + eligible.tolist()
        both = self.done + candidates
        self.done = [both[i] if may[i] else _Hypothesis() for i in best.tolist()]
        self.done_scores = merged[best]

    def _look_ahead(self, length: int) -> None:
        penalty = self.task.sampling.length_penalty
        longest = self.task.sampling.early_stopping == "never" and penalty > 0
        possible = self.live_scores[0] / (self.task.limit if longest else length) ** penalty
        worst = torch.full_like(possible, _OUT)
        if all(h.finished for h in self.done):
            worst = self.done_scores.min()
        self.hopeful = self.hopeful and bool(possible > worst)


@torch.inference_mode()
def beam_search(
    model: Transformer,
    vocabulary: Vocabulary,
    prompt: Sequence[int],
    sampling: Sampling,
    *,
    chunk: int,
) -> list[Generation]:
    """The n best of `beams` hypotheses for one prompt, best first, with their scores."""
    config, beams = model.config, sampling.beams
    ends = ends_of(config, vocabulary, sampling)
    start = starting_tokens(config, prompt)
    task = _Task(
        vocabulary,
        sampling,
        controls_of(sampling, ends),
        ends,
        start,
        text_before(config, prompt),
        length_limit(config, start, sampling),
    )
    cache = model.new_cache(1, len(start) + min(task.limit, 256))
    logits = read_prompt(model, cache, 0, prompt, start, chunk=chunk).expand(beams, -1)
    cache.select([0] * beams)
    # Only the first hypothesis counts at first: all are the prompt.
    scores = torch.full((beams,), _OUT, device=model.device)
    nothing = scores.clone()
    scores[0] = 0.0
    search = _Search(task, [_Hypothesis()] * beams, scores, [_Hypothesis()] * beams, nothing)
    while True:
        search.advance(*_continuations(search, logits.float()))
        if search.ended:
            break
        cache.select(search.parents)
        last = [[hypothesis.tokens[-1]] for hypothesis in search.live]
        logits = model.extend(torch.tensor(last, device=model.device), cache)
    best = list(zip(search.done, search.done_scores.tolist(), strict=True))[: sampling.n]
    return [task.result(found, score, prompt_tokens=len(prompt)) for found, score in best]


def _continuations(
    search: _Search, logits_BV: Tensor
) -> tuple[list[_Hypothesis], list[int], Tensor]:
    """The best next tokens of the live hypotheses, which each continues, and their scores."""
    task = search.task
    logprobs = scores = logits_BV.log_softmax(-1)
    if task.controls.bans:
        judged = [
            task.controls.judge(
                row, Progress(task.start + list(h.tokens), len(task.start), task.limit)
            )
            for row, h in zip(scores, search.live, strict=True)
        ]
        scores = torch.stack(judged)
    total = (scores + search.live_scores.unsqueeze(1)).flatten()
    # Enough that `beams` of them go on even if every hypothesis offers all its ends.
    wanted = max(2, 1 + len(task.ends)) * task.sampling.beams
    best = total.topk(min(wanted, len(total)))
    size = logits_BV.shape[-1]
    places = [divmod(index, size) for index in best.indices.tolist()]
    candidates = [
        task.extended(search.live[parent], token, logprobs[parent]) for parent, token in places
    ]
    return candidates, [parent for parent, _ in places], best.values
