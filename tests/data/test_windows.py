"""Windows, rows of whole documents, and the part held out for validation."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hanlin.data.examples import TokenSource, all_ends
from hanlin.data.packing import Packed
from hanlin.data.prepare import prepare
from hanlin.data.shards import TokenShards
from hanlin.data.split import Stretches, split
from hanlin.data.tokens import TokenArray
from hanlin.data.windows import Windows
from hanlin.errors import ConfigError, InputError
from hanlin.tokenizers import train

END = -1
SIZES = st.lists(st.integers(1, 40), min_size=1, max_size=30)


def numbered(sizes: list[int]) -> TokenArray:
    """Documents whose tokens are all different, each closed by END."""
    ids = iter(range(10**9))
    return TokenArray([[*(next(ids) for _ in range(size)), END] for size in sizes])


def documents_of(source: TokenSource) -> list[list[int]]:
    ends = all_ends(source).tolist()
    return [
        source.read(start, stop).tolist() for start, stop in zip([0, *ends], ends, strict=False)
    ]


@settings(deadline=None)
@given(sizes=SIZES, length=st.integers(2, 30), epoch=st.integers(0, 5), seed=st.integers(0, 99))
def test_each_epoch_cuts_the_ring_into_windows_that_meet(
    sizes: list[int], length: int, epoch: int, seed: int
) -> None:
    source = TokenArray([list(range(sum(sizes)))])
    total = source.tokens
    if total < length + 1:
        with pytest.raises(InputError, match="set a shorter"):
            Windows(source, length + 1, seed=seed, overlap=1)
        return
    windows = Windows(source, length + 1, seed=seed, overlap=1)
    assert len(windows) == total // length
    read = [windows.example(i, epoch).ids for i in range(len(windows))]
    first = int(read[0][0])
    ring = [(first + i) % total for i in range(len(windows) * length + 1)]
    assert [w.tolist() for w in read] == [
        ring[i * length : i * length + length + 1] for i in range(len(windows))
    ]


def test_epochs_begin_at_places_of_their_own() -> None:
    windows = Windows(TokenArray([list(range(1000))]), 11, seed=0, overlap=1)
    starts = [int(windows.example(0, epoch).ids[0]) for epoch in range(50)]
    assert len(set(starts)) > 40
    again = Windows(TokenArray([list(range(1000))]), 11, seed=0, overlap=1)
    assert [int(again.example(0, epoch).ids[0]) for epoch in reversed(range(50))] == starts[::-1]


@settings(deadline=None)
@given(sizes=SIZES, length=st.integers(1, 30))
def test_without_a_seed_every_token_after_the_first_is_a_target_once(
    sizes: list[int], length: int
) -> None:
    source = numbered(sizes)
    windows = Windows(source, length + 1, seed=None, overlap=1)
    read = [windows.example(i, 7).ids for i in range(len(windows))]
    assert np.concatenate([w[1:] for w in read]).tolist() == source.ids[1:].tolist()
    assert all(len(w) == length + 1 for w in read[:-1])
    flat = Windows(source, length, seed=None)
    whole = np.concatenate([flat.example(i, 0).ids for i in range(len(flat))])
    assert whole.tolist() == source.ids.tolist()


@settings(deadline=None)
@given(sizes=SIZES, length=st.integers(2, 50), epoch=st.integers(0, 3))
def test_segments_change_exactly_after_an_end_token(
    sizes: list[int], length: int, epoch: int
) -> None:
    source = numbered(sizes)
    if source.tokens < length:
        return
    windows = Windows(source, length, seed=4, respect_documents=True)
    for index in range(len(windows)):
        window = windows.example(index, epoch)
        assert window.segments is not None
        after_end = window.ids[:-1] == END
        assert window.segments[0] == 0
        assert (np.diff(window.segments) == after_end).all()


@settings(deadline=None)
@given(sizes=SIZES, room=st.integers(6, 40), around=st.integers(0, 4))
def test_packing_keeps_every_token_once_within_the_room(
    sizes: list[int], room: int, around: int
) -> None:
    source = numbered(sizes)
    packed = Packed(source, room, around=around)
    rows = [packed.example(i, 0).pieces for i in range(len(packed))]
    kept = Counter(int(token) for row in rows for piece in row for token in piece)
    assert kept == Counter(int(token) for token in source.ids if token != END)
    widths = [sum(len(piece) + around for piece in row) for row in rows]
    assert max(widths) <= room
    assert packed.padding == pytest.approx(1 - sum(widths) / (room * len(rows)))
    starts = {int(doc[0]) for doc in documents_of(source) if doc[0] != END}
    for row in rows:
        for piece in row:
            # A piece that does not begin a document goes on one that filled a row.
            before = int(piece[0]) - (room - around)
            assert int(piece[0]) in starts or (before >= 0 and len(piece) <= room - around)


def test_packing_is_as_tight_as_best_fit_one_by_one() -> None:
    print("seed 3")
    generator = np.random.default_rng(3)
    sizes = np.minimum(generator.lognormal(3.5, 0.8, 2000).astype(int) + 1, 128)
    packed = Packed(numbered(sizes.tolist()), 128)
    bins: list[int] = []
    for size in sorted(sizes.tolist(), reverse=True):
        fits = [i for i, left in enumerate(bins) if left >= size]
        if fits:
            best = min(fits, key=lambda i: bins[i])
            bins[best] -= size
        else:
            bins.append(128 - size)
    assert len(packed) == len(bins)
    assert packed.padding < 0.05


def test_pieces_apart_have_a_row_each() -> None:
    packed = Packed(numbered([3, 25, 1]), 12, around=2, together=False)
    sizes = [[len(piece) for piece in packed.example(i, 0).pieces] for i in range(len(packed))]
    assert sizes == [[3], [10], [10], [5], [1]]


def test_rows_without_room_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"Raise batch\.length"):
        Packed(numbered([3]), 2, around=2)
    with pytest.raises(InputError, match="no text"):
        Packed(TokenArray([[END], [END]]), 8)


@settings(deadline=None)
@given(sizes=SIZES, cuts=st.lists(st.integers(0, 600), min_size=2, max_size=8), data=st.data())
def test_stretches_read_as_one_text(sizes: list[int], cuts: list[int], data: st.DataObject) -> None:
    source = numbered(sizes)
    edges = sorted({min(cut, source.tokens) for cut in cuts})
    pairs = list(zip(edges[::2], edges[1::2], strict=False))
    if not pairs:
        return
    view = Stretches(source, [a for a, _ in pairs], np.array([b for _, b in pairs]))
    flat = np.concatenate([source.ids[a:b] for a, b in pairs])
    assert view.tokens == len(flat)
    start = data.draw(st.integers(0, len(flat)))
    stop = data.draw(st.integers(start, len(flat)))
    assert view.read(start, stop).tolist() == flat[start:stop].tolist()
    ends = set((np.flatnonzero(flat == END) + 1).tolist())
    ends |= set(np.cumsum([b - a for a, b in pairs]).tolist())
    wanted = sorted(end for end in ends if start < end <= stop)
    assert view.bounds_within(start, stop).tolist() == wanted


def test_documents_are_held_out_whole_and_always_the_same() -> None:
    generator = np.random.default_rng(1)
    source = numbered(generator.integers(5, 60, 400).tolist())
    parts = split(source, 0.1, seed=0)
    assert parts.how == "documents"
    train, held = documents_of(parts.train), documents_of(parts.validation)
    assert sorted([*train, *held]) == sorted(documents_of(source))
    assert parts.validation.tokens == pytest.approx(0.1 * source.tokens, rel=0.1)
    assert documents_of(split(source, 0.1, seed=0).validation) == held
    assert documents_of(split(source, 0.1, seed=1).validation) != held


def test_one_long_document_is_split_at_its_tail() -> None:
    source = numbered([10_000])
    parts = split(source, 0.1, seed=0)
    assert parts.how == "tail"
    assert parts.train.tokens == int(0.9 * source.tokens)
    both = [*parts.train.read(0, parts.train.tokens), *parts.validation.read(0, 1001)]
    assert [int(token) for token in both] == source.ids.tolist()
    assert parts.train.documents == parts.validation.documents == 1


def test_a_split_that_leaves_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="between 0 and 1"):
        split(numbered([5]), 1.5, seed=0)
    with pytest.raises(InputError, match="hold out the tail"):
        split(numbered([50]), 0.1, seed=0, how="documents")


def test_shards_on_disk_are_read_as_text_in_memory_is(tmp_path: Path) -> None:
    texts = [f"Document number {n}: {'word ' * (n % 17)}end." for n in range(60)]
    tokenizer = train(texts, kind="bpe", vocab_size=300)
    (tmp_path / "texts.jsonl").write_text("".join(f'{{"text": "{t}"}}\n' for t in texts))
    prepare(tmp_path / "texts.jsonl", tmp_path / "shards", tokenizer=tokenizer, shard_size=300)
    disk, memory = TokenShards.open(tmp_path / "shards"), TokenArray.encode(texts, tokenizer)
    assert disk.tokens == memory.tokens
    assert (disk.documents, disk.bytes) == (memory.documents, memory.bytes)
    pairs = [
        [
            Windows(source, 33, seed=3, overlap=1, respect_documents=True)
            for source in (disk, memory)
        ],
        [Packed(source, 40, around=2) for source in (disk, memory)],
    ]
    parts = [split(source, 0.2, seed=0).validation for source in (disk, memory)]
    pairs.append([Windows(part, 16, seed=None) for part in parts])
    for one, other in pairs:
        assert len(one) == len(other) > 3
        for index in range(len(one)):
            for left, right in zip(
                flat(one.example(index, 1)), flat(other.example(index, 1)), strict=True
            ):
                np.testing.assert_array_equal(left, right)


def flat(example: Any) -> list[Any]:
    """The arrays of a window or of a row of documents."""
    return list(getattr(example, "pieces", None) or vars(example).values())
