"""How files are to be read, and what happened while one was."""

import codecs
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from hanlin.errors import ConfigError

RECORD = 1 << 26
"""Bytes (or characters) of the longest record that is read: a line of JSON, a page of HTML."""


@dataclass(frozen=True, kw_only=True)
class ReadSettings:
    """What to read from the files, where their names do not say it."""

    format: str | None = None
    """The format of every file, such as "jsonl" or "csv.gz"; None: by the end of its name."""
    field: str | None = None
    """JSON: the field (``a.b`` for one inside another); CSV: the column's name, or its number from
    1; Parquet: the column; .po: msgid or msgstr. None: "text", and "msgstr" of .po."""
    split: str = "file"
    """Plain text: "file", "paragraph", "line", or the text that stands between documents. .po: any
    but "file" makes each entry a document."""
    header: bool | None = None
    """CSV: whether the first row names the columns; None: where `field` is not a number."""
    encoding: str | None = None
    """The encoding of every file; None: found for each."""

    def __post_init__(self) -> None:
        if not self.split:
            raise ConfigError("The separator is empty. Give file, paragraph, line or a text.")
        if self.field == "":
            raise ConfigError("The name of the field is empty. Give one, or leave it out.")
        if self.encoding is not None:
            try:
                codecs.lookup(self.encoding)
            except LookupError as error:
                raise ConfigError(
                    f"There is no encoding {self.encoding!r}. Give one such as utf-8 or gb18030."
                ) from error


@dataclass
class Reading:
    """What reading one file gave besides its documents."""

    name: str
    encoding: str | None = None
    replaced: int = 0
    """How many U+FFFD stand for broken bytes."""
    dropped: Counter[str] = field(default_factory=Counter)
    """What could not be read, by reason."""
    problems: list[str] = field(default_factory=list)
    """The first of each reason in words."""
    told: set[str] = field(default_factory=set)

    def drop(self, reason: str, message: str) -> None:
        """Count something that cannot be read, and say so where it is the first of its kind."""
        self.dropped[reason] += 1
        if reason not in self.told:
            self.told.add(reason)
            self.problems.append(f"{self.name}: {message}")

    def note(self, message: str) -> None:
        """Say something about the file that is no loss."""
        self.problems.append(f"{self.name}: {message}")

    def take(self) -> dict[str, Any]:
        """Return what was counted since the last time, and count from nothing again."""
        taken = {
            "encoding": self.encoding,
            "replaced": self.replaced,
            "dropped": dict(self.dropped),
            "problems": self.problems,
        }
        self.replaced, self.dropped, self.problems = 0, Counter(), []
        return taken
