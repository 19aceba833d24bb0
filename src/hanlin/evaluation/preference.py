"""Judging preferences: how often the chosen answer is the likelier one.

By the sum of the log probabilities of an answer's tokens, which favours short answers, and by
their mean. Beside the model that it began as (`hanlin evaluate A B DATA`) also by the reward of
DPO: which answer gained more.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from hanlin.data.batch import IGNORE
from hanlin.data.preferences import Preference
from hanlin.data.turns import answer_to
from hanlin.errors import InputError
from hanlin.evaluation.judged import Judged, refuse_kind
from hanlin.metrics.units import mean
from hanlin.tasks.language import LanguageModel
from hanlin.tasks.model import Model
from hanlin.training.objectives.instruct import set_template
from hanlin.training.objectives.prefer import Prefer, answers

_TOGETHER = 4
"""Pairs read at a time."""


def measure(
    model: Model,
    records: Sequence[Preference],
    *,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Judged:
    """chosen_likelier and chosen_likelier_per_token, from 0 to 1.

    Pairs that are longer than the model reads are left out, and said. progress: called with the
    number of pairs done. Raises `InputError` where none is short enough.
    """
    _check(model)
    assert isinstance(model, LanguageModel)
    begin = time.perf_counter()
    objective, longest = _objective(model)
    examples = objective.examples(records, tokenizer=model.tokenizer, length=longest, seed=0)
    # Like lengths together: they are padded little. What does not fit into memory fails at once.
    order = np.argsort(-examples.lengths, kind="stable")
    by_sum, by_mean = torch.empty(2, 2, len(examples), dtype=torch.float64)
    with torch.inference_mode():
        for first in range(0, len(examples), _TOGETHER):
            taken = order[first : first + _TOGETHER].tolist()
            batch = objective.collate([examples.example(n, 0) for n in taken])
            found = answers(model.network, batch).double()
            sizes = (batch.targets != IGNORE).sum(1)
            by_sum[:, taken] = torch.stack(found.chunk(2))
            by_mean[:, taken] = torch.stack((found / sizes).chunk(2))
            if progress is not None:
                progress(len(taken))
    units = {
        "chosen_likelier": mean((by_sum[0] > by_sum[1]).tolist(), about="by:sum"),
        "chosen_likelier_per_token": mean((by_mean[0] > by_mean[1]).tolist(), about="by:mean"),
    }
    return Judged(
        name=model.name,
        metrics={name: of.score(seed=seed) for name, of in units.items()},
        units=units,
        predictions=by_sum.T.tolist(),
        seconds=time.perf_counter() - begin,
        notes=examples.notes,
    )


def rewarded(judged: Judged, reference: Judged, *, beta: float, seed: int = 0) -> Judged:
    """With preference_accuracy (0 to 1) and reward_margin (nats) before the other metrics.

    An answer's reward is `beta` times what its log probability gained against `reference`, which
    was asked about the same pairs (Rafailov et al. 2023); of equal rewards half counts as right, as
    in `Prefer.measure`.
    """
    gap, before = (np.array(one.predictions) @ [1.0, -1.0] for one in (judged, reference))
    margins = beta * (gap - before)
    about = f"reference:{reference.name}|beta:{beta:g}"
    units = {
        "preference_accuracy": mean(np.heaviside(margins, 0.5), about=about),
        "reward_margin": mean(margins, about=about),
    }
    note = (
        f"preference_accuracy: of how many pairs the chosen answer gained more on {reference.name} "
        f"than the rejected one; reward_margin: how much more, in nats times beta ({beta:g})."
    )
    return replace(
        judged,
        metrics={name: of.score(seed=seed) for name, of in units.items()} | dict(judged.metrics),
        units=units | dict(judged.units),
        notes=(*judged.notes, note),
    )


def usable(model: Model, records: Sequence[Preference], **settings: Any) -> list[bool]:
    """Whether the model can read both conversations of each pair. Raises `InputError` for a model
    that writes nothing."""
    _check(model)
    assert isinstance(model, LanguageModel)
    objective, longest = _objective(model)
    set_template(model.tokenizer, objective.template, records)
    found = []
    for pair in records:
        shown = {"tools": list(pair.tools)} if pair.tools else {}
        try:
            both = [
                answer_to(pair.messages, answer, model.tokenizer, **shown)[0]
                for answer in (pair.chosen, pair.rejected)
            ]
        except InputError as error:
            raise InputError(f"{pair.where}: {error}" if pair.where else str(error)) from error
        found.append(max(map(len, both)) <= longest + 1)
    return found


def _check(model: Model) -> None:
    refuse_kind(model, LanguageModel, lacks="answers nothing", remedy="Give a language model.")


def _objective(model: LanguageModel) -> tuple[Prefer, int]:
    """How pairs are put to the model, and the tokens of the longest."""
    objective = Prefer(template="own" if model.tokenizer.chat_template else "chatml")
    return objective, model.context or model.network.config.max_context
