"""Byte compressors: what the held-out text adds, and what is said where that cannot be had."""

import lzma
import os

import pytest

from hanlin.evaluation.compression import COMPRESSORS, compressed_size, xz

NOISE = os.urandom(30_000)
PROSE = b"The academy drafted, examined and explained the words of the emperor. " * 50


@pytest.fixture(params=sorted(COMPRESSORS))
def compress(request):
    return COMPRESSORS[request.param]


def test_noise_costs_eight_bits_and_nothing_once_it_was_seen(compress):
    found = compressed_size(compress, [NOISE], training=[NOISE])
    assert found.alone.value == pytest.approx(8, abs=0.1)
    assert found.given_training is not None
    assert 0 <= found.given_training.value < 0.3


def test_it_knows_a_far_past(compress):
    far = os.urandom(1 << 20)
    found = compressed_size(compress, [NOISE], training=[NOISE, far])
    assert found.given_training is not None
    assert found.given_training.value < 0.3


def test_cutting_into_documents_changes_nothing(compress):
    whole = compressed_size(compress, [PROSE])
    cut = compressed_size(compress, [PROSE[:100], PROSE[100:101], b"", PROSE[101:]])
    assert cut == whole
    assert whole.given_training is None


def test_no_interval_is_invented(compress):
    found = compressed_size(compress, [PROSE], training=[PROSE])
    assert found.alone.low is None
    assert found.given_training is not None
    assert found.given_training.low is None
    assert "interval:none" in found.given_training.signature


def test_alone_it_is_what_the_tool_writes_without_its_container():
    text = "".join(f"{i * i} squared; " for i in range(3000)).encode()
    own, _ = xz([text], len(text))
    tool = len(lzma.compress(text, preset=9 | lzma.PRESET_EXTREME))
    assert tool - 100 < own < tool


def test_progress_counts_every_byte_read(compress):
    done: list[int] = []
    compressed_size(compress, [PROSE], training=[NOISE], progress=done.append)
    assert sum(done) == 2 * len(PROSE) + 2 * len(NOISE)
