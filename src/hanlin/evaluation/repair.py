"""Models that repair a text, rather than write it from left to right: what is measured of them."""

import time

from hanlin.errors import ConfigError, nearest
from hanlin.evaluation.masked import pseudo_scores
from hanlin.evaluation.objective import LENGTH, LOSSES, objective_loss
from hanlin.evaluation.origin import Origin
from hanlin.evaluation.request import Found, Request, about
from hanlin.evaluation.result import Measured
from hanlin.evaluation.scores import Totals, Units
from hanlin.evaluation.texts import Texts
from hanlin.metrics import Score
from hanlin.metrics.units import Units as MetricUnits
from hanlin.progress import Progress
from hanlin.tasks import MaskedLanguageModel, Model

PSEUDO = {
    "pseudo_loss": "loss",
    "pseudo_perplexity": "perplexity",
    "pseudo_bits_per_byte": "bits_per_byte",
    "pseudo_accuracy": "accuracy",
}
"""Metrics of the pseudo log likelihood, as `Totals.metrics` names them."""


def measure(lm: Model, texts: Texts, request: Request, *, objective: str, origin: Origin) -> Found:
    """The loss of `objective`, and the pseudo metrics that are asked for by name.

    Raises `ConfigError` for an objective that is not known, and for metrics it does not have.
    """
    if objective not in LOSSES:
        known = ["causal-lm", "seq2seq", *LOSSES]
        raise ConfigError(
            f"There is no objective {objective!r}.{nearest(objective, known)} Choose one of "
            f"{', '.join(known)}."
        )
    own = LOSSES[objective]
    pseudo = PSEUDO if isinstance(lm, MaskedLanguageModel) else {}
    wanted = request.wanted([own, *pseudo], default=[own], name=lm.name)
    asked_pseudo = [name for name in wanted if name in pseudo]
    if not asked_pseudo:
        request.refuse(objective, "stride")
    begin = time.perf_counter()
    found: dict[str, Score] = {}
    units: dict[str, MetricUnits] = {}
    scored: list[object] = [lm.tokenizer.hash]
    tokens = 0
    if own in wanted:
        same = origin.objective == objective
        options = origin.options if same else {}
        trained = origin.config.get("batch", {}).get("length") if same else None
        length = request.context or _length(lm, trained)
        scored += [objective, length, repr(sorted(options.items()))]
        with Progress(f"evaluating {lm.name}", total=1.0) as progress:
            found[own], units[own] = objective_loss(
                lm.network,
                lm.tokenizer,
                texts.texts,
                objective=objective,
                options=options,
                length=length,
                seed=request.seed,
                progress=progress.advance,
            )
        tokens = int(units[own].statistics[:, 1].sum())
    if asked_pseudo:
        assert isinstance(lm, MaskedLanguageModel)
        totals, every = _pseudo(lm, texts, request)
        tokens = int(totals.tokens.sum())
        units |= {"pseudo_bits_per_byte": totals.bits}
        found |= {name: every[PSEUDO[name]] for name in asked_pseudo}
    measured = Measured(
        name=lm.name,
        metrics={name: found[name] for name in wanted},
        tokens=tokens,
        seconds=time.perf_counter() - begin,
    )
    units = {name: of for name, of in units.items() if name in wanted}
    return Found(
        measured, len(texts.texts), texts.bytes, texts.notes, units=units, scored=tuple(scored)
    )


def _length(lm: Model, trained: int | None) -> int:
    """Tokens of a sequence: what the model was trained on, whose further positions may mean
    nothing to it; else what it takes, within reason."""
    if trained is not None:
        return trained
    return lm.network.config.reads(LENGTH) or LENGTH


def _pseudo(
    lm: MaskedLanguageModel, texts: Texts, request: Request
) -> tuple[Totals, dict[str, Score]]:
    with Progress(f"evaluating {lm.name}", total=texts.bytes, unit="B") as progress:
        scores, how = pseudo_scores(
            lm,
            texts.texts,
            context=request.context,
            stride=request.stride,
            progress=progress.advance,
        )
    totals = Totals.of(Units(texts.texts), scores)
    return totals, totals.metrics({**about(lm), **how}, seed=request.seed)
