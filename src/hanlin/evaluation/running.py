"""`evaluate`: a model and its baselines on one text, side by side."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hanlin.errors import ConfigError, InputError, nearest
from hanlin.evaluation.result import Evaluation, Measured
from hanlin.evaluation.scores import TextScore, Totals, Units
from hanlin.evaluation.texts import Sources, Texts, of_texts, read_texts
from hanlin.progress import Progress
from hanlin.text.reading import ReadSettings

if TYPE_CHECKING:
    from hanlin.tasks import LanguageModel, Model


def evaluate(
    model: "str | Path | Model",
    data: Sources | None = None,
    *,
    texts: Iterable[str] | None = None,
    baselines: Sources = (),
    context: int | None = None,
    stride: int | None = None,
    stream: bool = False,
    metrics: Sequence[str] | None = None,
    limit: int | None = None,
    dtype: str = "float32",
    seed: int = 0,
    settings: ReadSettings | None = None,
) -> Evaluation:
    """Loss, perplexity and bits per byte of a model on texts, with 95 % intervals.

    data: files, folders or globs; or else `texts`. Every document is read by itself, each of its
    tokens scored once, after at most `context` tokens (default: the model's own limit, 4096 at
    most); a longer document in windows that move on by `stride` (default: half the context).
    stream: all documents as one text. metrics: names of those wanted (None: all). limit: bytes
    read. baselines: text to train an n-gram model on and to give the compressors xz and zstd.
    seed: of the bootstrap. settings: how files are read.

    Raises `NotFoundError`, `InputError` where there is nothing to score, `ConfigError` for a
    setting.
    """
    if (data is None) == (texts is None):
        raise ConfigError("Give the files to evaluate on, or `texts`, and not both.")
    if data is not None:
        held_out = read_texts(data, limit=limit, stream=stream, settings=settings)
    else:
        held_out = of_texts(texts or (), limit=limit, stream=stream)
    sources = _listed(baselines)
    training = _training(sources, settings) if sources else None
    lm = _loaded(model, dtype)
    notes = list(held_out.notes)
    measured, totals = _decoder(
        lm, held_out, context=context, stride=stride, stream=stream, dtype=dtype, seed=seed
    )
    if lost := _lost(lm, held_out.texts):
        notes.append(
            f"The tokenizer does not give back {lost} of {len(held_out.texts)} documents as they "
            "were: what it loses is not in the bits, so bits per byte are too low."
        )
    measured = _only(measured, metrics)
    beside: list[Measured] = []
    if training is not None:
        from hanlin.evaluation.baselines import compressor, ngram, overlap
        from hanlin.evaluation.compression import COMPRESSORS

        notes += [f"Training text: {note}" for note in training.notes]
        if share := overlap(training, held_out):
            notes.append(
                f"{share:.0%} of the evaluated text stands word for word in the training text: "
                "what is measured there is memory."
            )
        beside.append(_only(ngram(training, held_out, model=totals, seed=seed), metrics))
        beside += [compressor(name, training, held_out) for name in COMPRESSORS]
    return Evaluation(
        model=measured,
        baselines=tuple(beside),
        documents=len(held_out.texts),
        bytes=held_out.bytes,
        trained_on=tuple(sources),
        notes=tuple(notes),
    )


def _only(measured: Measured, names: Sequence[str] | None) -> Measured:
    """With the metrics that were asked for."""
    if names is None:
        return measured
    for name in names:
        if name not in measured.metrics:
            raise ConfigError(
                f"There is no metric {name!r} of {measured.name}."
                f"{nearest(name, list(measured.metrics))} Choose among "
                f"{', '.join(measured.metrics)}."
            )
    return replace(measured, metrics={name: measured.metrics[name] for name in names})


def _listed(sources: Sources) -> list[str]:
    return [str(sources)] if isinstance(sources, str | Path) else [str(s) for s in sources]


def _training(sources: Sequence[str], settings: ReadSettings | None) -> Texts:
    from hanlin.evaluation.baselines import TRAINING_BYTES

    return read_texts(sources, limit=TRAINING_BYTES, settings=settings)


def _loaded(model: "str | Path | Model", dtype: str) -> "LanguageModel":
    from hanlin.tasks import LanguageModel, load

    lm = load(model, dtype=dtype) if isinstance(model, str | Path) else model
    if not isinstance(lm, LanguageModel):
        raise InputError(
            f"{lm.name} is {lm.kind}, which gives a text no probability. Evaluate a language model."
        )
    return lm


def _decoder(
    lm: "LanguageModel",
    texts: Texts,
    *,
    context: int | None,
    stride: int | None,
    stream: bool,
    dtype: str,
    seed: int,
) -> tuple[Measured, Totals]:
    from hanlin.evaluation.decoders import Reading, score_texts

    reading = Reading.of(lm, context=context, stride=stride)
    begin = time.perf_counter()
    with Progress(f"evaluating {lm.name}", total=texts.bytes, unit="B") as progress:
        scores: list[TextScore] = score_texts(lm, texts.texts, reading, progress=progress.advance)
    seconds = time.perf_counter() - begin
    totals = Totals.of(Units(texts.texts), scores)
    about = {
        "tokenizer": lm.tokenizer.hash[:8],
        **reading.about(lm.tokenizer),
        "documents": "one-stream" if stream else "separate",
        "dtype": dtype,
    }
    measured = Measured(
        name=lm.name,
        metrics=totals.metrics(about, seed=seed),
        tokens=int(totals.tokens.sum()),
        seconds=seconds,
    )
    return measured, totals


def _lost(lm: "LanguageModel", texts: Sequence[str]) -> int:
    """How many texts the tokenizer does not give back."""
    encoded = lm.tokenizer.encode_batch(texts, add_special_tokens=False)
    return sum(lm.tokenizer.decode(ids) != text for ids, text in zip(encoded, texts, strict=True))
