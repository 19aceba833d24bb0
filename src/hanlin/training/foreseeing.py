"""``--dry-run``: the forecast of any run; of a task from its own records, which are read for it."""

from typing import Any

import numpy as np

from hanlin.data.loader import Loader
from hanlin.training.config import TrainConfig
from hanlin.training.corpus import given_tokenizer, learn_tokenizer
from hanlin.training.forecast import CorpusFacts, Forecast, forecast
from hanlin.training.measuring import measure
from hanlin.training.objectives import RecordObjective, on_records
from hanlin.training.starting_model import fitted_to
from hanlin.training.surveying import model_of, survey
from hanlin.training.task_records import read_parts, texts_of

_STEPS = 8  # whose sizes are looked at, and of whose micro-batches a middling one is measured


def foresee(config: TrainConfig) -> Forecast:
    """What the run of `config` will come to; reads its data, measures some steps, writes nothing.

    Raises what reading them raises.
    """
    objective = config.objective.build()
    if on_records(objective):
        return _of_task(config, objective)
    facts, tokenizer = survey(config)
    model, _ = fitted_to(model_of(config, tokenizer), objective, ())
    return forecast(config, model, facts)


def _of_task(config: TrainConfig, objective: RecordObjective) -> Forecast:
    train, _ = read_parts(config, objective, tell=lambda text: None)
    tokenizer = given_tokenizer(config) or learn_tokenizer(config, texts_of(train))
    model, fitted = fitted_to(model_of(config, tokenizer), objective, train)
    batch = config.batch
    examples = fitted.examples(train, tokenizer=tokenizer, length=batch.length, seed=config.seed)
    sizes: dict[str, Any] = {"tokens": batch.tokens}
    if batch.tokens is None:
        sizes = {"sequences": batch.sequences, "micro": batch.micro}
    loader = Loader(examples, fitted.collate, seed=config.seed, **sizes)
    steps = [loader.step(number) for number in range(_STEPS)]
    per_step = round(float(np.mean([sum(part.tokens for part in step) for step in steps])))
    parts = sorted((part for step in steps for part in step), key=lambda part: part.tokens)
    facts = CorpusFacts(
        tokens=round(per_step * loader.steps_per_epoch),
        bytes=sum(len(text.encode()) for text in texts_of(train)),
        documents=len(train),
    )
    measured = measure(model, config, task=(fitted, parts[len(parts) // 2]))
    return forecast(config, model, facts, measured=measured, tokens_per_step=per_step)
