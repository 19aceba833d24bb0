"""The special tokens around a text, as its tokenizer puts them: what opens it, what closes it."""

import itertools
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hanlin.data.examples import Ids
from hanlin.data.shards import end_token
from hanlin.errors import ConfigError
from hanlin.tokenizers import Tokenizer


@dataclass(frozen=True)
class Frame:
    """Tokens before and after every text a model reads."""

    before: tuple[int, ...]
    after: tuple[int, ...]

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> "Frame":
        """What `tokenizer` puts around a text; where it closes with nothing, the end token."""
        # Any text that is spelt by some token shows what comes around it.
        ordinary = (i for i in range(tokenizer.vocab_size) if i not in tokenizer.special_ids)
        for text in itertools.chain("a", (tokenizer.decode([i]) for i in ordinary)):
            if bare := tokenizer.encode(text, add_special_tokens=False):
                break
        else:
            raise ConfigError("The tokenizer spells no text at all. Train another.")
        whole = tokenizer.encode(text)
        first = next(at for at in range(len(whole)) if whole[at : at + len(bare)] == bare)
        before, after = tuple(whole[:first]), tuple(whole[first + len(bare) :])
        return cls(before, after or (end_token(tokenizer),))

    @property
    def size(self) -> int:
        """How many tokens it adds."""
        return len(self.before) + len(self.after)

    def around(self, ids: Ids) -> Ids:
        """`ids` with the frame around them."""
        return np.concatenate([self._before, ids, self._after])

    @cached_property
    def _before(self) -> Ids:
        return np.array(self.before, dtype=np.int64)

    @cached_property
    def _after(self) -> Ids:
        return np.array(self.after, dtype=np.int64)
