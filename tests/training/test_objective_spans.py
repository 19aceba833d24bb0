"""Span corruption against T5's preprocessing, written out again in plain Python."""

import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from objective_cases import CASES, TEXTS, tokenizer_of
from scipy.stats import chi2_contingency

from hanlin.data.order import rng
from hanlin.data.tokens import TokenArray
from hanlin.errors import ConfigError
from hanlin.tokenizers import train
from hanlin.training.objectives import SpanCorruption
from hanlin.training.objectives.spans import noise_mask, text_length, with_sentinels


def plain_mask(length: int, density: float, mean: float, draw: random.Random) -> list[bool]:
    """T5's random_spans_noise_mask, a token at a time.

    Where it would want more spans than there are tokens to keep between them, which it leaves
    open, there are as many as there can be.
    """
    noise = min(max(round(length * density), 1), length - 1)
    spans = min(max(round(noise / mean), 1), noise, length - noise)

    def parts(items: int) -> list[int]:
        firsts = [True] * (spans - 1) + [False] * (items - spans)
        draw.shuffle(firsts)
        sizes = [1]
        for first in firsts:
            if first:
                sizes.append(1)
            else:
                sizes[-1] += 1
        return sizes

    mask: list[bool] = []
    for kept, hidden in zip(parts(length - noise), parts(noise), strict=True):
        mask += [False] * kept + [True] * hidden
    return mask


def plain_corruption(ids: list[int], mask: list[bool], sentinels: list[int]) -> list[int]:
    """T5's noise_span_to_unique_sentinel."""
    out, used = [], 0
    for at, (token, hidden) in enumerate(zip(ids, mask, strict=True)):
        if not hidden:
            out.append(token)
        elif at == 0 or not mask[at - 1]:
            out.append(sentinels[used])
            used += 1
    return out


@settings(deadline=None)
@example(length=3, density=0.5, mean=1.0, seed=0)
@given(
    length=st.integers(2, 600),
    density=st.floats(0.01, 0.5),
    mean=st.floats(1.0, 8.0),
    seed=st.integers(0, 2**32),
)
def test_masks_have_the_counts_of_t5(length: int, density: float, mean: float, seed: int) -> None:
    expected = plain_mask(length, density, mean, random.Random(seed))
    mask = noise_mask(length, density=density, mean_span=mean, draw=rng(seed, 0, 0)).tolist()
    assert len(mask) == length
    assert sum(mask) == sum(expected)

    def spans(flags: list[bool]) -> int:
        return sum(b and not a for a, b in zip([False, *flags], flags, strict=False))

    assert spans(mask) == spans(expected)
    assert not mask[0]
    assert mask[-1]


def test_every_mask_is_as_likely_as_in_t5() -> None:
    print("seed 0")
    draw = random.Random(0)
    rounds = 6000
    ours = Counter(
        tuple(noise_mask(12, density=0.35, mean_span=2.0, draw=rng(0, 0, i)).tolist())
        for i in range(rounds)
    )
    theirs = Counter(tuple(plain_mask(12, 0.35, 2.0, draw)) for _ in range(rounds))
    masks = sorted({*ours, *theirs})
    assert len(masks) == 7 * 3  # 8 kept tokens in two parts, 4 hidden ones in two
    table = [[counts[mask] for mask in masks] for counts in (ours, theirs)]
    assert chi2_contingency(table).pvalue > 1e-3


@settings(deadline=None)
@given(data=st.data(), length=st.integers(1, 60))
def test_sentinels_stand_where_t5_puts_them(data: st.DataObject, length: int) -> None:
    mask = data.draw(st.lists(st.booleans(), min_size=length, max_size=length))
    ids = list(range(length))
    sentinels = list(range(1000, 1100))
    got = with_sentinels(np.array(ids), np.array(mask), np.array(sentinels))
    assert got.tolist() == plain_corruption(ids, mask, sentinels)


@pytest.mark.parametrize(("length", "text"), [(512, 568), (114, 126)])
def test_texts_are_as_long_as_in_the_paper(length: int, text: int) -> None:
    options = SpanCorruption()
    assert text_length(length, options, extra=1) == text

    def inputs(size: int) -> int:
        noise = round(size * 0.15)
        return size - noise + max(round(noise / 3), 1) + 1

    assert inputs(text) <= length < inputs(text + 1)


def test_t5_reads_512_and_writes_114() -> None:
    tokenizer = train(
        TEXTS,
        kind="unigram",
        vocab_size=450,
        special_tokens=["<pad>", "</s>", "<unk>", *(f"<extra_id_{n}>" for n in range(100))],
    )
    # One document, so that no end tokens are taken out of the windows.
    source = TokenArray.encode([" ".join(TEXTS * 30)], tokenizer)
    examples = SpanCorruption().examples(source, tokenizer=tokenizer, length=512, seed=0)
    example = examples.example(1, 0)
    assert (len(example.ids), len(example.targets)) == (512, 114)


@pytest.mark.parametrize("name", ["spans", "spans of documents"])
def test_inputs_and_targets_make_the_text_again(name: str) -> None:
    case = CASES[name]
    tokenizer = case.tokenizer
    sentinel = {tokenizer.id(f"<extra_id_{n}>"): n for n in range(20)}
    examples = case.examples()
    texts = []
    for index in range(len(examples)):
        for epoch in range(3):
            example = examples.example(index, epoch)
            assert example.ids[-1] == example.targets[-1] == tokenizer.eos_id
            assert len(example.ids) <= 32
            spans: list[list[int]] = []
            for token in example.targets[:-1].tolist():
                if token in sentinel:
                    assert sentinel[token] == len(spans)
                    spans.append([])
                else:
                    spans[-1].append(token)
            whole: list[int] = []
            for token in example.ids[:-1].tolist():
                whole += spans[sentinel[token]] if token in sentinel else [token]
            texts.append(tokenizer.decode(whole))
    everything = tokenizer.decode(
        [t for text in TEXTS * 2 for t in tokenizer.encode(text, add_special_tokens=False)]
    )
    for text in texts:
        assert text.strip() in everything


def test_a_tokenizer_without_sentinels_is_told_how_to_get_them() -> None:
    tokenizer = train(TEXTS, kind="unigram", vocab_size=400)
    source = TokenArray.encode(TEXTS, tokenizer)
    with pytest.raises(ConfigError, match="0 sentinels"):
        SpanCorruption().examples(source, tokenizer=tokenizer, length=32, seed=0)
    few = tokenizer_of("unigram")
    long = TokenArray.encode(TEXTS * 20, few)
    with pytest.raises(ConfigError, match="20 sentinels"):
        SpanCorruption().examples(long, tokenizer=few, length=1024, seed=0)
    with pytest.raises(ConfigError, match="density"):
        SpanCorruption(density=0.0)
    with pytest.raises(ConfigError, match="too short"):
        SpanCorruption().examples(long, tokenizer=few, length=3, seed=0)
