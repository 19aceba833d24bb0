"""`evaluate`: a model and its baselines on one text, side by side.

What is measured is what the model can say of a text. A decoder gives it a probability; an
encoder-decoder gives one to a target after its source; models trained to repair a text are asked to
do that, and their figure is the loss of it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hanlin.errors import ConfigError, InputError
from hanlin.evaluation.origin import Origin, shard_texts
from hanlin.evaluation.request import Found, Request
from hanlin.evaluation.result import Evaluation
from hanlin.evaluation.texts import Sources, Texts, of_texts, read_texts
from hanlin.text.reading import ReadSettings

if TYPE_CHECKING:
    from hanlin.tasks import LanguageModel, MaskedLanguageModel, Model


def evaluate(
    model: "str | Path | Model",
    data: Sources | None = None,
    *,
    texts: Iterable[str] | None = None,
    pairs: Iterable[tuple[str, str]] | None = None,
    source: str | None = None,
    target: str | None = None,
    objective: str | None = None,
    baselines: Sources | None = None,
    context: int | None = None,
    stride: int | None = None,
    stream: bool = False,
    metrics: Sequence[str] | None = None,
    limit: int | None = None,
    dtype: str = "float32",
    seed: int = 0,
    settings: ReadSettings | None = None,
) -> Evaluation:
    """How good a model is on a text: `metrics` by name, with 95 % intervals, and baselines.

    data: files, folders or globs; or else `texts`, or `pairs` for an encoder-decoder. Of a decoder:
    loss, perplexity, bits_per_byte and accuracy. Every document is read by itself, each token
    scored once, after at most `context` tokens (default: the model's limit, 4096 at most); a longer
    document in windows that move on by `stride` (default: half the context). stream: all documents
    as one. baselines: text for an n-gram model and for xz and zstd; None: what the model itself was
    trained on, where hanlin.json says and it is still there; (): none.

    Of an encoder-decoder: the same for targets given sources, the columns `source` and `target` of
    data (see `hanlin.data.pairs.read_pairs`). Of a masked model, and of one that was trained to
    repair text: the loss of that objective; by name also pseudo_loss, pseudo_perplexity,
    pseudo_bits_per_byte and pseudo_accuracy of a masked model.

    metrics: names of those wanted (None: all but the pseudo ones, which take a pass a token).
    limit: bytes read. seed: of intervals and of what is hidden. settings: how files are read.

    Raises `NotFoundError`, `InputError` where there is nothing to score, `ConfigError` for a
    setting that cannot be met or would be ignored.
    """
    if sum(given is not None for given in (data, texts, pairs)) != 1:
        raise ConfigError("Give the files to evaluate on, or `texts`, or `pairs`: one of them.")
    if metrics is not None and not metrics:
        raise ConfigError("No metric is named. Name one, or leave metrics out.")
    request = Request(
        context=context,
        stride=stride,
        stream=stream,
        metrics=None if metrics is None else tuple(metrics),
        seed=seed,
    )
    paired = pairs is not None or source is not None or target is not None
    held_out: Texts | None = None
    if texts is not None:
        held_out = of_texts(texts, limit=limit, stream=stream)
    lm = _loaded(model, dtype)
    origin = Origin.of(lm.name)
    chosen = objective or _objective(lm, origin, paired=paired)
    if chosen == "seq2seq":
        if baselines:
            raise _not_comparable(lm, chosen)
        found = _on_pairs(lm, data, pairs, request, source=source, target=target, limit=limit)
        return _result(found)
    if paired:
        raise ConfigError(f"{lm.name} is measured on texts, not on pairs. Leave the pairs out.")
    if held_out is None:
        assert data is not None
        held_out = read_texts(data, limit=limit, stream=stream, settings=settings)
    if chosen != "causal-lm":
        from hanlin.evaluation import repair

        if baselines:
            raise _not_comparable(lm, chosen)
        return _result(repair.measure(lm, held_out, request, objective=chosen, origin=origin))
    from hanlin.evaluation import decoders

    training = _training(baselines, origin, settings)  # before hours of work, not after
    found = decoders.measure(lm, held_out, request)
    return _beside(found, held_out, *training, request)


def _loaded(model: "str | Path | Model", dtype: str) -> "LanguageModel | MaskedLanguageModel":
    from hanlin.tasks import LanguageModel, MaskedLanguageModel, load

    lm = load(model, dtype=dtype) if isinstance(model, str | Path) else model
    if not isinstance(lm, LanguageModel | MaskedLanguageModel):
        raise InputError(
            f"{lm.name} is {lm.kind}, which gives a text no probability. Evaluate a language model."
        )
    return lm


def _objective(lm: "Model", origin: Origin, *, paired: bool) -> str:
    """What a model is measured by where nothing is asked for."""
    shape = lm.network.config.shape
    if shape == "decoder":
        return "causal-lm"
    if shape == "encoder":
        return "masked-lm"
    if paired or origin.objective is None:
        return "seq2seq"
    return origin.objective


def _not_comparable(lm: "Model", objective: str) -> ConfigError:
    return ConfigError(
        f"The baselines give a text a probability from left to right, which {lm.name} "
        f"({objective}) does not: they cannot be compared. Leave baselines out."
    )


def _on_pairs(
    lm: "Model",
    data: Sources | None,
    pairs: Iterable[tuple[str, str]] | None,
    request: Request,
    *,
    source: str | None,
    target: str | None,
    limit: int | None,
) -> Found:
    from hanlin.data.pairs import read_pairs
    from hanlin.evaluation.pairs import measure

    if limit is not None:
        raise ConfigError("Pairs are read whole, so limit would be ignored. Leave it out.")
    if pairs is None:
        if data is None:
            raise ConfigError(
                f"{lm.name} is measured on pairs: a source and a target each. Give these as "
                "`pairs`, or files with the columns `source` and `target`."
            )
        pairs = read_pairs(data, source=source, target=target)
    return measure(lm, list(pairs), request)


def _training(
    baselines: Sources | None, origin: Origin, settings: ReadSettings | None
) -> tuple[list[str], Texts | None]:
    """The text of the baselines, and where it is."""
    from hanlin.evaluation.baselines import TRAINING_BYTES

    if baselines is None:
        if len(origin.training) == 1 and (Path(origin.training[0]) / "manifest.json").is_file():
            [place] = origin.training
            return [place], of_texts(shard_texts(place), name=place, limit=TRAINING_BYTES)
        baselines, settings = origin.training, ReadSettings(field=origin.field)
    listed = [baselines] if isinstance(baselines, str | Path) else list(baselines)
    if not listed:
        return [], None
    return [str(one) for one in listed], read_texts(listed, limit=TRAINING_BYTES, settings=settings)


def _beside(
    found: Found, held_out: Texts, sources: list[str], training: Texts | None, request: Request
) -> Evaluation:
    """The model's figures with those of the baselines beside them."""
    if training is None:
        return _result(found)
    from hanlin.evaluation.baselines import compressor, ngram, overlap
    from hanlin.evaluation.compression import COMPRESSORS

    notes = [f"Training text: {note}" for note in training.notes]
    if share := overlap(training, held_out):
        notes.append(
            f"{share:.0%} of the evaluated text stands word for word in the training text: "
            "what is measured there is memory."
        )
    beside = [ngram(training, held_out, model=found.totals, seed=request.seed)]
    beside += [compressor(name, training, held_out) for name in COMPRESSORS]
    if request.metrics is not None:
        shown = set(request.metrics)
        beside = [
            replace(one, metrics={k: v for k, v in one.metrics.items() if k in shown})
            for one in beside
        ]
    return replace(
        _result(found),
        baselines=tuple(beside),
        trained_on=tuple(sources),
        notes=(*found.notes, *notes),
    )


def _result(found: Found) -> Evaluation:
    return Evaluation(
        model=found.measured, documents=found.documents, bytes=found.bytes, notes=found.notes
    )
