"""Translations in gettext's .po files to documents: the text of one side, entry by entry.

The format is that of the GNU gettext manual, "The Format of PO Files". Obsolete entries (``#~``)
are passed over; of the translations also those that are empty or marked fuzzy.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from hanlin.errors import ConfigError
from hanlin.text.documents import Document
from hanlin.text.plain import FILE, unix_lines
from hanlin.text.reading import Reading, ReadSettings

SIDES = ("msgstr", "msgid")

_KEYWORD = re.compile(r'(msgctxt|msgid_plural|msgid|msgstr(?:\[\d+\])?)\s*("(?:[^"\\]|\\.)*")\s*$')
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"\s*$')
_ESCAPE = re.compile(r"\\(x[0-9A-Fa-f]{1,2}|[0-7]{1,3}|.)", re.DOTALL)
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}


@dataclass
class Entry:
    """One message: its strings by keyword (``msgid``, ``msgstr[0]`` ...), and whether it is
    fuzzy."""

    strings: dict[str, str] = field(default_factory=dict)
    fuzzy: bool = False

    def side(self, name: str) -> list[str]:
        """Return the texts of ``msgid`` or of ``msgstr``, each plural form once."""
        texts = [text for key, text in self.strings.items() if key.startswith(name) and text]
        return list(dict.fromkeys(texts))


def entries(chunks: Iterable[str], reading: Reading) -> Iterator[Entry]:
    """Yield the entries of a .po file in order, the header (empty ``msgid``) included."""
    entry, keyword = Entry(), ""
    number = 0
    rest = ""
    for chunk in (*unix_lines(chunks), "\n"):
        *lines, rest = (rest + chunk).split("\n")
        for line in lines:
            number += 1
            line = line.strip()
            if line.startswith("#"):
                # A comment stands before its entry, so it ends the one before.
                if "msgstr" in keyword:
                    yield entry
                    entry, keyword = Entry(), ""
                if line.startswith("#,") and "fuzzy" in line.replace(",", " ").split():
                    entry.fuzzy = True
            elif match := _KEYWORD.match(line):
                if match[1] in ("msgctxt", "msgid") and "msgstr" in keyword:
                    yield entry
                    entry = Entry()
                keyword = match[1]
                entry.strings[keyword] = _unescape(match[2][1:-1])
            elif (match := _STRING.match(line)) and keyword:
                entry.strings[keyword] += _unescape(match[1])
            elif line:
                reading.drop("not gettext", f"line {number} is no part of an entry.")
    if entry.strings:
        yield entry


def documents(
    chunks: Iterable[str], settings: ReadSettings, reading: Reading
) -> Iterator[Document]:
    """Yield the chosen side of a .po file: one document with an entry a paragraph, or by entry.

    Raises `ConfigError` where the field is neither msgid nor msgstr.
    """
    side = settings.field or "msgstr"
    if side not in SIDES:
        raise ConfigError(f"A .po file has no field {side!r}. Choose one of: {', '.join(SIDES)}.")
    texts = _texts(chunks, reading, side)
    if settings.split != FILE:
        for text in texts:
            yield Document(text, reading.name)
        return
    whole = "\n\n".join(texts)
    if whole:
        yield Document(whole + "\n", reading.name)


def _texts(chunks: Iterable[str], reading: Reading, side: str) -> Iterator[str]:
    fuzzy = empty = 0
    for entry in entries(chunks, reading):
        if not entry.strings.get("msgid"):
            continue
        texts = entry.side(side)
        if side == "msgstr" and (entry.fuzzy or not texts):
            fuzzy += entry.fuzzy
            empty += not entry.fuzzy
            continue
        yield from texts
    if fuzzy or empty:
        reading.note(f"{fuzzy} fuzzy and {empty} untranslated entries are left out.")


def _unescape(text: str) -> str:
    return _ESCAPE.sub(_escaped, text) if "\\" in text else text


def _escaped(match: re.Match[str]) -> str:
    code = match[1]
    if code[0] == "x" and len(code) > 1:
        return chr(int(code[1:], 16))
    if code[0] in "01234567":
        return chr(int(code, 8) & 0xFF)
    return _ESCAPED.get(code, code)
