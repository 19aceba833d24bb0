"""Of several texts a model wrote: how many programs pass their tests, how varied the texts are."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from hanlin.errors import ConfigError, InputError
from hanlin.metrics.score import Score, signature
from hanlin.metrics.units import mean
from hanlin.metrics.words import Cut, cutter


def pass_at_k(samples: ArrayLike, correct: ArrayLike, k: int, *, seed: int = 0) -> Score:
    """The chance that at least one of k programs passes, without bias from n >= k samples of which
    c passed (Chen et al. 2021, "Evaluating Large Language Models Trained on Code").

    `samples` (n, one number for all problems or [P]) and `correct` (c, [P]) are counts a problem.
    The interval is over problems. Raises `InputError` for counts that do not fit.
    """
    passed = np.asarray(correct, dtype=np.int64)
    if passed.ndim != 1 or len(passed) == 0:
        raise InputError("Give the number of correct samples of each problem, at least one.")
    drawn = np.asarray(samples, dtype=np.int64)
    if drawn.shape not in ((), passed.shape):
        raise InputError(
            f"There are {len(passed)} problems and {drawn.size} numbers of samples. Give one for "
            "each problem, or one for all."
        )
    drawn = np.broadcast_to(drawn, passed.shape)
    if k < 1 or (drawn < k).any():
        raise InputError(
            f"k is {k} and a problem has {drawn.min()} samples. It must be from 1 to the fewest."
        )
    if (passed < 0).any() or (passed > drawn).any():
        raise InputError("A problem has more correct samples than samples, or fewer than none.")
    values = [_passes(int(n), int(c), k) for n, c in zip(drawn, passed, strict=True)]
    return mean(values, about=f"k:{k}|estimator:unbiased").score(seed=seed)


def _passes(n: int, c: int, k: int) -> float:
    """1 - C(n - c, k) / C(n, k), as a product that does not overflow."""
    if n - c < k:
        return 1.0
    return 1.0 - float(np.prod(1.0 - k / np.arange(n - c + 1, n + 1)))


def distinct(texts: Sequence[str], n: int, *, tokenize: Cut = "auto") -> Score:
    """Different n-grams over all n-grams of the texts together, from 0 to 1 (Li et al. 2016).

    Texts are cut as by `rouge`. It falls with the length of what is counted, so compare like with
    like. There is no interval: texts drawn twice repeat themselves. Raises `InputError` where no
    text has n words, `ConfigError` for n below 1.
    """
    if n < 1:
        raise ConfigError(f"n is {n}; it must be at least 1.")
    if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
        raise InputError("The texts are not a list of texts. Give one string each.")
    way = cutter(tokenize, texts)
    seen: set[tuple[str, ...]] = set()
    total = 0
    for text in texts:
        words = way.cut(text)
        grams = list(zip(*(words[i:] for i in range(n)), strict=False))
        seen.update(grams)
        total += len(grams)
    if total == 0:
        raise InputError(f"No text has {n} words. Give longer ones, or a smaller n.")
    about = signature(tok=way.about, order=n, n=len(texts), interval="none")
    return Score(len(seen) / total, None, None, about)
