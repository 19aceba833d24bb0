"""Denoising: sentences change places, words hide behind masks, the text itself is the target."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from objective_cases import CASES, TEXTS, tokenizer_of
from scipy.stats import chisquare, poisson

from hanlin.data.order import rng
from hanlin.data.sentences import Sentences
from hanlin.data.tokens import TokenArray
from hanlin.data.words import Words
from hanlin.errors import ConfigError
from hanlin.tokenizers import train
from hanlin.training.objectives import Denoising
from hanlin.training.objectives.denoising import infilled, permuted

MASK = -1


def gaps(shown: list[int], length: int) -> list[int]:
    """How many of range(length) each mask of `shown` stands for, where all else is in order."""
    sizes, at = [], 0
    pending = 0
    for token in [*shown, length]:
        if token == MASK:
            pending += 1
            continue
        if pending:
            # Several masks in a row share what is missing; which has how much cannot be seen.
            sizes += [token - at] + [0] * (pending - 1)
        else:
            assert token == at, "a token is missing without a mask"
        at, pending = token + 1, 0
    return sizes


@settings(deadline=None)
@given(
    length=st.integers(1, 80),
    rate=st.floats(0.0, 0.95),
    mean=st.floats(0.3, 6.0),
    seed=st.integers(0, 2**32),
)
def test_infilling_hides_the_wanted_share_and_keeps_the_rest_in_order(
    length: int, rate: float, mean: float, seed: int
) -> None:
    ids = np.arange(length)
    shown = infilled(ids, ids, rate=rate, mean_span=mean, mask_id=MASK, draw=rng(seed, 0, 0))
    hidden = gaps(shown.tolist(), length)
    assert sum(hidden) in (int(length * rate), int(length * rate) + 1)


def test_spans_are_poisson_and_anywhere() -> None:
    print("seed 5")
    length, rounds = 400, 400
    lengths = np.zeros(9, dtype=int)
    touched = np.zeros(length, dtype=int)
    hidden_share = []
    for index in range(rounds):
        ids = np.arange(length)
        shown = infilled(ids, ids, rate=0.3, mean_span=3.0, mask_id=MASK, draw=rng(5, 0, index))
        masks = np.flatnonzero(shown == MASK)
        gone = np.setdiff1d(ids, shown)
        touched[gone] += 1
        hidden_share.append(len(gone) / length)
        for at in masks:
            before = shown[at - 1] if at else -1
            after = shown[at + 1] if at + 1 < len(shown) else length
            if MASK not in (before if at else 0, after):
                lengths[min(after - before - 1, 8)] += 1
    assert np.mean(hidden_share) == pytest.approx(0.3, abs=1e-3)
    # Masks side by side hide their own lengths, and the last span is cut, so the fit is loose.
    expected = poisson.pmf(np.arange(9), 3.0)
    assert np.abs(lengths / lengths.sum() - expected).max() < 0.03
    blocks = touched.reshape(20, -1).sum(1)
    assert np.abs(blocks / blocks.mean() - 1).max() < 0.1
    assert chisquare(touched).pvalue > 1e-6


def test_words_are_hidden_whole() -> None:
    tokenizer = tokenizer_of("bpe")
    words = Words(tokenizer, chinese="characters")
    for text in TEXTS:
        ids = np.array(tokenizer.encode(text, add_special_tokens=False))
        number = words.number(ids)
        for seed in range(20):
            # Tokens that say which they are.
            shown = infilled(
                np.arange(len(ids)), number, rate=0.4, mean_span=2.0, mask_id=MASK,
                draw=rng(seed, 0, 0),
            )  # fmt: skip
            kept = np.isin(np.arange(len(ids)), shown)
            for word in np.unique(number):
                assert len(set(kept[number == word].tolist())) == 1


@settings(deadline=None)
@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=12), seed=st.integers(0, 99))
def test_sentences_change_places_whole(sizes: list[int], seed: int) -> None:
    ids = np.arange(sum(sizes))
    starts = np.cumsum([0, *sizes[:-1]])
    moved = permuted(ids, starts, rng(seed, 0, 0)).tolist()
    assert sorted(moved) == ids.tolist()
    for start, size in zip(starts.tolist(), sizes, strict=True):
        at = moved.index(start)
        assert moved[at : at + size] == list(range(start, start + size))


@pytest.mark.parametrize("kind", ["bpe", "unigram", "wordpiece"])
@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("It is 3.14 exactly. What is it? Yes!", ["It is 3.14 exactly.", "What is it?", "Yes!"]),
        ("他说：“好。”然后走了！真的？", ["他说：“好。”", "然后走了！", "真的？"]),
        ("No end here", ["No end here"]),
        ("第一句。 Second one. 第三句", ["第一句。", "Second one.", "第三句"]),
    ],
)
def test_sentences_end_where_they_end(kind: str, text: str, sentences: list[str]) -> None:
    if kind == "wordpiece" and "3.14" in text:
        pytest.skip("WordPiece sets a full stop apart from its number")
    tokenizer = train([text, *TEXTS], kind=kind, vocab_size=900, min_frequency=1)
    ids, offsets = tokenizer.encode_offsets(text, add_special_tokens=False)
    starts = Sentences(tokenizer).starts(np.array(ids))
    cuts = [offsets[at][0] for at in starts.tolist()]
    found = [text[a:b].strip() for a, b in zip(cuts, [*cuts[1:], len(text)], strict=True)]
    assert found == sentences


@pytest.mark.parametrize("name", ["denoising", "denoising windows"])
def test_targets_are_the_text_and_inputs_are_made_of_it(name: str) -> None:
    case = CASES[name]
    tokenizer = case.tokenizer
    examples = case.examples()
    pieces = []
    for index in range(len(examples)):
        example = examples.example(index, 1)
        shown, whole = example.ids.tolist(), example.targets.tolist()
        assert shown[-1] == whole[-1] == tokenizer.eos_id
        assert len(shown) <= 32 >= len(whole)
        assert tokenizer.eos_id not in whole[:-1]
        left = [token for token in shown if token != tokenizer.mask_id]
        assert not set(left) - set(whole)
        assert len(left) < len(whole)
        pieces.append(whole[:-1])
    if name == "denoising":
        joined = "".join(tokenizer.decode(piece) for piece in pieces)
        assert joined == "".join(TEXTS)
    else:
        ring = " ".join(
            str(token)
            for text in TEXTS * 2
            for token in tokenizer.encode(text, add_special_tokens=False)
        )
        assert all(" ".join(map(str, piece)) in ring for piece in pieces)


def test_permutation_alone_keeps_every_token() -> None:
    tokenizer = tokenizer_of("bpe")
    source = TokenArray.encode(TEXTS, tokenizer)
    examples = Denoising(rate=0.0).examples(source, tokenizer=tokenizer, length=128, seed=0)
    moved = 0
    for index in range(len(examples)):
        for epoch in range(4):
            example = examples.example(index, epoch)
            assert sorted(example.ids.tolist()) == sorted(example.targets.tolist())
            moved += example.ids.tolist() != example.targets.tolist()
    assert moved


def test_infilling_alone_keeps_the_order() -> None:
    tokenizer = tokenizer_of("bpe")
    source = TokenArray.encode(TEXTS, tokenizer)
    examples = Denoising(permute=False).examples(source, tokenizer=tokenizer, length=128, seed=0)
    for index in range(len(examples)):
        example = examples.example(index, 0)
        rest = iter(example.targets.tolist())
        assert all(token in rest for token in example.ids.tolist() if token != tokenizer.mask_id)


def test_what_cannot_be_damaged_is_refused() -> None:
    with pytest.raises(ConfigError, match="nothing is damaged"):
        Denoising(rate=0.0, permute=False)
    with pytest.raises(ConfigError, match="mean_span"):
        Denoising(mean_span=0.0)
    tokenizer = train(TEXTS, kind="bpe", vocab_size=300)
    source = TokenArray.encode(TEXTS, tokenizer)
    with pytest.raises(ConfigError, match="no mask token"):
        Denoising().examples(source, tokenizer=tokenizer, length=32, seed=0)
