"""The seam where cleaning plugs in: a stage takes a document and gives one back, or says why not.

A stage is a callable ``Document -> Document | Dropped``: a frozen dataclass with its settings, or a
plain function. It must depend on nothing but its settings and the document, because documents are
cleaned in several processes and results are kept between runs; `key` names what they depend on.
"""

import hashlib
import inspect
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, is_dataclass, replace

from hanlin.errors import ConfigError
from hanlin.text.documents import Document, Dropped

Stage = Callable[[Document], Document | Dropped]

_CONTROLS = dict.fromkeys(
    code
    for code in (*range(0x20), *range(0x7F, 0xA0), 0xFEFF, *range(0xFDD0, 0xFDF0), 0xFFFE, 0xFFFF)
    if chr(code) not in "\t\n"
)
_CONTROLS[0x85] = ord("\n")  # the next line of EBCDIC


@dataclass(frozen=True)
class Normalise:
    """Unicode NFC, ends of lines as \\n, and no control characters but tabs and ends of lines."""

    def __call__(self, document: Document) -> Document:
        text = document.text
        if "\r" in text:
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        # Most text has nothing to change; both checks are much faster than the changes.
        if not text.isascii():
            text = unicodedata.normalize("NFC", text).translate(_CONTROLS)
        elif not text.replace("\n", "").replace("\t", "").isprintable():
            text = text.translate(_CONTROLS)
        return document if text is document.text else replace(document, text=text)


@dataclass(frozen=True)
class MinimumLength:
    """Drop documents of fewer characters, white space around them not counted."""

    characters: int

    def __post_init__(self) -> None:
        if self.characters < 1:
            raise ConfigError(
                f"The minimum length is {self.characters} characters. Give 1 or more."
            )

    def __call__(self, document: Document) -> Document | Dropped:
        # A part of a long document is long enough, whatever is left for the last one.
        if document.part or document.more or len(document.text.strip()) >= self.characters:
            return document
        return Dropped(f"shorter than {self.characters} characters")


@dataclass(frozen=True)
class MaximumReplaced:
    """Drop documents in which more than this share of the characters is U+FFFD."""

    share: float = 0.01

    def __post_init__(self) -> None:
        if not 0 <= self.share < 1:
            raise ConfigError(f"The share of U+FFFD is {self.share}. Give 0 up to below 1.")

    def __call__(self, document: Document) -> Document | Dropped:
        if document.text.count("\ufffd") > self.share * len(document.text):
            return Dropped("broken characters")
        return document


def clean(document: Document, stages: Sequence[Stage]) -> Document | Dropped:
    """Put a document through the stages in turn; one left without text is dropped as "empty"."""
    for stage in stages:
        result = stage(document)
        if isinstance(result, Dropped):
            return result
        document = result
    if not document.text or document.text.isspace():
        return Dropped("empty")
    return document


def key(stage: Stage) -> str:
    """Return what the results of a stage depend on: its name, its settings, its source code."""
    kind = stage if inspect.isfunction(stage) else type(stage)
    name = f"{kind.__module__}.{kind.__qualname__}"
    if not is_dataclass(stage) and not inspect.isfunction(stage):
        raise ConfigError(f"The stage {name} is neither a function nor a dataclass. Make it one.")
    try:
        code = hashlib.sha256(inspect.getsource(kind).encode()).hexdigest()[:16]
    except (OSError, TypeError):
        code = "unknown"  # typed into a session that keeps no source
    settings = repr(stage) if is_dataclass(stage) else ""
    return f"{name} {code} {settings}"
