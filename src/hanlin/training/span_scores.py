"""Begin and end scores of a span extractor, and the margin from which on it is to answer.

A model that learnt that some texts do not answer compares its best span with no answer; how much
better the span must be is fitted on the validation part, so that the F1 over all its questions is
highest (as the evaluation of SQuAD 2.0 finds it: Rajpurkar et al. 2018).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from hanlin.data.reading_windows import Pieces, Window, ask, pieces_of
from hanlin.data.spans import best_answers, best_threshold
from hanlin.data.squad import Question
from hanlin.metrics import cmrc_values, squad_values
from hanlin.metrics.examples import mostly_han
from hanlin.models.transformer import Transformer
from hanlin.tokenizers import Tokenizer
from hanlin.tokenizers.pair_frame import PairFrame

LENGTH = 384
"""Tokens of a window at most, the question included (Devlin et al. 2019 take as many)."""
BATCH_TOKENS = 4096

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Threshold:
    """The margin from which on an answer is given, and what it did to the questions it was fitted
    on."""

    margin: float
    questions: int
    f1_before: float
    """Mean F1 where every best span above no answer is given, 0 to 1."""
    f1_after: float

    def __str__(self) -> str:
        return (
            f"An answer is given where its score is {self.margin:+.2f} above that of no answer: F1 "
            f"{self.f1_before:.4f} before, {self.f1_after:.4f} with that, on {self.questions} "
            "questions of the validation part."
        )


def window_length(network: Transformer, tokenizer: Tokenizer, learnt: int | None = None) -> int:
    """Tokens of a window in use: `LENGTH`, or fewer where the model reads fewer, or has `learnt`
    from shorter ones only."""
    return network.config.reads(tokenizer.max_length, LENGTH, learnt=learnt) or LENGTH


def window_scores(
    network: Transformer,
    asked: Sequence[Sequence[Window]],
    *,
    pad: int,
    batch_tokens: int = BATCH_TOKENS,
    progress: Callable[[int], None] | None = None,
) -> list[list[Floats]]:
    """Begin and end scores [T, 2] of every window of every question; like lengths are read
    together, which changes no score beyond rounding."""
    windows = [window for several in asked for window in several]
    order = sorted(range(len(windows)), key=lambda i: -len(windows[i].ids))
    found: list[Floats] = [np.zeros((0, 2))] * len(windows)
    typed = network.config.token_types > 1
    with torch.inference_mode():
        while order:
            width = len(windows[order[0]].ids)
            rows = max(1, batch_tokens // width)
            taken, order = order[:rows], order[rows:]
            ids = np.full((len(taken), width), pad, dtype=np.int64)
            types = np.zeros_like(ids)
            for row, i in enumerate(taken):
                ids[row, : len(windows[i].ids)] = windows[i].ids
                types[row, : len(windows[i].types)] = windows[i].types
            lengths = np.array([len(windows[i].ids) for i in taken])
            real = torch.from_numpy(np.arange(width) < lengths[:, None]).to(network.device)
            logits = network(
                torch.from_numpy(ids).to(network.device),
                None if bool(real.all()) else real,
                token_types=torch.from_numpy(types).to(network.device) if typed else None,
            ).logits
            for row, i in enumerate(taken):
                found[i] = logits[row, : lengths[row]].double().cpu().numpy()
            if progress is not None:
                progress(len(taken))
    given = iter(found)
    return [[next(given) for _ in several] for several in asked]


def fit_threshold(
    network: Transformer,
    tokenizer: Tokenizer,
    records: Sequence[Question],
    *,
    length: int | None = None,
    stride: int,
    max_answer: int,
) -> Threshold | None:
    """Fit it on the validation part; None where all or none of its questions have an answer.

    length: see `window_length`. The network is read in eval mode and left in the mode it was in.
    """
    answerable = [bool(record.answers) for record in records]
    if all(answerable) or not any(answerable):
        return None
    frame = PairFrame.of(tokenizer)
    known: dict[str, Pieces] = {}
    asked = []
    window = window_length(network, tokenizer, length)
    for record in records:
        if record.context not in known:
            known[record.context] = pieces_of(record.context, tokenizer)
        question = pieces_of(record.question.strip(), tokenizer).ids
        ids = known[record.context].ids
        asked.append(ask(question, ids, frame, length=window, stride=stride))
    training = network.training
    network.eval()
    try:
        scores = window_scores(network, asked, pad=tokenizer.pad_id or 0)
    finally:
        network.train(training)
    best = [
        best_answers(
            record.context,
            known[record.context].spans,
            windows,
            own,
            n=1,
            max_answer=max_answer,
            with_none=True,
        )[0]
        for record, windows, own in zip(records, asked, scores, strict=True)
    ]
    right = [[answer.text for answer in record.answers] for record in records]
    values = cmrc_values if mostly_han([texts for texts in right if texts]) else squad_values
    gained = np.where(answerable, values([answer.text for answer in best], right)["f1"], 0.0)
    held = np.where(answerable, 0.0, 1.0)
    margins = [answer.margin for answer in best]
    margin = best_threshold(margins, gained.tolist(), held.tolist())
    means = [float(np.where(np.array(margins) >= at, gained, held).mean()) for at in (0.0, margin)]
    return Threshold(margin, len(records), means[0], means[1])
