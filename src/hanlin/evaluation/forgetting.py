"""What a model has forgotten by learning on: old held-out text before and after, paired.

Both models read the very same texts, so the difference is taken document by document (or row by
row, or record by record), and its interval says how sure it is: resampling both alike removes what
is hard for either. Vectors are judged by what they find, preferences by which answer is likelier:
the losses of both hang on more than the record.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from hanlin.config import read_config, read_mapping
from hanlin.data.tokens import TokenArray
from hanlin.errors import ConfigError
from hanlin.evaluation import embedding, preference
from hanlin.evaluation.decoders import Reading, score_texts
from hanlin.evaluation.scores import Totals, Units
from hanlin.evaluation.texts import read_texts
from hanlin.metrics import Score, bits_per_byte, loss
from hanlin.metrics.comparison import compare_units
from hanlin.models.exchange import write_text
from hanlin.models.transformer import Transformer
from hanlin.progress import Progress
from hanlin.reports import Report, Table
from hanlin.reports.words import Words, number
from hanlin.text.reading import ReadSettings
from hanlin.training.beginning import CONFIG
from hanlin.training.objectives import Distil, Objective, RecordObjective, on_records
from hanlin.training.remembering import JUDGED, fitted_as, same_task

if TYPE_CHECKING:
    from hanlin.tasks import Model
    from hanlin.tokenizers import Tokenizer
    from hanlin.training.config import DataSettings

Floats = NDArray[np.float64]
PAGE, DATA = "forgetting.html", "forgetting.json"
"""Names of the files in a run's directory."""


@dataclass(frozen=True)
class Forgotten:
    """One old text, before and after."""

    name: str
    metric: str
    """bits_per_byte of a decoder that learns from text, else loss: lower is better. Of vectors mrr
    (spearman where records have scores), of preferences chosen_likelier: higher is better."""
    before: Score
    after: Score
    change: Score
    """after - before, paired."""

    @property
    def verdict(self) -> str:
        """forgotten, improved, or unclear where the interval of the change holds zero."""
        if self.change.low is None or self.change.high is None:
            return "unclear"
        rose, fell = self.change.low > 0, self.change.high < 0
        if self.metric in _HIGHER:
            rose, fell = fell, rose
        return "forgotten" if rose else "improved" if fell else "unclear"

    def to_dict(self) -> dict[str, Any]:
        """The fields, for JSON."""
        return {
            "name": self.name,
            "metric": self.metric,
            "before": self.before.to_dict(),
            "after": self.after.to_dict(),
            "change": self.change.to_dict(),
            "verdict": self.verdict,
        }


def forgetting(
    before: "Model",
    after: "Model",
    remember: Mapping[str, Sequence[str]],
    *,
    objective: Objective,
    data: "DataSettings",
    length: int,
    seed: int = 0,
) -> list[Forgotten]:
    """Measure both models on every old text.

    before, after: as `hanlin.load` gives them. remember: name -> files or folders of held-out text
    (of a task: of records, read as `data` says). length: tokens of a row, where rows are read.
    Raises `ConfigError` where the two cannot be compared.
    """
    _check(before, after)
    found = []
    total = 2 * len(remember)
    with Progress("remember", total=total, unit="texts") as progress:
        for name, sources in remember.items():
            if objective.name == "causal-lm":
                one = _of_texts(name, before, after, sources, data, seed, progress)
            elif objective.name in JUDGED and on_records(objective):
                one = _of_choices(name, before, after, sources, objective, data, seed, progress)
            else:
                one = _of_examples(
                    name, before, after, sources, objective, data, length, seed, progress
                )
            found.append(one)
    return found


def _check(before: "Model", after: "Model") -> None:
    old, new = before.network.config, after.network.config
    if before.tokenizer.hash != after.tokenizer.hash:
        raise ConfigError(
            f"{before.name} and {after.name} read other tokens; they cannot be compared token by "
            "token. Compare their bits per byte with `hanlin evaluate`."
        )
    if not same_task(old, new):
        raise ConfigError(
            f"{before.name} is {before.kind} and {after.name} is {after.kind}: what the first "
            "could do, the second does not. Leave evaluate.remember out."
        )


def _of_texts(
    name: str,
    before: "Model",
    after: "Model",
    sources: Sequence[str],
    data: "DataSettings",
    seed: int,
    progress: Progress,
) -> Forgotten:
    """A decoder on whole documents."""
    from hanlin.tasks import LanguageModel

    texts = read_texts(sources, settings=ReadSettings(field=data.field)).texts
    units, totals = Units(texts), []
    for lm in (before, after):
        assert isinstance(lm, LanguageModel)
        reading = Reading.of(lm, context=None, stride=None)
        totals.append(Totals.of(units, score_texts(lm, texts, reading)))
        progress.advance()
    about = {"over": units.over}
    scores = [bits_per_byte(one.nats, one.bytes, seed=seed, **about) for one in totals]
    change = compare_units(totals[0].bits, totals[1].bits, "bits_per_byte", seed=seed)
    return Forgotten(name, "bits_per_byte", scores[0], scores[1], change.difference)


def _of_choices(
    name: str,
    before: "Model",
    after: "Model",
    sources: Sequence[str],
    objective: RecordObjective,
    data: "DataSettings",
    seed: int,
    progress: Progress,
) -> Forgotten:
    """Vectors and preferences, as `hanlin evaluate` judges them."""
    records = objective.read(sources, data, tell=lambda text: None)
    judge: Any = embedding.measure if objective.name == "embed" else preference.measure
    judged = []
    for model in (before, after):
        judged.append(judge(model, records, seed=seed))
        progress.advance()
    metric = next(name for name in _HIGHER if name in judged[0].units)
    change = compare_units(judged[0].units[metric], judged[1].units[metric], metric, seed=seed)
    scores = [one.metrics[metric] for one in judged]
    return Forgotten(name, metric, scores[0], scores[1], change.difference)


def _of_examples(
    name: str,
    before: "Model",
    after: "Model",
    sources: Sequence[str],
    objective: Objective,
    data: "DataSettings",
    length: int,
    seed: int,
    progress: Progress,
) -> Forgotten:
    """Any objective on its own validation examples."""
    nats, targets = [], np.zeros(0)
    for model in (before, after):
        own, targets = _losses(
            objective, model.network, model.tokenizer, sources, data, length, seed
        )
        nats.append(own)
        progress.advance()
    about = {"objective": objective.name, "over": "records" if on_records(objective) else "rows"}
    scores = [loss(own, targets, seed=seed, **about) for own in nats]
    change = loss(nats[1] - nats[0], targets, seed=seed, paired="yes", **about)
    return Forgotten(name, "loss", scores[0], scores[1], change)


@torch.inference_mode()
def _losses(
    objective: Objective,
    network: Transformer,
    tokenizer: "Tokenizer",
    sources: Sequence[str],
    data: "DataSettings",
    length: int,
    seed: int,
) -> tuple[Floats, Floats]:
    """Nats and targets of every example."""
    source: Any
    if on_records(objective):
        source = objective.read(sources, data, tell=lambda text: None)
        objective = fitted_as(objective, source, network.config)
    else:
        texts = read_texts(sources, settings=ReadSettings(field=data.field)).texts
        source = TokenArray.encode(texts, tokenizer)
    examples = objective.examples(
        source, tokenizer=tokenizer, length=length, seed=seed, validation=True
    )
    nats, targets = np.zeros(len(examples)), np.zeros(len(examples))
    for at in range(len(examples)):
        batch = objective.collate([examples.example(at, 0)])
        if batch.target_tokens:
            nats[at] = float(objective.loss(network, batch.to(network.device)))
            targets[at] = batch.target_tokens
    return nats, targets


def report(found: Sequence[Forgotten], *, before: str, after: str) -> Report:
    """The table of what was forgotten, for the terminal and the browser."""
    columns: tuple[Words, ...] = (
        ("old text", "旧文本"),
        ("metric", "指标"),
        ("before", "之前"),
        ("after", "之后"),
        ("change", "变化"),
        ("95 % interval of the change", "变化的 95% 区间"),
        ("", ""),
    )
    rows = tuple(
        (
            one.name,
            _METRICS[one.metric],
            one.before.value,
            one.after.value,
            one.change.value,
            "–"
            if one.change.low is None or one.change.high is None
            else f"{number(one.change.low)} … {number(one.change.high)}",
            _VERDICTS[one.verdict],
        )
        for one in found
    )
    note: Words = (
        "The change is taken document by document. Of bits/byte and of losses lower is better, of "
        "all others higher.",
        "变化逐篇配对计算。比特/字节与损失越低越好，其余越高越好。",
    )
    return Report(
        ("What was forgotten", "遗忘了什么"),
        (Table("", columns, rows, note=note),),
        subtitle=(f"{before} → {after}", f"{before} → {after}"),
    )


_METRICS: dict[str, Words] = {
    "bits_per_byte": ("bits/byte", "比特/字节"),
    "loss": ("loss", "损失"),
    "mrr": ("mean reciprocal rank", "平均倒数排名"),
    "spearman": ("Spearman", "斯皮尔曼相关"),
    "chosen_likelier": ("chosen answer likelier", "优选答案更可能"),
}
_HIGHER = ("mrr", "spearman", "chosen_likelier")
"""Metrics of which more is better."""
_VERDICTS: dict[str, Words] = {
    "forgotten": ("forgotten", "有遗忘"),
    "improved": ("improved", "有进步"),
    "unclear": ("no clear change", "无明显变化"),
}


def after_training(output: Path) -> list[Forgotten]:
    """What the finished run in `output` has forgotten of what its settings name in
    `evaluate.remember`; kept beside its model, as a page and as JSON.

    Empty where nothing is named. Raises what `forgetting` raises.
    """
    from hanlin.tasks import load
    from hanlin.training.config import TrainConfig

    raw = read_mapping(output / CONFIG, into=TrainConfig)
    if not (raw.get("evaluate") or {}).get("remember"):
        return []
    settings = read_config(raw, into=TrainConfig)
    assert isinstance(settings.model, str)
    objective = settings.objective.build()
    found = forgetting(
        load(settings.model, dtype="float32"),
        load(output, dtype="float32"),
        settings.evaluate.remember,
        objective=objective.task if isinstance(objective, Distil) else objective,
        data=settings.data,
        length=settings.batch.length,
        seed=settings.seed,
    )
    content = json.dumps([one.to_dict() for one in found], indent=2, ensure_ascii=False)
    write_text(output / DATA, content + "\n")
    report(found, before=settings.model, after=str(output)).write(output / PAGE)
    return found
