"""Windows over long texts: as the fast tokenizers cut them, and which token belongs where."""

import itertools
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hanlin.data.reading_windows import (
    Pieces,
    ask,
    cut,
    firsts,
    home,
    pieces_of,
    words_of,
)
from hanlin.errors import ConfigError
from hanlin.tokenizers import train
from hanlin.tokenizers.fitting import fit
from hanlin.tokenizers.pair_frame import PairFrame
from tiny_models import CORPUS, byte_tokenizer, word_tokenizer

QUESTION = "什么是词元？ What is a token?"
LONG = " ".join(CORPUS[:5])


@given(st.integers(0, 60), st.integers(1, 20), st.integers(0, 19))
def test_windows_cover_a_text_and_share_what_they_are_to(
    size: int, room: int, overlap: int
) -> None:
    if overlap >= room:
        with pytest.raises(ConfigError, match="do not get on"):
            cut(size, room=room, overlap=overlap)
        return
    windows = cut(size, room=room, overlap=overlap)
    assert windows[0][0] == 0
    assert windows[-1][1] == size
    for (_, stop), (start, _) in itertools.pairwise(windows):
        assert stop - start == overlap
    assert all(stop - start <= room for start, stop in windows)
    owner = home(windows)
    assert len(owner) == size
    for at in range(size):
        start, stop = windows[owner[at]]
        assert start <= at < stop

        def context(window: tuple[int, int], at: int = at) -> int:
            left = at - window[0] if window[0] else size
            return min(left, window[1] - 1 - at if window[1] < size else size)

        holding = [window for window in windows if window[0] <= at < window[1]]
        assert context((start, stop)) == max(map(context, holding))


@pytest.mark.parametrize("stride", [0, 3, 8])
@pytest.mark.parametrize("length", [32, 48, 200])
def test_questions_and_windows_are_those_of_the_fast_tokenizers(length: int, stride: int) -> None:
    tokenizer = word_tokenizer()
    frame = PairFrame.of(tokenizer)
    question, context = pieces_of(QUESTION, tokenizer), pieces_of(LONG, tokenizer)
    ours = ask(question.ids, context.ids, frame, length=length, stride=stride)
    backend = tokenizer.backend
    backend.enable_truncation(length, stride=stride, strategy="only_second")
    try:
        theirs = backend.encode(QUESTION, LONG)
    finally:
        backend.no_truncation()
    theirs = [theirs, *theirs.overflowing]
    assert [window.ids.tolist() for window in ours] == [each.ids for each in theirs]
    assert [window.types.tolist() for window in ours] == [each.type_ids for each in theirs]
    for window, each in zip(ours, theirs, strict=True):
        inside = [at for at, owner in enumerate(each.sequence_ids) if owner == 1]
        assert window.first == inside[0]
        assert [each.offsets[at] for at in inside] == [
            tuple(span) for span in context.spans[window.start : window.stop].tolist()
        ]


def test_a_question_that_is_too_long_leaves_half_for_the_text() -> None:
    tokenizer = word_tokenizer()
    frame = PairFrame.of(tokenizer)
    question, context = pieces_of(LONG, tokenizer), pieces_of(LONG, tokenizer)
    windows = ask(question.ids, context.ids, frame, length=40, stride=10)
    assert all(len(window.ids) <= 40 for window in windows)
    assert min(window.stop - window.start for window in windows[:-1]) >= (40 - frame.size) // 2
    with pytest.raises(ConfigError, match="no room"):
        ask(question.ids, context.ids, frame, length=frame.size + 2, stride=0)


def test_a_question_and_its_text_stand_as_all_pairs_do() -> None:
    """Also where the tokenizer sets nothing apart: then its end token does, or a new line."""
    with_end = train(CORPUS, kind="bpe", vocab_size=400, special_tokens=["<|endoftext|>", "<pad>"])
    assert with_end.eos_id is not None
    for tokenizer in (byte_tokenizer(), with_end, word_tokenizer()):
        question, context = pieces_of(QUESTION, tokenizer), pieces_of(CORPUS[0], tokenizer)
        ids, types = PairFrame.of(tokenizer).around(question.ids, context.ids)
        fitted = fit(tokenizer, [(QUESTION, CORPUS[0])], length=10_000)
        assert fitted.types is not None
        assert (ids.tolist(), types.tolist()) == (fitted.ids[0], fitted.types[0])


def test_spaces_are_no_part_of_a_token() -> None:
    for kind in ("bpe", "unigram"):
        tokenizer = train(CORPUS, kind=kind, vocab_size=400)
        text = "A  language model\n continues 😀 文本 ."
        for start, end in pieces_of(text, tokenizer).spans.tolist():
            assert text[start:end] == text[start:end].strip()


def test_tokens_belong_to_the_first_word_they_cover() -> None:
    seed = random.randrange(2**32)
    draw = random.Random(seed)
    for _ in range(200):
        size = draw.randint(1, 30)
        words, at = [], 0
        while at < size:
            start = at + draw.randint(0, 2)
            at = start + draw.randint(1, 4)
            words.append((start, at))
        tokens, at = [], 0
        while at < size:
            end = at + draw.randint(0, 4)
            tokens.append((at, end))
            at = max(end, at) + draw.randint(0, 1)
        pieces = Pieces(np.arange(len(tokens)), np.array(tokens, dtype=np.int64).reshape(-1, 2))
        found = words_of(pieces, words)
        for (start, end), word in zip(tokens, found.tolist(), strict=True):
            covered = [n for n, (a, b) in enumerate(words) if max(a, start) < min(b, end)]
            assert word == (covered[0] if covered else -1), (seed, tokens, words)
        begin = firsts(found)
        assert begin.tolist() == [
            at for at, word in enumerate(found.tolist())
            if word >= 0 and word not in found[:at].tolist()
        ], seed  # fmt: skip
