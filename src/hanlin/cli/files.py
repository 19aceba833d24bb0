"""Files written whole or not at all."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from hanlin.errors import HanlinError


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
