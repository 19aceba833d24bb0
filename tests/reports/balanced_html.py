"""Reads a page as a browser's tokenizer would and fails where its elements do not match."""

from html.parser import HTMLParser

VOID = {"meta", "br", "img", "input", "link", "hr", "source", "area", "base", "col", "embed"}


class Page(HTMLParser):
    """The elements, attributes and texts of a page whose tags are balanced."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.texts: list[str] = []
        self.scripts: list[tuple[dict[str, str], str]] = []
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)
        if tag == "script":
            self.scripts.append(({name: value or "" for name, value in attrs}, ""))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            attributes, so_far = self.scripts[-1]
            self.scripts[-1] = attributes, so_far + data
        elif not self.open or self.open[-1] != "style":
            self.texts.append(data)

    @property
    def text(self) -> str:
        return "".join(self.texts)


def assert_loads_nothing(text: str) -> None:
    """No element, style or script of the page fetches anything from anywhere."""
    page = Page(text)
    assert not {"link", "img", "iframe", "object", "embed", "base", "image", "use"} & set(page.tags)
    for tag, name, value in page.attributes:
        assert name not in ("src", "href", "srcset", "xlink:href", "data", "action"), (tag, name)
        assert not name.startswith("on"), (tag, name, value)
    style = text[text.index("<style>") : text.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    script = page.scripts[-1][1]
    for word in ("fetch(", "XMLHttpRequest", "import(", "http:", "https:", "innerHTML", "eval("):
        assert word not in script
