"""Where sentences end in a row of token ids, in English and in Chinese."""

import re

import numpy as np

from hanlin.data.examples import Ids
from hanlin.tokenizers import Tokenizer

_CLOSING = "\"'”’」』）)】》]"
_ALWAYS = re.compile(rf"[。！？!?…；][{re.escape(_CLOSING)}]*\s*$|\n\s*$")
_BEFORE_SPACE = re.compile(rf"\.[{re.escape(_CLOSING)}]*$")
_CLOSERS = re.compile(rf"\s?[{re.escape(_CLOSING)}]+\s*$")


class Sentences:
    """Cuts token ids into sentences; a table for each token, made once.

    A full stop ends a sentence where white space follows ("3.14" goes on); 。！？ and line ends
    always do, and closing quotation marks stay with the sentence before them.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        size = tokenizer.vocab_size
        texts = [
            "" if i in tokenizer.special_ids else tokenizer.token_bytes(i).decode(errors="replace")
            for i in range(size)
        ]
        self._ends = np.array([bool(_ALWAYS.search(text)) for text in texts])
        self._stops = np.array([bool(_BEFORE_SPACE.search(text)) for text in texts])
        self._closers = np.array([bool(_CLOSERS.fullmatch(text)) for text in texts])
        self._spaced = np.array([text[:1].isspace() for text in texts])

    def starts(self, ids: Ids) -> Ids:
        """Where each sentence of ids [T] begins, ascending; the first is 0."""
        if not len(ids):
            return np.empty(0, dtype=np.int64)
        ends, closers = self._ends[ids], self._closers[ids]
        spaced = np.append(self._spaced[ids[1:]], True)
        ends |= self._stops[ids] & spaced
        # The end moves behind closing marks that follow it.
        for at in np.flatnonzero(ends[:-1] & closers[1:]).tolist():
            while at + 1 < len(ids) and closers[at + 1]:
                ends[at], ends[at + 1] = False, True
                at += 1
        return np.concatenate([[0], np.flatnonzero(ends[:-1]) + 1])
