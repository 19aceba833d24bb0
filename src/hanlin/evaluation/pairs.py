"""Encoder-decoders on pairs: how likely the model finds each target, given its source.

Texts are framed as in training (`hanlin.data.framing`). The end token of a target is scored too,
since a decoder must get it right to stop in time: tokens and nats count it, bytes are those of the
target's text.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hanlin.data.framing import Frame
from hanlin.data.pairs import Pair
from hanlin.errors import ConfigError, InputError
from hanlin.evaluation.decoders import CONTEXT
from hanlin.evaluation.request import Found, Request, about
from hanlin.evaluation.result import Measured
from hanlin.evaluation.scores import METRICS, TextScore, Totals, Units, byte_ends
from hanlin.progress import Progress
from hanlin.tasks.language import LanguageModel
from hanlin.tasks.model import Model
from hanlin.tasks.scoring import Asked, log_probabilities


@dataclass(frozen=True)
class PairScores:
    """Targets that were scored, in order, and what was left out."""

    targets: list[str]
    scores: list[TextScore]
    context: int
    kept: tuple[int, ...]
    """Which of the pairs these are."""
    too_long: int
    """Pairs of which one side is longer than the context."""


def score_pairs(
    lm: LanguageModel,
    pairs: Sequence[Pair],
    *,
    context: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> PairScores:
    """Score the targets of all pairs; `progress` is called with tokens done.

    Raises `ConfigError` where the model does not say how to start, `InputError` where no pair fits.
    """
    start = lm.network.config.decoder_start_id
    if start is None:
        raise ConfigError(
            f"{lm.name} names no token to start decoding from. Set decoder_start_token_id in its "
            "config.json."
        )
    if context is not None and lm.context is not None and context > lm.context:
        raise ConfigError(f"The context is {context}, but {lm.name} reads at most {lm.context}.")
    longest = context or lm.context or CONTEXT
    frame = Frame.of(lm.tokenizer)
    asked, targets, ends, kept = [], [], [], []
    for number, (source, target) in enumerate(pairs):
        read = [*frame.before, *lm.tokenizer.encode(source, add_special_tokens=False), *frame.after]
        ids, offsets = lm.tokenizer.target.encode_offsets(target, add_special_tokens=False)
        written = [*frame.before, *ids, *frame.after]
        if max(len(read), len(written)) > longest:
            continue
        kept.append(number)
        before, after = [0] * len(frame.before), [len(target)] * len(frame.after)
        stops = [*before, *(end for _, end in offsets), *after]
        asked.append(Asked([start, *written], 1, read))
        targets.append(target)
        ends.append(byte_ends(target, stops))
    if not asked:
        raise InputError(f"No pair fits the {longest} tokens that {lm.name} reads. Shorten them.")
    scored = log_probabilities(lm.network, asked, context=None, progress=progress)
    scores = [
        TextScore(-one.logprobs, np.asarray(stop), 0, one.greedy)
        for one, stop in zip(scored, ends, strict=True)
    ]
    return PairScores(targets, scores, longest, tuple(kept), len(pairs) - len(kept))


def measure(lm: Model, pairs: Sequence[Pair], request: Request) -> Found:
    """Loss, perplexity, bits per byte and accuracy of the targets of an encoder-decoder."""
    if not isinstance(lm, LanguageModel) or lm.network.config.shape != "encoder-decoder":
        raise ConfigError(
            f"{lm.name} is {lm.kind} of the shape {lm.network.config.shape}, which reads no pairs. "
            "Evaluate it on texts."
        )
    request.wanted(METRICS, default=METRICS, name=lm.name)  # before hours of work, not after
    request.refuse("pairs", "stride", "stream")
    begin = time.perf_counter()
    with Progress(f"evaluating {lm.name}", unit="tokens") as progress:
        found = score_pairs(lm, pairs, context=request.context, progress=progress.advance)
    seconds = time.perf_counter() - begin
    totals = Totals.of(Units(found.targets), found.scores)
    how = {**about(lm), "scored": "targets+end", "context": found.context}
    measured = Measured(
        name=lm.name,
        metrics=totals.metrics(how, seed=request.seed),
        tokens=int(totals.tokens.sum()),
        seconds=seconds,
    )
    notes: tuple[str, ...] = ()
    if found.too_long:
        notes = (f"{found.too_long} pairs left out: longer than {found.context} tokens.",)
    size = sum(len(target.encode()) for target in found.targets)
    return Found(
        request.only(measured),
        len(found.targets),
        size,
        notes,
        units={"bits_per_byte": totals.bits},
        scored=found.kept,
    )
