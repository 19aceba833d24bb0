"""The loop: prompts of any lengths together, long ones in parts, ends, limits and bad input."""

import math

import pytest
import torch
from tiny_generation import VOCABULARY, Bytes, decoder_pair, letters

from hanlin.errors import ConfigError, InputError
from hanlin.generation import Sampling, generate, stream
from hanlin.models.config import ModelConfig
from hanlin.models.transformer import Transformer

GREEDY = Sampling(temperature=0, max_new_tokens=20)


@pytest.mark.parametrize("chunk", [1, 3, 7, 512])
def test_reading_a_prompt_in_parts_changes_nothing(chunk: int) -> None:
    model, _ = decoder_pair(5, spread=0.2)
    prompts = [[3 + (7 * i) % 60 for i in range(length)] for length in (1, 6, 7, 50)]
    sampling = Sampling(seed=3, max_new_tokens=12, logprobs=0)
    whole = generate(model, letters(), prompts, sampling)
    parts = generate(model, letters(), prompts, sampling, chunk=chunk)
    for [one], [other] in zip(whole, parts, strict=True):
        assert one.tokens == other.tokens
        for a, b in zip(one.logprobs, other.logprobs, strict=True):
            assert math.isclose(a.logprob, b.logprob, abs_tol=1e-5)


@pytest.mark.parametrize("together", [1, 2, 3, 100])
def test_how_many_run_together_changes_nothing(together: int) -> None:
    model, _ = decoder_pair(6, eos=[2, 5, 9, 20], spread=0.2)
    prompts = [[3 + i, 40 - i, 10] for i in range(7)]
    sampling = Sampling(seed=1, n=2, max_new_tokens=12)
    expected = [generate(model, letters(), [prompt], sampling)[0] for prompt in prompts]
    assert generate(model, letters(), prompts, sampling, together=together) == expected
    lengths = {len(g.tokens) for results in expected for g in results}
    assert len(lengths) > 3, "sequences must leave the batch at different steps"


def test_finished_sequences_leave_the_batch() -> None:
    model, _ = decoder_pair(6, eos=[2, 5, 9, 20], spread=0.2)
    sizes = []
    extend = model.extend

    def counting(ids, cache, **rest):
        sizes.append(ids.shape[0])
        return extend(ids, cache, **rest)

    model.extend = counting
    prompts = [[3 + i, 40 - i, 10] for i in range(7)]
    results = generate(model, letters(), prompts, Sampling(seed=1, max_new_tokens=12))
    made = [len(result.tokens) for [result] in results]
    assert sizes[7:] == [sum(n > step for n in made) for step in range(1, max(made))]


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_log_probabilities_are_those_of_a_full_forward(beams: int, temperature: float) -> None:
    model, _ = decoder_pair(7, spread=0.2)
    prompt = [5, 6, 7]
    sampling = Sampling(
        temperature=temperature,
        beams=beams,
        seed=2 if beams == 1 else None,
        max_new_tokens=15,
        logprobs=5,
        # None of these may show in the reported probabilities.
        repetition_penalty=1.5,
        top_k=9 if beams == 1 else 0,
        logit_bias={8: 3.0},
    )
    [[result]] = generate(model, letters(), [prompt], sampling)
    with torch.no_grad():
        logits = model(torch.tensor([prompt + list(result.tokens)])).logits[0]
    expected = logits.double().log_softmax(-1)[len(prompt) - 1 : -1]
    assert len(result.logprobs) == len(result.tokens)
    for place, (token, entry) in enumerate(zip(result.tokens, result.logprobs, strict=True)):
        assert entry.id == token
        assert entry.bytes == letters().token_bytes(token) == entry.token.encode()
        assert math.isclose(entry.logprob, expected[place, token].item(), abs_tol=1e-5)
        best = expected[place].topk(5)
        assert [top.id for top in entry.top] == best.indices.tolist()
        for top, value in zip(entry.top, best.values.tolist(), strict=True):
            assert math.isclose(top.logprob, value, abs_tol=1e-5)


def test_a_beams_score_is_its_log_probability_over_its_penalised_length() -> None:
    model, _ = decoder_pair(7, spread=0.2)
    sampling = Sampling(beams=3, n=3, max_new_tokens=8, logprobs=0, length_penalty=0.6)
    for result in generate(model, letters(), [[5]], sampling)[0]:
        total = sum(entry.logprob for entry in result.logprobs)
        assert math.isclose(result.score, total / len(result.tokens) ** 0.6, abs_tol=1e-5)


def test_the_context_ends_the_answer() -> None:
    model, _ = decoder_pair(1, eos=None, context=32)
    prompt = [3 + i for i in range(20)]
    for sampling in (GREEDY, GREEDY.with_changes(beams=2), Sampling(seed=1)):
        [[result]] = generate(model, letters(), [prompt], sampling.with_changes(max_new_tokens=99))
        assert len(result.tokens) == 12
        assert result.finish_reason == "length"


def test_max_length_counts_the_prompt() -> None:
    model, _ = decoder_pair(1, eos=None)
    results = generate(model, letters(), [[3], [3, 4, 5]], GREEDY.with_changes(max_length=10))
    assert [len(result.tokens) for [result] in results] == [9, 7]


@pytest.mark.parametrize("run", [generate, lambda m, v, p, s: stream(m, v, p[0], s)])
@pytest.mark.parametrize(
    ("prompt", "sampling", "message"),
    [
        ([4] * 32, GREEDY, "32 tokens and leaves no room.*32 together.*Shorten"),
        ([4] * 40, GREEDY, "40 tokens"),
        ([4, VOCABULARY], GREEDY, f"token id {VOCABULARY}.*0 to {VOCABULARY - 1}"),
        ([4, -1], GREEDY, "token id -1"),
        ([4, 4, 4], GREEDY.with_changes(max_length=3), "max_length is 3"),
        ([4], GREEDY.with_changes(logit_bias={VOCABULARY: 1.0}), "logit_bias"),
        ([4], GREEDY.with_changes(banned=((1, 99),)), "banned holds token id 99"),
    ],
)
def test_bad_input_is_refused_before_anything_runs(run, prompt, sampling, message) -> None:
    model, _ = decoder_pair(1, context=32)
    model.extend = None
    with pytest.raises((InputError, ConfigError), match=message):
        run(model, letters(), [prompt], sampling)


def test_an_empty_prompt_starts_with_the_begin_token_or_is_refused() -> None:
    model, _ = decoder_pair(1)
    assert generate(model, letters(), [[]], GREEDY) == generate(model, letters(), [[1]], GREEDY)
    model.config = model.config.with_changes(bos_id=None)
    with pytest.raises(InputError, match="empty"):
        generate(model, letters(), [[]], GREEDY)


def test_no_prompts_give_no_results() -> None:
    model, _ = decoder_pair(1)
    assert generate(model, letters(), [], GREEDY) == []


def test_a_model_in_training_mode_is_refused() -> None:
    model, _ = decoder_pair(1)
    with pytest.raises(InputError, match="training mode"):
        generate(model.train(), letters(), [[4]], GREEDY)


def test_an_encoder_is_refused() -> None:
    config = ModelConfig(
        family="bert",
        shape="encoder",
        head="masked-lm",
        vocab_size=VOCABULARY,
        hidden_size=8,
        num_layers=1,
        num_heads=2,
        intermediate_size=8,
    )
    with pytest.raises(InputError, match="cannot generate"):
        generate(Transformer(config).eval(), letters(), [[4]], GREEDY)


def test_ends_are_those_of_model_and_tokenizer_unless_named_or_ignored() -> None:
    model, _ = decoder_pair(3, eos=None, spread=0.15)
    [[free]] = generate(model, letters(), [[4]], GREEDY)
    end = free.tokens[5]
    until = free.tokens[: free.tokens.index(end) + 1]
    knows_end = letters(eos_ids=(end,))
    assert generate(model, knows_end, [[4]], GREEDY)[0][0].tokens == until
    named = GREEDY.with_changes(eos_ids=(end,))
    assert generate(model, letters(), [[4]], named)[0][0].tokens == until
    for keeps_going in (GREEDY.with_changes(ignore_eos=True), GREEDY.with_changes(eos_ids=())):
        assert generate(model, knows_end, [[4]], keeps_going)[0][0].tokens == free.tokens


def test_text_goes_on_from_a_character_that_the_prompt_began() -> None:
    model, _ = decoder_pair(3, eos=None, spread=0.15)
    first, rest = "翰".encode()[:2], "翰".encode()[2:]
    vocabulary = Bytes([first, *[rest] * (VOCABULARY - 1)])
    sampling = GREEDY.with_changes(max_new_tokens=1, banned=((0,),))
    [[result]] = generate(model, vocabulary, [[0]], sampling)
    assert result.text == "翰"
