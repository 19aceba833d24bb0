"""Next-token examples: what is asked, what may be seen, how many bytes that is."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from objective_cases import TEXTS, Case, tokenizer_of

from hanlin.data.batch import IGNORE
from hanlin.data.loader import Loader
from hanlin.data.tokens import TokenArray
from hanlin.training.objectives import CausalLM

APART = Case(CausalLM(respect_documents=True), "llama")
TOGETHER = Case(CausalLM(), "llama")


def test_the_loss_is_the_sum_of_next_token_cross_entropies() -> None:
    batch = Loader(TOGETHER.examples(), TOGETHER.objective.collate, sequences=4, seed=0).step(0)[0]
    model = TOGETHER.model(dtype=torch.float64)
    logits = model(batch.ids).logits
    expected = F.cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), reduction="sum")
    assert TOGETHER.objective.loss(model, batch).item() == pytest.approx(expected.item())
    assert (batch.ids[:, 1:] == batch.targets[:, :-1]).all()
    assert batch.target_tokens == batch.targets.numel()


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3_text"])
def test_documents_of_one_window_are_as_if_each_stood_alone(family: str) -> None:
    case = Case(APART.objective, family)
    model = case.model(dtype=torch.float64, max_context=300)
    tokenizer = case.tokenizer
    documents = TokenArray.encode(TEXTS, tokenizer)
    whole = case.objective.examples(
        documents, tokenizer=tokenizer, length=documents.tokens - 1, seed=0, validation=True
    )
    assert len(whole) == 1
    packed = case.objective.loss(model, case.objective.collate([whole.example(0, 0)]))
    apart = 0.0
    for index in range(documents.documents):
        ids = torch.from_numpy(documents.read(*documents.document_bounds(index)))[None]
        logits = model(ids[:, :-1]).logits
        apart += F.cross_entropy(logits[0], ids[0, 1:], reduction="sum").item()
    assert packed.item() == pytest.approx(apart, rel=1e-11)


def test_nothing_crosses_a_border_that_is_respected() -> None:
    model = APART.model(dtype=torch.float64)
    examples = APART.examples(length=110)
    window = examples.example(0, 0)
    batch = APART.objective.collate([window])
    embedded = model.embedding(batch.ids).detach().requires_grad_(True)
    # The embedding gives out what we watch.
    model.embedding.forward = lambda ids: embedded
    hidden = model.hidden(batch.ids, segments=batch.segments)
    segments = batch.segments[0]
    assert len(segments.unique()) > 2
    for document in segments.unique():
        (gradient,) = torch.autograd.grad(
            hidden[0, segments == document].sum(), embedded, retain_graph=True
        )
        touched = gradient[0].abs().sum(-1) > 0
        assert not touched[segments != document].any()
        assert touched[segments == document].any()


def test_the_first_token_of_a_document_is_asked_for_only_across_open_borders() -> None:
    tokenizer = tokenizer_of("bpe")
    end = tokenizer.eos_id
    for case in (APART, TOGETHER):
        examples = case.examples()
        for index in range(len(examples)):
            example = examples.example(index, 2)
            after_end = example.ids == end
            if case is APART:
                assert ((example.targets == IGNORE) == after_end).all()
            else:
                assert (example.targets != IGNORE).all()


def test_bytes_are_those_of_the_text_behind_the_targets() -> None:
    tokenizer = tokenizer_of("bpe")
    source = TokenArray.encode(TEXTS, tokenizer)
    examples = CausalLM().examples(source, tokenizer=tokenizer, length=20, seed=0, validation=True)
    read = [examples.example(i, 0) for i in range(len(examples))]
    first = len(tokenizer.token_bytes(int(source.ids[0])))
    assert sum(example.bytes for example in read) == sum(len(t.encode()) for t in TEXTS) - first
    apart = APART.objective.examples(
        source, tokenizer=tokenizer, length=20, seed=0, validation=True
    )
    firsts = [len(tokenizer.token_bytes(int(source.ids[e]))) for e in [0, *source.ends[:-1]]]
    read = [apart.example(i, 0) for i in range(len(apart))]
    total = sum(example.bytes for example in read)
    assert total == sum(len(text.encode()) for text in TEXTS) - sum(firsts)
    assert APART.objective.collate(read).target_bytes == total


def test_every_token_is_a_target_about_once_an_epoch() -> None:
    tokenizer = tokenizer_of("bpe")
    source = TokenArray.encode(TEXTS, tokenizer)
    examples = CausalLM().examples(source, tokenizer=tokenizer, length=16, seed=0)
    for epoch in range(3):
        targets = np.concatenate([examples.example(i, epoch).targets for i in range(len(examples))])
        counts = np.bincount(source.ids) - np.bincount(targets, minlength=source.ids.max() + 1)
        assert counts.min() >= 0
        assert counts.sum() == source.tokens % 16
