"""A GGUF file is read as the gguf package writes it, and a damaged one is refused cheaply."""

import struct
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hanlin.errors import FormatError, NotFoundError
from hanlin.formats.gguf import BLOCKS, GGMLType, GGUFFile

QUANTISED = gguf.GGMLQuantizationType.Q4_1


def write_sample(path: Path, *, endian: gguf.GGUFEndian = gguf.GGUFEndian.LITTLE) -> None:
    writer = gguf.GGUFWriter(path, "llama", endianess=endian)
    writer.add_uint8("k.u8", 200)
    writer.add_int8("k.i8", -5)
    writer.add_uint16("k.u16", 60000)
    writer.add_int16("k.i16", -300)
    writer.add_uint32("k.u32", 4_000_000_000)
    writer.add_int32("k.i32", -70000)
    writer.add_uint64("k.u64", 1 << 63)
    writer.add_int64("k.i64", -(1 << 62))
    writer.add_float32("k.f32", 0.5)
    writer.add_float64("k.f64", 0.1)
    writer.add_bool("k.yes", True)
    writer.add_bool("k.no", False)
    writer.add_string("k.text", "翰林 🦆")
    writer.add_array("k.words", ["", "a", "翰林", "x" * 300])
    writer.add_array("k.ints", [1, -2, 3])
    writer.add_array("k.floats", [0.5, -1.5])
    writer.add_array("k.flags", [True, False, True])
    writer.add_tensor("plain", np.arange(6, dtype=np.float32).reshape(2, 3))
    random = np.random.default_rng(0)
    rows = random.standard_normal((4, 64)).astype(np.float32)
    writer.add_tensor("packed", gguf.quants.quantize(rows, QUANTISED), raw_dtype=QUANTISED)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gguf") / "sample.gguf"
    write_sample(path)
    return path


def test_metadata_is_what_was_written(sample: Path) -> None:
    read = dict(GGUFFile.open(sample).metadata)
    arrays = {key: read.pop(key) for key in ("k.ints", "k.floats", "k.flags")}
    assert read == {
        "general.architecture": "llama",
        "k.u8": 200, "k.i8": -5, "k.u16": 60000, "k.i16": -300, "k.u32": 4_000_000_000,
        "k.i32": -70000, "k.u64": 1 << 63, "k.i64": -(1 << 62), "k.f32": 0.5, "k.f64": 0.1,
        "k.yes": True, "k.no": False, "k.text": "翰林 🦆", "k.words": ["", "a", "翰林", "x" * 300],
    }  # fmt: skip
    assert read["k.yes"] is True
    assert {key: value.tolist() for key, value in arrays.items()} == {
        "k.ints": [1, -2, 3], "k.floats": [0.5, -1.5], "k.flags": [True, False, True],
    }  # fmt: skip
    assert [value.dtype for value in arrays.values()] == [np.int32, np.float32, np.bool_]


def test_tensors_are_the_bytes_that_were_written(sample: Path) -> None:
    ours, theirs = GGUFFile.open(sample), gguf.GGUFReader(sample)
    assert [info.name for info in ours.tensors.values()] == ["plain", "packed"]
    assert ours.tensors["plain"].shape == (2, 3)
    assert ours.tensors["packed"].shape == (4, 64)
    assert ours.tensors["packed"].type is GGMLType.Q4_1
    for tensor in theirs.tensors:
        np.testing.assert_array_equal(
            ours.raw(tensor.name), np.ascontiguousarray(tensor.data).view(np.uint8).reshape(-1)
        )
        assert ours.tensors[tensor.name].offset == tensor.data_offset


def test_every_block_size_is_the_gguf_packages() -> None:
    theirs = {kind.name: size for kind, size in gguf.GGML_QUANT_SIZES.items()}
    assert {kind.name: BLOCKS[kind] for kind in GGMLType} == theirs
    assert {kind.name: int(kind) for kind in GGMLType} == {
        kind.name: int(kind) for kind in gguf.GGML_QUANT_SIZES
    }


def test_a_tensor_can_be_written_to_without_touching_the_file(sample: Path) -> None:
    before = sample.read_bytes()
    GGUFFile.open(sample).raw("plain")[:] = 0
    assert sample.read_bytes() == before


def test_a_name_that_is_not_there(sample: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="nothing"):
        GGUFFile.open(sample).raw("nothing")
    with pytest.raises(NotFoundError, match=r"gone\.gguf"):
        GGUFFile.open(tmp_path / "gone.gguf")


def test_big_endian_and_other_versions_are_refused_by_name(tmp_path: Path, sample: Path) -> None:
    big = tmp_path / "big.gguf"
    write_sample(big, endian=gguf.GGUFEndian.BIG)
    with pytest.raises(FormatError, match="big-endian"):
        GGUFFile.open(big)
    for version in (0, 1, 4):
        path = tmp_path / f"v{version}.gguf"
        path.write_bytes(b"GGUF" + struct.pack("<I", version) + sample.read_bytes()[8:])
        with pytest.raises(FormatError, match=f"version {version}"):
            GGUFFile.open(path)


# Hand-made headers: each lies in one way.


def text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw)) + raw


def header(*, tensors: int = 0, keys: int = 0) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, tensors, keys)


def tensor(
    name: str = "t", *, dims: tuple[int, ...] = (32,), kind: int = 0, offset: int = 0
) -> bytes:
    packed = struct.pack(f"<I{len(dims)}Q", len(dims), *dims)
    return text(name) + packed + struct.pack("<IQ", kind, offset)


def padded(head: bytes, data: int) -> bytes:
    return head + bytes(-len(head) % 32) + bytes(data)


HUGE = (1 << 64) - 1
LIES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "not a GGUF file"),
    "other magic": (b"GGML" + bytes(40), "not a GGUF file"),
    "only the magic": (b"GGUF", "version"),
    "huge count of keys": (header(keys=HUGE) + bytes(19), "metadata entries"),
    "huge count of tensors": (header(tensors=HUGE) + bytes(19), "number of tensors"),
    "huge key": (header(keys=1) + struct.pack("<Q", HUGE) + bytes(11), "metadata key 0"),
    "huge string": (
        header(keys=1) + text("k") + struct.pack("<IQ", 8, HUGE) + bytes(64), "value of 'k'"),
    "huge array of strings": (
        header(keys=1) + text("k") + struct.pack("<IIQ", 9, 8, 1 << 23), "length of 'k'"),
    "huge array of numbers": (
        header(keys=1) + text("k") + struct.pack("<IIQ", 9, 4, 1 << 23), "length of 'k'"),
    "array above the limit": (
        header(keys=1) + text("k") + struct.pack("<IIQ", 9, 0, 1 << 40), "above the limit"),
    "string of an array past the end": (
        header(keys=1) + text("k") + struct.pack("<IIQQ", 9, 8, 1, 50) + b"abc", "'k'"),
    "array of arrays": (
        header(keys=1) + text("k") + struct.pack("<IIQ", 9, 9, 1) + bytes(12), "arrays of arrays"),
    "unknown value type": (header(keys=1) + text("k") + struct.pack("<IQ", 13, 0), "type 13"),
    "unknown element type": (
        header(keys=1) + text("k") + struct.pack("<IIQ", 9, 77, 0), "element type 77"),
    "truth value of two": (header(keys=1) + text("k") + struct.pack("<IB", 7, 2) + b"\0", "2"),
    "truth values of two": (
        header(keys=1) + text("k") + struct.pack("<IIQ", 9, 7, 1) + b"\2", "truth value"),
    "key that is not UTF-8": (
        header(keys=1) + text(b"\xff\xfe") + struct.pack("<IQ", 4, 0), "UTF-8"),
    "string that is not UTF-8": (
        header(keys=1) + text("k") + struct.pack("<IIQ", 9, 8, 1) + text(b"\xff"), "UTF-8"),
    "key twice": (header(keys=2) + 2 * (text("same") + struct.pack("<IQ", 10, 0)), "'same'"),
    "tensor twice": (padded(header(tensors=2) + 2 * tensor("same"), 128), "'same'"),
    "five dimensions": (
        padded(header(tensors=1) + tensor(dims=(1,) * 5), 128), "5 dimensions"),
    "billions of dimensions": (
        header(tensors=1) + text("t") + struct.pack("<I", (1 << 32) - 1) + bytes(64), "dimensions"),
    "empty dimension": (padded(header(tensors=1) + tensor(dims=(0, 4)), 128), "empty dimension"),
    "product that overflows 64 bits": (
        padded(header(tensors=1) + tensor(dims=(1 << 32, 1 << 32, 1 << 32, 2)), 128), r"'t' \(F32"),
    "unknown tensor type": (
        padded(header(tensors=1) + tensor("odd", kind=4), 128), "'odd' is of the unknown type 4"),
    "row that is no whole block": (
        padded(header(tensors=1) + tensor("odd", dims=(33,), kind=3), 128), "'odd'.*Q4_1"),
    "offset off the alignment": (padded(header(tensors=1) + tensor(offset=4), 256), "alignment"),
    "offset past the end": (
        padded(header(tensors=1) + tensor(offset=1 << 62), 128), "file ends at"),
    "data cut short": (padded(header(tensors=1) + tensor(), 127), "file ends at"),
    "overlap": (
        padded(header(tensors=2) + tensor("a", dims=(64,)) + tensor("b", offset=128), 512),
        "'a' and 'b' overlap"),
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_in_the_header_is_named(lie: str, tmp_path: Path) -> None:
    raw, message = LIES[lie]
    path = tmp_path / "lie.gguf"
    path.write_bytes(raw)
    tracemalloc.start()
    with pytest.raises(FormatError, match=message):
        GGUFFile.open(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20


@pytest.mark.parametrize("alignment", [0, 4, 48, 1 << 20, "32"])
def test_an_alignment_that_is_no_power_of_two_is_refused(alignment: Any, tmp_path: Path) -> None:
    value = (
        struct.pack("<I", 8) + text(alignment)
        if isinstance(alignment, str)
        else struct.pack("<II", 4, alignment)
    )
    path = tmp_path / "aligned.gguf"
    path.write_bytes(
        padded(header(tensors=1, keys=1) + text("general.alignment") + value + tensor(), 128)
    )
    with pytest.raises(FormatError, match=r"general\.alignment"):
        GGUFFile.open(path)


def test_version_two_and_another_alignment_are_read(tmp_path: Path) -> None:
    path = tmp_path / "two.gguf"
    head = b"GGUF" + struct.pack("<IQQ", 2, 1, 1)
    head += text("general.alignment") + struct.pack("<II", 4, 256) + tensor(dims=(2,))
    data = np.array([1.5, -2.5], np.float32).tobytes()
    path.write_bytes(head + bytes(-len(head) % 256) + data)
    file = GGUFFile.open(path)
    assert file.version == 2
    assert file.raw("t").view(np.float32).tolist() == [1.5, -2.5]


def refused_or_read(raw: bytes, path: Path) -> None:
    """Whatever the bytes: a file or a FormatError, within 50 times their size and a little."""
    path.write_bytes(raw)
    tracemalloc.start()
    try:
        with suppress(FormatError):
            file = GGUFFile.open(path)
            for name, info in file.tensors.items():
                assert len(file.raw(name)) == info.bytes
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 200_000 + 50 * len(raw)


slow_machine = settings(
    max_examples=300, deadline=2000, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@slow_machine
@given(data=st.data())
def test_a_truncated_file_is_refused(data: st.DataObject, sample: Path, tmp_path: Path) -> None:
    whole = sample.read_bytes()
    keep = data.draw(st.integers(0, len(whole)))
    refused_or_read(whole[:keep], tmp_path / "cut.gguf")


@slow_machine
@given(data=st.data())
def test_flipped_bytes_never_do_more_than_refuse(
    data: st.DataObject, sample: Path, tmp_path: Path
) -> None:
    raw = bytearray(sample.read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    refused_or_read(bytes(raw), tmp_path / "flipped.gguf")


@slow_machine
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=12),
            st.sampled_from([0, 1, 3, 8, 9, 1 << 31, HUGE]).map(lambda n: struct.pack("<Q", n)),
            st.integers(0, 14).map(lambda n: struct.pack("<I", n)),
        ),
        max_size=30,
    ),
    st.integers(0, 3),
    st.integers(0, 3),
)
def test_arbitrary_bodies_never_do_more_than_refuse(
    tmp_path: Path, parts: list[bytes], tensors: int, keys: int
) -> None:
    refused_or_read(header(tensors=tensors, keys=keys) + b"".join(parts), tmp_path / "any.gguf")


@pytest.mark.real
def test_the_real_vocabulary_is_read_whole(smollm2_gguf: Path) -> None:
    ours, theirs = GGUFFile.open(smollm2_gguf), gguf.GGUFReader(smollm2_gguf)
    keys: dict[str, Callable[[], Any]] = {
        key: field.contents for key, field in theirs.fields.items() if not key.startswith("GGUF.")
    }
    assert list(ours.metadata) == list(keys)
    for key, contents in keys.items():
        value = ours.metadata[key]
        assert (value.tolist() if isinstance(value, np.ndarray) else value) == contents(), key
