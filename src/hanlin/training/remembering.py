"""Before a run: whether what `evaluate.remember` names can be measured when it is over.

`hanlin.evaluation.forgetting` compares the trained model with the one it began as. What would make
that fail is known before the first step: a file that is not there, a model that could not do the
task before, a label that it does not have.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hanlin.errors import ConfigError
from hanlin.models.config import ModelConfig
from hanlin.text.sources import find
from hanlin.tokenizers import Tokenizer
from hanlin.training.config import TrainConfig
from hanlin.training.objectives import Objective, on_records
from hanlin.training.surveying import model_of

JUDGED = ("embed", "prefer")
"""Tasks that are judged by what their models choose: their loss hangs on who else is in the batch,
or on a model that is not there any more."""


def check_remembered(
    settings: TrainConfig, objective: Objective, tokenizer: Tokenizer, trained: ModelConfig
) -> None:
    """Raise `ConfigError`, `NotFoundError` or what reading raises, where nothing could be compared.

    objective: what is learnt, fitted to the network, whose config is `trained`.
    """
    if not settings.evaluate.remember:
        return
    base = model_of(settings, None)
    if not same_task(base, trained):
        raise ConfigError(
            f"evaluate.remember compares with {settings.model}, which has the head {base.head!r} "
            f"and could not {objective.name} before: there is nothing to forget. Leave it out, or "
            "begin with a model of that task."
        )
    for name, sources in settings.evaluate.remember.items():
        if not on_records(objective):
            find(list(sources))
            continue
        records = objective.read(sources, settings.data, tell=lambda text: None)
        for ref, config in ((str(settings.model), base), (str(settings.output), trained)):
            _check_labels(f"evaluate.remember.{name}", ref, records, config)
        if objective.name not in JUDGED:
            fitted_as(objective, records, trained).examples(
                records,
                tokenizer=tokenizer,
                length=settings.batch.length,
                seed=settings.seed,
                validation=True,
            )


def same_task(before: ModelConfig, after: ModelConfig) -> bool:
    """Whether two models do the same kind of thing, so that one can have forgotten it."""
    mine, theirs = (
        (config.shape, config.head, config.problem if config.head == "classify" else "")
        for config in (before, after)
    )
    return mine == theirs


def fitted_as(objective: Any, records: Sequence[Any], config: ModelConfig) -> Any:
    """A task as a model of this config knows it, for measuring: with its labels, all of which count
    the same, as old records need not have each."""
    if config.labels and hasattr(objective, "labels"):
        objective = replace(objective, labels=config.labels)
    if hasattr(objective, "weights"):
        objective = replace(objective, weights="none")
    fit = getattr(objective, "fitted", None)
    return objective if fit is None else fit(records, config)


def _check_labels(where: str, ref: str, records: Sequence[Any], config: ModelConfig) -> None:
    if not config.labels:
        return
    found = dict.fromkeys(
        label
        for record in records
        for label in getattr(record, "labels", getattr(record, "tags", ()))
    )
    if unknown := [label for label in found if label not in config.labels]:
        raise ConfigError(
            f"{where} has the label {unknown[0]!r}, and {ref} has: "
            f"{', '.join(config.labels[:20])}. Leave its records out, or name other ones."
        )
