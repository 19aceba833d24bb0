"""Files that verbs write: whole or not at all."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from hanlin.errors import ConfigError, HanlinError

REPORTS = (".html", ".json", ".txt")
"""What a report's name may end in."""


def check_report(path: Path, endings: tuple[str, ...] = REPORTS) -> None:
    """Raise `ConfigError` where `path` is no name for a report, or in no folder: before hours of
    work, not after."""
    if path.suffix not in endings:
        shown = f"{', '.join(endings[:-1])} or {endings[-1]}"
        raise ConfigError(f"{path} is no report. Give a name ending in {shown}.")
    if not path.expanduser().parent.is_dir():
        raise ConfigError(f"There is no folder {str(path.parent)!r}. Make it first.")


@contextmanager
def whole_file(path: Path) -> Iterator[TextIO]:
    """Open a draft beside `path` that takes its place when the block ends without an error.

    Raises `HanlinError` where it cannot be written; then `path` is as it was.
    """
    target = path.expanduser()
    if target.is_dir():
        raise HanlinError(f"{target} is a directory. Name a file in it.")
    try:
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    except OSError as error:
        raise _unwritable(target, error) from error
    draft = Path(name)
    try:
        with open(handle, "w", encoding="utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.chmod(0o666 & ~_umask())
        draft.replace(target)
    except OSError as error:
        raise _unwritable(target, error) from error
    finally:
        draft.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _unwritable(target: Path, error: OSError) -> HanlinError:
    return HanlinError(
        f"Could not write {target}: {error.strerror or error}. Free some space or choose another "
        "place; nothing was changed."
    )
