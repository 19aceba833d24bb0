"""Which writing system a character belongs to, and what language a text is mostly in.

Scripts follow Unicode's Scripts.txt by block, which is exact for the letters in use; punctuation,
digits and emoji are classes of their own because they tell nothing about the language.
"""

import re
import unicodedata
from bisect import bisect_right
from functools import lru_cache

# First and last code point of the blocks of each script, in order.
_BLOCKS = (
    (0x0041, 0x024F, "Latin"),
    (0x0250, 0x02AF, "Latin"),
    (0x0370, 0x03FF, "Greek"),
    (0x0400, 0x052F, "Cyrillic"),
    (0x0531, 0x058F, "Armenian"),
    (0x0590, 0x05FF, "Hebrew"),
    (0x0600, 0x06FF, "Arabic"),
    (0x0750, 0x077F, "Arabic"),
    (0x0870, 0x08FF, "Arabic"),
    (0x0900, 0x097F, "Devanagari"),
    (0x0980, 0x09FF, "Bengali"),
    (0x0A00, 0x0A7F, "Gurmukhi"),
    (0x0A80, 0x0AFF, "Gujarati"),
    (0x0B80, 0x0BFF, "Tamil"),
    (0x0C00, 0x0C7F, "Telugu"),
    (0x0C80, 0x0CFF, "Kannada"),
    (0x0D00, 0x0D7F, "Malayalam"),
    (0x0E00, 0x0E7F, "Thai"),
    (0x0E80, 0x0EFF, "Lao"),
    (0x0F00, 0x0FFF, "Tibetan"),
    (0x1000, 0x109F, "Myanmar"),
    (0x10A0, 0x10FF, "Georgian"),
    (0x1100, 0x11FF, "Hangul"),
    (0x1200, 0x139F, "Ethiopic"),
    (0x1780, 0x17FF, "Khmer"),
    (0x1800, 0x18AF, "Mongolian"),
    (0x1C80, 0x1C8F, "Cyrillic"),
    (0x1D00, 0x1DBF, "Latin"),
    (0x1E00, 0x1EFF, "Latin"),
    (0x1F00, 0x1FFF, "Greek"),
    (0x2C60, 0x2C7F, "Latin"),
    (0x2DE0, 0x2DFF, "Cyrillic"),
    (0x2E80, 0x2FDF, "Han"),
    (0x3005, 0x3007, "Han"),
    (0x3021, 0x3029, "Han"),
    (0x3041, 0x309F, "Kana"),
    (0x30A1, 0x30FF, "Kana"),
    (0x3105, 0x312F, "Bopomofo"),
    (0x3131, 0x318E, "Hangul"),
    (0x31A0, 0x31BF, "Bopomofo"),
    (0x31F0, 0x31FF, "Kana"),
    (0x3400, 0x4DBF, "Han"),
    (0x4E00, 0x9FFF, "Han"),
    (0xA640, 0xA69F, "Cyrillic"),
    (0xA720, 0xA7FF, "Latin"),
    (0xA960, 0xA97F, "Hangul"),
    (0xAB30, 0xAB6F, "Latin"),
    (0xAC00, 0xD7FF, "Hangul"),
    (0xF900, 0xFAFF, "Han"),
    (0xFB00, 0xFB06, "Latin"),
    (0xFB1D, 0xFB4F, "Hebrew"),
    (0xFB50, 0xFDFF, "Arabic"),
    (0xFE70, 0xFEFE, "Arabic"),
    (0xFF21, 0xFF3A, "Latin"),
    (0xFF41, 0xFF5A, "Latin"),
    (0xFF66, 0xFF9F, "Kana"),
    (0xFFA0, 0xFFDC, "Hangul"),
    (0x1B000, 0x1B16F, "Kana"),
    (0x20000, 0x323AF, "Han"),
)
_STARTS = [block[0] for block in _BLOCKS]
_EMOJI = ((0x2600, 0x27BF), (0x2B05, 0x2B55), (0x1F000, 0x1FAFF))
_JOINERS = frozenset({0x200D, 0xFE0F, 0x20E3})

_CODE = re.compile(
    r"^\s*(?:def |class |import |from \S+ import|#include|return\b|public |function |var )"
    r"|^\s*(?:const |let |//|/\*|\*/)|[;{}]\s*$|\w\(.*\)\s*[:;{]?\s*$"
    r"|[=!<>]=|->|=>|&&|\|\|",
    re.MULTILINE,
)


@lru_cache(maxsize=1 << 14)
def script(character: str) -> str:
    """Return the script of one character: "Han", "Latin", "Kana", "Cyrillic" and so on.

    Characters of no script are "digit", "punctuation" (marks and symbols), "space", "emoji" or
    "other". A combining mark on its own is "other"; it belongs to whatever it stands on.
    """
    code = ord(character)
    category = unicodedata.category(character)
    if category[0] == "Z" or character in "\t\n\v\f\r\x85":
        return "space"
    if code in _JOINERS or any(first <= code <= last for first, last in _EMOJI):
        return "emoji"
    if category == "Nd":
        return "digit"
    if category[0] in "PS":
        return "punctuation"
    if category[0] in "LMN":
        at = bisect_right(_STARTS, code) - 1
        if at >= 0 and code <= _BLOCKS[at][1]:
            return _BLOCKS[at][2]
    return "other"


def language(text: str) -> str:
    """Return "zh", "code", "en" or "other" for a text, by its letters and its look.

    A coarse sort for tables, not language identification: Latin letters count as English where at
    least nine in ten letters are plain ASCII, and a text is code where a third of its lines look
    so.
    """
    counts: dict[str, int] = {}
    plain = 0
    for character in text[:20_000]:
        name = script(character)
        counts[name] = counts.get(name, 0) + 1
        plain += character.isascii() and name == "Latin"
    classes = ("digit", "punctuation", "space", "emoji", "other")
    letters = sum(n for name, n in counts.items() if name not in classes)
    lines = [line for line in text[:20_000].splitlines() if line.strip()]
    if lines and sum(bool(_CODE.search(line)) for line in lines) * 3 >= len(lines):
        return "code"
    if letters == 0:
        return "other"
    if counts.get("Han", 0) * 10 >= letters * 3 and counts.get("Kana", 0) * 10 < letters:
        return "zh"
    return "en" if plain * 10 >= letters * 9 else "other"
