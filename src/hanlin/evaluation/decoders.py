"""Decoders on texts: the negative log probability of every token, each scored once."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hanlin.errors import ConfigError
from hanlin.evaluation.request import Found, Request, about
from hanlin.evaluation.result import Measured
from hanlin.evaluation.scores import METRICS, TextScore, Totals, Units, byte_ends
from hanlin.evaluation.texts import Texts
from hanlin.progress import Progress
from hanlin.tasks.batches import tail_length
from hanlin.tasks.language import LanguageModel
from hanlin.tasks.model import Model
from hanlin.tasks.scoring import Asked, log_probabilities
from hanlin.tokenizers import Tokenizer

CONTEXT = 4096
"""Tokens of context where the model has more, or no limit; a wider one is asked for by name."""


@dataclass(frozen=True)
class Reading:
    """How a decoder reads texts."""

    context: int
    """Tokens that stand before a scored one, at most."""
    stride: int
    """Tokens that each window after the first scores."""
    lead: tuple[int, ...]
    """Begin tokens the tokenizer itself puts before a text: every window begins with them."""
    start: int | None
    """The token a text follows where there is no `lead`; None: its first token is not scored."""

    @classmethod
    def of(cls, lm: LanguageModel, *, context: int | None, stride: int | None) -> "Reading":
        """The settings asked for, or the defaults. Raises `ConfigError` for what cannot be."""
        longest = lm.context
        if context is None:
            context = min(longest or CONTEXT, CONTEXT)
        lead = lead_tokens(lm.tokenizer)
        if longest is not None and context > longest:
            raise ConfigError(
                f"The context is {context}, but {lm.name} reads at most {longest} tokens. "
                f"Give --context {longest} or less."
            )
        if context < len(lead) + 1:
            raise ConfigError(f"The context is {context}; it must be at least {len(lead) + 1}.")
        widest = context - len(lead)
        if stride is None:
            stride = max(1, context // 2)
        if not 1 <= stride <= widest:
            raise ConfigError(
                f"The stride is {stride}; with a context of {context} it must be from 1 to "
                f"{widest}."
            )
        return cls(context, stride, lead, None if lead else lm.start_id)

    def about(self, tokenizer: Tokenizer) -> dict[str, object]:
        """For signatures."""
        if self.lead:
            start = "".join(tokenizer.token(token) for token in self.lead) + "(every window)"
        else:
            start = "not scored" if self.start is None else tokenizer.token(self.start)
        return {"context": self.context, "stride": self.stride, "start": start}


def lead_tokens(tokenizer: Tokenizer) -> tuple[int, ...]:
    """The special tokens the tokenizer puts before a text."""
    whole, bare = tokenizer.encode("a"), tokenizer.encode("a", add_special_tokens=False)
    return tuple(whole[: len(whole) - len(bare) - tail_length(tokenizer)])


def score_texts(
    lm: LanguageModel,
    texts: Sequence[str],
    reading: Reading,
    *,
    progress: Callable[[int], None] | None = None,
) -> list[TextScore]:
    """Score every token of every text; `progress` is called with bytes done."""
    asked, ends, begins = [], [], []
    for text in texts:
        ids, offsets = lm.tokenizer.encode_offsets(text, add_special_tokens=False)
        stops = byte_ends(text, [end for _, end in offsets])
        before = list(reading.lead) or ([] if reading.start is None else [reading.start])
        first = max(len(before), 1)
        asked.append(Asked([*before, *ids], min(first, len(before) + len(ids)), lead=reading.lead))
        skipped = 0 if before else 1
        ends.append(stops[skipped:])
        # Offsets count a character that is cut in two as whole; the token's bytes are exact.
        own = len(lm.tokenizer.token_bytes(ids[0])) if skipped and ids else 0
        begins.append(min(own, int(stops[0])) if own else 0)
    tokens = sum(len(one) for one in ends)
    share = sum(len(text.encode()) for text in texts) / max(tokens, 1)
    scored = log_probabilities(
        lm.network,
        asked,
        context=reading.context,
        stride=reading.stride,
        progress=None if progress is None else lambda done: progress(round(done * share)),
    )
    return [
        TextScore(-one.logprobs, np.asarray(stop), begin, one.greedy)
        for one, stop, begin in zip(scored, ends, begins, strict=True)
    ]


def measure(lm: Model, texts: Texts, request: Request) -> Found:
    """Loss, perplexity, bits per byte and accuracy of a decoder."""
    if not isinstance(lm, LanguageModel) or lm.network.config.shape != "decoder":
        raise ConfigError(
            f"{lm.name} is {lm.kind} of the shape {lm.network.config.shape}: it does not write a "
            "text from left to right. Leave the objective causal-lm out."
        )
    request.wanted(METRICS, default=METRICS, name=lm.name)  # before hours of work, not after
    reading = Reading.of(lm, context=request.context, stride=request.stride)
    begin = time.perf_counter()
    with Progress(f"evaluating {lm.name}", total=texts.bytes, unit="B") as progress:
        scores = score_texts(lm, texts.texts, reading, progress=progress.advance)
    seconds = time.perf_counter() - begin
    totals = Totals.of(Units(texts.texts), scores)
    how = {**about(lm), **reading.about(lm.tokenizer)}
    how["documents"] = "one-stream" if request.stream else "separate"
    measured = Measured(
        name=lm.name,
        metrics=totals.metrics(how, seed=request.seed),
        tokens=int(totals.tokens.sum()),
        seconds=seconds,
    )
    notes = texts.notes
    if lost := _lost(lm, texts.texts):
        notes += (
            f"The tokenizer does not give back {lost} of {len(texts.texts)} documents as they "
            "were: what it loses is not in the bits, so bits per byte are too low.",
        )
    return Found(
        request.only(measured),
        len(texts.texts),
        texts.bytes,
        notes,
        totals,
        {"bits_per_byte": totals.bits},
        totals.scored,
    )


def _lost(lm: LanguageModel, texts: Sequence[str]) -> int:
    """How many texts the tokenizer does not give back."""
    encoded = lm.tokenizer.encode_batch(texts, add_special_tokens=False)
    return sum(lm.tokenizer.decode(ids) != text for ids, text in zip(encoded, texts, strict=True))
