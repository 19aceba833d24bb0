"""A model at its task: measured on records, beside other models and the simple judges."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hanlin.config import check, refuse
from hanlin.errors import ConfigError, HanlinError
from hanlin.evaluation.comparison import compared, standing
from hanlin.evaluation.judged import Judged
from hanlin.evaluation.judging import TASKS, measure
from hanlin.evaluation.origin import Origin
from hanlin.evaluation.result import Evaluation, Measured
from hanlin.evaluation.scores import METRICS as LIKELIHOOD
from hanlin.metrics import Score
from hanlin.progress import Progress
from hanlin.reports.words import Words, number

if TYPE_CHECKING:
    from hanlin.evaluation.texts import Sources
    from hanlin.tasks import Model
    from hanlin.training.sections import DataSettings

WRITING = tuple(task for task, module in TASKS.items() if module == "writing")
"""Tasks whose answers are decoded."""


def task_of(model: "Model", origin: Origin, metrics: Sequence[str] | None) -> str | None:
    """The task that a loaded model is measured at; None where it gives texts a probability."""
    from hanlin.evaluation.writing import METRICS as WRITTEN
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


def evaluate_task(
    model: "Model",
    others: Sequence["Model"],
    *,
    task: str,
    origin: Origin,
    baselines: "Sources | None",
    settings: "DataSettings",
    metrics: Sequence[str] | None,
    decoding: Mapping[str, Any],
    seed: int,
) -> Evaluation:
    """Measure `model`, `others` and, of a classifier, the simple judges on the same records.

    baselines: what these are trained on; None: the rows that the model was trained on, where
    hanlin.json says them and they are still there; (): no such judges. Raises what the task's
    objective raises of the data, and `ConfigError` for a setting that would be ignored.
    """
    notes: list[str] = []
    objective = _objective(task, origin)
    records = objective.read(settings.train, settings, tell=notes.append)
    asked: dict[str, Any] = {"task": task, "metrics": metrics, "seed": seed}
    if task in WRITING:
        asked |= {"objective": objective, "decoding": decoding}
    elif decoding:
        raise ConfigError(
            f"{model.name} writes nothing, so {', '.join(decoding)} would be ignored. Leave it out."
        )
    if baselines and task != "classify":
        raise ConfigError(
            f"There are no baselines for {task}, so they would be ignored. Leave baselines out."
        )
    found = [_measured(one, records, asked) for one in (model, *others)]
    first, beside = found[0], found[1:]
    judges: list[Judged] = []
    trained_on: tuple[str, ...] = ()
    if task == "classify" and baselines != ():
        training, trained_on, why = _training(objective, origin, baselines, settings)
        notes += why
        if training and baselines is None and find_spec("sklearn") is None:
            notes.append("No baseline: it needs scikit-learn, of the extra `hanlin[judge]`.")
        elif training:
            judges = _judges(model, training, records, notes, seed=seed)
            known = set(first.metrics)
            judges = [one.only([n for n in one.metrics if n in known]) for one in judges]
    return Evaluation(
        model=_row(first),
        others=tuple(_row(one, first, seed=seed) for one in beside),
        baselines=tuple(_row(one, first, seed=seed) for one in judges),
        documents=len(records),
        task=task,
        verdict=verdict(first, judges[-1], seed=seed) if judges else "",
        trained_on=trained_on,
        notes=(*notes, *first.notes),
        predictions=first.predictions,
        details=first.details,
    )


def _objective(task: str, origin: Origin) -> Any:
    from hanlin.training.sections import ObjectiveSettings

    options = dict(origin.options) if origin.objective == task else {}
    if "template" in origin.task and origin.task.get("name") == task:
        options["template"] = origin.task["template"]
    return ObjectiveSettings(name=task, options=options).build()  # type: ignore[arg-type]


def _measured(model: "Model", records: Sequence[Any], asked: Mapping[str, Any]) -> Judged:
    with Progress(model.name, unit="texts") as progress:
        return measure(model, records, progress=progress.advance, **asked)


def _row(judged: Judged, first: Judged | None = None, *, seed: int = 0) -> Measured:
    return Measured(
        name=judged.name,
        metrics=judged.metrics,
        tokens=None,
        seconds=judged.seconds,
        training_seconds=judged.training_seconds,
        behind={} if first is None else compared(first, judged, seed=seed),
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
) -> list[Judged]:
    """The commonest label and TF-IDF with logistic regression, the stronger one last."""
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
    found = compared(model, baseline, seed=seed)[metric].difference
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
