"""`evaluate`: a model, others and baselines on the same data, side by side.

A model that learnt a task is measured at it (`hanlin.evaluation.tasks`). Of others it is measured
what they can say of a text. A decoder gives it a probability; an encoder-decoder gives one to a
target after its source; models trained to repair a text are asked to do that, and their figure is
the loss of it.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hanlin.errors import ConfigError
from hanlin.evaluation.judging import TASKS
from hanlin.evaluation.on_text import OnText, evaluate_text
from hanlin.evaluation.origin import Origin
from hanlin.evaluation.request import Request
from hanlin.evaluation.result import Evaluation
from hanlin.evaluation.scores import METRICS
from hanlin.evaluation.tasks import TaskRequest, evaluate_task, task_of
from hanlin.evaluation.texts import Sources
from hanlin.text.reading import ReadSettings

if TYPE_CHECKING:
    from hanlin.tasks import Model
    from hanlin.training.sections import DataSettings


def evaluate(
    model: "str | Path | Model",
    data: Sources | None = None,
    *,
    texts: Iterable[str] | None = None,
    pairs: Iterable[tuple[str, str]] | None = None,
    against: "Sequence[str | Path | Model]" = (),
    training_text: Sources | None = None,
    columns: Mapping[str, str] | None = None,
    skip_bad: bool = False,
    decoding: Mapping[str, Any] | None = None,
    source: str | None = None,
    target: str | None = None,
    objective: str | None = None,
    baselines: Sources | None = None,
    context: int | None = None,
    stride: int | None = None,
    stream: bool = False,
    metrics: Sequence[str] | None = None,
    metric_settings: Mapping[str, Mapping[str, Any]] | None = None,
    positive: str | None = None,
    limit: int | None = None,
    dtype: str = "float32",
    seed: int = 0,
    settings: ReadSettings | None = None,
) -> Evaluation:
    """How good a model is on some data: `metrics` by name, with 95 % intervals, and baselines.

    data: files, folders or globs; or else `texts`, or `pairs` for an encoder-decoder. against:
    other models on the same data, compared with the first one example by example. training_text:
    files, folders, globs or token shards in which the data are looked for, word by word (see
    `hanlin.evaluation.contamination`).

    A model that learnt a task (classify, tag, extract, seq2seq, instruct, embed, prefer) is
    measured at it, on data in every layout that the task learns from. columns: which column plays
    which part, where it is not plain; skip_bad: leave rows out that cannot be used. decoding:
    settings of generation where texts are written (beams, max_new_tokens ...). A classifier stands
    beside the commonest label and TF-IDF with logistic regression, trained on its training rows or
    on `baselines`; positive: the label of two that F1, precision and recall are of (see
    `hanlin.metrics.labels.positive_of`). objective: a task, for a model that does not know its own.

    Other models are measured on text. Of a decoder:
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
    metric_settings: how written texts are scored, {"rouge": {"stemmer": True}} (see
    `hanlin.evaluation.written_metrics.MetricSettings`).
    limit: bytes read. seed: of intervals and of what is hidden. settings: how files of text are
    read; for a task, those of training_text.

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
    lm = _loaded(model, dtype)
    others = [_loaded(other, dtype) for other in against]
    origin = Origin.of(lm.name)
    task = objective if objective in TASKS else None
    on_text = data is None or (objective is not None and task is None)
    if task == "seq2seq" and (
        pairs is not None or (metrics is not None and set(metrics) <= set(METRICS))
    ):
        task = None  # the probability of targets given their sources
    elif task is None and not on_text:
        task = task_of(lm, origin, metrics)
    if task is not None:
        if data is None:
            raise ConfigError(f"{lm.name} is measured at its task, {task}, on files. Give `data`.")
        refused: dict[str, object] = {"limit": limit, "texts": texts}
        if training_text is None:
            refused["settings"] = settings
        request.refuse(f"the task {task}", "context", "stride", "stream")
        if ignored := [name for name, value in refused.items() if value is not None]:
            raise ConfigError(f"For the task {task}, {ignored[0]} would be ignored. Leave it out.")
        listed = [data] if isinstance(data, str | Path) else list(data)
        return evaluate_task(
            lm,
            others,
            TaskRequest(
                metrics=metrics,
                metric_settings=metric_settings,
                decoding=decoding or {},
                positive=positive,
                baselines=baselines,
                training_text=training_text,
                reading=settings,
                seed=seed,
            ),
            task=task,
            origin=origin,
            settings=_rows(listed, source, target, columns, origin, skip_bad=skip_bad),
        )
    on = OnText(
        data=data,
        texts=texts,
        pairs=None if pairs is None else list(pairs),
        source=source,
        target=target,
        limit=limit,
        settings=settings,
        training_text=training_text,
    )
    given: dict[str, object] = {
        "columns": columns,
        "skip_bad": skip_bad,
        "decoding": decoding,
        "metric_settings": metric_settings,
        "positive": positive,
    }
    if ignored := [name for name, value in given.items() if value]:
        raise ConfigError(
            f"{lm.name} is measured on text, so {ignored[0]} would be ignored. Leave it out, or "
            f"name a task as objective: {', '.join(TASKS)}."
        )
    return evaluate_text(
        lm, others, on, request, objective=objective, baselines=baselines, origin=origin
    )


def _loaded(model: "str | Path | Model", dtype: str) -> "Model":
    from hanlin.tasks import load

    return load(model, dtype=dtype) if isinstance(model, str | Path) else model


def _rows(
    sources: Sequence[str | Path],
    source: str | None,
    target: str | None,
    columns: Mapping[str, str] | None,
    origin: Origin,
    *,
    skip_bad: bool,
) -> "DataSettings":
    """How the records of a task are read: columns as given, else as the run was told."""
    from hanlin.training.sections import DataSettings

    data = origin.config.get("data")
    told = data.get("columns", {}) if isinstance(data, dict) else {}
    ends = {"source": source, "target": target}
    return DataSettings(
        train=tuple(map(str, sources)),
        validation=(),
        columns={
            **told,
            **{role: name for role, name in ends.items() if name is not None},
            **(columns or {}),
        },
        skip_bad=skip_bad,
    )
