"""Metrics with their intervals, beside the libraries they must equal.

    python benchmarks/metrics.py [--rounds 5]

ROUGE beside rouge-score on summaries of several sentences; BLEU with 1000 resamples beside
sacreBLEU's own bootstrap; the metrics of labels and probabilities beside scikit-learn, which
computes no intervals, and beside its F1 with 1000 resamples. Ours draw 2000. One thread each. Needs
the `dev` extra.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

WORDS = [f"w{number}" for number in range(200)]


def summaries(rng: np.random.Generator, count: int) -> tuple[list[str], list[str]]:
    """Predictions and references of four lines of twenty words, half of them shared."""
    wanted = rng.choice(WORDS, (count, 4, 20))
    other = rng.choice(WORDS, (count, 4, 20))
    there = np.where(rng.random((count, 4, 20)) < 0.5, wanted, other)
    return tuple(  # type: ignore[return-value]
        ["\n".join(" ".join(line) for line in text) for text in texts] for texts in (there, wanted)
    )


def cases(
    *, texts: int = 200, rows: int = 100_000, resamples: int = 1000
) -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
    """Name -> ours and theirs, of the same made data."""
    from rouge_score.rouge_scorer import RougeScorer
    from sacrebleu.metrics import BLEU
    from sklearn import metrics as sk

    from hanlin.metrics import bleu, classification, rouge
    from hanlin.metrics.summaries import VARIANTS

    rng = np.random.default_rng(0)
    there, wanted = summaries(rng, texts)
    lines = [text.replace("\n", " ") for text in there], [t.replace("\n", " ") for t in wanted]
    labels, few = 10, min(rows, 2000)
    true = rng.integers(labels, size=rows)
    scores = rng.random((rows, labels))
    scores[np.arange(rows), true] += 0.3
    scores /= scores.sum(axis=1, keepdims=True)
    guessed = scores.argmax(axis=1)

    def rouge_score() -> None:
        scorer = RougeScorer(list(VARIANTS))
        for reference, prediction in zip(wanted, there, strict=True):
            scorer.score(reference, prediction)

    def scikit_learn() -> None:
        sk.accuracy_score(true, guessed)
        for over in ("macro", "micro", "weighted"):
            sk.precision_recall_fscore_support(true, guessed, average=over)
        sk.matthews_corrcoef(true, guessed)
        sk.roc_auc_score(true, scores, multi_class="ovr")
        sk.log_loss(true, scores)
        sk.brier_score_loss(true, scores)

    def resampled() -> None:
        for _ in range(resamples):
            drawn = rng.integers(few, size=few)
            sk.f1_score(true[drawn], guessed[drawn], average="macro")

    return {
        f"ROUGE-1/2/L/Lsum, {texts} summaries": (lambda: rouge(there, wanted), rouge_score),
        f"BLEU with interval, {texts} texts": (
            lambda: bleu(*lines),
            lambda: BLEU().corpus_score(lines[0], [lines[1]], n_bootstrap=resamples),
        ),
        f"labels, {rows:,} rows (theirs: no interval)": (
            lambda: classification(true, guessed, scores=scores),
            scikit_learn,
        ),
        f"labels with intervals, {few:,} rows (theirs: F1 only)": (
            lambda: classification(true[:few], guessed[:few]),
            resampled,
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print(f"{'seconds, median':54}{'hanlin':>9}{'theirs':>9}{'ratio':>9}")
    for name, both in cases().items():
        times: tuple[list[float], list[float]] = ([], [])
        for round_ in range(options.rounds + 1):
            for run, kept in zip(both, times, strict=True):
                start = time.perf_counter()
                run()
                if round_:  # the first round imports and fills caches
                    kept.append(time.perf_counter() - start)
        ours, theirs = map(statistics.median, times)
        print(f"{name:54}{ours:9.3f}{theirs:9.3f}{theirs / ours:9.1f}")


if __name__ == "__main__":
    main()
