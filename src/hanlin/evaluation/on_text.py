"""A language model on text: what it can say of it, beside other models and simpler baselines.

A decoder gives a text a probability; an encoder-decoder gives one to a target after its source;
models trained to repair a text are asked to do that, and their figure is the loss of it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from hanlin.data.pairs import Pair, read_pairs
from hanlin.errors import ConfigError, InputError
from hanlin.evaluation.origin import Origin, shard_texts
from hanlin.evaluation.request import Found, Request
from hanlin.evaluation.result import Evaluation
from hanlin.evaluation.texts import Sources, Texts, of_texts, read_texts
from hanlin.metrics.comparison import compare_units
from hanlin.text.reading import ReadSettings

if TYPE_CHECKING:
    from hanlin.evaluation.contamination import Contamination
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
    training_text: Sources | None = None
    """Where all of it is looked for."""

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

    def read_pairs(self, name: str) -> list[Pair]:
        """The pairs for the model of this name. Raises what `hanlin.data.pairs.read_pairs` does."""
        if self.limit is not None:
            raise ConfigError("Pairs are read whole, so limit would be ignored. Leave it out.")
        if self.pairs is not None:
            return list(self.pairs)
        if self.data is None:
            raise ConfigError(
                f"{name} is measured on pairs: a source and a target each. Give these as `pairs`, "
                "or files with the columns `source` and `target`."
            )
        return list(read_pairs(self.data, source=self.source, target=self.target))

    def overlap(self, texts: Sequence[str | Sequence[str]]) -> "Contamination | None":
        """How much of the texts stands in the training text."""
        if self.training_text is None:
            return None
        from hanlin.evaluation.contamination import contamination

        return contamination(texts, self.training_text, settings=self.settings)


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
    _refuse_other_kinds(lm, others)
    held_out = on.read(stream=request.stream) if on.texts is not None else None
    chosen = objective or _objective(lm, origin, paired=on.paired)
    if chosen != "causal-lm" and baselines:
        raise _not_comparable(lm, chosen)
    if chosen == "seq2seq":
        from hanlin.evaluation import pairs

        read = on.read_pairs(lm.name)
        overlap = on.overlap(read)
        found = [pairs.measure(model, read, request) for model in (lm, *others)]
        return _result(*found, request=request, overlap=overlap)
    if on.paired:
        raise ConfigError(f"{lm.name} is measured on texts, not on pairs. Leave the pairs out.")
    if held_out is None:
        held_out = on.read(stream=request.stream)
    training: tuple[list[str], Texts | None] = ([], None)
    if chosen == "causal-lm":
        training = _training(baselines, origin, on.settings)  # before hours of work, not after
    overlap = on.overlap(held_out.texts)
    if chosen == "causal-lm":
        from hanlin.evaluation import decoders

        found = [decoders.measure(model, held_out, request) for model in (lm, *others)]
        result = _result(*found, request=request, overlap=overlap)
        return _beside(result, found[0], held_out, *training, request)
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
    return _result(*found, request=request, overlap=overlap)


def _refuse_other_kinds(lm: "Model", others: Sequence["Model"]) -> None:
    from hanlin.tasks import LanguageModel, MaskedLanguageModel

    shape = lm.network.config.shape
    for model in (lm, *others):
        if not isinstance(model, LanguageModel | MaskedLanguageModel):
            raise InputError(
                f"{model.name} is {model.kind}, which gives a text no probability. Evaluate a "
                "language model."
            )
        if model.network.config.shape != shape:
            raise InputError(
                f"{lm.name} is of the shape {shape} and {model.name} of the shape "
                f"{model.network.config.shape}: what is measured of them cannot be compared. Give "
                "models of one shape."
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
    result: Evaluation,
    found: Found,
    held_out: Texts,
    sources: list[str],
    training: Texts | None,
    request: Request,
) -> Evaluation:
    """The models' figures with those of the baselines beside them."""
    if training is None:
        return result
    from hanlin.evaluation.baselines import compressor, ngram, overlap
    from hanlin.evaluation.compression import COMPRESSORS

    notes = [f"Training text: {note}" for note in training.notes]
    if share := overlap(training, held_out):
        notes.append(
            f"{share:.0%} of the evaluated text stands word for word in the training text: "
            "what is measured there is memory."
        )
    beside = [ngram(training, held_out, model=found.totals, seed=request.seed)]
    if found.totals is not None and not beside[0].behind:
        notes.append(_unpaired(found.measured.name, beside[0].name))
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
        notes=(*result.notes, *notes),
    )


def _result(
    found: Found, *others: Found, request: Request, overlap: "Contamination | None"
) -> Evaluation:
    """The first model, with the others beside it, compared unit by unit where both scored the
    same."""
    rows, notes = [], []
    for other in others:
        behind = {}
        if other.scored == found.scored:
            behind = {
                name: compare_units(other.units[name], units, name, seed=request.seed)
                for name, units in found.units.items()
                if name in other.units
            }
        if not behind:
            notes.append(_unpaired(found.measured.name, other.measured.name))
        rows.append(replace(other.measured, behind=behind))
    return Evaluation(
        model=found.measured,
        others=tuple(rows),
        documents=found.documents,
        bytes=found.bytes,
        notes=(
            *dict.fromkeys(note for one in (found, *others) for note in one.notes),
            *notes,
            *(overlap.notes if overlap is not None else ()),
        ),
        contamination=overlap,
    )


def _unpaired(one: str, other: str) -> str:
    return (
        f"{one} and {other} did not score the same parts of the data, so there is no paired test "
        "of their difference."
    )
