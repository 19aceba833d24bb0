"""Texts cut into the words that ROUGE and distinct-n count.

The rouge-score package keeps runs of ASCII letters and digits, which leaves nothing of Chinese.
Beside that rule there are two for other scripts; whichever is used stands in the signature.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

from hanlin.errors import ConfigError, nearest
from hanlin.text.scripts import script

Cut = Literal["auto", "words", "characters", "words-zh"]
CUTS = ("auto", "words", "characters", "words-zh")

_ASCII = re.compile(r"[a-z0-9]+")
# Scripts written without spaces: Thai and Lao, Myanmar, Khmer, Han, Kana.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u2fdf\u3005-\u3007\u3040-\u30ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9d\U00020000-\U000323af"
)
_CHARACTERS = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+")
_SHORTEST_STEMMED = 4


@dataclass(frozen=True)
class Cutter:
    """One way to cut a text into words."""

    name: str
    """Which of `CUTS`, never "auto"."""
    about: str
    """The name for a signature, with the version of the package that cuts."""
    cut: Callable[[str], list[str]]


def cutter(tokenize: Cut, texts: Iterable[str], *, stemmer: bool = False) -> Cutter:
    """The way that `tokenize` names; "auto" takes words where every one of `texts` is Latin (see
    `is_latin`), else characters, which leave Latin words of ASCII letters whole.

    Raises `ConfigError` for a way that does not exist, for a stemmer beside another way than
    "words", and where a package that it needs is not installed.
    """
    if tokenize not in CUTS:
        raise ConfigError(
            f"tokenize is {tokenize!r}.{nearest(str(tokenize), list(CUTS))} "
            f"Use one of: {', '.join(CUTS)}."
        )
    name = tokenize
    if name == "auto":
        name = "words" if all(map(is_latin, texts)) else "characters"
    if stemmer and name != "words":
        raise ConfigError(
            f"The stemmer is English and does nothing to {name}. "
            "Leave it off, or set tokenize='words'."
        )
    match name:
        case "words":
            return Cutter(name, name, _stemming() if stemmer else _words)
        case "characters":
            return Cutter(name, name, _characters)
    return _segmenting()


def is_latin(text: str) -> bool:
    """Whether runs of ASCII letters and digits are a fair part of a text: at least half of its
    letters are Latin, and of what has letters or digits some such run is left."""
    if text.isascii():
        return True
    letters = Counter(filter(str.isalpha, text))
    latin = sum(count for letter, count in letters.items() if script(letter) == "Latin")
    if latin * 2 < letters.total():
        return False
    return bool(_words(text)) or not any(map(str.isalnum, text))


def _words(text: str) -> list[str]:
    return _ASCII.findall(text.lower())


def _characters(text: str) -> list[str]:
    return _CHARACTERS.findall(text.lower())


def _stemming() -> Callable[[str], list[str]]:
    try:
        from nltk.stem.porter import PorterStemmer
    except ImportError as error:
        raise ConfigError(
            "The Porter stemmer is that of the package nltk, which is not installed. "
            "Install it: pip install 'hanlin[judge]'."
        ) from error
    stemmer: Any = PorterStemmer()
    known: dict[str, str] = {}

    def cut(text: str) -> list[str]:
        words = _words(text)
        for word in words:
            if word not in known:
                known[word] = stemmer.stem(word) if len(word) >= _SHORTEST_STEMMED else word
        return [known[word] for word in words]

    return cut


def _segmenting() -> Cutter:
    try:
        import rjieba
    except ImportError as error:
        raise ConfigError(
            "Chinese words need the package rjieba, which is not installed. Install it with "
            "pip install 'hanlin[judge]', or set tokenize='characters'."
        ) from error
    from importlib.metadata import version

    def cut(text: str) -> list[str]:
        return [word for word in rjieba.cut(text.lower()) if any(map(str.isalnum, word))]

    return Cutter("words-zh", f"words-zh-rjieba-{version('rjieba')}", cut)
