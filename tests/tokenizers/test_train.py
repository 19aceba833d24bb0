"""Training: the reference's merges, the same result every time, clear refusals."""

import itertools
import json
import math
import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hanlin.errors import ConfigError, InputError
from hanlin.tokenizers import train
from hanlin.tokenizers.merges import learn_merges
from hanlin.tokenizers.unigram import learn_pieces


def merges_of(tokenizer: object) -> list[tuple[str, str]]:
    model = json.loads(tokenizer.backend.to_str())["model"]  # type: ignore[attr-defined]
    return [tuple(merge) for merge in model["merges"]]


def plain_merges(words: dict[str, int], room: int) -> list[tuple[str, str]]:
    """BPE as its definition says, counting everything anew for every merge."""
    spelt = {word: list(word) for word in words}
    merges: list[tuple[str, str]] = []
    while len({left + right for left, right in merges}) < room:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, symbols in spelt.items():
            for pair in itertools.pairwise(symbols):
                pairs[pair] += words[word]
        if not pairs:
            break
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        if pairs[best] < 2:
            break
        merges.append(best)
        for word, symbols in spelt.items():
            merged, at = [], 0
            while at < len(symbols):
                if tuple(symbols[at : at + 2]) == best:
                    merged.append(best[0] + best[1])
                    at += 2
                else:
                    merged.append(symbols[at])
                    at += 1
            spelt[word] = merged
    return merges


@given(
    st.dictionaries(st.text("ab cé好", max_size=12), st.integers(1, 5), max_size=12),
    st.integers(0, 30),
)
@settings(max_examples=300, deadline=None)
def test_merges_equal_the_definition(words: dict[str, int], room: int) -> None:
    spelt = {tuple(word): count for word, count in words.items()}
    assert learn_merges(spelt, room=room) == plain_merges(words, room)


def likelihood(text: str, pieces: dict[str, float]) -> float:
    """The log probability of the best way to spell `text`, tried out by recursion."""
    if not text:
        return 0.0
    return max(
        (
            pieces[text[:n]] + likelihood(text[n:], pieces)
            for n in range(1, len(text) + 1)
            if text[:n] in pieces
        ),
        default=-math.inf,
    )


def test_unigram_pieces_spell_the_words_they_were_learnt_from() -> None:
    words = {"▁low": 5, "▁lower": 2, "▁newest": 6, "▁widest": 3, "新的": 4}
    pieces = learn_pieces(words, size=26)
    assert len(pieces) <= 26
    assert math.fsum(math.exp(score) for score in pieces.values()) == pytest.approx(1)
    assert set("".join(words)) <= set(pieces)
    assert {"▁low", "▁newest", "新的"} <= set(pieces)
    for word in words:
        assert likelihood(word, pieces) > math.log(1 / 200)
    # Expectation maximisation has found that these counts explain the words best.
    less = learn_pieces(words, size=len(set("".join(words))))
    total = sum(n * likelihood(word, pieces) for word, n in words.items())
    assert total > sum(n * likelihood(word, less) for word, n in words.items()) + 10


def test_merges_equal_the_shared_reference(shared_data: Path) -> None:
    folder = shared_data / "cs336_bpe_reference"
    lines = (folder / "train-bpe-reference-merges.txt").read_text(encoding="utf-8").split("\n")
    reference = [tuple(line.split(" ")) for line in lines if line.strip()]
    learnt = train(
        [(folder / "corpus.en").read_text(encoding="utf-8")],
        kind="bpe",
        vocab_size=500,
        pattern="gpt2",
        ties="greatest",
    )
    assert merges_of(learnt) == reference
    assert learnt.vocab_size == 500


@pytest.mark.parametrize("ties", ["first", "greatest"])
def test_the_order_of_texts_does_not_matter(own_lines: list[str], ties: str) -> None:
    shuffled = own_lines * 2
    random.Random(3).shuffle(shuffled)
    one = train(own_lines * 2, kind="bpe", vocab_size=400, ties=ties)
    two = train(shuffled, kind="bpe", vocab_size=400, ties=ties)
    assert one.hash == two.hash


@pytest.mark.parametrize("kind", ["bpe", "wordpiece", "unigram"])
def test_the_same_texts_give_the_same_vocabulary(own_lines: list[str], kind: str) -> None:
    first = train(own_lines * 3, kind=kind, vocab_size=700)
    assert train(iter(own_lines * 3), kind=kind, vocab_size=700).hash == first.hash
    assert first.vocab_size <= 700


@pytest.mark.parametrize("ties", ["first", "greatest"])
def test_bpe_gives_back_any_text(own_lines: list[str], ties: str) -> None:
    learnt = train(own_lines, kind="bpe", vocab_size=600, ties=ties)
    for line in own_lines:
        assert learnt.decode(learnt.encode(line)) == line


def test_tokens_never_glue_chinese_to_anything(own_lines: list[str]) -> None:
    text = ["模型model，模型model，2026年2026年！第1234567号"] * 50
    learnt = train(text, kind="bpe", vocab_size=400)
    for token_id in range(learnt.vocab_size):
        spelt = learnt.token_bytes(token_id).decode("utf-8", "ignore")
        kinds = {
            "han" if "\u4e00" <= c <= "\u9fff" else "digit" if c.isdigit() else "rest"
            for c in spelt.strip()
        }
        assert len(kinds) <= 1, spelt
        assert sum(c.isdigit() for c in spelt) <= 3, spelt


def test_long_chinese_runs_are_not_memorised() -> None:
    learnt = train(["白日依山尽黄河入海流欲穷千里目更上一层楼"] * 50, kind="bpe", vocab_size=600)
    longest = max(
        len(learnt.token_bytes(n).decode("utf-8", "ignore")) for n in range(1, learnt.vocab_size)
    )
    assert longest <= 8


def test_wordpiece_options(own_lines: list[str]) -> None:
    kept = train(["中文分词 Word"] * 9, kind="wordpiece", vocab_size=60, lowercase=False)
    assert kept.id("Word") is not None
    whole = train(["中文分词 Word"] * 9, kind="wordpiece", vocab_size=60, split_chinese=False)
    assert whole.id("中文分词") is not None
    assert kept.id("中文分词") is None
    ids = whole.encode("word")
    assert (ids[0], ids[-1]) == (whole.cls_id, whole.sep_id)


def test_unigram_without_bytes_has_an_unknown_token() -> None:
    learnt = train(["abc abd"] * 9, kind="unigram", vocab_size=20, byte_fallback=False)
    assert learnt.encode("好", add_special_tokens=False)[-1] == learnt.unk_id
    spelt = train(["abc abd"] * 9, kind="unigram", vocab_size=300)
    assert spelt.decode(spelt.encode("好\n 再"), skip_special_tokens=True) == "好\n 再"


def test_special_tokens_come_first_and_get_their_parts() -> None:
    names = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>")
    learnt = train(["text"] * 3, kind="bpe", vocab_size=300, special_tokens=names)
    assert [learnt.token(n) for n in range(4)] == list(names)
    assert (learnt.eos_id, learnt.pad_id, learnt.eos_ids) == (0, 3, (0, 2))
    assert learnt.encode("a<|im_end|>")[-1] == 2
    assert learnt.special_ids == {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "bpe", "vocab_size": 200}, "at least 257"),
        ({"kind": "wordpiece", "vocab_size": 6}, "Raise vocab_size"),
        ({"kind": "unigram", "vocab_size": 200}, "Raise it"),
        ({"kind": "unigram", "vocab_size": 261}, "Raise vocab_size"),
        ({"kind": "bep", "vocab_size": 300}, "Did you mean 'bpe'"),
        ({"kind": "bpe", "vocab_size": 300, "lowercase": True}, "lowercase says nothing"),
        ({"kind": "unigram", "vocab_size": 600, "pattern": "gpt2"}, "pattern says nothing"),
        ({"kind": "bpe", "vocab_size": 300, "pattern": "("}, "regular expression"),
        ({"kind": "bpe", "vocab_size": 0}, "at least 1"),
        ({"kind": "bpe", "vocab_size": 300, "special_tokens": ["a", "a"]}, "named twice"),
        ({"kind": "wordpiece", "vocab_size": 90, "special_tokens": []}, r"\[UNK\]"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        train(["some text 好的，再见 abcdefghij"] * 3, **settings)


@pytest.mark.parametrize("texts", [[], [""], ["", " \n"]])
def test_an_empty_corpus_is_refused(texts: list[str]) -> None:
    with pytest.raises(InputError, match="no text to learn from"):
        train(texts, kind="bpe", vocab_size=300)
