"""How a result was made, as the dictionary that ``hanlin.json`` keeps beside a model.

Enough to make it again: the command, the resolved configuration, the versions, the machine, and the
hashes of what it was made from.
"""

import hashlib
import os
import platform
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_PACKAGES = ("hanlin", "torch", "tokenizers", "safetensors", "numpy")


def file_hash(path: str | Path) -> str:
    """Return the SHA-256 of a file in hexadecimal, reading it in pieces; raises `OSError`."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def record(
    *,
    command: list[str] | None = None,
    config: Mapping[str, Any] | None = None,
    parents: Mapping[str, str] | None = None,
    data: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return what made a result, ready for JSON.

    `command` is the command line (this process's when None), `config` the resolved configuration,
    `parents` and `data` the models and files it was made from, each with its hash.
    """
    return {
        "command": list(sys.argv if command is None else command),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions(),
        "machine": machine(),
        "config": dict(config or {}),
        "parents": dict(parents or {}),
        "data": dict(data or {}),
    }


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide results; imports none."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue  # an optional one, or hanlin run from its sources
    return found


def machine() -> dict[str, Any]:
    """Return the facts of this machine: system, processor model, usable cores, bytes of memory."""
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu_model(),
        "cores": usable_cores(),
        "memory_bytes": _memory(),
    }


def usable_cores() -> int:
    """Return how many cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cpu_model() -> str:
    listing = Path("/proc/cpuinfo")
    if listing.is_file():
        for line in listing.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.lower().startswith(("model name", "hardware")):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return None  # a system that does not say
