"""Texts with their middle last: the same text, in another order, by the draws alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hanlin.data.middle import FORMS, Marks, middles_last
from hanlin.data.order import rng
from hanlin.data.tokens import TokenArray
from hanlin.errors import ConfigError, InputError
from hanlin.tokenizers import Tokenizer, train
from hanlin.training.objectives.causal import CausalLM
from tiny_models import CORPUS, byte_tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train(CORPUS, kind="bpe", vocab_size=400, special_tokens=("<|endoftext|>", *FORMS[0]))


def put_back(text: str) -> str:
    """A document whose middle came last, as it was."""
    pre, suf, mid = FORMS[0]
    if not text.startswith(pre):
        return text
    rest = text.removeprefix(pre)
    if rest.startswith(suf):  # suffix first: what follows the mark is prefix and middle in one
        after, before = rest.removeprefix(suf).split(mid)
        return before + after
    before, others = rest.split(suf)
    after, middle = others.split(mid)
    return before + middle + after


@settings(max_examples=60, deadline=None)
@given(
    texts=st.lists(st.sampled_from([*CORPUS, "a", "词元", "x = 1\n"]), min_size=1, max_size=4),
    seed=st.integers(0, 10**6),
    rate=st.sampled_from([0.0, 0.5, 1.0]),
)
def test_every_document_can_be_put_back(
    tokenizer: Tokenizer, texts: list[str], seed: int, rate: float
) -> None:
    end = tokenizer.id("<|endoftext|>")
    ids = [t for text in texts for t in (*tokenizer.encode(text), end)]
    room = 8 * len(texts)  # for the marks, so that nothing falls out of the window
    window = np.array([*ids, *[end] * room])
    moved = middles_last(window, tokenizer, Marks.of(tokenizer), rate=rate, rng=rng(seed, 0, 0))
    assert len(moved) == len(window)
    parts = tokenizer.decode(moved.tolist()).split("<|endoftext|>")
    assert [put_back(part) for part in parts if part] == texts
    marked = [part for part in parts if part.startswith("<fim_prefix>")]
    assert len(marked) == {0.0: 0, 1.0: sum(len(t) > 1 for t in texts)}.get(rate, len(marked))


def test_about_the_asked_share_is_moved_and_half_of_it_suffix_first(tokenizer: Tokenizer) -> None:
    marks = Marks.of(tokenizer)
    window = np.array([*tokenizer.encode(CORPUS[0]), tokenizer.id("<|endoftext|>")])
    moved = [
        middles_last(window, tokenizer, marks, rate=0.5, rng=rng(3, 0, index))
        for index in range(400)
    ]
    psm = sum(m[0] == marks.prefix and m[1] != marks.suffix for m in moved)
    spm = sum(m[0] == marks.prefix and m[1] == marks.suffix for m in moved)
    assert 160 <= psm + spm <= 240
    assert 65 <= spm <= 135


def test_the_objective_moves_middles_in_training_and_not_in_validation(
    tokenizer: Tokenizer,
) -> None:
    source = TokenArray.encode(CORPUS, tokenizer)
    plain, moved = CausalLM(), CausalLM(fim=1.0)

    def all_of(objective: CausalLM, *, validation: bool) -> list[list[int]]:
        found = objective.examples(
            source, tokenizer=tokenizer, length=48, seed=7, validation=validation
        )
        return [found.example(i, 2).ids.tolist() for i in range(len(found))]

    marks = Marks.of(tokenizer)
    assert all_of(plain, validation=True) == all_of(moved, validation=True)
    examples = all_of(moved, validation=False)
    assert examples == all_of(moved, validation=False)
    assert all(len(ids) == 48 for ids in examples)
    assert all(marks.prefix in ids for ids in examples)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match="from 0 to 1"):
        CausalLM(fim=2)
    with pytest.raises(ConfigError, match="respect_documents"):
        CausalLM(fim=0.5, respect_documents=True)
    plain = byte_tokenizer()
    source = TokenArray.encode(CORPUS, plain)
    with pytest.raises(InputError, match="<fim_prefix>"):
        CausalLM(fim=0.5).examples(source, tokenizer=plain, length=16, seed=0)
