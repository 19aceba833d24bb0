"""A report: a title and parts, written three ways."""

import contextlib
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hanlin.reports.cells import wrap
from hanlin.reports.page import page
from hanlin.reports.part import Part, words_data
from hanlin.reports.words import Language, Words, locale_language, say


@dataclass(frozen=True)
class Report:
    """What was found, in order."""

    title: Words
    parts: tuple[Part, ...]
    subtitle: Words = ""
    footer: Words = ""
    reload: int = 0
    """Seconds after which the page looks for news, for something that still goes on; 0: never."""

    def terminal(self, *, width: int = 80, language: Language | None = None) -> str:
        """Return it as text, `width` cells wide at most; the locale's language by default."""
        spoken = language or locale_language()
        head = [wrap(say(words, spoken), width) for words in (self.title, self.subtitle) if words]
        blocks = ["\n".join(line for lines in head for line in lines)]
        blocks += [part.terminal(width=width, language=spoken) for part in self.parts]
        if self.footer:
            blocks += wrap(say(self.footer, spoken), width)
        return "\n\n".join(block for block in blocks if block) + "\n"

    def data(self) -> dict[str, Any]:
        """Return it as values that strict JSON can hold."""
        parts = [part.data() for part in self.parts]
        return {"title": words_data(self.title), "parts": parts}

    def json(self) -> str:
        """Return it as JSON."""
        return json.dumps(self.data(), ensure_ascii=False, allow_nan=False, indent=2) + "\n"

    def html(self, *, language: Language | None = None) -> str:
        """Return it as one HTML file that loads nothing; both languages are in it."""
        return page(
            self.title,
            "\n".join(part.html() for part in self.parts),
            subtitle=self.subtitle,
            footer=self.footer,
            language=language or locale_language(),
            reload=self.reload,
        )

    def write(self, path: str | Path) -> Path:
        """Write it as HTML, JSON or text by the ending of `path`, whole or not at all.

        Raises `OSError`, and `ValueError` for another ending.
        """
        target = Path(path)
        ways = {".html": self.html, ".json": self.json, ".txt": self.terminal}
        if target.suffix not in ways:
            raise ValueError(f"{target.name}: a report ends in .html, .json or .txt.")
        write_whole(target, ways[target.suffix]())
        return target


def write_whole(path: Path, text: str) -> None:
    """Put `text` at `path` so that whoever reads it sees the old file or the new one, never half.

    Raises `OSError`; what was there before is then still there.
    """
    handle, draft = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with open(handle, "w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(draft, 0o644)
        os.replace(draft, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(draft)
        raise
