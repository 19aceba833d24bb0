"""Where the words of a raw text are, by one rule that needs no dictionary.

A run of letters, digits and marks is a word, with the points, hyphens and apostrophes inside it
("3.14", "state-of-the-art", "don't"); a Chinese or Japanese character is one by itself, and so is
every other mark or symbol. Taggers cut raw text so, passages are measured so.
"""

import re

UNSPACED_LETTERS = (
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3041-\u309f\u30a1-\u30ff\u3105-\u312f"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U0001b000-\U0001b16f\U00020000-\U000323af"
)
"""Scripts that are written without spaces between words."""
_LETTER = rf"[^\W_{UNSPACED_LETTERS}]"
_WORD = re.compile(
    rf"[{UNSPACED_LETTERS}]"
    rf"|{_LETTER}"
    rf"(?:[^\W{UNSPACED_LETTERS}]|[\u0300-\u036f]|[.,'’](?={_LETTER})|-(?=[^\W\d_{UNSPACED_LETTERS}]))*"
    r"|\S"
)
_UNSPACED = re.compile(
    rf"[{UNSPACED_LETTERS}\u3000-\u303f\uff00-\uffef\u2018\u2019\u201c\u201d\u2026\u2014]"
)


def word_spans(text: str) -> list[tuple[int, int]]:
    """The characters [start, end) of each word of `text`, in order; white space is in none."""
    return [found.span() for found in _WORD.finditer(text)]


def unspaced(character: str) -> bool:
    """Whether no space stands beside this character: Chinese, Japanese, and their punctuation."""
    return _UNSPACED.match(character) is not None


def joined(words: list[str] | tuple[str, ...]) -> tuple[str, list[tuple[int, int]]]:
    """One text of `words`, and the characters [start, end) of each in it.

    A space stands between two words unless a character without spaces is on either side.
    """
    parts: list[str] = []
    spans: list[tuple[int, int]] = []
    at, last = 0, ""
    for word in words:
        if last and word and not unspaced(last) and not unspaced(word[0]):
            parts.append(" ")
            at += 1
        parts.append(word)
        spans.append((at, at + len(word)))
        at += len(word)
        last = word[-1:] or last
    return "".join(parts), spans
