"""What stands around two texts that a model reads together.

The tokenizer's own special tokens; where it puts nothing between the two (GPT-2's, SmolLM2's), its
end token stands there, or a new line where it has none: "first" + "<|endoftext|>" + "second".
"""

from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from hanlin.errors import ConfigError
from hanlin.tokenizers.tokenizer import Tokenizer

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class PairFrame:
    """The special tokens around two texts, and the type of every token: which text it belongs to
    as the model sees it."""

    before: Ids
    between: Ids
    after: Ids
    types: tuple[Ids, int, Ids, int, Ids]
    """Of `before`, of the first text, of `between`, of the second text, of `after`."""
    own: bool
    """Whether the tokenizer puts it there itself; else `between` is what we put there."""

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> "PairFrame":
        """What stands around two texts for `tokenizer`. Raises `ConfigError` where it spells no
        text or has nothing to set two apart with."""
        text = _spelt(tokenizer)
        encoded = tokenizer.backend.encode(text, text)
        ids, types = (np.array(x, dtype=np.int64) for x in (encoded.ids, encoded.type_ids))
        of = np.array([-1 if x is None else x for x in encoded.sequence_ids])
        first, second = np.flatnonzero(of == 0), np.flatnonzero(of == 1)
        if not len(first) or not len(second) or first[-1] > second[0]:
            raise ConfigError("The tokenizer does not keep two texts apart. Take another model.")
        a, b, end = first[-1] + 1, second[0], second[-1] + 1
        between, types_between, types_after = ids[a:b], types[a:b], types[end:]
        kinds = int(types[first[0]]), int(types[b])
        own = bool(len(between))
        if not own:
            stop = tokenizer.eos_id
            put = tokenizer.encode("\n", add_special_tokens=False) if stop is None else [stop]
            between, kinds = np.array(put, dtype=np.int64), (0, 1)
            types_between, types_after = np.zeros_like(between), np.ones_like(types_after)
        if not len(between):
            raise ConfigError(
                "The tokenizer has nothing to put between two texts: no end token, and no new "
                "line. Take another model."
            )
        around = (types[: first[0]], kinds[0], types_between, kinds[1], types_after)
        return cls(ids[: first[0]], between, ids[end:], around, own)

    @property
    def size(self) -> int:
        """How many special tokens it adds."""
        return len(self.before) + len(self.between) + len(self.after)

    def around(self, first: Ids, second: Ids) -> tuple[Ids, Ids]:
        """The ids of both texts with the frame around them, and the type of each [T]."""
        types = self.types
        return (
            np.concatenate([self.before, first, self.between, second, self.after]),
            np.concatenate(
                [
                    types[0],
                    np.full(len(first), types[1]),
                    types[2],
                    np.full(len(second), types[3]),
                    types[4],
                ]
            ),
        )


def _spelt(tokenizer: Tokenizer) -> str:
    """A text of which the tokenizer makes tokens: any will do."""
    spelt = (tokenizer.decode([n]).strip() for n in range(tokenizer.vocab_size))
    for text in chain(["a"], spelt):
        ids = tokenizer.encode(text, add_special_tokens=False)
        if ids and not set(ids) & set(tokenizer.special_ids):
            return text
    raise ConfigError("The tokenizer spells no text at all. Take another model.")
