"""Every processor does what transformers' does, and keeps its promises on any input."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.generation import logits_process as theirs

from hanlin.generation import processors as ours
from hanlin.generation.sampling import draw

SIZE = 40
scores_of = st.lists(st.floats(-30, 30, width=32), min_size=SIZE, max_size=SIZE, unique=True).map(
    lambda values: torch.tensor(values, dtype=torch.float32)
)
tokens_of = st.lists(st.integers(0, SIZE - 1), min_size=1, max_size=30)
quick = settings(max_examples=40, deadline=None)


def apply(processor, history: list[int], scores: torch.Tensor) -> torch.Tensor:
    return processor(torch.tensor([history]), scores.unsqueeze(0).clone())[0]


def same(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=0)


@quick
@given(scores_of, tokens_of, st.floats(0.2, 5))
def test_repetition_penalty(scores, history, penalty) -> None:
    same(
        ours.penalise_repetition(scores, history, penalty),
        apply(theirs.RepetitionPenaltyLogitsProcessor(penalty), history, scores),
    )


@quick
@given(scores_of, st.lists(st.integers(0, 4), min_size=1, max_size=40), st.integers(1, 4))
def test_no_repeat_ngram(scores, history, size) -> None:
    same(
        ours.ban(scores, ours.repeats(history, size)),
        apply(theirs.NoRepeatNGramLogitsProcessor(size), history, scores),
    )


@quick
@given(
    scores_of,
    st.lists(st.integers(0, 3), min_size=1, max_size=12),
    st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=3), min_size=1, max_size=4),
)
def test_banned_sequences(scores, history, sequences) -> None:
    processor = theirs.NoBadWordsLogitsProcessor(sequences, eos_token_id=torch.tensor([SIZE - 1]))
    same(ours.ban(scores, ours.completions(history, sequences)), apply(processor, history, scores))


@quick
@given(scores_of, st.dictionaries(st.integers(0, SIZE - 1), st.floats(-20, 20), min_size=1))
def test_logit_bias(scores, biases) -> None:
    processor = theirs.SequenceBiasLogitsProcessor([[[i], v] for i, v in biases.items()])
    expected = apply(processor, [1], scores)
    actual = ours.bias(scores, list(biases), list(biases.values()))
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


@quick
@given(scores_of, tokens_of, st.floats(-2, 2), st.floats(-2, 2))
def test_frequency_and_presence_penalties_are_openais(scores, made, frequency, presence) -> None:
    actual = ours.penalise_frequency(scores, made, frequency=frequency, presence=presence)
    for token in range(SIZE):
        count = made.count(token)
        expected = scores[token].item() - count * frequency - (count > 0) * presence
        assert math.isclose(actual[token].item(), expected, rel_tol=1e-5, abs_tol=1e-5)


@quick
@given(scores_of, st.integers(1, SIZE + 5))
def test_top_k(scores, k) -> None:
    same(ours.keep_top_k(scores, k), apply(theirs.TopKLogitsWarper(k), [0], scores))


@quick
@given(scores_of, st.floats(0.01, 0.999))
def test_top_p(scores, p) -> None:
    kept = ours.keep_top_p(scores, p)
    if near_border(scores, p):
        return  # where rounding decides, either answer is right
    same(kept, apply(theirs.TopPLogitsWarper(p), [0], scores))


def near_border(scores: torch.Tensor, p: float) -> bool:
    sums = scores.double().softmax(-1).sort(descending=True).values.cumsum(-1)
    return bool(((sums - p).abs() < 1e-5).any())


@quick
@given(scores_of, st.floats(0.001, 1))
def test_min_p(scores, share) -> None:
    same(ours.keep_min_p(scores, share), apply(theirs.MinPLogitsWarper(share), [0], scores))


@quick
@given(scores_of, st.floats(0.05, 0.99))
def test_typical(scores, mass) -> None:
    same(ours.keep_typical(scores, mass), apply(theirs.TypicalLogitsWarper(mass), [0], scores))


@quick
@given(scores_of, st.floats(0.05, 20))
def test_temperature(scores, temperature) -> None:
    same(
        ours.warm(scores, temperature),
        apply(theirs.TemperatureLogitsWarper(temperature), [0], scores),
    )


FILTERS = [
    (ours.keep_top_k, 5),
    (ours.keep_top_p, 0.7),
    (ours.keep_min_p, 0.1),
    (ours.keep_typical, 0.6),
]


@pytest.mark.parametrize(("keep", "value"), FILTERS)
@given(scores=scores_of)
@quick
def test_filters_keep_some_tokens_unchanged_and_drop_the_rest(keep, value, scores) -> None:
    before = scores.clone()
    after = keep(scores, value)
    stays = after > -math.inf
    assert stays.any()
    assert torch.equal(after[stays], before[stays])
    assert torch.equal(scores, before), "the input must not change"


@pytest.mark.parametrize(("keep", "value"), FILTERS)
def test_filters_treat_rows_alike(keep, value) -> None:
    rows = torch.randn(4, SIZE, generator=torch.Generator().manual_seed(5))
    together = keep(rows, value)
    for row, expected in zip(rows, together, strict=True):
        assert torch.equal(keep(row, value), expected)


@pytest.mark.parametrize("p", [0.3, 0.9, 0.9999])
@pytest.mark.parametrize("spread", [0.1, 1.0, 4.0])
def test_top_p_of_a_large_vocabulary_equals_a_full_sort(p: float, spread: float) -> None:
    scores = spread * torch.randn(20_000, generator=torch.Generator().manual_seed(1))
    probabilities = scores.double().softmax(-1)
    order = probabilities.argsort(descending=True)
    before = probabilities[order].cumsum(0) - probabilities[order]
    kept = set((ours.keep_top_p(scores, p) > -math.inf).nonzero().flatten().tolist())
    surely = set(order[before < p - 1e-5].tolist())
    perhaps = set(order[before < p + 1e-5].tolist())
    assert surely <= kept <= perhaps


@quick
@given(scores_of, st.integers(1, 10))
def test_ties_at_the_kth_place_stay(scores, k) -> None:
    tied = scores.round().clone()
    kept = (ours.keep_top_k(tied, k) > -math.inf).sum()
    least = tied.sort(descending=True).values[k - 1]
    assert kept == (tied >= least).sum()


@quick
@given(scores_of, st.integers(0, SIZE - 1), st.floats(0, 1, exclude_max=True))
def test_a_forced_token_is_certain(scores, token, u) -> None:
    assert draw(ours.force(scores, token), u) == token


@quick
@given(scores_of, st.sets(st.integers(0, SIZE - 1), max_size=SIZE - 1), st.floats(0, 0.9999999))
def test_a_banned_token_is_never_drawn(scores, banned, u) -> None:
    assert draw(ours.ban(scores, sorted(banned)), u) not in banned
