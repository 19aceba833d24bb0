"""The n-gram model against a plain implementation with dictionaries, in float64."""

import itertools
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hanlin.evaluation.ngram import KneserNey, counts
from hanlin.evaluation.ngram.kneser_ney import discounts
from hanlin.evaluation.ngram.tuning import tuned


class Plain:
    """Chen and Goodman 1999 as it is written, one n-gram at a time; `None` begins a document."""

    def __init__(self, documents: Sequence[Sequence[int]], *, size: int, order: int) -> None:
        self.size, self.order = size, order
        occurrences: list[Counter[tuple[int | None, ...]]] = [Counter() for _ in range(order + 1)]
        before: dict[tuple[int | None, ...], set[int | None]] = defaultdict(set)
        for document in documents:
            marked = [None, *document]
            for end in range(1, len(marked)):  # the mark itself is not predicted
                for n in range(1, order + 1):
                    if end - n + 1 < 0:
                        continue
                    gram = tuple(marked[end - n + 1 : end + 1])
                    occurrences[n][gram] += 1
                    if end - n >= 0:
                        before[gram].add(marked[end - n])
        self.counts: list[dict[tuple[int | None, ...], int]] = [{}]
        for n in range(1, order + 1):
            if n == order:
                self.counts.append(dict(occurrences[n]))
                continue
            # What begins a document has nothing before it: it keeps its own count.
            self.counts.append({g: len(before[g]) or c for g, c in occurrences[n].items()})
        self.taken = [self._discounts(self.counts[n].values()) for n in range(order + 1)]

    @staticmethod
    def _discounts(counts) -> list[float]:
        kinds = Counter(counts)
        n1, n2, n3, n4 = (kinds[c] for c in (1, 2, 3, 4))
        fallback = [0.0, 0.5, 1.0, 1.5]
        if n1 == 0 or n2 == 0:
            return fallback
        y = n1 / (n1 + 2 * n2)
        own = [0.0, 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3 if n3 else 0.0]
        return [0.0, *(own[c] if 0 < own[c] < c else fallback[c] for c in (1, 2, 3))]

    def p(self, symbol: int, context: tuple[int | None, ...], n: int | None = None) -> float:
        n = self.order if n is None else n
        if n == 0:
            return 1 / self.size
        lower = self.p(symbol, context, n - 1)
        if n - 1 > len(context):
            return lower
        context = context[len(context) - (n - 1) :]
        here = {g[-1]: c for g, c in self.counts[n].items() if g[:-1] == context}
        if not here:
            return lower
        taken, total = self.taken[n], sum(here.values())
        count = here.get(symbol, 0)
        share = sum(taken[min(c, 3)] for c in here.values()) / total
        return (count - taken[min(count, 3)]) / total + share * lower


def stream(documents: Sequence[Sequence[int]], size: int) -> np.ndarray:
    """Documents one after the other, each after the mark `size`."""
    return np.array([s for document in documents for s in (size, *document)], dtype=np.int32)


def drawn(seed: int, *, size: int, documents: int, length: int) -> list[list[int]]:
    """Texts in which what comes next depends on what was before."""
    rng = np.random.default_rng(seed)
    table = rng.dirichlet(np.full(size, 0.3), size=(size, size))
    texts = []
    for _ in range(documents):
        text = [int(s) for s in rng.integers(size, size=2)]
        for _ in range(int(rng.integers(length))):
            text.append(int(rng.choice(size, p=table[text[-2], text[-1]])))
        texts.append(text)
    return texts


@pytest.mark.parametrize("order", [1, 2, 3, 5])
@pytest.mark.parametrize("seed", [0, 1])
def test_probabilities_are_those_of_the_plain_model(seed, order):
    size = 5
    training = drawn(seed, size=size, documents=6, length=80)
    asked = [*drawn(seed + 9, size=size, documents=4, length=30), [], [0]]
    model = KneserNey.train(stream(training, size), size=size, order=order)
    plain = Plain(training, size=size, order=order)
    got = model.log_probabilities(stream(asked, size))
    want = []
    for text in asked:
        marked = [None, *text]
        want += [0.0, *(np.log(plain.p(s, tuple(marked[: i + 1]))) for i, s in enumerate(text))]
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-10)


def test_a_context_gives_the_distribution_that_scoring_uses():
    size, order = 6, 4
    model = KneserNey.train(
        stream(drawn(3, size=size, documents=5, length=60), size), size=size, order=order
    )
    for text in drawn(4, size=size, documents=5, length=20):
        marked = [size, *text]
        logs = model.log_probabilities(np.array(marked))
        for i in range(1, len(marked)):
            p = model.distribution(marked[:i])
            assert np.log(p[marked[i]]) == pytest.approx(logs[i], abs=1e-12)


@given(
    documents=st.lists(st.lists(st.integers(0, 3), max_size=40), min_size=1, max_size=5),
    context=st.lists(st.integers(0, 3), max_size=6),
    order=st.integers(1, 5),
    begins=st.booleans(),
)
@settings(deadline=None, max_examples=60)
def test_probabilities_are_positive_and_sum_to_one(documents, context, order, begins):
    size = 4
    model = KneserNey.train(stream(documents, size), size=size, order=order)
    p = model.distribution([size, *context] if begins else context)
    assert (p > 0).all()
    assert p.sum() == pytest.approx(1, abs=1e-12)


def test_every_order_at_once_is_every_order_alone():
    size = 5
    training = stream(drawn(5, size=size, documents=4, length=200), size)
    asked = stream(drawn(6, size=size, documents=3, length=50), size)
    together = KneserNey.train(training, size=size, order=5).each_order(asked)
    for order, logs in enumerate(together, start=1):
        alone = KneserNey.train(training, size=size, order=order)
        np.testing.assert_allclose(logs, alone.log_probabilities(asked), atol=1e-12)
        lowered = KneserNey.train(training, size=size, order=5).lowered(order)
        np.testing.assert_array_equal(
            lowered.log_probabilities(asked), alone.log_probabilities(asked)
        )


@pytest.mark.parametrize("piece", [1, 7, 50])
def test_counting_in_pieces_counts_the_same(monkeypatch, piece):
    size = 7
    training = stream(drawn(7, size=size, documents=5, length=100), size)
    asked = stream(drawn(8, size=size, documents=2, length=60), size)
    whole = KneserNey.train(training, size=size, order=4).log_probabilities(asked)
    monkeypatch.setattr(counts, "_PIECE", piece)
    levels = counts.count(training, size=size, order=4)
    for level in levels[1:]:
        assert (np.diff(level.keys) > 0).all()
    pieces = KneserNey(levels, size=size).log_probabilities(asked)
    np.testing.assert_allclose(pieces, whole, atol=1e-12)


def test_counts_are_those_of_a_counter():
    size = 4
    documents = drawn(10, size=size, documents=4, length=50)
    levels = counts.count(stream(documents, size), size=size, order=3)
    for n, level in enumerate(levels, start=1):
        want = Counter(
            tuple([size, *text][end - n + 1 : end + 1])
            for text in documents
            for end in range(max(n - 1, 1), len(text) + 1)
        )
        assert sorted(want.values()) == sorted(level.counts[: None if n > 1 else size].tolist())


def test_tuned_discounts_cost_no_more_on_the_text_they_are_tuned_on():
    size = 6
    training = stream(drawn(11, size=size, documents=4, length=150), size)
    held = stream(drawn(12, size=size, documents=4, length=80), size)
    model = KneserNey.train(training, size=size, order=4)
    before = -model.log_probabilities(held).sum()
    found, cost = tuned(model, held)
    assert cost <= before
    again = KneserNey.train(training, size=size, order=4, discounts=found)
    assert -again.log_probabilities(held).sum() == pytest.approx(cost, rel=1e-9)
    for own in found:
        assert (own[1:] <= [1, 2, 3]).all()
        assert (own[1:] > 0).all()
    for context in itertools.product(range(size), repeat=2):
        assert again.distribution(list(context)).sum() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(
    ("seen", "fallback"),
    [
        ([], True),
        ([1, 1, 1], True),
        ([2, 2, 5], True),
        ([1] * 10 + [2] * 4 + [3] * 2 + [4], False),
    ],
)
def test_discounts_fall_back_where_counts_say_nothing(seen, fallback):
    found = discounts(np.array(seen, dtype=np.int32))
    assert (found.tolist() == [0.0, 0.5, 1.0, 1.5]) is fallback
    assert found[0] == 0
    assert all(0 < found[c] < c + 1e-9 for c in (1, 2, 3))
