"""Encoder-decoders answer as transformers' do: greedy and by beam search, token for token."""

import random
from pathlib import Path

import pytest
import torch
import transformers
from tiny_generation import VOCABULARY, letters

import hanlin.models
from hanlin.generation import Sampling, generate, stream
from hanlin.models.transformer import Transformer

SIZES = {"vocab_size": VOCABULARY, "d_model": 32}
LAYERS = {
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "max_position_embeddings": 64,
    "init_std": 0.25,
}
T5 = {"d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4}
KINDS = {
    "bart": lambda: transformers.BartForConditionalGeneration(
        transformers.BartConfig(
            **SIZES, **LAYERS, pad_token_id=1, bos_token_id=0, eos_token_id=2,
            decoder_start_token_id=2, forced_eos_token_id=None,
        )
    ),
    "marian": lambda: transformers.MarianMTModel(
        transformers.MarianConfig(
            **SIZES, **LAYERS, pad_token_id=63, eos_token_id=0, decoder_start_token_id=63,
            forced_eos_token_id=None, scale_embedding=True,
        )
    ),
    "t5": lambda: transformers.T5ForConditionalGeneration(
        transformers.T5Config(
            **SIZES, **T5, pad_token_id=0, eos_token_id=1, decoder_start_token_id=0,
            initializer_factor=6.0,
        )
    ),
}  # fmt: skip


@pytest.fixture(scope="module", params=KINDS)
def pair(request, tmp_path_factory) -> tuple[Transformer, transformers.PreTrainedModel]:
    directory: Path = tmp_path_factory.mktemp(request.param)
    torch.manual_seed(17)
    theirs = KINDS[request.param]().eval()
    theirs.save_pretrained(directory)
    return hanlin.models.load(directory), theirs


def sources(seed: int, count: int) -> list[list[int]]:
    print("seed", seed)
    draw = random.Random(seed)
    return [[draw.randrange(3, 60) for _ in range(draw.randrange(2, 14))] for _ in range(count)]


def theirs_of(model, source: list[int], **settings) -> list[tuple[int, ...]]:
    ids = torch.tensor([source])
    with torch.no_grad():
        out = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, **settings)
    end, results = model.config.eos_token_id, []
    for row in out[:, 1:].tolist():
        results.append(tuple(row[: row.index(end) + 1] if end in row else row))
    return results


def test_greedy_in_a_batch_of_different_lengths(pair) -> None:
    ours, theirs = pair
    prompts = sources(1, 5)
    results = generate(ours, letters(), prompts, Sampling(temperature=0, max_new_tokens=25))
    for prompt, [result] in zip(prompts, results, strict=True):
        assert [result.tokens] == theirs_of(theirs, prompt, max_new_tokens=25)
        assert result.prompt_tokens == len(prompt)


@pytest.mark.parametrize(
    ("settings", "controls"),
    [
        ({"length_penalty": 1.0, "early_stopping": False}, {}),
        ({"length_penalty": 2.0, "early_stopping": True}, {"no_repeat_ngram": 3}),
        ({"length_penalty": 0.5, "early_stopping": "never", "min_length": 6}, {}),
        ({"repetition_penalty": 1.3}, {"forced_first": 7}),
    ],
)
def test_beam_search(pair, settings: dict, controls: dict) -> None:
    ours, theirs = pair
    names = {"no_repeat_ngram": "no_repeat_ngram_size", "forced_first": "forced_bos_token_id"}
    prompts = sources(2, 2)
    sampling = Sampling(beams=4, n=2, max_new_tokens=14, **settings, **controls)
    for prompt, results in zip(prompts, generate(ours, letters(), prompts, sampling), strict=True):
        expected = theirs_of(
            theirs, prompt, num_beams=4, num_return_sequences=2, max_new_tokens=14, **settings,
            **{names[name]: value for name, value in controls.items()},
        )  # fmt: skip
        assert [result.tokens for result in results] == expected


def test_samples_and_streams_do_not_depend_on_the_batch(pair) -> None:
    ours, _ = pair
    prompts = sources(3, 4)
    sampling = Sampling(seed=9, n=2, max_new_tokens=15)
    together = generate(ours, letters(), prompts, sampling)
    for prompt, results in zip(prompts, together, strict=True):
        [alone] = generate(ours, letters(), [prompt], sampling)
        assert [r.tokens for r in alone] == [r.tokens for r in results]
        pieces = list(stream(ours, letters(), prompt, sampling.with_changes(n=1)))
        assert "".join(piece.text for piece in pieces) == results[0].text
