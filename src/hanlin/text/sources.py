"""Which files a source means: a file, a folder, a glob, or standard input."""

import glob
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hanlin.errors import ConfigError, NotFoundError, nearest
from hanlin.text.compression import COMPRESSIONS

FORMATS = {
    "text": ("txt", "text"),
    "markdown": ("md", "markdown", "rst"),
    "html": ("html", "htm", "xhtml"),
    "jsonl": ("jsonl", "ndjson", "jsonlines"),
    "json": ("json",),
    "csv": ("csv",),
    "tsv": ("tsv", "tab"),
    "parquet": ("parquet", "pq"),
    "po": ("po", "pot"),
}
"""Format -> the ends of names that mean it; whatever else is text is read as "text"."""

_BY_SUFFIX = {suffix: name for name, suffixes in FORMATS.items() for suffix in suffixes}


@dataclass(frozen=True)
class SourceFile:
    """One file to read."""

    path: Path
    name: str
    """As the manifest and the documents name it."""
    format: str
    compression: str | None
    size: int

    @property
    def small(self) -> bool:
        """Whether it is read in one go: what it can hold at most fits in memory with ease."""
        packed = self.compression is not None or self.format == "parquet"
        return self.size <= (1 << 16 if packed else 1 << 20)


@dataclass(frozen=True)
class Sources:
    """The files that were found, in the order they are read, and what was passed over."""

    files: tuple[SourceFile, ...]
    hidden: int
    """Hidden files and folders (their names begin with a dot) that were left out."""
    named: tuple[str, ...] = ()
    """The sources as they were given."""


def kind_of(name: str) -> tuple[str, str | None]:
    """Return the format and the compression that the end of a file's name stands for."""
    *_, last = name.lower().rsplit("/", 1)
    stem, _, suffix = last.rpartition(".")
    compression = suffix if stem and suffix in COMPRESSIONS else None
    if compression:
        stem, _, suffix = stem.rpartition(".")
    return _BY_SUFFIX.get(suffix if stem else "", "text"), compression


def forced(format: str) -> tuple[str, str | None]:
    """Return what a format given by name ("jsonl", "csv.gz") stands for.

    Raises `ConfigError` where there is none of that name.
    """
    name, _, compression = format.lower().lstrip(".").partition(".")
    name = _BY_SUFFIX.get(name, name)
    if name in COMPRESSIONS and not compression:
        name, compression = "text", name
    if name not in FORMATS or (compression and compression not in COMPRESSIONS):
        raise ConfigError(
            f"There is no format {format!r}.{nearest(format, list(_BY_SUFFIX))} Choose one of: "
            f"{', '.join(FORMATS)}; with .{', .'.join(COMPRESSIONS)} after it if compressed."
        )
    return name, compression or None


def find(
    sources: Sequence[str | Path], *, format: str | None = None, stdin: Path | None = None
) -> Sources:
    """Return the files that `sources` mean; `stdin` is where standard input (``-``) was put.

    A folder means every file in it and in its folders, by name, without hidden ones; of a folder
    that hanlin prepared, its documents. Raises `NotFoundError` for what does not exist and
    `ConfigError` for token shards, which are no text.
    """
    given = [str(source) for source in sources]
    if not given:
        raise ConfigError("There is nothing to read. Name files, folders or - (standard input).")
    found: dict[Path, SourceFile] = {}
    hidden = 0
    for source in given:
        if source == "-":
            if stdin is None:
                raise ConfigError("Standard input cannot be read here. Give a file.")
            file = _file(stdin, "-", format)
            found.setdefault(stdin, file)
            continue
        for path in _expand(Path(source).expanduser()):
            if path.is_dir():
                paths, left = _walk(path)
                hidden += left
            elif path.is_file():
                paths = [path]
            else:
                raise ConfigError(
                    f"{path} is no regular file, so it can be read only once. Pipe it in and name "
                    "the source -."
                )
            for each in paths:
                found.setdefault(each, _file(each, str(each), format))
    return Sources(tuple(found.values()), hidden, tuple(given))


def _file(path: Path, name: str, format: str | None) -> SourceFile:
    kind, compression = forced(format) if format else kind_of(name)
    return SourceFile(path, name, kind, compression, path.stat().st_size)


def _expand(path: Path) -> list[Path]:
    if path.exists():
        return [path]
    text = str(path)
    if any(mark in text for mark in "*?["):
        matches = sorted(glob.glob(text, recursive=True))
        if not matches:
            raise NotFoundError(f"No file matches {text!r}. Check the pattern.")
        return [Path(match) for match in matches]
    beside = os.listdir(path.parent) if path.parent.is_dir() else []
    raise NotFoundError(
        f"There is no file or folder {text!r}.{nearest(path.name, beside)} Check the path."
    )


def _walk(folder: Path) -> tuple[list[Path], int]:
    """The files of a folder, and how many hidden ones were left out."""
    found: list[Path] = []
    hidden = 0
    for place, folders, files in os.walk(folder, onerror=_refuse):
        prepared = _prepared(Path(place))
        if prepared is not None:
            found += prepared
            folders.clear()
            continue
        hidden += sum(name.startswith(".") for name in (*folders, *files))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        paths = (Path(place, name) for name in sorted(files) if not name.startswith("."))
        found += [path for path in paths if path.is_file()]
    return sorted(found), hidden


def _refuse(error: OSError) -> None:
    raise ConfigError(
        f"The folder {error.filename} cannot be read ({error.strerror}). Correct its permissions, "
        "or name the files."
    ) from error


def _prepared(folder: Path) -> list[Path] | None:
    """The documents in a folder that hanlin wrote, or None where it is any other folder."""
    manifest = folder / "manifest.json"
    if not manifest.is_file():
        return None
    try:
        content = json.loads(manifest.read_text(encoding="utf-8"))
        format, shards = content["format"], content["shards"]
        names: Iterable[str] = [name for shard in shards for name in shard["files"]]
    except (ValueError, KeyError, TypeError, OSError):
        return None
    if format == "hanlin token shards":
        raise ConfigError(
            f"{folder} holds token shards, which are prepared already. Give the text they were "
            "made from."
        )
    return [folder / name for name in names] if format == "hanlin documents" else None
