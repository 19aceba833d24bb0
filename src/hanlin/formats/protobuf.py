"""The wire format of protocol buffers, read with every bound checked.

Only what a reader needs (https://protobuf.dev/programming-guides/encoding): a message is a row of
fields, each a number, a wire type and a value. What the numbers mean is the caller's to know; see
`tokenizers/spm_file.py`. No schema compiler, no generated code, no dependency.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from hanlin.errors import FormatError

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a message; read its value as what the schema says it is.

    The readers raise `FormatError` where the field has another wire type than the schema's.
    """

    number: int
    """The field's number in the schema, from 1."""
    wire: int
    """How the value is written: VARINT, FIXED64, BYTES or FIXED32."""
    value: int | memoryview
    """A whole number for VARINT, otherwise the bytes."""

    def integer(self) -> int:
        """Return the value of an int32, int64 or enum field; negative numbers come out negative."""
        value = self._as(VARINT)
        assert isinstance(value, int)
        return value - (1 << 64) if value >= 1 << 63 else value

    def boolean(self) -> bool:
        """Return the value of a bool field."""
        return self.integer() != 0

    def float32(self) -> float:
        """Return the value of a float field."""
        (number,) = struct.unpack("<f", self._as(FIXED32))  # type: ignore[arg-type]
        return float(number)

    def data(self) -> memoryview:
        """Return the value of a bytes or message field, not copied."""
        value = self._as(BYTES)
        assert isinstance(value, memoryview)
        return value

    def text(self) -> str:
        """Return the value of a string field."""
        try:
            return bytes(self.data()).decode("utf-8")
        except UnicodeDecodeError as error:
            raise FormatError(
                f"Field {self.number} of the protocol buffer is not UTF-8. Get the file again."
            ) from error

    def _as(self, wire: int) -> int | memoryview:
        if self.wire != wire:
            raise FormatError(
                f"Field {self.number} of the protocol buffer has the wire type {self.wire} where "
                f"{wire} belongs. The file is damaged or of another kind; get it again."
            )
        return self.value


def read_fields(message: bytes | memoryview) -> Iterator[Field]:
    """Yield the fields of a message in the order they stand.

    Takes time and memory in proportion to the message alone, whatever it claims. Raises
    `FormatError` where a field runs over the end, a number is too long, or a group (obsolete) is
    used.
    """
    view = memoryview(message)
    at = 0
    while at < len(view):
        key, at = _varint(view, at)
        number, wire = key >> 3, key & 7
        if number == 0 or number >= 1 << 29:
            raise FormatError(
                f"The protocol buffer has a field numbered {number} at byte {at}. "
                "The file is damaged or of another kind; get it again."
            )
        if wire == VARINT:
            value, at = _varint(view, at)
            yield Field(number, wire, value)
            continue
        if wire == BYTES:
            length, at = _varint(view, at)
        elif wire == FIXED64:
            length = 8
        elif wire == FIXED32:
            length = 4
        else:
            raise FormatError(
                f"The protocol buffer uses the wire type {wire} at byte {at}, which is not in use. "
                "The file is damaged or of another kind; get it again."
            )
        if length > len(view) - at:
            raise FormatError(
                f"The protocol buffer ends inside field {number}: {length} bytes are announced and "
                f"{len(view) - at} are left. The file is truncated; get it again."
            )
        yield Field(number, wire, view[at : at + length])
        at += length


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(view):
            raise FormatError(
                "The protocol buffer ends inside a number. The file is truncated; get it again."
            )
        byte = view[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value >= 1 << 64:
                break
            return value, at
    raise FormatError(
        f"The protocol buffer has a number of more than 64 bits at byte {at}. "
        "The file is damaged or of another kind; get it again."
    )
