"""Preferences: DPO's loss and gradients are those of the formula; pairs are judged by rewards."""

import copy
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from hanlin.data.batch import IGNORE
from hanlin.data.loader import Loader
from hanlin.data.preferences import Preference
from hanlin.errors import ConfigError, InputError
from hanlin.models.lora import LoraSettings, apply_lora, lora_parameters
from hanlin.models.new import new_config
from hanlin.models.transformer import Transformer
from hanlin.tokenizers import ChatTemplate, Tokenizer, train
from hanlin.training.objectives import Prefer
from hanlin.training.objectives.prefer import answers
from tiny_models import CORPUS, TEMPLATE


def tokenizer_of() -> Tokenizer:
    tokenizer = train(CORPUS, kind="bpe", vocab_size=330)
    tokenizer.chat_template = ChatTemplate(TEMPLATE.replace("\n", "<|endoftext|>"))
    return tokenizer


def pair(asked: str, chosen: str, rejected: str) -> Preference:
    def said(text: str) -> dict[str, str]:
        return {"role": "assistant", "content": text}

    return Preference(({"role": "user", "content": asked},), said(chosen), said(rejected))


PAIRS = [
    pair("What is a token?", "A part of a text.", "Who knows."),
    pair("Who drafted it?", "The academy.", "翰林院的学士起草诏书，翻译外文。"),
    pair("Numbers?", "3, 14 and 1592.", "No."),
]


def model_of(*, dtype: torch.dtype = torch.float64, seed: int = 0, **fields: object) -> Transformer:
    sizes = {"hidden_size": 32, "num_layers": 2, "num_heads": 4, "max_context": 256}
    given = {**sizes, "initializer_range": 0.2, **fields}
    config = new_config("llama", tokenizer=tokenizer_of(), **given)  # type: ignore[arg-type]
    torch.manual_seed(seed)
    return Transformer(config).to(dtype)


def plain_loss(
    model: Transformer, reference: Transformer, objective: Prefer, pairs: list[Preference]
) -> Tensor:
    """The published formula, pair by pair, token by token."""
    tokenizer = tokenizer_of()

    def answered(network: Transformer, one: Preference, answer: dict[str, str]) -> Tensor:
        prompt = tokenizer.encode_chat(one.messages)
        said = tokenizer.encode(answer["content"] + "<|endoftext|>", add_special_tokens=False)
        table = network(torch.tensor([prompt + said])).logits[0].log_softmax(-1)
        total = torch.zeros((), dtype=table.dtype)
        for at, token in enumerate(said):
            total = total + table[len(prompt) - 1 + at, token]
        return total

    total = torch.zeros((), dtype=torch.float64)
    for one in pairs:
        policy = [answered(model, one, dict(a)) for a in (one.chosen, one.rejected)]
        with torch.no_grad():
            other = [answered(reference, one, dict(a)) for a in (one.chosen, one.rejected)]
        h = (policy[0] - policy[1]) - (other[0] - other[1])
        if objective.variant == "ipo":
            total = total + (h - 1 / (2 * objective.beta)) ** 2
        else:
            e, beta = objective.smoothing, objective.beta
            right = -torch.log(1 / (1 + torch.exp(-beta * h)))
            wrong = -torch.log(1 / (1 + torch.exp(beta * h)))
            total = total + (1 - e) * right + e * wrong
    return total


OBJECTIVES = {
    "sigmoid": Prefer(),
    "sigmoid, far": Prefer(beta=0.5),
    "conservative": Prefer(smoothing=0.2),
    "ipo": Prefer(variant="ipo", beta=0.3),
}


@pytest.mark.parametrize("name", list(OBJECTIVES))
def test_loss_and_gradients_are_those_of_the_formula(name: str) -> None:
    model, reference = model_of(), model_of(seed=1)
    objective = OBJECTIVES[name].against(reference)
    examples = objective.examples(PAIRS, tokenizer=tokenizer_of(), length=128, seed=0)
    batch = objective.collate([examples.example(n, 0) for n in range(3)])
    assert batch.target_tokens == 3
    assert batch.ids.shape[0] == 6
    mine = objective.loss(model, batch)
    theirs = plain_loss(model, reference, objective, PAIRS)
    assert mine.item() == pytest.approx(theirs.item(), rel=1e-10)
    parameters = list(model.parameters())
    for one, other in zip(
        torch.autograd.grad(mine, parameters),
        torch.autograd.grad(theirs, parameters),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-10)
    assert not any(p.requires_grad for p in reference.parameters())


def test_a_case_by_hand() -> None:
    """log p: chosen -2, rejected -3; log r: -2.5 and -2; so h = 1 - (-0.5) = 1.5."""
    policy, reference = torch.tensor([-2.0, -3.0]), torch.tensor([-2.5, -2.0])
    beta = 0.2
    x = beta * 1.5  # 0.3
    assert Prefer(beta=beta).losses(policy, reference).item() == pytest.approx(0.554355, abs=1e-6)
    assert math.log(1 + math.exp(-x)) == pytest.approx(0.554355, abs=1e-6)
    smoothed = Prefer(beta=beta, smoothing=0.25).losses(policy, reference).item()
    assert smoothed == pytest.approx(0.75 * 0.554355 + 0.25 * 0.854355, abs=1e-6)
    # IPO: (1.5 - 1 / 0.4)^2 = 1
    assert Prefer(beta=beta, variant="ipo").losses(policy, reference).item() == pytest.approx(1.0)


def test_a_model_that_is_its_reference_is_indifferent() -> None:
    model = model_of()
    objective = Prefer().against(copy.deepcopy(model))
    examples = objective.examples(PAIRS, tokenizer=tokenizer_of(), length=128, seed=0)
    batch = objective.collate([examples.example(n, 0) for n in range(3)])
    assert objective.loss(model, batch).item() == pytest.approx(3 * math.log(2), rel=1e-12)
    with torch.no_grad():
        loss, right, margin = objective.measure(model.eval(), batch).tolist()
    assert loss == pytest.approx(3 * math.log(2), rel=1e-12)
    assert (right, margin) == (1.5, 0.0)


def test_with_lora_the_reference_is_the_model_without_it() -> None:
    model, base = model_of(), model_of()
    apply_lora(model, LoraSettings(rank=4))
    with torch.no_grad():
        for parameter in lora_parameters(model).values():
            parameter += 0.1 * torch.randn_like(parameter)
    objective = Prefer()
    examples = objective.examples(PAIRS, tokenizer=tokenizer_of(), length=128, seed=0)
    batch = objective.collate([examples.example(n, 0) for n in range(3)])
    model.eval()
    mine = objective.loss(model, batch)
    theirs = plain_loss(model, base, objective, PAIRS)
    assert mine.item() == pytest.approx(theirs.item(), rel=1e-10)
    model.train()
    before = objective.loss(model, batch)
    assert model.training
    before.backward()
    moved = {n for n, p in model.named_parameters() if p.grad is not None}
    assert moved == set(lora_parameters(model))


@pytest.mark.parametrize("lora", [True, False])
def test_nothing_is_preferred_before_the_first_step(lora: bool) -> None:
    """Also in bfloat16 while gradients are made, where other kernels would round otherwise."""
    objective = Prefer(beta=1.0)
    model = model_of(
        dtype=torch.float32, hidden_size=576, num_heads=9, initializer_range=0.3
    ).train()
    if lora:
        apply_lora(model, LoraSettings(rank=4))
    else:
        objective = objective.against(copy.deepcopy(model))
    pairs = [pair("What?", "A part of a text. " * n, "The academy. " * n) for n in (3, 5, 8)]
    examples = objective.examples(pairs, tokenizer=tokenizer_of(), length=250, seed=0)
    batch = objective.collate([examples.example(n, 0) for n in range(3)])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = objective.loss(model, batch)
        with torch.no_grad():
            silent = objective.loss(model, batch)
    assert loss.requires_grad
    assert loss.item() == silent.item() == pytest.approx(3 * math.log(2), rel=1e-7)


def test_without_a_reference_it_says_so() -> None:
    objective = Prefer()
    examples = objective.examples(PAIRS, tokenizer=tokenizer_of(), length=128, seed=0)
    with pytest.raises(ConfigError, match="against a model that does not change"):
        objective.loss(model_of(), objective.collate([examples.example(0, 0)]))


def test_targets_are_the_answers_with_their_end() -> None:
    tokenizer = tokenizer_of()
    objective = Prefer()
    examples = objective.examples(PAIRS, tokenizer=tokenizer, length=128, seed=0)
    batch = objective.collate([examples.example(n, 0) for n in range(3)])
    texts = [tokenizer.decode(row[row != IGNORE].tolist()) for row in batch.targets]
    said = [p.chosen for p in PAIRS] + [p.rejected for p in PAIRS]
    assert texts == [f"{answer['content']}<|endoftext|>" for answer in said]
    for n, one in enumerate(PAIRS):
        prompt = tokenizer.encode_chat(one.messages)
        assert batch.ids[n, : len(prompt)].tolist() == prompt
        assert batch.ids[n + 3, : len(prompt)].tolist() == prompt
    probabilities = answers(model_of(), batch)
    assert probabilities.shape == (6,)
    assert (probabilities < 0).all()


def test_long_pairs_are_left_out_and_told() -> None:
    tokenizer = tokenizer_of()
    whole = Prefer().examples(PAIRS, tokenizer=tokenizer, length=200, seed=0)
    sizes = [
        max(len(whole.example(n, 0).chosen), len(whole.example(n, 0).rejected)) for n in range(3)
    ]
    examples = Prefer().examples(PAIRS, tokenizer=tokenizer, length=max(sizes) - 2, seed=0)
    assert len(examples) == 2
    assert examples.notes[0].startswith("1 of 3 pairs are longer than")
    assert Prefer().examples(PAIRS, tokenizer=tokenizer, length=max(sizes) - 1, seed=0).notes == ()
    with pytest.raises(InputError, match="No pair is within 2 tokens"):
        Prefer().examples(PAIRS, tokenizer=tokenizer, length=2, seed=0)


def test_a_pair_counts_as_what_it_takes_of_a_step() -> None:
    """So that a step of so many tokens has them, and half of it is the longer conversation."""
    objective = Prefer()
    examples = objective.examples(PAIRS, tokenizer=tokenizer_of(), length=200, seed=0)
    for n in range(3):
        batch = objective.collate([examples.example(n, 0)])
        assert batch.ids.numel() == examples.lengths[n]
    longest = int(examples.lengths.max()) // 2
    assert len(objective.examples(PAIRS, tokenizer=tokenizer_of(), length=longest, seed=0)) == 3
    assert len(objective.examples(PAIRS, tokenizer=tokenizer_of(), length=longest - 1, seed=0)) == 2


def test_settings_are_checked() -> None:
    for wrong in ({"beta": 0.0}, {"smoothing": 0.5}, {"smoothing": 0.1, "variant": "ipo"}):
        with pytest.raises(ConfigError, match=r"objective\."):
            Prefer(**wrong)  # type: ignore[arg-type]


def test_preference_accuracy_rises(tmp_path: Path) -> None:
    """Answers in small letters are preferred: that is learnt, and holds for other questions."""
    generator = np.random.default_rng(0)
    words = "token text model word part numbers emperor academy".split()

    def drawn(seed: int) -> list[Preference]:
        rows = []
        for _ in range(24):
            asked, said = (" ".join(generator.choice(words, 3)) for _ in range(2))
            rows.append(pair(asked, said, said.upper()))
        return rows

    training, held = drawn(0), drawn(1)
    model = model_of(dtype=torch.float32, initializer_range=0.05)
    objective, tokenizer = Prefer(beta=0.5), tokenizer_of()
    apply_lora(model.train(), LoraSettings(rank=4))
    examples = objective.examples(training, tokenizer=tokenizer, length=128, seed=0)
    loader = Loader(examples, objective.collate, sequences=8, seed=0)
    parameters = list(lora_parameters(model).values())
    optimizer = torch.optim.AdamW(parameters, lr=5e-3, weight_decay=0.0)
    losses = []
    for step in range(12):
        [batch] = loader.step(step)
        loss = objective.loss(model, batch) / batch.target_tokens
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    others = objective.examples(held, tokenizer=tokenizer, length=128, seed=0)
    batch = objective.collate([others.example(n, 0) for n in range(len(others))])
    model.eval()
    _, right, margin = (objective.measure(model, batch) / len(others)).tolist()
    print(losses[0], losses[-1], right, margin)
    assert losses[0] == pytest.approx(math.log(2), rel=1e-5)
    assert losses[-1] < 0.5
    assert right > 0.9
    assert margin > 0.5
