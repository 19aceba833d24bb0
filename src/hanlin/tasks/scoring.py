"""How likely a model finds a text: each token scored once, given as much as fits before it.

Long texts are read in overlapping windows, short ones together in batches. A decoder never looks
ahead, so rows are padded on the right without a mask and no number depends on the padding.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hanlin.models.heads import VocabularyHead
from hanlin.models.transformer import Transformer

BATCH_TOKENS = 4096
"""Tokens read at a time, padding counted; changes no result beyond rounding."""
_LOGITS = 1 << 24
"""Logits held at a time: 64 MiB."""


@dataclass(frozen=True)
class Likelihood:
    """How likely a model finds a text. Logarithms are natural."""

    log_likelihood: float
    """The sum of `logprobs`."""
    tokens: tuple[int, ...]
    """The ids that were scored."""
    logprobs: tuple[float, ...]
    """Log probability of each, given all before it (a masked language model: all others)."""
    is_greedy: bool
    """Whether each was the model's first choice."""
    bytes: int
    """Length of the scored text in UTF-8."""

    @property
    def perplexity(self) -> float:
        """exp of the mean negative log probability of a token."""
        return math.exp(-self.log_likelihood / len(self.tokens))

    @property
    def bits_per_byte(self) -> float:
        """Negative log2 likelihood over bytes: comparable between tokenizers."""
        return -self.log_likelihood / math.log(2) / self.bytes


@dataclass(frozen=True)
class Window:
    """ids[begin:end] are read; those from `first` on are scored."""

    begin: int
    first: int
    end: int


def windows(
    first: int, length: int, context: int | None, *, stride: int | None = None, lead: int = 0
) -> list[Window]:
    """Cut ids [0, length) so that each from `first` on is scored once.

    At most `context` ids stand before a scored one (None: no limit). The first window is full; each
    later one scores `stride` ids (default: half a context), so every one of them sees at least
    context - stride before it. lead: how many ids are put before every later window.
    """
    if context is None:
        return [Window(0, first, length)]
    stride = max(1, context // 2) if stride is None else stride
    found = []
    while first < length:
        end = min(length, max(first + stride, context + 1))
        begin = 0 if end - 1 <= context else end - 1 - (context - lead)
        found.append(Window(begin, first, end))
        first = end
    return found


@dataclass(frozen=True)
class Asked:
    """ids[first:] are to be scored, each given those before it."""

    ids: Sequence[int]
    first: int
    source: Sequence[int] | None = None
    """What an encoder-decoder reads; `ids` are then its decoder's, start token first."""
    lead: Sequence[int] = ()
    """The begin tokens that this model wants before every later window, not only at the start."""


@dataclass(frozen=True)
class Scored:
    """What a model made of ids[first:] of an `Asked`."""

    logprobs: NDArray[np.float64]
    greedy: NDArray[np.bool_]
    """Whether each was the model's first choice."""


def log_probabilities(
    network: Transformer,
    sequences: Sequence[Asked],
    *,
    context: int | None,
    stride: int | None = None,
    batch_tokens: int = BATCH_TOKENS,
    progress: Callable[[int], None] | None = None,
) -> list[Scored]:
    """Score every sequence; windows of all of them share batches, longest first.

    context, stride: as in `windows`. progress: called with how many tokens were just scored.
    """
    cut = [
        (number, window)
        for number, asked in enumerate(sequences)
        for window in windows(
            asked.first, len(asked.ids), context, stride=stride, lead=len(asked.lead)
        )
    ]
    counts = [len(asked.ids) - asked.first for asked in sequences]
    results = [Scored(np.zeros(count), np.zeros(count, dtype=np.bool_)) for count in counts]
    with torch.inference_mode():
        for batch in _batches(sequences, cut, batch_tokens):
            values, best = _scored(network, [_row(sequences[n], w) for n, w in batch])
            done = 0
            for number, window in batch:
                asked, result = sequences[number], results[number]
                part = slice(window.first - asked.first, window.end - asked.first)
                taken = slice(done, done + window.end - window.first)
                result.logprobs[part], result.greedy[part] = values[taken], best[taken]
                done = taken.stop
            if progress is not None:
                progress(done)
    return results


@dataclass(frozen=True)
class _Row:
    inputs: Sequence[int]
    targets: Sequence[int]
    """The last of what comes after each input."""
    source: Sequence[int] | None


def _row(asked: Asked, window: Window) -> _Row:
    inputs = list(asked.ids[window.begin : window.end - 1])
    if window.begin > 0:
        inputs = [*asked.lead, *inputs]
    return _Row(inputs, asked.ids[window.first : window.end], asked.source)


def _batches(
    sequences: Sequence[Asked], cut: list[tuple[int, Window]], batch_tokens: int
) -> Iterator[list[tuple[int, Window]]]:
    def length(item: tuple[int, Window]) -> int:
        number, window = item
        return window.end - window.begin + len(sequences[number].source or ())

    cut = sorted(cut, key=length, reverse=True)
    start = 0
    while start < len(cut):
        rows = max(1, batch_tokens // length(cut[start]))
        yield cut[start : start + rows]
        start += rows


def _scored(
    network: Transformer, rows: list[_Row]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The log probability of every row's targets, one after the other, and whether likeliest."""
    ids, _ = _padded([row.inputs for row in rows], network.device)
    if rows[0].source is None:
        hidden = network.hidden(ids)
    else:
        source, mask = _padded([row.source or () for row in rows], network.device)
        hidden = network.hidden(source, mask, ids)
    wanted = torch.cat(
        [
            states[len(row.inputs) - len(row.targets) : len(row.inputs)]
            for states, row in zip(hidden, rows, strict=True)
        ]
    )
    targets = torch.tensor([t for row in rows for t in row.targets], device=network.device)
    assert isinstance(network.head, VocabularyHead)
    return gathered(network.head, wanted, targets)


@dataclass(frozen=True)
class Cloze:
    """A text for a masked model, and what it is to guess."""

    ids: Sequence[int]
    """As it is read, mask tokens in place."""
    places: Sequence[int]
    targets: Sequence[int]
    """What belongs at each place."""


def guesses(
    network: Transformer, clozes: Sequence[Cloze], *, batch_tokens: int = BATCH_TOKENS
) -> list[Scored]:
    """The log probability of every target, given all that is shown; longest texts first."""
    assert isinstance(network.head, VocabularyHead)
    results: list[Scored | None] = [None] * len(clozes)
    order = sorted(range(len(clozes)), key=lambda i: -len(clozes[i].ids))
    with torch.inference_mode():
        while order:
            rows = max(1, batch_tokens // len(clozes[order[0]].ids))
            taken, order = order[:rows], order[rows:]
            ids, mask = _padded([clozes[i].ids for i in taken], network.device)
            states = network.hidden(ids, mask)
            counts = [len(clozes[i].places) for i in taken]
            row = torch.repeat_interleave(torch.arange(len(taken)), torch.tensor(counts))
            places = torch.tensor([place for i in taken for place in clozes[i].places])
            targets = [target for i in taken for target in clozes[i].targets]
            values, best = gathered(
                network.head, states[row, places], torch.tensor(targets, device=network.device)
            )
            for i, end, count in zip(taken, np.cumsum(counts), counts, strict=True):
                results[i] = Scored(values[end - count : end], best[end - count : end])
    return [result for result in results if result is not None]


def gathered(
    head: VocabularyHead, states_ND: Tensor, targets_N: Tensor
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The log probability of each target, and whether it was the likeliest; logits in chunks."""
    values, best = [], []
    step = max(1, _LOGITS // head.projection.out_features)
    for start in range(0, len(targets_N), step):
        # As one sequence [1, n, D]: packed layers multiply those fastest.
        logits = head(states_ND[start : start + step].unsqueeze(0))[0]
        if logits.dtype != torch.float64:
            logits = logits.float()
        targets = targets_N[start : start + step]
        chosen = logits.gather(1, targets.unsqueeze(1))[:, 0]
        values.append((chosen - logits.logsumexp(-1)).double().cpu())
        best.append((logits.argmax(-1) == targets).cpu())
    return torch.cat(values).numpy(), torch.cat(best).numpy()


def _padded(
    sequences: Sequence[Sequence[int]], device: torch.device
) -> tuple[Tensor, Tensor | None]:
    """Ids [B, T] padded on the right, and which are real (None where all are)."""
    width = max(map(len, sequences))
    ids = torch.zeros(len(sequences), width, dtype=torch.long)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = torch.tensor(sequence)
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    mask = torch.arange(width) < lengths.unsqueeze(1)
    return ids.to(device), None if bool(mask.all()) else mask.to(device)
