"""Options read with their text shared: the numbers of reading every pair by itself."""

import random

import numpy as np
import pytest
import torch

from hanlin.errors import InputError
from hanlin.evaluation.benchmarks.options import Choice, Pairs, Scored, score_options
from hanlin.tasks import LanguageModel
from tiny_models import CONTEXT, CORPUS, byte_tokenizer, decoder


def model(**changes: object) -> LanguageModel:
    tokenizer = byte_tokenizer()
    network = decoder(tokenizer, seed=1, initializer_range=0.3, **changes)
    return LanguageModel(network, tokenizer, name="tiny")


KINDS = {
    "rotary": {},
    "learned positions": {"position": "learned"},
    "sliding window": {"sliding_window": 24, "layer_kinds": ("sliding", "full")},
}


def one_by_one(lm: LanguageModel, choice: Choice, option: str) -> Scored:
    """The plain loop: one pair, one pass, no cache, every logit."""
    before, after = Pairs(lm).encode(choice.text, option)
    ids = [*before, *after][-(CONTEXT + 1) :]
    with torch.no_grad():
        logits = lm.network(torch.tensor([ids[:-1]])).logits[0, -len(after) :].double()
    logs = logits.log_softmax(-1)
    values = logs[torch.arange(len(after)), torch.tensor(after)]
    greedy = logs.argmax(-1).tolist() == after
    return Scored(float(values.sum()), greedy)


def some_choices(seed: int, *, longest: int = 60) -> list[Choice]:
    """Random texts: with and without a stem, from one character to more than the context."""
    rng = random.Random(seed)
    source = " ".join(CORPUS)
    choices = []
    for stem in ("", "", source[:90], source[200:330] + "\n\n"):
        for _ in range(5):
            at = rng.randrange(len(source) - longest)
            text = stem + source[at : at + rng.randrange(1, longest)]
            options = tuple(
                source[(o := rng.randrange(len(source) - 20)) : o + rng.randrange(1, 20)]
                for _ in range(rng.randrange(1, 5))
            )
            choices.append(Choice(text, options, stem))
    return choices


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch", [1, 3, 64])
def test_shared_reading_gives_the_numbers_of_separate_reading(kind: str, batch: int) -> None:
    lm = model(**KINDS[kind])
    choices = some_choices(seed=batch)
    found = score_options(lm, choices, batch=batch)
    for choice, options in zip(choices, found, strict=True):
        for option, got in zip(choice.options, options, strict=True):
            want = one_by_one(lm, choice, option)
            assert got.log_likelihood == pytest.approx(want.log_likelihood, abs=1e-3), choice
            assert got.is_greedy == want.is_greedy


def test_a_text_longer_than_the_context_loses_its_beginning() -> None:
    lm = model()
    long = " ".join(CORPUS)
    choices = [Choice(long, (" a word", " two other words")), Choice("short", (" a", " b"))]
    found = score_options(lm, choices)
    for choice, options in zip(choices, found, strict=True):
        for option, got in zip(choice.options, options, strict=True):
            want = one_by_one(lm, choice, option)
            assert got.log_likelihood == pytest.approx(want.log_likelihood, abs=1e-3)


def test_without_a_text_the_begin_token_stands_before_the_option() -> None:
    lm = model()
    [[got]] = score_options(lm, [Choice("", ("The academy",))])
    assert got.log_likelihood == pytest.approx(lm.score("The academy").log_likelihood, abs=1e-4)


def test_single_letters_cost_one_row() -> None:
    lm = model()
    passes = []
    extend = lm.network.extend_hidden
    lm.network.extend_hidden = lambda ids, *a, **k: passes.append(ids.shape) or extend(ids, *a, **k)
    choice = Choice("Question: what is a token?\nAnswer:", (" A", " B", " C", " D"))
    score_options(lm, [choice])
    encoded = [Pairs(lm).encode(choice.text, option)[1] for option in choice.options]
    rows, tokens = passes[-1]
    assert rows == len({tuple(ids[:-1]) for ids in encoded}) < 4
    assert tokens == max(map(len, encoded))


def test_spaces_at_the_end_of_the_text_belong_to_the_option() -> None:
    pairs = Pairs(model())
    before, after = pairs.encode("The academy ", "drafted")
    assert (before, after) == pairs.encode("The academy", " drafted")


def test_the_order_of_the_questions_changes_nothing() -> None:
    lm = model()
    choices = some_choices(seed=5)
    forward = score_options(lm, choices)
    backward = score_options(lm, choices[::-1])[::-1]
    for a, b in zip(forward, backward, strict=True):
        sums = [[one.log_likelihood for one in each] for each in (a, b)]
        assert np.allclose(*sums, atol=1e-4)


def test_an_option_without_tokens_is_refused() -> None:
    with pytest.raises(InputError, match="no tokens"):
        score_options(model(), [Choice("a text", ("",))])
