"""Greedy text and beam search are transformers', token for token."""

import random

import pytest
import torch
from tiny_generation import VOCABULARY, decoder_pair, letters

from hanlin.generation import Sampling, generate


def prompts_of(seed: int, count: int) -> list[list[int]]:
    draw = random.Random(seed)
    return [
        [draw.randrange(3, VOCABULARY) for _ in range(draw.randrange(1, 12))] for _ in range(count)
    ]


def theirs_of(model, prompt: list[int], **settings) -> list[tuple[int, ...]]:
    ids = torch.tensor([prompt])
    with torch.no_grad():
        out = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, **settings)
    ends = model.generation_config.eos_token_id
    ends = [ends] if isinstance(ends, int) else ends or []
    results = []
    for row in out[:, len(prompt) :].tolist():
        stop = next((i + 1 for i, token in enumerate(row) if token in ends), len(row))
        results.append(tuple(row[:stop]))
    return results


@pytest.mark.parametrize("seed", range(4))
def test_greedy_is_transformers_token_for_token(seed: int) -> None:
    ours, theirs = decoder_pair(seed, eos=[2, 5, 7])
    prompts = prompts_of(seed, 6)
    results = generate(ours, letters(), prompts, Sampling(temperature=0, max_new_tokens=40))
    for prompt, [result] in zip(prompts, results, strict=True):
        assert [result.tokens] == theirs_of(theirs, prompt, max_new_tokens=40)


CONTROLS = [
    {"repetition_penalty": 1.4},
    {"no_repeat_ngram": 2},
    {"no_repeat_ngram": 3, "repetition_penalty": 0.8},
    {"min_new_tokens": 12},
    {"min_length": 15},
    {"banned": ((9,), (10, 11), (12, 13, 14))},
    {"forced_first": 33, "forced_last": 2},
    {"logit_bias": {7: 4.5, 20: -6.0, 31: 3.0}, "repetition_penalty": 1.3},
]
NAMES = {
    "no_repeat_ngram": "no_repeat_ngram_size",
    "banned": "bad_words_ids",
    "forced_first": "forced_bos_token_id",
    "forced_last": "forced_eos_token_id",
    "logit_bias": "sequence_bias",
}


def translate(settings: dict) -> dict:
    values = {**settings}
    if "banned" in values:
        values["banned"] = [list(ids) for ids in values["banned"]]
    if "logit_bias" in values:
        values["logit_bias"] = [[[token], v] for token, v in values["logit_bias"].items()]
    return {NAMES.get(name, name): value for name, value in values.items()}


@pytest.mark.parametrize("settings", CONTROLS, ids=lambda s: "+".join(s))
def test_greedy_under_controls_is_transformers(settings: dict) -> None:
    ours, theirs = decoder_pair(11, eos=[2, 5])
    # transformers forces the first token where one token stands before it.
    prompts = [[9], [23]] if "forced_first" in settings else prompts_of(11, 5)
    sampling = Sampling(temperature=0, max_new_tokens=30, **settings)
    results = generate(ours, letters(), prompts, sampling)
    for prompt, [result] in zip(prompts, results, strict=True):
        assert [result.tokens] == theirs_of(
            theirs, prompt, max_new_tokens=30, **translate(settings)
        )


@pytest.mark.parametrize("early", [True, False, "never"])
@pytest.mark.parametrize("penalty", [1.0, 0.0, 2.0, -1.0])
def test_beam_search_is_transformers_token_for_token(early: bool | str, penalty: float) -> None:
    settings = {"length_penalty": penalty, "early_stopping": early, "max_new_tokens": 12}
    reasons = set()
    for seed, beams, n in ((0, 2, 1), (1, 3, 3), (2, 5, 2)):
        print("seed", seed)
        # With every tenth token an end, hypotheses finish early and late.
        ours, theirs = decoder_pair(seed, eos=[2, 5, 9, 20, 33, 60], spread=0.2)
        prompts = prompts_of(100 + seed, 2)
        sampling = Sampling(beams=beams, n=n, **settings)
        for prompt, results in zip(
            prompts, generate(ours, letters(), prompts, sampling), strict=True
        ):
            expected = theirs_of(
                theirs, prompt, num_beams=beams, num_return_sequences=n, **settings
            )
            assert [result.tokens for result in results] == expected
            reasons |= {result.finish_reason for result in results}
    assert "stop" in reasons


@pytest.mark.parametrize("settings", CONTROLS, ids=lambda s: "+".join(s))
def test_beam_search_under_controls_is_transformers(settings: dict) -> None:
    ours, theirs = decoder_pair(21, eos=[2, 5], spread=0.2)
    prompts = [[9], [23]] if "forced_first" in settings else prompts_of(11, 2)
    sampling = Sampling(beams=4, n=2, max_new_tokens=16, **settings)
    for prompt, results in zip(prompts, generate(ours, letters(), prompts, sampling), strict=True):
        expected = theirs_of(
            theirs,
            prompt,
            num_beams=4,
            num_return_sequences=2,
            max_new_tokens=16,
            **translate(settings),
        )
        assert [result.tokens for result in results] == expected


def test_beam_scores_are_transformers_scores() -> None:
    ours, theirs = decoder_pair(3, spread=0.2)
    [results] = generate(
        ours, letters(), [[4, 5, 6]], Sampling(beams=3, n=3, max_new_tokens=9, length_penalty=0.7)
    )
    out = theirs.generate(
        torch.tensor([[4, 5, 6]]),
        num_beams=3,
        num_return_sequences=3,
        max_new_tokens=9,
        length_penalty=0.7,
        do_sample=False,
        return_dict_in_generate=True,
        output_scores=True,
    )
    scores = torch.tensor([result.score for result in results])
    torch.testing.assert_close(scores, out.sequences_scores, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("seed", "spread", "penalty"), [(8, 0.2, 2.0), (19, 0.3, 1.0)])
def test_the_three_rules_for_stopping_early_differ_as_they_do_there(seed, spread, penalty) -> None:
    ours, theirs = decoder_pair(seed, eos=[2, 5, 9, 20, 33, 60], spread=spread)
    found = []
    for early in (True, False, "never"):
        settings = {"length_penalty": penalty, "early_stopping": early, "max_new_tokens": 12}
        [results] = generate(ours, letters(), [[4, 5]], Sampling(beams=3, n=3, **settings))
        found.append([result.tokens for result in results])
        assert found[-1] == theirs_of(
            theirs, [4, 5], num_beams=3, num_return_sequences=3, **settings
        )
    assert found[0] != found[1] != found[2], "the seeds must tell the rules apart"
