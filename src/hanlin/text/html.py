"""Pages of HTML to documents: the title and the main text, without menus and footers."""

import re
from typing import BinaryIO

from hanlin.errors import ConfigError, FormatError
from hanlin.text.documents import Document
from hanlin.text.encodings import SAMPLE, Decoder
from hanlin.text.reading import RECORD, Reading, ReadSettings

_DECLARED = re.compile(rb"""<meta[^>]{0,200}charset\s*=\s*["']?\s*([A-Za-z0-9_-]{2,40})""", re.I)


def page(stream: BinaryIO, settings: ReadSettings, reading: Reading) -> Document:
    """Return the document of one page; its metadata has the title.

    Raises `ConfigError` where resiliparse is not installed and `FormatError` for a page that is too
    long to be one.
    """
    try:
        from resiliparse.extract.html2text import extract_plain_text
        from resiliparse.parse.html import HTMLTree
    except ImportError as error:
        raise ConfigError(
            "Reading HTML needs the library resiliparse. Install it: pip install 'hanlin[data]'."
        ) from error
    data = b""
    while block := stream.read(1 << 20):
        data += block
        if len(data) > RECORD:
            raise FormatError(f"It has more than {RECORD} bytes, too many for one page.")
    text = _decoded(data, settings, reading)
    tree = HTMLTree.parse(text)
    title = " ".join((tree.title or "").split())
    body = extract_plain_text(tree, main_content=True).strip()
    if not body:
        body = extract_plain_text(tree, main_content=False).strip()
    headed = body if not title or body.startswith(title) else f"{title}\n\n{body}"
    return Document(headed, reading.name, {"title": title} if title else {})


def _decoded(data: bytes, settings: ReadSettings, reading: Reading) -> str:
    encoding = settings.encoding
    if encoding is None and (declared := _DECLARED.search(data[:4096])):
        encoding = _known(declared[1].decode("ascii"), data)
    rest = [data]
    decoder = Decoder(encoding)
    text = "".join(decoder.decode(lambda _: rest.pop() if rest else b""))
    reading.encoding, reading.replaced = decoder.encoding, reading.replaced + decoder.replaced
    return text


def _known(declared: str, data: bytes) -> str | None:
    """What browsers take the declared name for, where the page is really in it."""
    name = declared.lower().replace("_", "-")
    name = {"gb2312": "gb18030", "gbk": "gb18030", "big5": "big5hkscs", "shift-jis": "cp932"}.get(
        name, {"iso-8859-1": "cp1252", "latin1": "cp1252", "x-sjis": "cp932"}.get(name, name)
    )
    try:
        data[:SAMPLE].decode("utf-8")
        return None  # valid UTF-8, whatever it says
    except UnicodeDecodeError:
        pass
    try:
        data.decode(name)
    except (UnicodeDecodeError, LookupError):
        return None
    return name
