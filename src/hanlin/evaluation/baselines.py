"""The baselines: an n-gram model and byte compressors, trained on one text, measured on another."""

import time

from hanlin.evaluation.compression import COMPRESSORS, compressed_size
from hanlin.evaluation.ngram import NgramModel
from hanlin.evaluation.result import Measured
from hanlin.evaluation.scores import Totals, Units
from hanlin.evaluation.texts import Texts
from hanlin.progress import Progress

TRAINING_BYTES = 1 << 26
"""Of the training text, so many bytes at most are used: counting takes some 50 bytes of memory for
each, and two seconds a megabyte."""


def ngram(
    training: Texts, held_out: Texts, *, model: Totals | None = None, seed: int = 0
) -> Measured:
    """An n-gram model of the training text, on the held-out text; `model`: what to compare with."""
    begin = time.perf_counter()
    with Progress("n-gram", unit="steps") as progress:
        trained = NgramModel.train(
            training.texts, progress=lambda what: progress.advance(note=what)
        )
    ready = time.perf_counter()
    units = Units(held_out.texts) if model is None else model.units
    with Progress("n-gram", total=held_out.bytes, unit="B") as progress:
        scores = trained.score_texts(held_out.texts, progress=progress.advance)
    about = {"ngram": trained.name.replace(" ", "-"), "trained-on": f"{trained.trained_on}B"}
    totals = Totals.of(units, scores)
    return Measured(
        name=trained.name,
        metrics=totals.metrics(dict(about), seed=seed),
        tokens=int(totals.tokens.sum()),
        seconds=time.perf_counter() - ready,
        training_seconds=ready - begin,
        behind={} if model is None else model.behind(totals, seed=seed),
    )


def compressor(name: str, training: Texts, held_out: Texts) -> Measured:
    """One of `COMPRESSORS` on the held-out text, given the training text and alone."""
    begin = time.perf_counter()
    data = [text.encode() for text in held_out.texts]
    before = [text.encode() for text in training.texts]
    total = 2 * held_out.bytes + 2 * training.bytes
    with Progress(name, total=total, unit="B") as progress:
        found = compressed_size(COMPRESSORS[name], data, training=before, progress=progress.advance)
    assert found.given_training is not None
    return Measured(
        name=name,
        metrics={"bits_per_byte": found.given_training, "bits_per_byte_alone": found.alone},
        tokens=None,
        seconds=time.perf_counter() - begin,
    )


def overlap(training: Texts, held_out: Texts, *, passages: int = 50, length: int = 80) -> float:
    """The share of passages of the held-out text that stand word for word in the training text.

    Passages are `length` characters from evenly spaced places.
    """
    joined = "\n".join(held_out.texts)
    step = max(1, len(joined) // passages)
    taken = [joined[at : at + length].strip() for at in range(0, len(joined), step)]
    taken = [passage for passage in taken if len(passage) >= length // 2]
    found = sum(any(passage in text for text in training.texts) for passage in taken)
    return found / max(len(taken), 1)
