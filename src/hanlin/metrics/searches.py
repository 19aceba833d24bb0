"""How soon what was looked for is found: recall@k, mean reciprocal rank, nDCG@10.

Gains of nDCG are linear and discounted by log2(rank + 1) (Järvelin and Kekäläinen 2002), as in
trec_eval.

Shapes: Q queries, P passages.
"""

from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hanlin.errors import ConfigError, InputError
from hanlin.metrics.examples import same_length
from hanlin.metrics.score import Score
from hanlin.metrics.units import mean

KS = (1, 5, 10)
_DEPTH = 10
"""How many passages nDCG looks at."""

Relevant = Hashable | Collection[Hashable] | Mapping[Hashable, float]
"""One passage, several, or several with their gains."""


def retrieval(
    found: Sequence[Sequence[Hashable]] | NDArray[np.floating[Any]],
    relevant: Sequence[Relevant],
    *,
    ks: Sequence[int] = KS,
    seed: int = 0,
) -> dict[str, Score]:
    """The means over queries of "recall@k", "mrr" and "ndcg@10", from 0 to 1.

    `found` has for each query the passages from the best on, or is an array of scores [Q, P], whose
    columns are the passages (of equal scores the earlier is taken as better). `relevant` has for
    each query one passage, several, or a mapping to gains. A passage that was not found adds 0.
    Raises `InputError` for lists that do not fit and for a query without a relevant passage.
    """
    same_length(found, relevant, "lists of relevant passages")
    if any(k < 1 for k in ks):
        raise ConfigError(f"ks are {list(ks)}; each must be at least 1.")
    values: dict[str, list[float]] = {f"recall@{k}": [] for k in ks}
    values |= {"mrr": [], f"ndcg@{_DEPTH}": []}
    for number, (row, wanted) in enumerate(zip(found, relevant, strict=True), 1):
        ranking = np.argsort(-row, kind="stable").tolist() if _is_scores(found) else list(row)
        gains = _gains(wanted)
        if not gains:
            raise InputError(f"Query {number} has no relevant passage. Leave it out.")
        if len(set(ranking)) < len(ranking):
            raise InputError(f"A passage stands twice in what query {number} found.")
        places = [at for at, passage in enumerate(ranking) if passage in gains]
        for k in ks:
            values[f"recall@{k}"].append(sum(at < k for at in places) / len(gains))
        values["mrr"].append(1 / (places[0] + 1) if places else 0.0)
        own = [gains.get(passage, 0.0) for passage in ranking[:_DEPTH]]
        best = sorted(gains.values(), reverse=True)[:_DEPTH]
        values[f"ndcg@{_DEPTH}"].append(_discounted(own) / _discounted(best))
    return {name: mean(of).score(seed=seed) for name, of in values.items()}


def _is_scores(found: Any) -> bool:
    return isinstance(found, np.ndarray) and np.issubdtype(found.dtype, np.floating)


def _gains(wanted: Relevant) -> dict[Any, float]:
    if isinstance(wanted, Mapping):
        return {passage: float(gain) for passage, gain in wanted.items() if gain > 0}
    if isinstance(wanted, Collection) and not isinstance(wanted, str | bytes):
        return dict.fromkeys(wanted, 1.0)
    return {wanted: 1.0}


def _discounted(gains: list[float]) -> float:
    return float(sum(gain / np.log2(rank + 1) for rank, gain in enumerate(gains, 1)))
