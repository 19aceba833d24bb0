"""Token documents in memory, read like token shards: for tests, notebooks and small texts."""

import itertools
from collections.abc import Iterable, Sequence

import numpy as np

from hanlin.data.examples import Ids
from hanlin.data.shards import end_token
from hanlin.errors import InputError
from hanlin.tokenizers import Tokenizer

_AT_ONCE = 4096  # texts encoded together; bounds what is held beside the tokens


class TokenArray:
    """Documents of token ids in one array; a `TokenSource`."""

    def __init__(self, documents: Iterable[Sequence[int] | Ids], *, bytes: int = 0) -> None:
        """Keep `documents`, each with its end token; `bytes` is their text's size in UTF-8."""
        kept = [np.asarray(document, dtype=np.int32) for document in documents]
        if not sum(map(len, kept)):
            raise InputError("There are no tokens. Give documents that are not empty.")
        self.ids = np.concatenate(kept)
        self.ends: Ids = np.cumsum([len(document) for document in kept], dtype=np.int64)
        self.bytes = bytes

    @classmethod
    def encode(cls, texts: Iterable[str], tokenizer: Tokenizer) -> "TokenArray":
        """Encode `texts`, each one document closed by the tokenizer's end token."""
        end = end_token(tokenizer)
        size = 0
        documents: list[Ids] = []
        remaining = iter(texts)
        while some := list(itertools.islice(remaining, _AT_ONCE)):
            size += sum(len(text.encode()) for text in some)
            for ids in tokenizer.encode_batch(some, add_special_tokens=False):
                documents.append(np.array([*ids, end], dtype=np.int32))
        return cls(documents, bytes=size)

    @property
    def tokens(self) -> int:
        """How many tokens there are."""
        return len(self.ids)

    @property
    def documents(self) -> int:
        """How many documents there are."""
        return len(self.ends)

    def read(self, start: int, stop: int) -> Ids:
        """The tokens [start, stop)."""
        return self.ids[start:stop].astype(np.int64)

    def bounds_within(self, start: int, stop: int) -> Ids:
        """The document ends e with start < e <= stop."""
        first, last = np.searchsorted(self.ends, (start, stop), side="right")
        return self.ends[first:last]

    def document_bounds(self, document: int) -> tuple[int, int]:
        """Where document number `document` starts and stops."""
        return (int(self.ends[document - 1]) if document else 0), int(self.ends[document])

    def document_at(self, token: int) -> int:
        """The number of the document that token belongs to."""
        return int(np.searchsorted(self.ends, token, side="right"))
