"""The metrics of written texts by name, and their settings.

What a metric is computed from comes from `hanlin.metrics`; here are the names that `--metrics`
takes, the settings that can be given for each, and what has to be said of references that are of
several scripts.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal

from hanlin.config import read_config
from hanlin.errors import ConfigError, InputError, nearest
from hanlin.metrics import Score
from hanlin.metrics.answers import exact_match_units
from hanlin.metrics.examples import chinese_among
from hanlin.metrics.samples import distinct
from hanlin.metrics.score import signature
from hanlin.metrics.summaries import VARIANTS, rouge_units
from hanlin.metrics.translations import Cut as BleuCut
from hanlin.metrics.translations import Smooth, bleu_units, chrf_units, ter_units
from hanlin.metrics.units import Units
from hanlin.metrics.words import Cut, is_latin

References = Sequence[Sequence[str]]

METRICS: tuple[str, ...] = (
    *("bleu", "chrf", "chrf++", "ter"),
    *VARIANTS,
    *("exact_match", "distinct1", "distinct2"),
)
"""Every metric of written texts."""
DEFAULT = ("bleu", "chrf", "rouge1", "rouge2", "rougeL")
_FAMILIES: Mapping[str, tuple[str, ...]] = {
    "bleu": ("bleu",),
    "chrf": ("chrf", "chrf++"),
    "ter": ("ter",),
    "rouge": VARIANTS,
    "exact_match": ("exact_match",),
    "distinct": ("distinct1", "distinct2"),
}
"""Settings -> the metrics that they are of."""


@dataclass(frozen=True, kw_only=True)
class Bleu:
    """Of `hanlin.metrics.bleu`."""

    tokenize: BleuCut = "auto"
    smooth: Smooth = "exp"
    lowercase: bool = False
    max_ngram: int = 4


@dataclass(frozen=True, kw_only=True)
class Chrf:
    """Of `hanlin.metrics.chrf`."""

    beta: float = 2
    lowercase: bool = False


@dataclass(frozen=True, kw_only=True)
class Ter:
    """Of `hanlin.metrics.ter`."""

    tokenize: Literal["auto", "words", "characters"] = "auto"
    case_sensitive: bool = False


@dataclass(frozen=True, kw_only=True)
class Rouge:
    """Of `hanlin.metrics.rouge`."""

    tokenize: Cut = "auto"
    stemmer: bool = False


@dataclass(frozen=True, kw_only=True)
class ExactMatch:
    """Of `hanlin.metrics.exact_match`."""

    ignore_case: bool = False


@dataclass(frozen=True, kw_only=True)
class Distinct:
    """Of `hanlin.metrics.distinct`."""

    tokenize: Cut = "auto"


@dataclass(frozen=True, kw_only=True)
class MetricSettings:
    """How written texts are scored, metric by metric."""

    bleu: Bleu = Bleu()
    chrf: Chrf = Chrf()
    ter: Ter = Ter()
    rouge: Rouge = Rouge()
    exact_match: ExactMatch = ExactMatch()
    distinct: Distinct = Distinct()


@dataclass(frozen=True)
class Scorer:
    """The metrics that are wanted, with their settings."""

    names: tuple[str, ...]
    settings: MetricSettings

    @classmethod
    def of(
        cls, metrics: Sequence[str] | None, given: Mapping[str, Mapping[str, Any]] | None
    ) -> "Scorer":
        """These metrics (None: `DEFAULT`) with the settings given.

        Raises `ConfigError` for a metric or setting that there is not, for settings of a metric
        that is not wanted, and where a package is not installed.
        """
        for name in metrics or ():
            if name not in METRICS:
                raise ConfigError(
                    f"There is no metric {name!r} of written texts.{nearest(name, list(METRICS))} "
                    f"Choose among {', '.join(METRICS)}."
                )
        found = cls(tuple(metrics or DEFAULT), read_config(given or {}, into=MetricSettings))
        for family in given or {}:
            if not set(_FAMILIES[family]) & set(found.names):
                raise ConfigError(
                    f"{family} is not measured, so its settings would be ignored. Name it among "
                    f"the metrics ({', '.join(_FAMILIES[family])}), or leave the settings out."
                )
        found.units(["a word"], [["a word"]])  # what is not installed is told before hours of work
        return found

    def check(self, references: References) -> None:
        """Raise what ROUGE, which the examples are put in order by, raises of the references."""
        nothing = [""] * len(references)
        rouge_units(nothing, references, variants=["rouge1"], **asdict(self.settings.rouge))

    def units(self, said: Sequence[str], references: References) -> dict[str, Units]:
        """What the metrics are computed from, but for those of the texts alone."""
        settings = self.settings
        chrf = partial(chrf_units, said, references, **asdict(settings.chrf))
        single: dict[str, Callable[[], Units]] = {
            "bleu": partial(bleu_units, said, references, **asdict(settings.bleu)),
            "chrf": chrf,
            "chrf++": partial(chrf, word_order=2),
            "ter": partial(ter_units, said, references, **asdict(settings.ter)),
            "exact_match": partial(
                exact_match_units, said, references, **asdict(settings.exact_match)
            ),
        }
        variants = [name for name in self.names if name in VARIANTS]
        rouge: dict[str, Units] = {}
        if variants:
            rouge = rouge_units(said, references, variants=variants, **asdict(settings.rouge))
        return {
            name: rouge[name] if name in rouge else single[name]()
            for name in self.names
            if name in rouge or name in single
        }

    def of_texts(self, said: Sequence[str]) -> tuple[dict[str, Score], tuple[str, ...]]:
        """The metrics of the texts alone, and what is to be said of them: of texts with too few
        words, 0."""
        scores, notes = {}, []
        for name in self.names:
            if name in _FAMILIES["distinct"]:
                size, tokenize = int(name[-1]), self.settings.distinct.tokenize
                try:
                    scores[name] = distinct(said, size, tokenize=tokenize)
                except InputError:
                    about = signature(order=size, n=len(said), interval="none")
                    scores[name] = Score(0.0, None, None, about)
                    notes.append(f"No text that was written has {size} words, so {name} is 0.")
        return scores, tuple(notes)

    def notes(self, references: References) -> tuple[str, ...]:
        """What has to be said of references that are of several scripts."""
        found, every = [], len(references)
        other = sum(not all(map(is_latin, texts)) for texts in references)
        asked = set(self.names)
        if asked & set(VARIANTS) and self.settings.rouge.tokenize == "auto" and 0 < other < every:
            found.append(
                f"{other} of {every} references are not in Latin letters, so ROUGE counts the "
                "characters of all; words of ASCII letters stay whole."
            )
        chinese = chinese_among(references)
        for name, way in (("bleu", self.settings.bleu), ("ter", self.settings.ter)):
            if name in asked and way.tokenize == "auto" and 0 < chinese < every:
                found.append(
                    f"{chinese} of {every} references are Chinese, so {name.upper()} cuts all "
                    "texts as Chinese is cut (see the signature)."
                )
        return tuple(found)
