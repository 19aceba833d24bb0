"""A language model on text: what it can say of it, beside other models and simpler baselines.

A decoder gives a text a probability; an encoder-decoder gives one to a target after its source;
models trained to repair a text are asked to do that, and their figure is the loss of it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from hanlin.errors import ConfigError, InputError
from hanlin.evaluation.origin import Origin, shard_texts
from hanlin.evaluation.request import Found, Request
from hanlin.evaluation.result import Evaluation
from hanlin.evaluation.texts import Sources, Texts, of_texts, read_texts
from hanlin.text.reading import ReadSettings

if TYPE_CHECKING:
    from hanlin.tasks import Model


@dataclass(frozen=True, kw_only=True)
class OnText:
    """What is measured on: one of `data`, `texts` and `pairs`, and how it is read."""

    data: Sources | None = None
    texts: Iterable[str] | None = None
    pairs: Iterable[tuple[str, str]] | None = None
    source: str | None = None
    target: str | None = None
    limit: int | None = None
    settings: ReadSettings | None = None

    @property
    def paired(self) -> bool:
        """Whether pairs of texts are meant."""
        return any(given is not None for given in (self.pairs, self.source, self.target))

    def read(self, *, stream: bool) -> Texts:
        """The texts. Raises what `read_texts` raises."""
        if self.texts is not None:
            return of_texts(self.texts, limit=self.limit, stream=stream)
        assert self.data is not None
        return read_texts(self.data, limit=self.limit, stream=stream, settings=self.settings)


def evaluate_text(
    lm: "Model",
    others: Sequence["Model"],
    on: OnText,
    request: Request,
    *,
    objective: str | None,
    baselines: Sources | None,
    origin: Origin,
) -> Evaluation:
    """Measure `lm`, other models of its kind, and of a decoder the baselines on the same text."""
    for model in (lm, *others):
        _refuse_other_kinds(model)
    held_out = on.read(stream=request.stream) if on.texts is not None else None
    chosen = objective or _objective(lm, origin, paired=on.paired)
    if chosen != "causal-lm" and baselines:
        raise _not_comparable(lm, chosen)
    if chosen == "seq2seq":
        found = [_on_pairs(model, on, request) for model in (lm, *others)]
        return _result(*found, request=request)
    if on.paired:
        raise ConfigError(f"{lm.name} is measured on texts, not on pairs. Leave the pairs out.")
    if held_out is None:
        held_out = on.read(stream=request.stream)
    if chosen != "causal-lm":
        from hanlin.evaluation import repair

        found = [
            repair.measure(
                model,
                held_out,
                request,
                objective=chosen,
                origin=origin if model is lm else Origin.of(model.name),
            )
            for model in (lm, *others)
        ]
        return _result(*found, request=request)
    from hanlin.evaluation import decoders

    training = _training(baselines, origin, on.settings)  # before hours of work, not after
    found = [decoders.measure(model, held_out, request) for model in (lm, *others)]
    return _beside(found, held_out, *training, request)


def _refuse_other_kinds(model: "Model") -> None:
    from hanlin.tasks import LanguageModel, MaskedLanguageModel

    if not isinstance(model, LanguageModel | MaskedLanguageModel):
        raise InputError(
            f"{model.name} is {model.kind}, which gives a text no probability. Evaluate a language "
            "model."
        )


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


def _on_pairs(lm: "Model", on: OnText, request: Request) -> Found:
    from hanlin.data.pairs import read_pairs
    from hanlin.evaluation.pairs import measure

    if on.limit is not None:
        raise ConfigError("Pairs are read whole, so limit would be ignored. Leave it out.")
    pairs = on.pairs
    if pairs is None:
        if on.data is None:
            raise ConfigError(
                f"{lm.name} is measured on pairs: a source and a target each. Give these as "
                "`pairs`, or files with the columns `source` and `target`."
            )
        pairs = read_pairs(on.data, source=on.source, target=on.target)
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
    models: Sequence[Found],
    held_out: Texts,
    sources: list[str],
    training: Texts | None,
    request: Request,
) -> Evaluation:
    """The models' figures with those of the baselines beside them."""
    result = _result(*models, request=request)
    if training is None:
        return result
    found = models[0]
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
        result,
        baselines=tuple(beside),
        trained_on=tuple(sources),
        notes=(*found.notes, *notes),
    )


def _result(found: Found, *others: Found, request: Request) -> Evaluation:
    """The first model, with the others beside it: what they need more, document by document."""
    rows = []
    for other in others:
        saved = None
        if found.totals is not None and other.totals is not None:
            saved = found.totals.saved(other.totals, seed=request.seed)
        rows.append(replace(other.measured, saved=saved))
    return Evaluation(
        model=found.measured,
        others=tuple(rows),
        documents=found.documents,
        bytes=found.bytes,
        notes=tuple(dict.fromkeys(note for one in (found, *others) for note in one.notes)),
    )
