"""From scores to answers: against a loop over every span of every window."""

import math
import random

import numpy as np
import pytest

from hanlin.data.reading_windows import Window, cut
from hanlin.data.spans import best_answers, best_threshold

WORDS = "one two three four five six seven eight nine ten eleven twelve"


def case(seed: int):
    """A context of words, windows over them with two tokens before each, and random scores."""
    draw, numbers = random.Random(seed), np.random.default_rng(seed)
    size = draw.randint(0, 12)
    context = " ".join(WORDS.split()[:size])
    spans, at = [], 0
    for word in WORDS.split()[:size]:
        spans.append((at, at + len(word)))
        at += len(word) + 1
    if size > 3:
        spans[2] = (spans[2][0], spans[2][0])  # a token that shows nothing
    if size > 6:
        spans[5] = spans[4]  # two tokens of one character
    room = draw.randint(3, 12)
    windows, scores = [], []
    for start, stop in cut(size, room=room, overlap=draw.randint(0, room - 1)):
        ids = np.arange(2 + stop - start + 1)
        windows.append(Window(ids, ids * 0, 2, start, stop))
        scores.append(numbers.normal(size=(len(ids), 2)) * 3)
    return context, np.array(spans, dtype=np.int64).reshape(-1, 2), windows, scores


def slowly(context, spans, windows, scores, *, n, max_answer, with_none):
    none = min(own[0, 0] + own[0, 1] for own in scores)
    best: dict[tuple[int, int], float] = {}
    for window, own in zip(windows, scores, strict=True):
        for first in range(window.start, window.stop):
            for last in range(first, min(window.stop, first + max_answer)):
                if any(spans[t][0] == spans[t][1] for t in (first, last)):
                    continue
                begin = own[window.first + first - window.start, 0]
                end = own[window.first + last - window.start, 1]
                best[first, last] = max(best.get((first, last), -math.inf), begin + end)
    if not best:
        return [("", None, None, 1.0, -math.inf)]
    total = sum(math.exp(score) for score in best.values()) + (math.exp(none) if with_none else 0)
    found: dict[tuple[int, int], tuple] = {}
    for (first, last), score in sorted(best.items(), key=lambda item: -item[1]):
        start, end = int(spans[first][0]), int(spans[last][1])
        if (start, end) not in found:
            share = math.exp(score) / total
            found[start, end] = (context[start:end], start, end, share, score - none)
    return list(found.values())[:n]


@pytest.mark.parametrize("with_none", [False, True])
def test_answers_are_those_of_a_loop_over_every_span(with_none: bool) -> None:
    first = random.randrange(2**31)
    for seed in range(first, first + 300):
        settings = {"n": 1 + seed % 5, "max_answer": 1 + seed % 7, "with_none": with_none}
        arguments = case(seed)
        got = best_answers(*arguments, **settings)
        want = slowly(*arguments, **settings)
        assert [(a.text, a.start, a.end) for a in got] == [each[:3] for each in want], seed
        for answer, (*_, score, margin) in zip(got, want, strict=True):
            assert answer.score == pytest.approx(score), seed
            assert answer.margin == pytest.approx(margin), seed


def test_a_threshold_is_the_best_there_is() -> None:
    first = random.randrange(2**31)
    for seed in range(first, first + 200):
        draw = random.Random(seed)
        size = draw.randint(1, 9)
        margins = [draw.choice([-2.0, -1.0, 0.0, 0.5, 1.0, 3.0]) for _ in range(size)]
        gained = [draw.choice([0.0, 0.4, 1.0]) for _ in range(size)]
        none = [draw.choice([0.0, 1.0]) for _ in range(size)]

        rows = list(zip(margins, gained, none, strict=True))
        totals = {at: gain(rows, at) for at in (-9.0, *(m + 1e-6 for m in margins))}
        found = best_threshold(margins, gained, none)
        assert gain(rows, found) == pytest.approx(max(totals.values())), seed


def gain(rows: list[tuple[float, float, float]], threshold: float) -> float:
    """Of questions answered from the threshold on."""
    return sum(right if margin >= threshold else none for margin, right, none in rows)
