"""Where results go: standard output as text or as one JSON object; and how text comes in."""

import json
import os
import sys
from pathlib import Path
from typing import Any, TextIO

from hanlin.errors import InputError, NotFoundError


def emit(data: Any, *, as_json: bool, text: str) -> None:
    """Print `data` as JSON or else `text` on standard output."""
    print(to_json(data) if as_json else text, flush=True)


def to_json(data: Any, *, stream: TextIO | None = None) -> str:
    """Return one line of JSON; all scripts as they are where `stream` (stdout) is UTF-8."""
    encoding = (
        ((stream or sys.stdout).encoding or "ascii").lower().replace("-", "").replace("_", "")
    )
    return json.dumps(data, ensure_ascii=encoding != "utf8", allow_nan=False)


def note(message: str) -> None:
    """Print a remark on standard error."""
    print(message, file=sys.stderr, flush=True)


def coloured(text: str, code: str, *, stream: Any = None) -> str:
    """Return `text` in an ANSI colour where `stream` (standard output) shows colours."""
    stream = stream or sys.stdout
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not stream.isatty()
    return text if plain else f"\x1b[{code}m{text}\x1b[0m"


def read_stdin() -> str:
    """Return all of standard input; raises `InputError` where it is not UTF-8."""
    return decode(sys.stdin.buffer.read(), name="Standard input")


def read_text(path: Path) -> str:
    """Return a file's text; raises `NotFoundError`, and `InputError` where it is not UTF-8."""
    if not path.is_file():
        raise NotFoundError(f"There is no file {str(path)!r}. Check the path.")
    return decode(path.read_bytes(), name=str(path))


def decode(data: bytes, *, name: str) -> str:
    """Return UTF-8 bytes as text, without a byte order mark; raises `InputError`."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{name} is not UTF-8 (byte {error.start} is 0x{data[error.start]:02x}). "
            "Convert it, for example with iconv."
        ) from error


def check_text(text: str, *, name: str) -> str:
    """Return a word of the command line; raises `InputError` where its bytes were not UTF-8."""
    if any(0xDC80 <= ord(character) <= 0xDCFF for character in text):
        raise InputError(f"{name} is not UTF-8. Set your terminal to UTF-8, or convert the text.")
    return text
