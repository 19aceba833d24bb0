"""Prompts searched together give what each gives alone, in the order they were asked."""

import random

import pytest
import torch
from tiny_generation import VOCABULARY, decoder_pair, letters

from hanlin.generation import Generation, Sampling, generate
from hanlin.models.new import new_config
from hanlin.models.transformer import Transformer


def network(kind: str, seed: int) -> Transformer:
    if kind == "decoder":
        return decoder_pair(seed, eos=[2, 5, 7])[0]
    config = new_config(
        kind, vocab_size=VOCABULARY, hidden_size=32, num_layers=2, num_heads=4, max_context=64,
        initializer_range=0.3,
    )  # fmt: skip
    torch.manual_seed(seed)
    return Transformer(config.with_changes(eos_ids=(2, 5, 7))).eval()


def prompts_of(count: int) -> list[list[int]]:
    seed = random.randrange(10**6)
    print("seed", seed)
    draw = random.Random(seed)
    return [
        [draw.randrange(8, VOCABULARY) for _ in range(draw.randrange(1, 25))] for _ in range(count)
    ]


def plain(results: list[list[Generation]]) -> list[list[tuple[str, tuple[int, ...], str]]]:
    return [[(one.text, one.tokens, one.finish_reason) for one in found] for found in results]


@pytest.mark.parametrize("kind", ["decoder", "vaswani", "t5"])
@pytest.mark.parametrize(
    "settings",
    [
        Sampling(beams=4, n=2, max_new_tokens=20),
        Sampling(beams=3, max_new_tokens=20, early_stopping=True, length_penalty=0.6),
        Sampling(beams=2, max_new_tokens=12, no_repeat_ngram=2, min_new_tokens=4),
        Sampling(temperature=0, max_new_tokens=20),
        Sampling(seed=3, n=2, max_new_tokens=20),
    ],
)
def test_what_else_is_searched_changes_nothing(kind: str, settings: Sampling) -> None:
    model, prompts = network(kind, 4), prompts_of(19)
    alone = [generate(model, letters(), [prompt], settings)[0] for prompt in prompts]
    for together in (1, 24, 500):
        found = generate(model, letters(), prompts, settings, together=together)
        assert plain(found) == plain(alone)
        for one, other in zip(found, alone, strict=True):
            if settings.beams > 1:
                scores = [pytest.approx(result.score, rel=1e-5) for result in other]
                assert [result.score for result in one] == scores
            assert [result.prompt_tokens for result in one] == [r.prompt_tokens for r in other]


def test_no_prompts_give_nothing() -> None:
    assert generate(network("decoder", 0), letters(), [], Sampling(beams=2)) == []
