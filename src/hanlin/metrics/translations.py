"""BLEU, chrF and TER: how much of a translation is found in those of people, by sacreBLEU.

Post 2018, "A Call for Clarity in Reporting BLEU Scores". sacreBLEU cuts and matches, sentence by
sentence, and gives the signature; the corpus score is a function of the sums of what it counted, so
that it can be computed for every resample at once. Scores are from 0 to 100; of TER (edits) less is
better.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np

from hanlin.errors import ConfigError, nearest
from hanlin.metrics.bootstrap import Floats, divided
from hanlin.metrics.examples import aligned, chinese_among
from hanlin.metrics.score import Score
from hanlin.metrics.units import Units

References = Sequence[str] | Sequence[Sequence[str]]
Cut = Literal["auto", "13a", "zh", "char", "intl", "none"]
Smooth = Literal["exp", "floor", "add-k", "none"]
CUTS = ("auto", "13a", "zh", "char", "intl", "none")
SMOOTHS = ("exp", "floor", "add-k", "none")
_FLOOR = 0.1
_CHARACTERS = 6
"""The longest character n-gram of chrF (Popović 2015)."""


def bleu(
    predictions: Sequence[str],
    references: References,
    *,
    tokenize: Cut = "auto",
    smooth: Smooth = "exp",
    lowercase: bool = False,
    max_ngram: int = 4,
    seed: int = 0,
) -> Score:
    """Corpus BLEU from 0 to 100 (Papineni et al. 2002), sacreBLEU's with its signature.

    `references` has a text or a list of texts for each prediction. `tokenize` "auto" is sacreBLEU's
    "zh" where any reference is mostly Chinese, else "13a", which cuts English alike; the signature
    says which. Raises `InputError` for lists that do not fit and `ConfigError` for a setting that
    does not exist or where sacreBLEU is not installed.
    """
    units = bleu_units(
        predictions,
        references,
        tokenize=tokenize,
        smooth=smooth,
        lowercase=lowercase,
        max_ngram=max_ngram,
    )
    return units.score(seed=seed)


def chrf(
    predictions: Sequence[str],
    references: References,
    *,
    word_order: int = 0,
    beta: float = 2,
    lowercase: bool = False,
    seed: int = 0,
) -> Score:
    """Corpus chrF from 0 to 100 (Popović 2015), sacreBLEU's with its signature; with `word_order` 2
    it is chrF++. Raises as `bleu` does."""
    units = chrf_units(
        predictions, references, word_order=word_order, beta=beta, lowercase=lowercase
    )
    return units.score(seed=seed)


def ter(
    predictions: Sequence[str],
    references: References,
    *,
    tokenize: Literal["auto", "words", "characters"] = "auto",
    case_sensitive: bool = False,
    seed: int = 0,
) -> Score:
    """Translation edit rate (Snover et al. 2006), sacreBLEU's with its signature; less is better.

    "words" are what white space leaves, Tercom's default; "characters" is Tercom's normalisation
    with Asian support, which cuts Chinese into characters and sets punctuation apart. "auto" takes
    it where any reference is mostly Chinese. Raises as `bleu` does.
    """
    units = ter_units(predictions, references, tokenize=tokenize, case_sensitive=case_sensitive)
    return units.score(seed=seed)


def bleu_units(
    predictions: Sequence[str],
    references: References,
    *,
    tokenize: Cut = "auto",
    smooth: Smooth = "exp",
    lowercase: bool = False,
    max_ngram: int = 4,
) -> Units:
    """What `bleu` is computed from: lengths and n-grams of each sentence."""
    _one_of("tokenize", tokenize, CUTS)
    _one_of("smooth", smooth, SMOOTHS)
    _at_least("max_ngram", max_ngram, 1)
    texts, sets = aligned(predictions, references)
    if tokenize == "auto":
        tokenize = "zh" if chinese_among(sets) else "13a"
    metric = _sacrebleu().BLEU(
        lowercase=lowercase,
        force=True,
        tokenize=tokenize,
        smooth_method=smooth,
        max_ngram_order=max_ngram,
    )
    function = partial(_bleu, order=max_ngram, smooth=smooth)
    about = "" if max_ngram == 4 else f"order:{max_ngram}|"
    return _units(metric, texts, sets, function, about)


def chrf_units(
    predictions: Sequence[str],
    references: References,
    *,
    word_order: int = 0,
    beta: float = 2,
    lowercase: bool = False,
) -> Units:
    """What `chrf` is computed from: n-grams of each sentence that are there, wanted, and both."""
    _at_least("word_order", word_order, 0)
    if not beta > 0:
        raise ConfigError(f"beta is {beta}; it must be above 0 (2 weighs recall twice).")
    texts, sets = aligned(predictions, references)
    metric = _sacrebleu().CHRF(word_order=word_order, beta=beta, lowercase=lowercase)
    about = "" if beta == 2 else f"beta:{beta:g}|"
    return _units(metric, texts, sets, partial(_chrf, beta=beta), about)


def ter_units(
    predictions: Sequence[str],
    references: References,
    *,
    tokenize: Literal["auto", "words", "characters"] = "auto",
    case_sensitive: bool = False,
) -> Units:
    """What `ter` is computed from: edits and words of each sentence."""
    _one_of("tokenize", tokenize, ("auto", "words", "characters"))
    texts, sets = aligned(predictions, references)
    characters = chinese_among(sets) > 0 if tokenize == "auto" else tokenize == "characters"
    metric = _sacrebleu().TER(
        normalized=characters, asian_support=characters, case_sensitive=case_sensitive
    )
    return _units(metric, texts, sets, _ter, "")


def _units(
    metric: Any,
    predictions: list[str],
    sets: list[list[str]],
    function: Callable[[Floats], Floats],
    about: str,
) -> Units:
    most = max(len(texts) for texts in sets)
    streams = [[texts[i] if i < len(texts) else None for texts in sets] for i in range(most)]
    # sacreBLEU's own paired tests start from these counts of each sentence, as we do.
    counts = metric._extract_corpus_statistics(predictions, streams)
    statistics = np.asarray(counts, dtype=np.float64)
    return Units(statistics, function, f"{about}{metric.get_signature()}")


def _bleu(sums: Floats, *, order: int, smooth: Smooth) -> Floats:
    """BLEU [M] of [length, reference length, hits by order, n-grams by order]."""
    length, wanted = sums[:, 0], sums[:, 1]
    hits, grams = sums[:, 2 : 2 + order].copy(), sums[:, 2 + order :].copy()
    hopeless = ~hits.any(axis=1)
    if smooth == "add-k":
        hits[:, 1:] += 1
        grams[:, 1:] += 1
    missed = (hits == 0) & (grams > 0)
    if smooth == "exp":
        hits = np.where(missed, 0.5 ** missed.cumsum(axis=1), hits)
    elif smooth == "floor":
        hits = np.where(missed, _FLOOR, hits)
    hopeless |= (hits == 0).any(axis=1) | (grams == 0).any(axis=1) | (length == 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(hits / grams).mean(axis=1)
        brevity = np.minimum(0.0, 1 - wanted / length)
        values: Floats = np.where(hopeless, 0.0, 100 * np.exp(brevity + logs))
    return values


def _chrf(sums: Floats, *, beta: float) -> Floats:
    """chrF [M] of [n-grams there, wanted, both] by order."""
    there, wanted, both = sums[:, 0::3], sums[:, 1::3], sums[:, 2::3]
    used = (there > 0) & (wanted > 0)
    orders = np.maximum(used.sum(axis=1), 1)
    precision = divided(both, used * there).sum(axis=1) / orders
    recall = divided(both, used * wanted).sum(axis=1) / orders
    factor = beta**2
    return divided(100 * (1 + factor) * precision * recall, factor * precision + recall)


def _ter(sums: Floats) -> Floats:
    """TER [M] of [edits, words]; edits where no words are wanted are all wrong."""
    edits, words = sums[:, 0], sums[:, 1]
    return divided(100 * edits, words, otherwise=np.where(edits > 0, 100.0, 0.0))


def _sacrebleu() -> Any:
    try:
        from sacrebleu import metrics
    except ImportError as error:
        raise ConfigError(
            "BLEU, chrF and TER need the library sacreBLEU, which is not installed. "
            "Install it: pip install 'hanlin[judge]'."
        ) from error
    return metrics


def _one_of(name: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise ConfigError(
            f"{name} is {value!r}.{nearest(str(value), list(known))} "
            f"Use one of: {', '.join(known)}."
        )


def _at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise ConfigError(f"{name} is {value}; it must be at least {least}.")
