"""Which tokens make up a word, from the tokens alone: for whole-word masking and word spans.

WordPiece marks what goes on a word (``##``). Elsewhere a token goes on the word before it where
both are letters or digits without a space between, or where the border lies inside a character.
Chinese has no spaces: its words come from a segmenter (Cui et al. 2021, "Pre-Training with Whole
Word Masking for Chinese BERT").
"""

import codecs
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from hanlin.data.examples import Ids
from hanlin.errors import ConfigError
from hanlin.text.scripts import script
from hanlin.tokenizers import Tokenizer

Flags = npt.NDArray[np.bool_]

Chinese = Literal["words", "characters"]

_UNSPACED = ("Han", "Kana")


class Words:
    """Finds the words of token ids; a table for each token, made once."""

    def __init__(self, tokenizer: Tokenizer, *, chinese: Chinese = "words") -> None:
        """`chinese`: whether Chinese is cut into words by a segmenter or every token is a word.

        Raises `ConfigError` where the segmenter is wanted and not installed.
        """
        size = tokenizer.vocab_size
        self._spelt = [
            b"\n" if i in tokenizer.special_ids else tokenizer.token_bytes(i) for i in range(size)
        ]
        self._wordpiece = type(tokenizer.backend.model).__name__ == "WordPiece"
        self._special = np.zeros(size, dtype=bool)
        self._special[[i for i in tokenizer.special_ids if i < size]] = True
        texts = [spelt.decode(errors="replace") for spelt in self._spelt]
        self._inside = np.array([_begins_inside(spelt) for spelt in self._spelt])
        if self._wordpiece:
            self._inside |= np.array([bool(t) and t[0] not in " \n" for t in texts])
        self._starts_word = np.array([_joins(text[:1]) for text in texts])
        self._ends_word = np.array([_joins(text[-1:]) for text in texts])
        self._han = np.array([any(script(c) in _UNSPACED for c in text) for text in texts])
        self._cut: Callable[[str], Sequence[str]] | None = None
        if chinese == "words" and self._han.any():
            self._cut = segmenter()

    def goes_on(self, ids: Ids) -> Flags:
        """Whether each token [T] goes on the word of the token before it. Special tokens are words
        of their own."""
        joined: Flags = self._inside[ids]
        joined[1:] |= self._starts_word[ids[1:]] & self._ends_word[ids[:-1]]
        if self._cut is not None and self._han[ids].any():
            joined |= self._within_segmented(ids, self._cut)
        special = self._special[ids]
        joined[special] = False
        joined[1:][special[:-1]] = False
        joined[:1] = False
        return joined

    def number(self, ids: Ids) -> Ids:
        """The number of the word each token [T] belongs to, counted from 0."""
        return np.cumsum(~self.goes_on(ids), dtype=np.int64) - 1

    def _within_segmented(self, ids: Ids, cut: Callable[[str], Sequence[str]]) -> Flags:
        """Whether each token begins inside a word of the segmenter."""
        spelt = [self._spelt[i] for i in ids.tolist()]
        if self._wordpiece:
            # WordPiece sets Chinese characters apart; nothing tells those spaces from real ones.
            han = self._han[ids].tolist()
            spelt = [
                s[1:] if now and before and s[:1] == b" " else s
                for s, now, before in zip(spelt, han, [False, *han[:-1]], strict=True)
            ]
        sizes = np.array([len(s) for s in spelt], dtype=np.int64)
        starts = np.cumsum(sizes) - sizes
        text = b"".join(spelt)
        words = cut(text.decode(errors="hanlin-byte-marks"))
        inside = np.ones(len(text) + 1, dtype=bool)
        ends = np.cumsum([len(word.encode()) for word in words], dtype=np.int64)
        inside[0] = False
        inside[ends] = False
        begins: Flags = inside[starts]
        return begins


def segmenter() -> Callable[[str], Sequence[str]]:
    """What cuts Chinese text into words. Raises `ConfigError` where rjieba is not installed."""
    try:
        import rjieba
    except ImportError as error:
        raise ConfigError(
            "Chinese words need the package rjieba, which is not installed. Install it with "
            "pip install 'hanlin[data]', or set chinese: characters."
        ) from error
    cut: Callable[[str], Sequence[str]] = rjieba.cut
    return cut


def _begins_inside(spelt: bytes) -> bool:
    """Whether the first byte goes on a character of UTF-8."""
    return bool(spelt) and spelt[0] & 0xC0 == 0x80


def _joins(character: str) -> bool:
    """Whether words go on through this character."""
    return character.isalnum() and script(character) not in _UNSPACED


def _byte_marks(error: UnicodeError) -> tuple[str, int]:
    """Stands in for what is not UTF-8, byte for byte, so that places stay where they are."""
    assert isinstance(error, UnicodeDecodeError)
    return "?" * (error.end - error.start), error.end


codecs.register_error("hanlin-byte-marks", _byte_marks)
