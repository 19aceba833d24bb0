"""Dequantising gives, bit for bit, what the gguf package's reference gives."""

import gguf
import numpy as np
import pytest
import torch
from gguf import quants

from hanlin.errors import FormatError
from hanlin.formats.gguf import BLOCKS, GGMLType
from hanlin.kernels import dequantise as module
from hanlin.kernels.dequantise import SUPPORTED, dequantise

HALVES = {  # byte offsets of the half-precision scales in a block
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q2_K": [80, 82],
    "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208],
}  # fmt: skip


def random_blocks(kind: GGMLType, blocks: int, seed: int) -> np.ndarray:
    """Any bytes at all, with finite scales (subnormal, zero and negative ones too)."""
    random = np.random.default_rng(seed)
    _, size = BLOCKS[kind]
    if kind.name == "F32":
        return random.standard_normal(blocks).astype(np.float32).view(np.uint8)
    if kind.name == "F16":
        return random.standard_normal(blocks).astype(np.float16).view(np.uint8)
    if kind.name == "BF16":
        return (
            (random.standard_normal(blocks).astype(np.float32).view(np.uint32) >> 16)
            .astype(np.uint16)
            .view(np.uint8)
        )
    raw = random.integers(0, 256, (blocks, size), dtype=np.uint8)
    for at in HALVES[kind.name]:
        scale = random.integers(0, 0x7C00, blocks, dtype=np.uint16)  # every finite magnitude
        scale |= random.integers(0, 2, blocks, dtype=np.uint16) << 15
        raw[:, at : at + 2] = scale[:, None].view(np.uint8)
    return raw.reshape(-1)


def expected(raw: np.ndarray, kind: GGMLType, shape: tuple[int, ...]) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore"):
        rows = raw.reshape(shape[0], -1)
        return quants.dequantize(rows, gguf.GGMLQuantizationType[kind.name]).reshape(shape)


@pytest.mark.parametrize("kind", SUPPORTED, ids=lambda kind: kind.name)
@pytest.mark.parametrize("rows", [1, 7, 64])
def test_every_type_equals_the_reference_bit_for_bit(kind: GGMLType, rows: int) -> None:
    shape = (rows, 3 * 256)
    raw = random_blocks(kind, rows * 3 * 256 // BLOCKS[kind][0], seed=rows)
    ours = dequantise(raw, kind, shape)
    assert ours.dtype == torch.float32
    assert ours.shape == shape
    np.testing.assert_array_equal(
        ours.numpy().view(np.uint32), expected(raw, kind, shape).view(np.uint32)
    )


@pytest.mark.parametrize("kind", SUPPORTED, ids=lambda kind: kind.name)
def test_pieces_and_dtypes_do_not_change_the_numbers(
    kind: GGMLType, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape = (13, 256)
    raw = random_blocks(kind, 13 * 256 // BLOCKS[kind][0], seed=3)
    whole = dequantise(raw, kind, shape)
    monkeypatch.setattr(module, "_SPAN", 5 * 256)
    monkeypatch.setattr(module, "_PIECE", 2 * 256)
    out = torch.empty(shape)
    assert dequantise(raw, kind, shape, out=out) is out
    assert torch.equal(out.view(torch.int32), whole.view(torch.int32))
    narrow = dequantise(raw, kind, shape, dtype=torch.bfloat16)
    assert torch.equal(narrow.view(torch.int16), whole.to(torch.bfloat16).view(torch.int16))


def test_stored_dtype_comes_back_as_a_view() -> None:
    raw = torch.from_numpy(random_blocks(GGMLType.F32, 12, seed=0))
    assert dequantise(raw, GGMLType.F32, (3, 4)).data_ptr() == raw.data_ptr()


@pytest.mark.parametrize("kind", sorted(set(GGMLType) - set(SUPPORTED)), ids=lambda kind: kind.name)
def test_other_types_are_refused_by_name(kind: GGMLType) -> None:
    with pytest.raises(FormatError, match=kind.name):
        dequantise(np.zeros(0, np.uint8), kind, (0,))


@pytest.mark.parametrize(("count", "shape"), [(17, (32,)), (36, (32,)), (18, (31,)), (18, (2, 32))])
def test_bytes_that_do_not_fit_the_shape_are_refused(count: int, shape: tuple[int, ...]) -> None:
    with pytest.raises(FormatError, match="Q4_0"):
        dequantise(np.zeros(count, np.uint8), GGMLType.Q4_0, shape)


def test_an_output_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="contiguous"):
        dequantise(np.zeros(18, np.uint8), GGMLType.Q4_0, (32,), out=torch.empty(16))
