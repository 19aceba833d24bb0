"""What bytes a token stands for, and the text a row of tokens spells, piece by piece.

A vocabulary writes its tokens in one of four ways, and `tokenizer.json` says which in its
``decoder``: byte-level BPE (Radford et al. 2019: every byte is a printable character),
SentencePiece (Kudo and Richardson 2018: ``▁`` is a space, ``<0x0A>`` a byte), WordPiece (``##``
continues a word) and whole words. All four come down to bytes for each token and a rule for the
start of the text, so that decoding the whole and decoding token by token are the same computation.
"""

import codecs
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hanlin.errors import FormatError

BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def byte_alphabet() -> dict[str, int]:
    """Return the byte of each character of the byte-level alphabet (GPT-2's table)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [byte for byte in range(256) if byte not in set(printable)]
    table = {chr(byte): byte for byte in printable}
    table.update({chr(256 + n): byte for n, byte in enumerate(rest)})
    return table


_ALPHABET = byte_alphabet()


@dataclass(frozen=True)
class Spelling:
    """How one vocabulary's tokens turn into bytes."""

    inside: Callable[[str], bytes]
    """The bytes of a token within a text."""
    first: Callable[[str], bytes]
    """The bytes of a token that begins a text."""
    lead: int = 0
    """How many spaces are taken off the very beginning of a text."""


class Detokeniser:
    """Turns ids into text one at a time; only whole characters leave it.

    What `push` returns, joined, with `finish` at the end, is what `Tokenizer.decode` gives for all
    the ids. A byte that no later byte can complete becomes U+FFFD, as in Unicode 15 (3.9, U+FFFD
    substitution of maximal subparts). Each push costs time in proportion to its own token.
    """

    def __init__(
        self, bytes_of: Callable[[int, bool], bytes], *, lead: int, skip: frozenset[int]
    ) -> None:
        self._bytes_of = bytes_of
        self._lead = lead
        self._skip = skip
        self._started = False
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token_id: int) -> str:
        """Take one id and return the characters that are now whole, perhaps none."""
        if token_id in self._skip:
            return ""
        spelt = self._bytes_of(token_id, not self._started)
        self._started = True
        while self._lead and spelt:
            if spelt[0] != 0x20:
                self._lead = 0
            else:
                spelt = spelt[1:]
                self._lead -= 1
        return self._utf8.decode(spelt)

    def finish(self) -> str:
        """Return what is left: U+FFFD for bytes that were never completed. The object is spent."""
        return self._utf8.decode(b"", final=True)


def spelling_of(decoder: dict[str, Any] | None) -> Spelling:
    """Return the spelling that the ``decoder`` section of a tokenizer.json describes.

    Raises `FormatError` for a decoder that is none of the four kinds.
    """
    if decoder is None:
        return Spelling(lambda token: b" " + token.encode(), lambda token: token.encode())
    steps = decoder["decoders"] if decoder["type"] == "Sequence" else [decoder]
    kinds = [step["type"] for step in steps]
    if kinds == ["ByteLevel"]:
        return Spelling(_byte_level, _byte_level)
    if kinds == ["WordPiece"]:
        return _wordpiece(steps[0]["prefix"])
    replace: list[tuple[str, str]] = []
    byte_fallback = False
    lead = 0
    for step in steps:
        match step:
            case {"type": "Replace", "pattern": {"String": old}, "content": new}:
                replace.append((old, new))
            case {"type": "ByteFallback"}:
                byte_fallback = True
            case {"type": "Fuse"}:
                pass
            case {"type": "Strip", "content": " ", "start": start, "stop": 0}:
                lead = start
            case {"type": "Metaspace", "replacement": mark}:
                replace.append((mark, " "))
                lead = 0 if step.get("prepend_scheme", "always") == "never" else 1
            case {"type": "ByteLevel"} if not replace and not byte_fallback and lead == 0:
                return Spelling(_byte_level, _byte_level)
            case _:
                raise FormatError(
                    f"The tokenizer's decoder has a step of the kind {step['type']!r}, which "
                    "hanlin does not know. Use a tokenizer of a text model (byte-level BPE, "
                    "WordPiece or SentencePiece)."
                )
    spell = _pieces(replace, byte_fallback=byte_fallback)
    return Spelling(spell, spell, lead=lead)


def _byte_level(token: str) -> bytes:
    try:
        return bytes([_ALPHABET[character] for character in token])
    except KeyError:  # an added token, written as itself
        return token.encode()


def _wordpiece(prefix: str) -> Spelling:
    def inside(token: str) -> bytes:
        return (token[len(prefix) :] if token.startswith(prefix) else " " + token).encode()

    return Spelling(inside, lambda token: token.encode())


def _pieces(replace: list[tuple[str, str]], *, byte_fallback: bool) -> Callable[[str], bytes]:
    def spell(token: str) -> bytes:
        if byte_fallback and (match := BYTE_TOKEN.fullmatch(token)):
            return bytes([int(match[1], 16)])
        for old, new in replace:
            token = token.replace(old, new)
        return token.encode()

    return spell
