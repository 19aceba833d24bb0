"""What generation needs of a tokenizer; `hanlin.tokenizers.Tokenizer` is one."""

from collections.abc import Collection
from typing import Protocol


class Detokeniser(Protocol):
    """Token ids in, whole characters out."""

    def push(self, token: int, /) -> str:
        """Take one more id; return the text that has become certain."""

    def finish(self) -> str:
        """Return what was held back."""


class Vocabulary(Protocol):
    """Token ids to text and back."""

    @property
    def eos_ids(self) -> Collection[int]:
        """Ids that end a text."""

    def stream(self) -> Detokeniser:
        """A fresh detokeniser for one sequence."""

    def token_bytes(self, token: int, /) -> bytes:
        """The bytes that an id stands for."""
