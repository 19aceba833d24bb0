"""Text stops at the first stop string, wherever token borders fall; characters stream whole."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_generation import Bytes, decoder_pair, letters

from hanlin.errors import ConfigError
from hanlin.generation import Sampling, generate, stream
from hanlin.generation.stopping import StopFinder, TextStream

texts = st.text(alphabet="ab翰林🙂", max_size=30)
stops_of = st.lists(st.text(alphabet="ab翰林🙂", min_size=1, max_size=4), max_size=3)


def cut(text: str, stops: list[str]) -> tuple[str, str | None]:
    """By the definition: read on one character at a time until a stop string is complete."""
    for end in range(1, len(text) + 1):
        complete = [stop for stop in stops if text[:end].endswith(stop)]
        if complete:
            longest = max(complete, key=len)
            return text[: end - len(longest)], longest
    return text, None


@settings(max_examples=200, deadline=None)
@given(texts, stops_of, st.data())
def test_text_is_cut_at_the_stop_string_that_is_complete_first(text, stops, data) -> None:
    finder = StopFinder(stops)
    out, rest = "", text
    while rest and finder.found is None:
        size = data.draw(st.integers(1, len(rest)))
        out += finder.push(rest[:size])
        rest = rest[size:]
    if finder.found is None:
        out += finder.finish()
    assert (out, finder.found) == cut(text, stops)


@settings(max_examples=200, deadline=None)
@given(texts, stops_of)
def test_nothing_is_held_back_that_cannot_become_a_stop_string(text, stops) -> None:
    finder = StopFinder(stops)
    out = ""
    for position, character in enumerate(text):
        out += finder.push(character)
        if finder.found is not None:
            return
        held = text[len(out) : position + 1]
        assert held == "" or any(stop.startswith(held) for stop in stops)
        so_far = text[: position + 1]
        begun = [k for s in stops for k in range(1, len(s)) if so_far.endswith(s[:k])]
        assert len(held) == max(begun, default=0)


def split_bytes(text: str, sizes: list[int]) -> list[bytes]:
    data, parts = text.encode(), []
    for size in sizes:
        parts.append(data[:size])
        data = data[size:]
    return [part for part in [*parts, data] if part]


@settings(max_examples=200, deadline=None)
@given(texts, stops_of, st.lists(st.integers(1, 5), max_size=20))
def test_tokens_of_part_characters_stream_whole_ones(text, stops, sizes) -> None:
    parts = split_bytes(text, sizes)
    stream = TextStream(Bytes(parts), stops, ())
    pieces = []
    for token in range(len(parts)):
        pieces.append(stream.push(token))
        if stream.found is not None:
            break
    pieces.append(stream.finish())
    assert "".join(pieces) == cut(text, stops)[0]
    assert all("�" not in piece for piece in pieces)


def chinese(size: int = 64) -> Bytes:
    """Tokens that cut characters of three and four bytes in pieces."""
    data = ("翰林院🙂学士" * 20).encode()
    spellings, at = [], 0
    for token in range(size):
        width = 1 + token % 4
        spellings.append(data[at : at + width])
        at += width
    return Bytes(spellings)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("vocabulary", [letters(), chinese()], ids=["letters", "chinese"])
def test_pieces_join_to_what_generate_returns(vocabulary: Bytes, seed: int) -> None:
    model, _ = decoder_pair(seed, spread=0.15)
    plain = Sampling(seed=seed, max_new_tokens=40, logprobs=0)
    [[whole]] = generate(model, vocabulary, [[4, 5]], plain)
    middle = whole.text[len(whole.text) // 2 :][:3]
    for sampling in (plain, plain.with_changes(stop=(middle, "never so"))):
        [[result]] = generate(model, vocabulary, [[4, 5]], sampling)
        pieces = list(stream(model, vocabulary, [4, 5], sampling))
        assert "".join(piece.text for piece in pieces) == result.text
        assert sum((piece.tokens for piece in pieces), ()) == result.tokens
        assert sum((piece.logprobs for piece in pieces), ()) == result.logprobs
        assert [piece.finish_reason for piece in pieces[:-1]] == [None] * (len(pieces) - 1)
        last = pieces[-1]
        assert (last.finish_reason, last.stopped_by) == (result.finish_reason, result.stopped_by)
        assert (last.seed, last.prompt_tokens) == (result.seed, result.prompt_tokens)
        assert all(piece.text for piece in pieces[:-1])
    assert result.stopped_by == middle
    assert result.text == cut(whole.text, [middle])[0]
    assert result.tokens == whole.tokens[: len(result.tokens)]
    assert middle in read(vocabulary, [4, 5], result.tokens)
    assert middle not in read(vocabulary, [4, 5], result.tokens[:-1])


def read(vocabulary: Bytes, prompt: list[int], tokens: tuple[int, ...]) -> str:
    """The whole characters of tokens that go on from a prompt."""
    stream = vocabulary.stream()
    for token in prompt:
        stream.push(token)
    return "".join(stream.push(token) for token in tokens)


def test_a_stop_string_in_the_text_is_not_searched_before_the_minimum_length() -> None:
    model, _ = decoder_pair(3, eos=None, spread=0.15)
    sampling = Sampling(seed=5, max_new_tokens=30)
    [[free]] = generate(model, letters(), [[4]], sampling)
    first = free.text[0]
    [[stopped]] = generate(model, letters(), [[4]], sampling.with_changes(stop=(first,)))
    assert (stopped.text, stopped.tokens) == ("", free.tokens[:1])
    late = sampling.with_changes(stop=(first,), min_new_tokens=10)
    [[later]] = generate(model, letters(), [[4]], late)
    assert later.text.startswith(first)
    assert len(later.tokens) >= 10


@pytest.mark.parametrize("beams", [1, 3])
def test_stop_ids_end_the_text_even_when_end_tokens_are_ignored(beams: int) -> None:
    model, _ = decoder_pair(3, eos=None, spread=0.15)
    free = Sampling(temperature=0, beams=beams, max_new_tokens=20)
    [[whole]] = generate(model, letters(), [[4]], free)
    end = whole.tokens[4]
    at = whole.tokens.index(end)
    sampling = free.with_changes(stop_ids=(end,), ignore_eos=True)
    if beams == 1:
        [[result]] = generate(model, letters(), [[4]], sampling)
        assert result.tokens == whole.tokens[: at + 1]
        assert result.text == letters().decode(list(whole.tokens[:at]))
        assert (result.finish_reason, result.stopped_by) == ("stop", end)
    else:
        [[result]] = generate(model, letters(), [[4]], sampling)
        assert end not in result.tokens[:-1]


def test_beam_search_stops_at_strings() -> None:
    model, _ = decoder_pair(3, eos=None, spread=0.15)
    free = Sampling(beams=3, n=3, max_new_tokens=12, length_penalty=0.0)
    [whole] = generate(model, letters(), [[4]], free)
    stop = whole[0].text[3:5]
    [results] = generate(model, letters(), [[4]], free.with_changes(stop=(stop,)))
    assert "stop" in {result.finish_reason for result in results}
    for result in results:
        assert stop not in result.text
        assert (result.stopped_by == stop) == (result.finish_reason == "stop")


def test_a_stream_is_one_sequence() -> None:
    model, _ = decoder_pair(0)
    with pytest.raises(ConfigError, match="one sequence"):
        stream(model, letters(), [4], Sampling(n=2))


def test_a_stream_leaves_gradients_on_for_whoever_reads_it() -> None:
    import torch

    model, _ = decoder_pair(0)
    for _ in stream(model, letters(), [4], Sampling(temperature=0, max_new_tokens=4)):
        assert torch.is_grad_enabled()
        assert not torch.is_inference_mode_enabled()
