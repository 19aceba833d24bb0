"""Where a run stands, on disk: ``checkpoints/step-NNNNNNNN``, each there whole or not at all.

A checkpoint is written beside its place, forced to the disk, and renamed: a kill or a full disk at
any moment leaves the ones before it. It is a model directory with two files more: the optimiser's
tensors (``optimizer.safetensors``) and ``state.json``, which holds the rest and the size of every
file. Where some weights are frozen (LoRA), it holds the others alone (``trained.safetensors``); the
frozen ones are those of the model that the run began with. With fsdp each process writes its own
part of weights and optimiser through PyTorch's distributed checkpoint (as safetensors, in
``sharded/``); either kind is read at any world size.
"""

import json
import re
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import (
    HuggingFaceStorageReader,
    HuggingFaceStorageWriter,
)
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.tensor import DTensor

from hanlin.errors import HanlinError
from hanlin.models.directory import load_directory, write_files
from hanlin.models.exchange import sync, write_text
from hanlin.models.families import describe
from hanlin.models.transformer import Transformer
from hanlin.tokenizers import Tokenizer
from hanlin.training.distributed import World, fill
from hanlin.training.optimizers import Optimizer, flatten_state, restore_state

STATE = "state.json"
OPTIMIZER = "optimizer.safetensors"
TRAINED = "trained.safetensors"
EVALUATIONS = "evaluations.json"
_WEIGHTS = "weights:"
_NAME = re.compile(r"step-(\d{8,})")


@dataclass(frozen=True)
class Checkpoint:
    """One that lies whole on the disk."""

    path: Path
    step: int
    state: Mapping[str, Any]
    """What `state.json` holds."""


class Checkpoints:
    """The checkpoints of one run: saved, found again, and cleared by policy."""

    def __init__(
        self, directory: Path, world: World, *, keep: int = 2, keep_every: int | None = None
    ) -> None:
        """Keep the last `keep`, the best by validation loss, and each that is a multiple of
        `keep_every` steps."""
        self.directory = directory
        self.world = world
        self.keep = keep
        self.keep_every = keep_every

    def place(self, step: int) -> Path:
        """Where the checkpoint of a step lies."""
        return self.directory / f"step-{step:08}"

    def save(
        self,
        step: int,
        model: Transformer,
        optimizer: Optimizer,
        state: Mapping[str, Any],
        *,
        tokenizer: Tokenizer,
    ) -> Path:
        """Write the checkpoint of `step`; every process calls this.

        One that lies there whole is left. Raises `HanlinError` where the disk is full or cannot be
        written; the others stay as they are.
        """
        target = self.place(step)
        there = self.world.first and _whole_state(target) is not None
        if self.world.sum([there])[0]:
            return target  # the run went on from here, and made no step since
        draft = self.directory / f".{target.name}.partial"
        failed = ""
        try:
            if self.world.first:
                self.directory.mkdir(parents=True, exist_ok=True)
                shutil.rmtree(draft, ignore_errors=True)
                draft.mkdir()
            if self.world.kind == "fsdp":
                self.world.wait()
                _write_sharded(draft / "sharded", model, optimizer)
            if self.world.first:
                if self.world.kind == "fsdp":
                    about = json.dumps(describe(model.config), indent=2) + "\n"
                    (draft / "config.json").write_text(about, encoding="utf-8")
                    tokenizer.save(draft)
                else:
                    _write_weights(model, draft, tokenizer)
                    tensors = {k: v.contiguous() for k, v in flatten_state(optimizer).items()}
                    save_file(tensors, draft / OPTIMIZER)
                _finish(draft, state)
                shutil.rmtree(target, ignore_errors=True)
                draft.rename(target)
                sync(self.directory)
        except (OSError, SafetensorError, CheckpointException) as error:
            failed = " ".join(str(error).split())[:300]
            if self.world.first:
                shutil.rmtree(draft, ignore_errors=True)
        if self.world.sum([bool(failed)])[0]:
            raise HanlinError(
                f"Could not save {target} ({failed or 'another process says why'}). Free some "
                "space, then go on with --resume; what was saved before is as it was."
            )
        return target

    def whole(self) -> list[Checkpoint]:
        """Those that lie whole, the oldest first."""
        found = []
        if self.directory.is_dir():
            for path in sorted(self.directory.iterdir()):
                match = _NAME.fullmatch(path.name)
                state = _whole_state(path) if match else None
                if match and state is not None:
                    found.append(Checkpoint(path, int(match[1]), state))
        return sorted(found, key=lambda checkpoint: checkpoint.step)

    def note(self, evaluations: Mapping[int, Mapping[str, float]]) -> None:
        """Keep what evaluations found, by step, beside the checkpoints, which come before them."""
        write_text(self.directory / EVALUATIONS, json.dumps(evaluations, indent=1) + "\n")

    def evaluations(self, step: int) -> dict[int, dict[str, float]]:
        """What the evaluations up to `step` found."""
        try:
            text = (self.directory / EVALUATIONS).read_text(encoding="utf-8")
        except FileNotFoundError:
            return {}
        return {int(at): found for at, found in json.loads(text).items() if int(at) <= step}

    def clear(self, best: int | None) -> None:
        """Delete what the policy does not keep, and what a killed process left half written."""
        if not self.world.first or not self.directory.is_dir():
            return
        for path in self.directory.iterdir():
            if path.name.startswith(".step-"):
                shutil.rmtree(path, ignore_errors=True)
        steps = [int(match[1]) for path in self.directory.iterdir()
                 if (match := _NAME.fullmatch(path.name))]  # fmt: skip
        kept = {best, *sorted(steps)[-self.keep :]}
        for step in steps:
            if step in kept or (self.keep_every and step % self.keep_every == 0):
                continue
            # Renamed first: a half deleted one must not look like a checkpoint.
            gone = self.directory / f".step-{step:08}.gone"
            self.place(step).rename(gone)
            shutil.rmtree(gone, ignore_errors=True)


def restore(checkpoint: Checkpoint, model: Transformer, optimizer: Optimizer) -> None:
    """Put the weights and the optimiser's state back, bit for bit; every process calls this.

    Raises `FormatError` where the checkpoint is of another model or optimiser.
    """
    sharded = checkpoint.path / "sharded"
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        if sharded.is_dir():
            tensors = _read_sharded(sharded, parameters)
        else:
            tensors = load_file(checkpoint.path / OPTIMIZER)
            stored = _read_weights(checkpoint.path)
            for name, parameter in parameters.items():
                if parameter.requires_grad or name in stored:
                    fill(parameter, stored[name])
        spread = {
            name: _like(tensor, parameters.get(name.rpartition(".")[0]))
            for name, tensor in tensors.items()
        }
        restore_state(optimizer, spread)


def _write_weights(model: Transformer, draft: Path, tokenizer: Tokenizer) -> None:
    """A model directory, or the weights that are trained where others are frozen."""
    if all(p.requires_grad for p in model.parameters()):
        write_files(model, draft, tokenizer=tokenizer)
        return
    trained = {
        name: p.detach().contiguous() for name, p in model.named_parameters() if p.requires_grad
    }
    save_file(trained, draft / TRAINED)


def _read_weights(path: Path) -> Mapping[str, Tensor]:
    if (path / TRAINED).is_file():
        return load_file(path / TRAINED)
    return dict(load_directory(path).named_parameters())


def _like(tensor: Tensor, parameter: Tensor | None) -> Tensor:
    """A tensor of the optimiser, spread over the processes as its parameter is."""
    if (
        not isinstance(parameter, DTensor)
        or isinstance(tensor, DTensor)
        or tensor.shape != parameter.shape
    ):
        return tensor
    target = torch.empty_like(parameter, dtype=tensor.dtype)
    fill(target, tensor)
    return target


def _write_sharded(directory: Path, model: Transformer, optimizer: Optimizer) -> None:
    weights = {f"{_WEIGHTS}{name}": p.detach() for name, p in model.named_parameters()}
    save(
        weights | flatten_state(optimizer),
        storage_writer=HuggingFaceStorageWriter(str(directory), save_distributed=True),
    )


def _read_sharded(directory: Path, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Fill the parameters, and return the optimiser's tensors."""
    stored = HuggingFaceStorageReader(str(directory)).read_metadata().state_dict_metadata
    state: dict[str, Tensor] = {}
    for name, about in stored.items():
        if name.startswith(_WEIGHTS):
            continue
        assert isinstance(about, TensorStorageMetadata)
        dtype, parameter = about.properties.dtype, parameters.get(name.rpartition(".")[0])
        state[name] = (
            torch.empty_like(parameter, dtype=dtype)
            if parameter is not None and about.size == parameter.shape
            else torch.empty(about.size, dtype=dtype)
        )
    weights = {f"{_WEIGHTS}{name}": p.detach() for name, p in parameters.items()}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")  # as is meant
        load(
            state | weights,
            storage_reader=HuggingFaceStorageReader(str(directory)),
            no_dist=not torch.distributed.is_initialized(),
        )
    return state


def _finish(draft: Path, state: Mapping[str, Any]) -> None:
    """Add `state.json`, and wait until everything is on the disk."""
    files = sorted(path for path in draft.rglob("*") if path.is_file())
    sizes = {path.relative_to(draft).as_posix(): path.stat().st_size for path in files}
    text = json.dumps(dict(state) | {"files": sizes}, indent=1, ensure_ascii=False)
    (draft / STATE).write_text(text + "\n", encoding="utf-8")
    for path in [*draft.rglob("*"), draft]:
        sync(path)


def _whole_state(path: Path) -> dict[str, Any] | None:
    """The state of a checkpoint of which every file has its size; else None."""
    try:
        state = json.loads((path / STATE).read_text(encoding="utf-8"))
        sizes = state["files"].items()
        return state if all((path / name).stat().st_size == size for name, size in sizes) else None
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return None  # whatever it is, it is not a whole checkpoint
