"""Masked tokens: how many, which, and what stands in for them."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from objective_cases import CASES, TEXTS, tokenizer_of
from scipy.stats import chisquare

from hanlin.data.batch import IGNORE
from hanlin.data.loader import Loader
from hanlin.data.tokens import TokenArray
from hanlin.data.words import Words
from hanlin.errors import ConfigError
from hanlin.tokenizers import Tokenizer, train
from hanlin.training.objectives import MaskedLM

MANY = [text for _ in range(50) for text in TEXTS]


def rows(objective: MaskedLM, tokenizer: Tokenizer, *, epochs: int = 1, **options: Any) -> Any:
    """(shown, asked, original) of many tokens, special ones left out of `original` as -1."""
    source = TokenArray.encode(MANY, tokenizer)
    examples = objective.examples(source, tokenizer=tokenizer, length=64, seed=7, **options)
    for epoch in range(epochs):
        for index in range(len(examples)):
            example = examples.example(index, epoch)
            asked = example.targets != IGNORE
            yield example.ids, asked, np.where(asked, example.targets, example.ids)


@pytest.mark.parametrize("whole_words", [False, True])
def test_shares_are_those_of_the_paper(whole_words: bool) -> None:
    print("seed 7")
    tokenizer = tokenizer_of("wordpiece")
    special = np.array(sorted(tokenizer.special_ids))
    counts = np.zeros(3, dtype=int)
    asked_count = open_count = 0
    replaced = []
    for shown, asked, original in rows(MaskedLM(whole_words=whole_words), tokenizer, epochs=6):
        assert not np.isin(original[asked], special).any(), "a special token is asked for"
        assert (shown[~asked] == original[~asked]).all()
        open_count += int((~np.isin(original, special)).sum())
        asked_count += int(asked.sum())
        masked = asked & (shown == tokenizer.mask_id)
        other = asked & ~masked & (shown != original)
        counts += [masked.sum(), other.sum(), (asked & (shown == original)).sum()]
        replaced.append(shown[other])
    # A random token is now and then the right one, and then looks as if it were kept.
    ordinary = tokenizer.vocab_size - len(special)
    expected = np.array([0.8, 0.1 * (1 - 1 / ordinary), 0.1 + 0.1 / ordinary]) * asked_count
    assert chisquare(counts, expected).pvalue > 1e-3
    share = asked_count / open_count
    print(f"{asked_count} of {open_count} asked for: {share:.4f}; {counts / asked_count}")
    if whole_words:
        assert share == pytest.approx(0.15, abs=0.01)
    else:
        both = [asked_count, open_count - asked_count]
        assert chisquare(both, [0.15 * open_count, 0.85 * open_count]).pvalue > 1e-3
    drawn = np.concatenate(replaced)
    assert not np.isin(drawn, special).any(), "a special token stands in"
    rank = np.searchsorted(np.setdiff1d(np.arange(tokenizer.vocab_size), special), drawn)
    eighths = np.bincount(rank * 8 // ordinary, minlength=8)
    sizes = np.bincount(np.arange(ordinary) * 8 // ordinary)
    assert chisquare(eighths, sizes * len(drawn) / ordinary).pvalue > 1e-3


def test_masks_are_new_in_each_epoch_and_everywhere_equally_likely() -> None:
    tokenizer = tokenizer_of("wordpiece")
    source = TokenArray.encode(MANY, tokenizer)
    examples = MaskedLM().examples(source, tokenizer=tokenizer, length=40, seed=1, validation=True)
    hits = np.zeros(40, dtype=int)
    rounds = 3000
    for epoch in range(rounds):
        hits += examples.example(0, epoch).targets != IGNORE
    special = np.isin(examples.example(0, 0).ids, list(tokenizer.special_ids - {tokenizer.mask_id}))
    assert (hits[special] == 0).all()
    assert chisquare(hits[~special]).pvalue > 1e-3


@pytest.mark.parametrize("kind", ["wordpiece", "bpe", "unigram"])
def test_whole_words_are_never_split(kind: str) -> None:
    """Against the words the tokenizer itself cut the text into before spelling them."""
    tokenizer = tokenizer_of(kind)
    words = Words(tokenizer, chinese="characters")
    for text in [t for t in TEXTS if t.isascii()]:
        encoding = tokenizer.backend.encode(text, add_special_tokens=False)
        number = words.number(np.array(encoding.ids))
        spans: dict[int, list[int]] = {}
        for word, (start, end) in zip(number.tolist(), encoding.offsets, strict=True):
            span = spans.setdefault(word, [start, end])
            span[1] = end
        cut = {text[start:end].strip() for start, end in spans.values()}
        for word in text.split():
            bare = word.strip(".,?;")
            if bare.isalpha():
                assert bare in cut or f"{bare}." in cut, (bare, cut)
    objective = MaskedLM(whole_words=True, chinese="characters", rate=0.3)
    for _, asked, original in rows(objective, tokenizer):
        number = words.number(original)
        for word in np.unique(number):
            here = number == word
            assert asked[here].all() or not asked[here].any()


def test_wordpiece_words_are_those_of_the_tokenizer() -> None:
    tokenizer = tokenizer_of("wordpiece")
    words = Words(tokenizer, chinese="characters")
    for text in [*TEXTS, "it costs 5€ or $7; naïve café, 2°C"]:
        encoding = tokenizer.backend.encode(text, add_special_tokens=False)
        number = words.number(np.array(encoding.ids))
        assert number.tolist() == encoding.word_ids


@pytest.mark.parametrize("kind", ["wordpiece", "bpe", "unigram"])
def test_chinese_words_are_those_of_the_segmenter(kind: str) -> None:
    rjieba = pytest.importorskip("rjieba")
    text = "我们在北京大学读书，翰林院的学士起草诏书。"
    tokenizer = tokenizer_of(kind)
    if kind == "wordpiece":
        tokenizer = train([*TEXTS, text], kind="wordpiece", vocab_size=300, min_frequency=1)
    ids, offsets = tokenizer.encode_offsets(text, add_special_tokens=False)
    number = Words(tokenizer).number(np.array(ids))
    begins = np.cumsum([0, *map(len, rjieba.cut(text))]).tolist()
    starts = [offsets[0][0]]
    for word, before, (start, _) in zip(number[1:], number[:-1], offsets[1:], strict=True):
        if word != before:
            starts.append(start)
    print(rjieba.cut(text), [tokenizer.token(i) for i in ids], number)
    assert set(starts) <= set(begins), "a border is no border of the segmenter's words"
    token_starts = {start for start, _ in offsets}
    assert set(starts) == token_starts & set(begins), "words were joined"


def test_without_the_segmenter_every_chinese_character_is_a_word() -> None:
    tokenizer = tokenizer_of("wordpiece")
    ids = np.array(tokenizer.encode("什么是词元", add_special_tokens=False))
    assert Words(tokenizer, chinese="characters").number(ids).tolist() == [0, 1, 2, 3, 4]


def test_characters_of_several_tokens_are_one_word() -> None:
    tokenizer = train(["plain text only, nothing else"], kind="bpe", vocab_size=300)
    ids = np.array(tokenizer.encode("龘😀", add_special_tokens=False))
    assert len(ids) == 7
    assert Words(tokenizer).number(ids).tolist() == [0, 0, 0, 1, 1, 1, 1]


def test_logits_are_made_only_where_something_is_asked() -> None:
    case = CASES["masked"]
    batch = Loader(case.examples(), case.objective.collate, sequences=4, seed=0).step(0)[0]
    model = case.model(dtype=torch.float64)
    seen = []
    model.head.transform.register_forward_hook(lambda m, args, out: seen.append(args[0].shape[0]))
    loss = case.objective.loss(model, batch)
    assert seen == [batch.target_tokens]
    logits = model(batch.ids, batch.mask).logits
    expected = F.cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), reduction="sum")
    assert loss.item() == pytest.approx(expected.item())


def test_packed_documents_are_as_if_each_stood_alone() -> None:
    case = CASES["masked, documents packed"]
    model = case.model(dtype=torch.float64)
    examples = case.examples(length=60)
    for index in range(len(examples)):
        example = examples.example(index, 0)
        packed = case.objective.loss(model, case.objective.collate([example])).item()
        apart = 0.0
        for document in np.unique(example.segments):
            here = example.segments == document
            if not (example.targets[here] != IGNORE).any():
                continue
            alone = type(example)(example.ids[here], example.targets[here], None)
            batch = case.objective.collate([alone])
            apart += case.objective.loss(model, batch).item()
        assert packed == pytest.approx(apart, rel=1e-11)


def test_rows_of_documents_begin_and_end_as_the_tokenizer_has_it() -> None:
    case = CASES["masked, documents packed"]
    tokenizer = case.tokenizer
    examples = case.examples(length=60)
    encoded = sorted(tokenizer.encode(text) for text in TEXTS)
    found = []
    for index in range(len(examples)):
        example = examples.example(index, 0)
        whole = np.where(example.targets == IGNORE, example.ids, example.targets)
        found += [whole[example.segments == d].tolist() for d in np.unique(example.segments)]
    assert sorted(found) == encoded
    taken = sum(len(ids) for ids in found) / (60 * len(examples))
    assert examples.notes == (f"Rows of whole documents are {taken:.1%} full.",)


def test_what_cannot_be_masked_is_refused() -> None:
    plain = train(TEXTS, kind="bpe", vocab_size=300)
    source = TokenArray.encode(TEXTS, plain)
    with pytest.raises(ConfigError, match="no mask token"):
        MaskedLM().examples(source, tokenizer=plain, length=32, seed=0)
    with pytest.raises(ConfigError, match="rate"):
        MaskedLM(rate=1.5)
    with pytest.raises(ConfigError, match="above 1"):
        MaskedLM(masked=0.9, random=0.2)
    tokenizer = tokenizer_of("wordpiece")
    with pytest.raises(ConfigError, match="too short"):
        MaskedLM().examples(
            TokenArray.encode(TEXTS, tokenizer), tokenizer=tokenizer, length=2, seed=0
        )


def test_a_missing_segmenter_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "rjieba", None)
    with pytest.raises(ConfigError, match=r"hanlin\[data\]"):
        Words(tokenizer_of("wordpiece"))
    Words(tokenizer_of("wordpiece"), chinese="characters")
