"""Judging answers that are found in a text: exact match and F1, as SQuAD and CMRC define them."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hanlin.data.squad import Question
from hanlin.evaluation.judged import Judged, refuse_kind
from hanlin.metrics import cmrc_values, squad_values
from hanlin.metrics.answers import answer_scores
from hanlin.metrics.bootstrap import Floats, ratio
from hanlin.metrics.examples import mostly_han
from hanlin.metrics.units import Units, mean
from hanlin.models.transformer import Transformer
from hanlin.tasks.extractor import Extractor
from hanlin.tasks.model import Model
from hanlin.tokenizers import Tokenizer


@dataclass(frozen=True)
class Missed:
    """A question that was answered otherwise than its right answers."""

    question: str
    said: str
    right: tuple[str, ...]
    f1: float


def measure(
    model: Model,
    records: Sequence[Question],
    *,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Judged:
    """Exact match and F1 of the answers, by whose definition the signature says.

    Where most letters of the right answers are Chinese, CMRC 2018's; else SQuAD's. progress: called
    with the number of windows done. Raises `InputError` for a model that is no extractor.
    """
    usable(model, records)
    assert isinstance(model, Extractor)
    begin = time.perf_counter()
    answers = model(
        [record.question for record in records],
        [record.context for record in records],
        progress=progress,
    )
    seconds = time.perf_counter() - begin
    said = [answer.text for answer in answers]
    right = [[gold.text for gold in record.answers] for record in records]
    chinese = mostly_han(right)
    values = cmrc_values(said, right) if chinese else squad_values(said, right)
    about = "match:cmrc-2018" if chinese else "match:squad-2.0"
    scores = answer_scores(values, right, about=about, seed=seed)
    units = {name: mean(of, about=about) for name, of in values.items()}
    has = np.array([bool(those) for those in right])
    if has.any() and not has.all():
        units |= {f"answerable_{name}": _among(has, of, about) for name, of in values.items()}
        units["unanswerable_accuracy"] = _among(~has, values["exact_match"], about)
    missed = tuple(
        Missed(record.question, text, tuple(those), float(f1))
        for record, text, those, f1 in zip(records, said, right, values["f1"], strict=True)
        if f1 < 1
    )
    return Judged(
        name=model.name,
        metrics={name: scores[name] for name in ("f1", *(n for n in scores if n != "f1"))},
        units=units,
        predictions=said,
        details=tuple(sorted(missed, key=lambda one: one.f1)),
        seconds=seconds,
    )


def usable(model: Model, records: Sequence[Question], **settings: Any) -> list[bool]:
    """All of them: longer texts are read in windows. Raises `InputError` for another model."""
    remedy = "Give an extractor (`hanlin train` makes one with the objective extract)."
    refuse_kind(model, Extractor, lacks="finds no answers in texts", remedy=remedy)
    return [True] * len(records)


def _among(some: NDArray[np.bool_], values: Floats, about: str) -> Units:
    """The mean of the values of some questions."""
    return Units(np.stack([values * some, some], axis=1).astype(np.float64), ratio, about)


def glance(
    network: Transformer, tokenizer: Tokenizer, objective: Any, records: Sequence[Question]
) -> dict[str, float]:
    """What is told while training: F1 and exact match."""
    model = Extractor(
        network,
        tokenizer,
        name="model",
        stride=objective.stride,
        max_answer=objective.max_answer,
        unanswerable=any(not record.answers for record in records),
    )
    metrics = measure(model, records).metrics
    return {name: metrics[name].value for name in ("f1", "exact_match")}
