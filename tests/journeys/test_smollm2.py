"""SmolLM2-135M-Instruct from its GGUF file, against transformers' reading of the same file."""

from pathlib import Path

import pytest
import torch

from hanlin import models
from hanlin.generation import Sampling, generate
from hanlin.models.transformer import Transformer
from hanlin.tokenizers import Tokenizer

pytestmark = [pytest.mark.real, pytest.mark.slow]

PROMPTS = [
    "The capital of France is",
    "Once upon a time, in a village by the sea,",
    "def fibonacci(n):\n",
    "Water boils at",
    "Dear customer, thank you for",
    "The three laws of thermodynamics are",
    "1, 1, 2, 3, 5, 8,",
    "To make a good cup of tea, first",
    "In 1969, the first human",
    "Machine learning is a field of",
    "SELECT name FROM users WHERE",
    "The difference between a virus and a bacterium is",
    "My favourite season is autumn because",
    "<html>\n<head>\n",
    "Shakespeare wrote",
    "A haiku about rain:\n",
    "你好，请问",
    "The quick brown fox",
    "Q: What is photosynthesis?\nA:",
    "import numpy as np\n\n",
]


@pytest.fixture(scope="module")
def peer(smollm2_gguf: Path) -> torch.nn.Module:
    import transformers

    transformers.utils.logging.disable_progress_bar()
    return transformers.AutoModelForCausalLM.from_pretrained(
        smollm2_gguf.parent, gguf_file=smollm2_gguf.name, dtype=torch.float32
    ).eval()


@pytest.fixture(scope="module")
def ours(smollm2_gguf: Path) -> Transformer:
    return models.load(smollm2_gguf, dtype="float32")


@pytest.fixture(scope="module")
def tokenizer(smollm2_gguf: Path) -> Tokenizer:
    return Tokenizer.load(smollm2_gguf)


def test_logits_agree_with_transformers(
    ours: Transformer, peer: torch.nn.Module, tokenizer: Tokenizer
) -> None:
    for prompt in PROMPTS:
        ids = torch.tensor([tokenizer.encode(prompt)])
        with torch.inference_mode():
            difference = (ours(ids).logits - peer(ids).logits).abs().max()
        assert difference < 1e-3, f"{prompt!r}: {difference}"


def test_200_greedy_tokens_are_those_of_transformers(
    ours: Transformer, peer: torch.nn.Module, tokenizer: Tokenizer
) -> None:
    # If transformers' likeliest token after every prefix of our text is our next token, its greedy
    # text is ours: one pass over the text checks what 200 steps of its generate would.
    prompts = [tokenizer.encode(prompt) for prompt in PROMPTS]
    settings = Sampling(temperature=0.0, max_new_tokens=200, ignore_eos=True)
    results = generate(ours, tokenizer, prompts, settings)
    for prompt, (result,) in zip(prompts, results, strict=True):
        assert len(result.tokens) == 200
        text = torch.tensor([prompt + list(result.tokens)])
        with torch.inference_mode():
            logits = peer(text[:, :-1]).logits[0, len(prompt) - 1 :]
        likeliest = logits.argmax(-1).tolist()
        for step, (own, theirs) in enumerate(zip(result.tokens, likeliest, strict=True)):
            # Where the two best differ by less than float32 rounding, either is right.
            gap = float(logits[step, theirs] - logits[step, own])
            assert own == theirs or gap < 1e-4, f"{tokenizer.decode(prompt)!r}, step {step}: {gap}"


def test_its_own_generate_writes_the_same(
    ours: Transformer, peer: torch.nn.Module, tokenizer: Tokenizer
) -> None:
    prompt = tokenizer.encode(PROMPTS[0])
    settings = Sampling(temperature=0.0, max_new_tokens=200, ignore_eos=True)
    [[result]] = generate(ours, tokenizer, [prompt], settings)
    with torch.inference_mode():
        out = peer.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            do_sample=False,
            min_new_tokens=200,
            max_new_tokens=200,
            pad_token_id=0,
        )
    # min_new_tokens bans the end token there; ignore_eos lets it come. They agree up to the first.
    theirs = out[0, len(prompt) :].tolist()
    ends = [step for step, token in enumerate(result.tokens) if token in tokenizer.eos_ids]
    until = ends[0] if ends else 200
    assert list(result.tokens[:until]) == theirs[:until]


def test_the_default_layout_stays_close_to_float32(
    ours: Transformer, smollm2_gguf: Path, tokenizer: Tokenizer
) -> None:
    """It rounds weights, and prompts to bfloat16; the next token hardly changes."""
    import hanlin

    fast = hanlin.load(str(smollm2_gguf)).network
    ids = torch.tensor([tokenizer.encode("\n".join(PROMPTS))])
    with torch.inference_mode():
        exact = ours(ids).logits[0].log_softmax(-1)
        rounded = fast(ids).logits[0].float().log_softmax(-1)
    divergence = (exact.exp() * (exact - rounded)).sum(-1)
    assert divergence.mean() < 5e-3, divergence.mean()


def test_what_else_is_in_the_batch_changes_nothing_bit_for_bit(
    smollm2_gguf: Path, tokenizer: Tokenizer
) -> None:
    import hanlin

    fast = hanlin.load(str(smollm2_gguf)).network
    prompts = [tokenizer.encode(prompt) for prompt in PROMPTS[:6]]
    settings = Sampling(temperature=0.9, seed=7, max_new_tokens=40, ignore_eos=True, logprobs=0)
    together = generate(fast, tokenizer, prompts, settings)
    for prompt, (in_batch,) in zip(prompts, together, strict=True):
        [[alone]] = generate(fast, tokenizer, [prompt], settings)
        assert alone.tokens == in_batch.tokens
        assert [t.logprob for t in alone.logprobs] == [t.logprob for t in in_batch.logprobs]


def test_transformers_generates_from_what_we_save(
    smollm2_gguf: Path, ours: Transformer, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    import transformers

    from hanlin.models.directory import save_directory

    saved = save_directory(ours, tmp_path / "model", tokenizer=tokenizer)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(saved, dtype=torch.float32)
    batch = transformers.AutoTokenizer.from_pretrained(saved)(PROMPTS[0], return_tensors="pt")
    out = theirs.generate(**batch, do_sample=False, max_new_tokens=8)
    settings = Sampling(temperature=0.0, max_new_tokens=8)
    [[result]] = generate(ours, tokenizer, [tokenizer.encode(PROMPTS[0])], settings)
    assert out[0, batch["input_ids"].shape[1] :].tolist() == list(result.tokens)
