"""Draws follow their distribution, and depend on the seed and nothing else."""

import math

import pytest
import torch
from scipy.stats import chisquare, kstest
from tiny_generation import VOCABULARY, decoder_pair, letters

from hanlin.errors import ConfigError, FormatError
from hanlin.generation import Sampling, generate
from hanlin.generation.controls import Progress, controls_of
from hanlin.generation.sampling import draw, likeliest, uniform

# A right sampler fails one such test in ten million.
FALSE_ALARM = 1e-7


def test_uniform_numbers_are_uniform_along_every_counter() -> None:
    by_step = [uniform(7, 0, step) for step in range(20_000)]
    by_index = [uniform(7, index, 3) for index in range(20_000)]
    by_seed = [uniform(seed, 0, 0) for seed in range(20_000)]
    for numbers in (by_step, by_index, by_seed):
        assert min(numbers) >= 0
        assert max(numbers) < 1
        assert kstest(numbers, "uniform").pvalue > FALSE_ALARM
    for one, other in ((by_step, by_index), (by_index, by_seed), (by_step[1:], by_step[:-1])):
        correlation = torch.corrcoef(torch.tensor([one[:19_999], other[:19_999]]))[0, 1]
        assert abs(correlation) < 6 / math.sqrt(20_000)


SETTINGS = [
    {},
    {"temperature": 0.5},
    {"temperature": 2.0},
    {"top_k": 4},
    {"top_p": 0.8},
    {"min_p": 0.2},
    {"typical_p": 0.7},
    {"temperature": 1.5, "top_k": 9, "top_p": 0.9, "min_p": 0.02},
    {"repetition_penalty": 1.5, "logit_bias": {3: 1.0}, "presence_penalty": 0.5},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda s: "+".join(s) or "plain")
def test_draws_follow_the_distribution_that_the_settings_define(settings: dict) -> None:
    scores = 1.5 * torch.randn(12, generator=torch.Generator().manual_seed(4))
    progress = Progress([1, 5, 5, 7], 2, 10)
    controls = controls_of(Sampling(**settings), ())
    left, ids = controls.shape(controls.judge(scores, progress))
    ids = torch.arange(12) if ids is None else ids
    expected = reference(scores, progress, **settings)
    draws = 8_000
    counts = torch.zeros(12)
    for step in range(draws):
        counts[ids[draw(left, uniform(123, 0, step))]] += 1
    assert counts[expected == 0].sum() == 0
    likely = expected > 0
    statistic = chisquare(counts[likely].double(), draws * expected[likely])
    assert statistic.pvalue > FALSE_ALARM


def reference(scores, progress, **settings) -> torch.Tensor:
    """The distribution by the definitions, with transformers' processors and a float64 softmax."""
    from transformers.generation import logits_process as theirs

    row, ids = scores.unsqueeze(0).clone(), torch.tensor([list(progress.history)])
    for token, bias in settings.get("logit_bias", {}).items():
        row[0, token] += bias
    if "repetition_penalty" in settings:
        processor = theirs.RepetitionPenaltyLogitsProcessor(settings["repetition_penalty"])
        row = processor(ids, row)
    for token in set(progress.history[progress.prompt :]):
        row[0, token] -= settings.get("presence_penalty", 0)
    for name, warper in (
        ("temperature", theirs.TemperatureLogitsWarper),
        ("top_k", theirs.TopKLogitsWarper),
        ("top_p", theirs.TopPLogitsWarper),
        ("min_p", theirs.MinPLogitsWarper),
        ("typical_p", theirs.TypicalLogitsWarper),
    ):
        if name in settings:
            row = warper(settings[name])(ids, row)
    return row[0].double().softmax(-1)


def test_first_tokens_of_many_sequences_follow_the_models_distribution() -> None:
    model, _ = decoder_pair(2, spread=0.15)
    prompt, total = [5, 9, 11], 3000
    [results] = generate(
        model, letters(), [prompt], Sampling(n=total, max_new_tokens=1, seed=1), together=total
    )
    with torch.no_grad():
        expected = model(torch.tensor([prompt])).logits[0, -1].double().softmax(-1)
    counts = torch.bincount(torch.tensor([r.tokens[0] for r in results]), minlength=VOCABULARY)
    assert (expected * total > 5).all(), "chi-square needs a handful of counts in each cell"
    assert chisquare(counts.double(), total * expected).pvalue > FALSE_ALARM


def test_the_ends_of_the_unit_interval_draw_the_first_and_last_possible_token() -> None:
    scores = torch.tensor([-math.inf, 0.0, -math.inf, 2.0, -math.inf])
    assert draw(scores, 0.0) == 1
    assert draw(scores, 1 - 2**-53) == 3


@pytest.mark.parametrize(
    "choose", [lambda scores: likeliest(scores.unsqueeze(0)), lambda scores: draw(scores, 0.5)]
)
def test_no_token_left_is_an_error(choose) -> None:
    with pytest.raises(ConfigError, match="leave no token"):
        choose(torch.full((5,), -math.inf))
    with pytest.raises(FormatError, match="not a number"):
        choose(torch.tensor([0.0, math.nan]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_likeliest_is_the_first_of_the_highest(dtype: torch.dtype) -> None:
    scores = torch.randn(50, 300, generator=torch.Generator().manual_seed(3)).to(dtype)
    scores[7, 5] = scores[7, 200] = 9.0
    best = likeliest(scores)
    assert best[7] == 5
    for row, token in zip(scores.double(), best.tolist(), strict=True):
        assert row[token] == row.max()


SAMPLED = Sampling(temperature=1.0, top_p=0.95, max_new_tokens=20, seed=77, logprobs=2)


def test_the_same_seed_gives_the_same_text_alone_and_in_any_batch() -> None:
    model, _ = decoder_pair(8, spread=0.2)
    prompts = [[3 + i] * (1 + 3 * i) for i in range(6)]
    alone = [generate(model, letters(), [prompt], SAMPLED)[0][0] for prompt in prompts]
    for order in ([0, 1, 2, 3, 4, 5], [5, 3, 1, 4, 2, 0], [2, 2, 2]):
        batch = generate(model, letters(), [prompts[i] for i in order], SAMPLED)
        for i, [result] in zip(order, batch, strict=True):
            assert result.tokens == alone[i].tokens
            assert result.text == alone[i].text
            for here, there in zip(result.logprobs, alone[i].logprobs, strict=True):
                assert math.isclose(here.logprob, there.logprob, abs_tol=1e-5)


def test_the_first_of_n_sequences_are_those_of_a_smaller_n() -> None:
    model, _ = decoder_pair(8, spread=0.2)
    few = generate(model, letters(), [[4, 5]], SAMPLED.with_changes(n=2))[0]
    many = generate(model, letters(), [[7], [4, 5]], SAMPLED.with_changes(n=7), together=14)[1]
    assert [r.tokens for r in few] == [r.tokens for r in many[:2]]
    assert len({r.tokens for r in many}) == 7


def test_a_seed_drawn_for_the_user_is_reported_and_repeats_the_text() -> None:
    model, _ = decoder_pair(8, spread=0.2)
    free = SAMPLED.with_changes(seed=None)
    [[first]] = generate(model, letters(), [[4, 5]], free)
    [[second]] = generate(model, letters(), [[4, 5]], free)
    assert first.seed != second.seed
    [[again]] = generate(model, letters(), [[4, 5]], free.with_changes(seed=first.seed))
    assert again == first


def test_greedy_choice_reports_no_seed() -> None:
    model, _ = decoder_pair(8)
    [[result]] = generate(model, letters(), [[4]], Sampling(temperature=0, max_new_tokens=2))
    assert result.seed is None
