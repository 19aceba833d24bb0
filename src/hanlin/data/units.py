"""Units of preparing: what one worker makes of one small file or of one block of a large one.

A unit is a pure function of a file's bytes and the settings, so it can be made in any process, kept
between runs, and made again only where one of the two has changed.
"""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hanlin.data.shards import end_token, token_dtype
from hanlin.text.documents import Document, Dropped, chosen, document_hash
from hanlin.text.read import read_file
from hanlin.text.reading import Reading, ReadSettings
from hanlin.text.sources import SourceFile
from hanlin.text.stages import Stage, clean

if TYPE_CHECKING:
    from hanlin.tokenizers import Tokenizer

BATCH = 1 << 18
"""Characters that are encoded at once."""


@dataclass(frozen=True)
class Job:
    """What every worker knows."""

    read: ReadSettings
    stages: tuple[Stage, ...]
    tokenizer_directory: Path | None
    """None: the documents themselves are wanted."""
    share: float
    """Of the documents that go to the second side (validation); 0: there is one side."""
    seed: int

    @cached_property
    def tokenizer(self) -> "Tokenizer | None":
        """The tokenizer, read when it is first used."""
        if self.tokenizer_directory is None:
            return None
        from hanlin.tokenizers import Tokenizer

        return Tokenizer.load(self.tokenizer_directory)

    @cached_property
    def end(self) -> npt.NDArray[Any]:
        """The end token, as an array of one in the type of the tokens."""
        assert self.tokenizer is not None
        return np.array([end_token(self.tokenizer)], dtype=token_dtype(self.tokenizer))

    @property
    def sides(self) -> int:
        """How many parts the documents are split into."""
        return 2 if self.share else 1


@dataclass(frozen=True)
class Block:
    """Documents out of a large file."""

    documents: tuple[Document, ...]
    account: dict[str, Any]
    """What reading them gave besides, see `Reading.take`."""


Task = tuple[SourceFile, ...] | Block
"""Small files, each a unit, or the block that is one."""


@dataclass
class TokenRun:
    """The tokens a unit adds to one side."""

    tokens: npt.NDArray[Any]
    """[T] uint16 or uint32, end tokens included."""
    ends: npt.NDArray[np.uint64]
    """[N, 2]: where each document ends in `tokens`, and its bytes of UTF-8."""
    open: int
    """Bytes of the document that has not ended when the unit does."""
    bytes: int
    """Bytes of all its text."""
    continued: bool = False
    """Whether the first of its documents began in an earlier unit."""


@dataclass
class TextRun:
    """The lines of JSON a unit adds to one side."""

    data: bytes
    documents: int
    """How many documents end in it."""
    bytes: int
    """Bytes of the text, without the JSON around it."""


Run = TokenRun | TextRun


@dataclass
class Account:
    """What became of the documents of a unit."""

    kept: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    parts_dropped: int = 0
    """Parts of long documents of which other parts are kept."""
    bytes: int = 0
    tokens: int = 0

    def with_reading(self, taken: dict[str, Any]) -> dict[str, Any]:
        """Return it for JSON, with what `Reading.take` gave."""
        dropped = self.dropped + Counter(taken["dropped"])
        return {**vars(self), **taken, "dropped": dict(sorted(dropped.items()))}


Made = tuple[list[Run], dict[str, Any]]
"""What a unit adds to each side, and its account."""


def make(job: Job, task: Task) -> list[Made]:
    """Do a task: return what each of its units came to."""
    if isinstance(task, Block):
        return [_unit(job, task.documents, lambda: task.account)]
    made = []
    for file in task:
        reading = Reading(file.name)
        made.append(_unit(job, read_file(file, job.read, reading), reading.take))
    return made


def _unit(job: Job, documents: Iterable[Document], taken: Any) -> Made:
    account = Account()
    tokenizer = job.tokenizer
    sides: list[_Tokens | _Lines] = [
        _Lines() if tokenizer is None else _Tokens(tokenizer, job.end) for _ in range(job.sides)
    ]
    for document in documents:
        side = sides[0]
        if job.share:
            hashed = document.metadata.get("document") or document_hash(document.text)
            side = sides[chosen(hashed, job.share, seed=job.seed)]
        side.add(document, clean(document, job.stages), account)
    runs = [side.finish() for side in sides]
    account.bytes = sum(run.bytes for run in runs)
    account.tokens = sum(len(run.tokens) for run in runs if isinstance(run, TokenRun))
    return runs, account.with_reading(taken())


class _Lines:
    """Documents as lines of JSON."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.documents = 0
        self.bytes = 0

    def add(self, document: Document, cleaned: Document | Dropped, account: Account) -> None:
        long = document.part or document.more
        if isinstance(cleaned, Dropped):
            if not long:
                account.dropped[cleaned.reason] += 1
                return
            account.parts_dropped += bool(document.text)
            cleaned = Document("", document.source, document.metadata)
        self.bytes += len(cleaned.text.encode())
        line: dict[str, Any] = {"text": cleaned.text, "source": cleaned.source}
        metadata = dict(cleaned.metadata)
        if long:
            line |= {"part": document.part, "more": document.more}
            line["document"] = document.metadata.get("document")
        rest = {name: x for name, x in metadata.items() if name not in line}
        if rest:
            line["metadata"] = rest
        if not document.more:
            account.kept += 1
            self.documents += 1
        self.lines.append(json.dumps(line, ensure_ascii=False))

    def finish(self) -> TextRun:
        return TextRun(
            "".join(line + "\n" for line in self.lines).encode(), self.documents, self.bytes
        )


class _Tokens:
    """Documents as tokens, encoded in batches."""

    def __init__(self, tokenizer: "Tokenizer", end: npt.NDArray[Any]) -> None:
        self.tokenizer = tokenizer
        self.end = end
        self.waiting: list[tuple[str, bool]] = []
        self.characters = 0
        self.pieces: list[npt.NDArray[Any]] = []
        self.length = 0
        self.ends: list[tuple[int, int]] = []
        self.sizes: list[int] = []
        self.open = 0
        self.bytes = 0
        self.outside: bool | None = None
        """Whether the document that is open began before the unit."""
        self.continued = False

    def add(self, document: Document, cleaned: Document | Dropped, account: Account) -> None:
        if self.outside is None:
            self.outside = self.continued = document.part > 0
        long = document.part or document.more
        if isinstance(cleaned, Dropped):
            if not long:
                account.dropped[cleaned.reason] += 1
                return
            account.parts_dropped += bool(document.text)
        else:
            size = len(cleaned.text.encode())
            self.bytes += size
            self.open += size
            self._wait(cleaned.text, False)
        if document.more:
            return
        if self.open or self.outside:
            account.kept += 1
            self.sizes.append(self.open)
            self._wait("", True)
        else:
            account.dropped["empty"] += 1  # every part was taken out
        self.open = 0
        self.outside = False

    def _wait(self, text: str, ends: bool) -> None:
        self.waiting.append((text, ends))
        self.characters += len(text)
        if self.characters >= BATCH:
            self._encode()

    def _encode(self) -> None:
        texts = [text for text, _ in self.waiting if text]
        encoded = iter(self.tokenizer.encode_batch(texts, add_special_tokens=False))
        for text, ends in self.waiting:
            if text:
                self._put(np.array(next(encoded), dtype=self.end.dtype))
            if ends:
                self._put(self.end)
                self.ends.append((self.length, self.sizes[len(self.ends)]))
        self.waiting, self.characters = [], 0

    def _put(self, ids: npt.NDArray[Any]) -> None:
        self.pieces.append(ids)
        self.length += len(ids)

    def finish(self) -> TokenRun:
        self._encode()
        tokens = np.concatenate([np.empty(0, self.end.dtype), *self.pieces])
        ends = np.array(self.ends, dtype="<u8").reshape(-1, 2)
        return TokenRun(tokens, ends, self.open, self.bytes, self.continued)
