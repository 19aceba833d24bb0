"""A model at its task: measured on records, beside other models and the simple judges."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hanlin.config import check, refuse
from hanlin.errors import ConfigError, HanlinError, InputError
from hanlin.evaluation.comparison import compared, standing, strongest
from hanlin.evaluation.judged import Judged
from hanlin.evaluation.judging import TASKS, measure, usable
from hanlin.evaluation.origin import Origin
from hanlin.evaluation.result import Evaluation, Measured
from hanlin.evaluation.scores import METRICS as LIKELIHOOD
from hanlin.evaluation.task_page import columns
from hanlin.metrics import Comparison, Score
from hanlin.metrics.labels import positive_of
from hanlin.progress import Progress
from hanlin.reports.words import Words, number

if TYPE_CHECKING:
    from hanlin.evaluation.contamination import Contamination
    from hanlin.evaluation.texts import Sources
    from hanlin.tasks import Model
    from hanlin.text.reading import ReadSettings
    from hanlin.training.sections import DataSettings

WRITING = tuple(task for task, module in TASKS.items() if module == "writing")
"""Tasks whose answers are decoded."""


def task_of(model: "Model", origin: Origin, metrics: Sequence[str] | None) -> str | None:
    """The task that a loaded model is measured at; None where it gives texts a probability."""
    from hanlin.evaluation.written_metrics import METRICS as WRITTEN
    from hanlin.tasks import Classifier, Encoder, MaskedLanguageModel
    from hanlin.tasks.extractor import Extractor
    from hanlin.tasks.tagger import Tagger

    for kind, task in ((Classifier, "classify"), (Tagger, "tag"), (Extractor, "extract")):
        if isinstance(model, kind):
            return task
    if isinstance(model, Encoder) and not isinstance(model, MaskedLanguageModel):
        return "embed"
    learnt = origin.task.get("name")
    if metrics is not None:
        if set(metrics) <= set(LIKELIHOOD):
            return None
        coder = model.network.config.shape == "encoder-decoder"
        if coder and learnt not in WRITING and set(metrics) & set(WRITTEN):
            return "seq2seq"
    return learnt if learnt in (*WRITING, "prefer") else None


@dataclass(frozen=True, kw_only=True)
class TaskRequest:
    """How a task is to be measured; what means nothing to the task is refused."""

    metrics: Sequence[str] | None = None
    metric_settings: Mapping[str, Mapping[str, Any]] | None = None
    """Of written texts."""
    decoding: Mapping[str, Any] = field(default_factory=dict)
    """Of written texts."""
    positive: str | None = None
    """The positive label of two."""
    baselines: "Sources | None" = None
    """What a classifier's simple judges are trained on; None: the rows that the model was trained
    on, where hanlin.json says them and they are still there; (): no such judges."""
    training_text: "Sources | None" = None
    """Text in which the examples are looked for."""
    reading: "ReadSettings | None" = None
    """How it is read."""
    seed: int = 0

    def check(self, task: str, name: str) -> None:
        """Raise `ConfigError` for a setting that would be ignored."""
        for what, given in (("decoding", self.decoding), ("metric_settings", self.metric_settings)):
            if given and task not in WRITING:
                raise ConfigError(
                    f"{name} writes nothing, so {what} ({', '.join(given)}) would be ignored. "
                    "Leave it out."
                )
        if task != "classify" and self.positive is not None:
            raise ConfigError(f"For the task {task}, positive would be ignored. Leave it out.")
        if task != "classify" and self.baselines:
            raise ConfigError(
                f"There are no baselines for {task}, so they would be ignored. Leave baselines out."
            )


def evaluate_task(
    model: "Model",
    others: Sequence["Model"],
    request: TaskRequest,
    *,
    task: str,
    origin: Origin,
    settings: "DataSettings",
) -> Evaluation:
    """Measure `model`, `others` and, of a classifier, the simple judges on the same records.

    Raises what the task's objective raises of the data, `InputError` for a model that cannot do the
    task, and `ConfigError` for a setting that would be ignored.
    """
    request.check(task, model.name)
    notes: list[str] = []
    objective, seed = _objective(task, origin), request.seed
    records = objective.read(settings.train, settings, tell=notes.append)
    own: dict[str, Any] = {}
    if task in WRITING:
        own = {"objective": objective, "decoding": request.decoding}
    records = _usable((model, *others), records, notes, task=task, seed=seed, **own)
    if task in WRITING:
        own["metric_settings"] = request.metric_settings
    elif task == "classify":
        own = _labels((model, *others), request.positive, notes)
    against = task == "prefer" and bool(others)
    asked = {"task": task, "metrics": None if against else request.metrics, "seed": seed, **own}
    overlap = _overlap(records, request, notes)  # before hours of work, not after
    first, *beside = (_measured(one, records, asked) for one in (model, *others))
    if against:
        from hanlin.evaluation import preference

        first = preference.rewarded(first, beside[0], beta=objective.beta, seed=seed)
        first = first.only(request.metrics)
        beside = [one.only([n for n in one.metrics if n in first.metrics]) for one in beside]
    judges: list[Judged] = []
    trained_on: tuple[str, ...] = ()
    if task == "classify" and request.baselines != ():
        training, trained_on, why = _training(objective, origin, request.baselines, settings)
        notes += why
        if training and request.baselines is None and find_spec("sklearn") is None:
            notes.append("No baseline: it needs scikit-learn, of the extra `hanlin[judge]`.")
        elif training:
            judges = _judges(model, training, records, notes, seed=seed, **own)
            known = set(first.metrics)
            judges = [one.only([n for n in one.metrics if n in known]) for one in judges]
    names = list(request.metrics or columns(first.metrics))
    untested = [name for name in names if name not in first.units]
    if untested and (beside or judges):
        notes.append(f"There is no paired test of {', '.join(untested)}: differences may be luck.")
    notes += first.notes
    notes += [
        f"{one.name}: {note}" for one in beside for note in one.notes if note not in first.notes
    ]
    best = strongest(judges, first.main) if judges else None
    return Evaluation(
        model=_row(first),
        others=tuple(_row(one, compared(first, one, names, seed=seed)) for one in beside),
        baselines=tuple(_row(one, compared(first, one, names, seed=seed)) for one in judges),
        documents=len(records),
        task=task,
        verdict=verdict(first, best, seed=seed) if best is not None else "",
        trained_on=trained_on,
        notes=tuple(notes),
        predictions=first.predictions,
        details=first.details,
        contamination=overlap,
    )


def _usable(
    models: Sequence["Model"], records: Sequence[Any], notes: list[str], **asked: Any
) -> list[Any]:
    """The records that every model can be asked about, so that all are asked about the same."""
    every = [(model.name, usable(model, records, **asked)) for model in models]
    for name, fits in every:
        if out := fits.count(False):
            notes.append(
                f"{out} of {len(records)} examples are longer than {name} reads and are left out."
            )
    kept = [record for at, record in enumerate(records) if all(fits[at] for _, fits in every)]
    if not kept:
        raise InputError(
            f"Every example is longer than {' or '.join(name for name, _ in every)} reads. "
            "Give shorter ones."
        )
    return kept


def _labels(models: Sequence[Any], positive: str | None, notes: list[str]) -> dict[str, Any]:
    """The labels of all classifiers together, and the positive one of two."""
    if positive is not None and (several := [model for model in models if model.multiple]):
        raise ConfigError(
            f"{several[0].name} gives a text several labels, so positive would be ignored. Leave "
            "it out."
        )
    every = list(dict.fromkeys(label for model in models for label in model.labels))
    if any(set(model.labels) != set(every) for model in models):
        notes.append(
            "The models do not have the same labels; those of all together are counted: "
            f"{', '.join(every[:20])}{' ...' if len(every) > 20 else ''}."
        )
    place = positive_of(every, positive)
    return {"among": every, "positive": None if place is None else every[place]}


def _overlap(
    records: Sequence[Any], request: TaskRequest, notes: list[str]
) -> "Contamination | None":
    """How much of the examples stands in a training text."""
    if request.training_text is None:
        return None
    from hanlin.evaluation.contamination import contamination
    from hanlin.evaluation.record_texts import texts_in

    texts = [texts_in(record) for record in records]
    found = contamination(texts, request.training_text, settings=request.reading)
    notes += found.notes
    return found


def _objective(task: str, origin: Origin) -> Any:
    from hanlin.training.sections import ObjectiveSettings

    options = dict(origin.options) if origin.objective == task else {}
    if "template" in origin.task and origin.task.get("name") == task:
        options["template"] = origin.task["template"]
    return ObjectiveSettings(name=task, options=options).build()  # type: ignore[arg-type]


def _measured(model: "Model", records: Sequence[Any], asked: Mapping[str, Any]) -> Judged:
    with Progress(model.name, unit="texts") as progress:
        return measure(model, records, progress=progress.advance, **asked)


def _row(judged: Judged, behind: Mapping[str, Comparison] | None = None) -> Measured:
    return Measured(
        name=judged.name,
        metrics=judged.metrics,
        tokens=None,
        seconds=judged.seconds,
        training_seconds=judged.training_seconds,
        behind=behind or {},
    )


def _training(
    objective: Any, origin: Origin, baselines: "Sources | None", settings: "DataSettings"
) -> tuple[list[Any], tuple[str, ...], list[str]]:
    """The rows that baselines learn from, where they are, and what has to be said of them."""
    if baselines is not None:
        sources = tuple(map(str, [baselines] if isinstance(baselines, str | Path) else baselines))
        notes: list[str] = []
        read = objective.read(sources, replace(settings, train=sources), tell=notes.append)
        return read, sources, [f"Baselines: {note}" for note in notes]
    if not origin.config:
        return [], (), ["No baseline: what the model was trained on is not known (--baselines)."]
    from hanlin.training.config import TrainConfig
    from hanlin.training.task_records import read_parts

    config, problems = check(origin.config, into=TrainConfig)
    refuse(problems)
    assert config is not None
    try:
        training, _ = read_parts(config, objective, tell=lambda _: None)
    except HanlinError as error:
        return [], (), [f"No baseline: the model's training rows cannot be read. {error}"]
    return training, tuple(config.data.train), []


def _judges(
    model: "Model",
    training: Sequence[Any],
    records: Sequence[Any],
    notes: list[str],
    *,
    seed: int,
    **counted: Any,
) -> list[Judged]:
    """The commonest label, and TF-IDF with logistic regression; `counted`: as of the model."""
    from hanlin.evaluation.classification import numbered, of_scores
    from hanlin.evaluation.tfidf import majority, tfidf
    from hanlin.tasks import Classifier

    assert isinstance(model, Classifier)
    labels, multiple = model.labels, model.multiple
    learnt = numbered(training, labels, name=model.name)
    texts = [[_text(record) for record in part] for part in (training, records)]
    found = []
    for name in ("majority", "tfidf"):
        begin = time.perf_counter()
        if name == "majority":
            said = majority(learnt, labels=len(labels), count=len(records))
        else:
            said = tfidf(
                texts[0], learnt, texts[1], labels=len(labels), multiple=multiple, seed=seed
            )
        told = ", ".join(f"{what} {value}" for what, value in said.about.items())
        notes.append(f"{said.name}: {told} rows.")
        found.append(
            of_scores(
                said.scores,
                records,
                name=said.name,
                labels=labels,
                multiple=multiple,
                seed=seed,
                **counted,
                training_seconds=time.perf_counter() - begin,
            )
        )
    return found


def _text(record: Any) -> str:
    """All that a record has to read; a pair as one text."""
    return record.text if record.text_pair is None else f"{record.text}\n{record.text_pair}"


def verdict(model: Judged, baseline: Judged, *, seed: int = 0) -> Words:
    """Whether the model is better than a baseline on these examples, said plainly."""
    metric = model.main
    if metric not in baseline.units or metric not in model.units:
        return ""
    found = compared(model, baseline, [metric], seed=seed)[metric].difference
    by = _by(found)
    stands = standing(metric, found)
    name = baseline.name
    if stands is None:
        return (
            f"There are too few examples to tell the model from {name}.",
            f"样本太少，无法判断模型与 {name} 孰优。",
        )
    if stands > 0:
        return (
            f"The model is better than {name}: {metric} {by}.",
            f"模型优于 {name}：{metric} {by}。",
        )
    if stands < 0:
        return (
            f"The model is worse than {name}, which costs next to nothing: {metric} {by}. It is "
            "not worth its cost here.",
            f"模型不如几乎没有成本的 {name}：{metric} {by}。此处不值得使用该模型。",
        )
    return (
        f"Nothing tells the model from {name}, which costs next to nothing: {metric} {by}. On "
        "these data it is not shown to be worth its cost.",
        f"模型与几乎没有成本的 {name} 没有可辨的差别：{metric} {by}。"
        "在这些数据上，看不出该模型值得其成本。",
    )


def _by(found: Score) -> str:
    sign = "+" if found.value >= 0 else ""
    if found.low is None or found.high is None:
        return f"{sign}{number(found.value, 3)}"
    return f"{sign}{number(found.value, 3)} [{number(found.low, 3)}, {number(found.high, 3)}]"
