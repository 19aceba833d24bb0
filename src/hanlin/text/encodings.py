"""Bytes to text: which encoding a file is in, and a decoder that replaces and counts broken bytes.

Valid UTF-8 is decoded as it comes. Only where it is not, a sample around the first byte beyond
ASCII decides: Chinese, Japanese and Korean encodings by how often their pairs of bytes are common
characters, Western ones by high bytes that stand alone among letters, the rest by
charset-normalizer.
"""

import codecs
import re
from collections.abc import Callable, Iterator

from hanlin.errors import FormatError

SAMPLE = 1 << 16
"""Bytes that decide about an encoding."""
BLOCK = 1 << 18
"""Bytes decoded at once."""

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_REPLACED = "\ufffd".encode()


class BinaryError(FormatError):
    """The bytes are not text in any encoding."""


def marked(head: bytes) -> tuple[str, int] | None:
    """Return the encoding that a byte order mark names and the length of the mark, or None."""
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name, len(mark)
    return None


def detect(sample: bytes, *, whole: bool = True) -> str:
    """Return the encoding of `sample`, some bytes of a text (`whole`: they end where it ends).

    Raises `BinaryError` for what is no text, and `FormatError` where the encoding cannot be told.
    """
    if found := marked(sample):
        return found[0]
    if sample.startswith(b"%PDF-"):
        raise BinaryError("It is a PDF, not text. Convert it to text first.")
    if b"\0" in sample:
        return _sixteen(sample)
    if sample.isascii():
        return "utf-8"
    try:
        codecs.utf_8_decode(sample, "strict", whole)
        return "utf-8"
    except UnicodeDecodeError:
        text = codecs.utf_8_decode(sample, "replace", whole)[0]
    broken = text.count("\ufffd")
    beyond = sum(not character.isascii() for character in text) - broken
    if beyond >= 2 * broken:
        return "utf-8"
    if sum(byte < 32 and byte not in b"\t\n\r\f\x1b\x08" for byte in sample) > len(sample) // 50:
        return _sixteen(sample)
    scores = {name: score(sample) for name, score in _SCORES.items()}
    best = max(scores, key=lambda name: scores[name])
    if scores[best] >= 0.6:
        return best
    return _normalizer(sample)


def _sixteen(sample: bytes) -> str:
    """UTF-16 without a mark: nearly all of it is letters, marks and spaces in one byte order."""
    for name in ("utf-16-le", "utf-16-be"):
        text = sample[: len(sample) // 2 * 2].decode(name, "replace")
        usual = sum(
            "\t" <= c <= "\u052f"
            or "\u2000" <= c <= "\u206f"
            or "\u3000" <= c <= "\u9fff"
            or "\uac00" <= c <= "\ud7a3"
            or "\uff00" <= c <= "\uff65"
            for c in text
        )
        # What is ASCII in one order is scattered over all of Unicode in the other.
        if usual > 0.95 * len(text) and _spaces(text):
            return name
    raise BinaryError("It holds bytes that no text has. Leave it out.")


def _spaces(text: str) -> bool:
    return any(mark in text for mark in (" ", "\n", "\u3000", "，", "。"))


# A character of each encoding: group 1 a common one, group 2 any other. What neither matches is an
# error in that encoding.
_CHARACTERS = {
    # Hangul and punctuation, every byte a high one.
    "euc_kr": re.compile(rb"([\xb0-\xc8][\xa1-\xfe]|\xa1[\xa1-\xfe])|([\xa1-\xfe][\xa1-\xfe])"),
    # Kana, punctuation, JIS level 1.
    "euc_jp": re.compile(
        rb"(\xa4[\xa1-\xf3]|\xa5[\xa1-\xf6]|\xa1[\xa1-\xfe]|[\xb0-\xcf][\xa1-\xfe])"
        rb"|([\xa1-\xfe][\xa1-\xfe])"
    ),
    # GB 2312's first level (3,755 characters by frequency) and its punctuation.
    "gb18030": re.compile(
        rb"([\xb0-\xd7][\xa1-\xfe]|[\xa1\xa3][\xa1-\xfe])"
        rb"|([\x81-\xfe][\x40-\x7e\x80-\xfe]|[\x81-\xfe][0-9][\x81-\xfe][0-9])"
    ),
    # The 5,401 frequent characters and punctuation.
    "big5hkscs": re.compile(
        rb"([\xa4-\xc6][\x40-\x7e\xa1-\xfe]|\xa1[\x40-\x7e\xa1-\xfe])"
        rb"|([\x81-\xfe][\x40-\x7e\xa1-\xfe])"
    ),
    # Kana, punctuation, JIS level 1.
    "cp932": re.compile(
        rb"(\x82[\x9f-\xf1]|\x83[\x40-\x96]|\x81[\x41-\x5b\x75-\x7a]|[\x88-\x97][\x40-\x7e\x80-\xfc])"
        rb"|([\x81-\x9f\xe0-\xfc][\x40-\x7e\x80-\xfc]|[\xa1-\xdf])"
    ),
}
_ALONE = re.compile(rb"(?<=[A-Za-z ])[\xc0-\xd6\xd8-\xf6\xf8-\xff](?=[A-Za-z .,;:!?\r\n]|$)")
_MARK = re.compile(
    rb"(?<![\x80-\xff])[\x80\x85\x91-\x97\xa0\xa3\xa7\xa9\xab\xb0\xb7\xbb\xbf](?![\x80-\xff])"
)


def _pairs(name: str) -> Callable[[bytes], float]:
    pattern = _CHARACTERS[name]

    def score(sample: bytes) -> float:
        common = other = 0
        for match in pattern.finditer(sample):
            if match[1]:
                common += 1
            else:
                other += 1
        wrong = sum(byte > 127 for byte in pattern.sub(b"", sample))
        # First-level characters, kana and punctuation make most of any text; those of another
        # encoding seen through this one fall all over the table.
        total = common + other + 4 * wrong
        return _WEIGHTS.get(name, _always)(sample) * common / total if total else 0.0

    return score


def _always(sample: bytes) -> float:
    return 1.0


def _kana(name: str) -> Callable[[bytes], float]:
    """1 where a fifth of the pairs are kana, as in any Japanese text, falling to 0 without any."""
    leads = {"cp932": (b"\x82", b"\x83"), "euc_jp": (b"\xa4", b"\xa5")}[name]

    def weight(sample: bytes) -> float:
        pairs = [a or b for a, b in _CHARACTERS[name].findall(sample)]
        kana = sum(pair[:1] in leads for pair in pairs)
        return min(1.0, 5 * kana / len(pairs)) if pairs else 0.0

    return weight


def _hangul(sample: bytes) -> float:
    """1 where many pairs are Hangul and none lie behind it, where two fifths of Chinese does."""
    pairs = [a or b for a, b in _CHARACTERS["euc_kr"].findall(sample)]
    behind = sum(pair[:1] > b"\xc8" for pair in pairs)
    return float(len(pairs) >= 12 and behind <= 0.03 * len(pairs))


_WEIGHTS = {"cp932": _kana("cp932"), "euc_jp": _kana("euc_jp"), "euc_kr": _hangul}


def _western(sample: bytes) -> float:
    high = sum(byte > 127 for byte in sample)
    return (len(_ALONE.findall(sample)) + len(_MARK.findall(sample))) / high if high else 0.0


_SCORES: dict[str, Callable[[bytes], float]] = {
    **{name: _pairs(name) for name in _CHARACTERS},
    "cp1252": _western,
}


def _normalizer(sample: bytes) -> str:
    try:
        import charset_normalizer
    except ImportError as error:
        raise FormatError(
            "Its encoding is unknown to hanlin alone. Name it, or install charset-normalizer: "
            "pip install 'hanlin[data]'."
        ) from error
    # Lines of ASCII say nothing and mislead it.
    lines = [line for line in sample.split(b"\n") if not line.isascii()]
    best = charset_normalizer.from_bytes(b"\n".join(lines)).best()
    if best is None:
        raise BinaryError("It is not text in any encoding that is known. Leave it out.")
    return str(best.encoding)


class Decoder:
    """Decodes a stream block by block; `encoding` and `replaced` say how that went."""

    def __init__(self, encoding: str | None = None) -> None:
        self.encoding = encoding
        """None until something decided it."""
        self.replaced = 0
        """How many U+FFFD stand for bytes that are not text."""

    def decode(self, read: Callable[[int], bytes]) -> Iterator[str]:
        """Yield the text of what `read` gives, without a byte order mark.

        Raises `BinaryError` and `FormatError` as `detect` does.
        """
        head = _fill(read, b"", SAMPLE)
        mark = marked(head)
        if mark and (self.encoding is None or _same(self.encoding, mark[0])):
            self.encoding, skip = mark
            head = head[skip:]
        elif self.encoding is None:
            # What is binary shows at once; ASCII may yet turn out to be anything.
            name = detect(head, whole=len(head) < SAMPLE)
            self.encoding = None if name == "utf-8" and head.isascii() else name
        data = head
        while data and self.encoding is None:
            if not data.isascii():
                at = next(n for n, byte in enumerate(data) if byte > 127)
                sample = data[max(0, at - 256) : at + SAMPLE]
                if len(sample) < SAMPLE:
                    data = _fill(read, data, len(data) + SAMPLE)
                    sample = data[max(0, at - 256) : at + SAMPLE]
                self.encoding = detect(sample, whole=len(sample) < SAMPLE)
                break
            yield data.decode("ascii")
            data = read(BLOCK)
        self.encoding = self.encoding or "utf-8"
        if self.encoding == "utf-8":
            yield from self._utf8(data, read)
        else:
            yield from self._other(self.encoding, data, read)

    def _utf8(self, data: bytes, read: Callable[[int], bytes]) -> Iterator[str]:
        while data:
            block = read(BLOCK)
            try:
                text, used = codecs.utf_8_decode(data, "strict", not block)
            except UnicodeDecodeError:
                text, used = codecs.utf_8_decode(data, "replace", not block)
                self.replaced += text.count("\ufffd") - data[:used].count(_REPLACED)
            if text:
                yield text
            data = data[used:] + block

    def _other(self, name: str, data: bytes, read: Callable[[int], bytes]) -> Iterator[str]:
        decoder = codecs.getincrementaldecoder(name)("replace")
        while True:
            block = read(BLOCK) if data else b""
            text = decoder.decode(data, final=not block)
            self.replaced += text.count("\ufffd")
            if text:
                yield text
            if not block:
                return
            data = block


def _fill(read: Callable[[int], bytes], data: bytes, size: int) -> bytes:
    """Read on until there are `size` bytes or no more."""
    while len(data) < size and (block := read(size - len(data))):
        data += block
    return data


def _same(given: str, marked_as: str) -> bool:
    name = codecs.lookup(given).name
    return name == marked_as or marked_as.startswith(name) or name == "utf-8-sig"
