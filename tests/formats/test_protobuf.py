"""The wire format, against Google's own encoder, and against anything at all."""

import struct
import time
from contextlib import suppress

import pytest
from google.protobuf.struct_pb2 import ListValue, Struct
from hypothesis import given
from hypothesis import strategies as st

from hanlin.errors import FormatError
from hanlin.formats.protobuf import BYTES, FIXED32, FIXED64, VARINT, read_fields


def varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


@given(st.lists(st.one_of(st.text(), st.floats(allow_nan=False), st.booleans())))
def test_reads_what_google_writes(values: list[object]) -> None:
    message = ListValue()
    message.extend(values)
    found: list[object] = []
    for field in read_fields(message.SerializeToString()):
        assert field.number == 1  # values
        for inner in read_fields(field.data()):
            match inner.number:
                case 2:  # number_value
                    found.append(struct.unpack("<d", inner.value)[0])
                case 3:
                    found.append(inner.text())
                case 4:
                    found.append(inner.boolean())
    assert found == values


@given(st.integers(-(1 << 63), (1 << 63) - 1))
def test_integers_have_a_sign(value: int) -> None:
    (field,) = read_fields(b"\x08" + varint(value & (1 << 64) - 1))
    assert field.integer() == value


def test_floats() -> None:
    (field,) = read_fields(b"\x15" + struct.pack("<f", -2.5))
    assert field.float32() == -2.5
    with pytest.raises(FormatError, match="wire type"):
        field.text()


@given(st.binary(max_size=200))
def test_any_bytes_are_fields_or_a_format_error(content: bytes) -> None:
    try:
        fields = list(read_fields(content))
    except FormatError:
        return
    assert sum(1 for _ in fields) <= len(content)
    for field in fields:
        assert field.wire in (VARINT, FIXED64, BYTES, FIXED32)
        for read in (field.integer, field.text, field.float32, field.data):
            with suppress(FormatError):
                read()


@given(st.data())
def test_a_truncated_message_is_refused_or_shorter(data: st.DataObject) -> None:
    message = Struct()
    message.update({"a": "text", "b": 1.5, "c": ["x", True]})
    whole = message.SerializeToString()
    cut = data.draw(st.integers(0, len(whole) - 1))
    with suppress(FormatError):
        assert len(list(read_fields(whole[:cut]))) < 3


@pytest.mark.parametrize(
    "content",
    [
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f",  # announces 2**63 bytes
        b"\x08" + b"\x80" * 20,
        b"\x08" + b"\xff" * 9 + b"\x7f",
        b"\x00\x01",
        b"\x0b",
        b"\x0f",
        b"\x0d\x01",
    ],
)
def test_damage_is_named_at_once(content: bytes) -> None:
    begin = time.monotonic()
    with pytest.raises(FormatError):
        list(read_fields(content))
    assert time.monotonic() - begin < 60  # a hang, not a speed
