"""Before a run: its settings resolved, its output held alone, the checkpoint it goes on from."""

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from hanlin.config import read_config, read_mapping, to_plain
from hanlin.errors import ConfigError
from hanlin.training.budget import Choice, check_budget, merge, settle
from hanlin.training.checkpoints import Checkpoint, Checkpoints
from hanlin.training.config import TrainConfig
from hanlin.training.distributed import World
from hanlin.training.events import Watcher
from hanlin.training.quickstart import as_config, output_of

CONFIG = "config.yaml"
_TRACES = (CONFIG, "checkpoints", "config.json", "adapter_config.json", "metrics.jsonl")


def settings_of(
    config: str | Path | Mapping[str, Any] | TrainConfig, overrides: Sequence[str], *, resume: bool
) -> tuple[TrainConfig, Choice | None]:
    """The settings, with what a budget or the quickstart chooses; a run that goes on keeps what was
    chosen."""
    given = to_plain(config) if isinstance(config, TrainConfig) else config
    raw = read_mapping(given, overrides, into=TrainConfig)
    if raw.get("budget") is not None or "task" in raw:
        output = output_of(raw) if "task" in raw else str(raw.get("output"))
        if resume and (kept := Path(output) / CONFIG).is_file():
            chosen = read_mapping(kept, into=TrainConfig)
            if "task" in raw:
                return read_config(merge(chosen, as_config(raw)), into=TrainConfig), None
            if raw.get("duration") is not None:
                del chosen["duration"]
            return read_config(merge(chosen, raw), into=TrainConfig), None
        if raw.get("duration") is None and int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise ConfigError(
                "Settings are chosen by one process, and torchrun started several. See what "
                "`hanlin train ... --dry-run` chooses, and put that into a configuration."
            )
    check_budget(raw, overrides)
    return settle(raw)


def device_of(settings: TrainConfig) -> str:
    """The device, resolved. Raises `ConfigError` for one that is not there."""
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device is cuda, and PyTorch finds none here. Set device: cpu.")
    if settings.device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return settings.device


@contextlib.contextmanager
def alone(output: Path, world: World) -> Iterator[None]:
    """Hold the output alone; raises `ConfigError` where another process trains there."""
    if sys.platform == "win32" or not world.first:
        yield
        return
    import fcntl

    output.mkdir(parents=True, exist_ok=True)
    with (output / ".lock").open("wb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConfigError(
                f"Another process is training in {output} right now. Wait for it, or name another "
                "output."
            ) from error
        yield


def begin(
    settings: TrainConfig,
    checkpoints: Checkpoints,
    world: World,
    told: Sequence[Watcher],
    *,
    resume: bool,
) -> Checkpoint | None:
    """The checkpoint to go on from; raises `ConfigError` where another run would be harmed."""
    output = settings.output
    world.wait()
    if not resume:
        if world.first and (traces := [name for name in _TRACES if (output / name).exists()]):
            raise ConfigError(
                f"{output} holds a run already ({traces[0]}). Go on with it by --resume, or name "
                "another output."
            )
        return None
    whole = checkpoints.whole()
    if whole:
        for watcher in told:
            watcher.message(f"Going on from step {whole[-1].step}: {whole[-1].path}")
        return whole[-1]
    for watcher in told:
        watcher.message(f"There is no checkpoint in {output}: starting from the beginning.")
    return None
