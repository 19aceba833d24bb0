"""Beam search: the most probable sequences, found by keeping the best few at every step.

Scores, length penalty and the rules for stopping are those of transformers' generate (version 5),
so the same model gives the same tokens there and here. Prompts share the passes through the model
and nothing else; those whose search has ended leave them.
"""

from collections.abc import Iterator, Sequence
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

    def progress(self, hypothesis: _Hypothesis) -> Progress:
        """Where a hypothesis stands when its next token is chosen."""
        return Progress(self.start + list(hypothesis.tokens), len(self.start), self.limit)

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
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    *,
    chunk: int,
) -> list[list[Generation]]:
    """The n best of `beams` hypotheses for each prompt, best first, with their scores."""
    config, beams = model.config, sampling.beams
    ends = ends_of(config, vocabulary, sampling)
    controls = controls_of(sampling, ends)
    tasks = [
        _Task(
            vocabulary,
            sampling,
            controls,
            ends,
            start := starting_tokens(config, prompt),
            text_before(config, prompt),
            length_limit(config, start, sampling),
        )
        for prompt in prompts
    ]
    cache = model.new_cache(len(tasks), max(len(t.start) + min(t.limit, 256) for t in tasks))
    first = [
        read_prompt(model, cache, row, prompt, task.start, chunk=chunk)
        for row, (prompt, task) in enumerate(zip(prompts, tasks, strict=True))
    ]
    copies = [row for row in range(len(tasks)) for _ in range(beams)]
    cache.select(copies)
    logits = torch.cat(first)[copies]
    searches = [_beginning(task, model.device) for task in tasks]
    going = searches
    while True:
        logprobs = logits.float().log_softmax(-1)
        for search, rows, best in zip(
            going, torch.split(logprobs, beams), _best(going, logprobs), strict=True
        ):
            search.advance(*_continuations(search, rows, *best))
        left = [place for place, search in enumerate(going) if not search.ended]
        if not left:
            break
        cache.select([place * beams + parent for place in left for parent in going[place].parents])
        going = [going[place] for place in left]
        last = [[hypothesis.tokens[-1]] for search in going for hypothesis in search.live]
        logits = model.extend(torch.tensor(last, device=model.device), cache)
    return [
        [
            search.task.result(found, score, prompt_tokens=len(prompt))
            for found, score in zip(search.done, search.done_scores.tolist(), strict=True)
        ][: sampling.n]
        for search, prompt in zip(searches, prompts, strict=True)
    ]


def _beginning(task: _Task, device: torch.device) -> _Search:
    beams = task.sampling.beams
    # Only the first hypothesis counts at first: all are the prompt.
    scores = torch.full((beams,), _OUT, device=device)
    nothing = scores.clone()
    scores[0] = 0.0
    return _Search(task, [_Hypothesis()] * beams, scores, [_Hypothesis()] * beams, nothing)


def _best(searches: Sequence[_Search], logprobs_RV: Tensor) -> Iterator[tuple[list[int], Tensor]]:
    """For each search the best continuations of all its hypotheses together, and their scores.

    A continuation is its hypothesis times V, plus its token.
    """
    task = searches[0].task
    scores = logprobs_RV
    if task.controls.bans:
        live = [(search, hypothesis) for search in searches for hypothesis in search.live]
        scores = torch.stack(
            [
                search.task.controls.judge(row, search.task.progress(hypothesis))
                for row, (search, hypothesis) in zip(scores, live, strict=True)
            ]
        )
    total = scores + torch.cat([search.live_scores for search in searches]).unsqueeze(1)
    total = total.view(len(searches), -1)
    # Enough that `beams` of them go on even if every hypothesis offers all its ends.
    wanted = max(2, 1 + len(task.ends)) * task.sampling.beams
    best = total.topk(min(wanted, total.shape[1]))
    return zip(best.indices.tolist(), best.values, strict=True)


def _continuations(
    search: _Search, logprobs_BV: Tensor, best: list[int], scores_K: Tensor
) -> tuple[list[_Hypothesis], list[int], Tensor]:
    """The best next tokens of the live hypotheses, which each continues, and their scores."""
    places = [divmod(index, logprobs_BV.shape[-1]) for index in best]
    candidates = [
        search.task.extended(search.live[parent], token, logprobs_BV[parent])
        for parent, token in places
    ]
    return candidates, [parent for parent, _ in places], scores_K
