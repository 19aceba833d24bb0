"""Several processes that train one model: who they are, what they sum, how the model is wrapped.

`torchrun` starts the processes. With ``ddp`` each holds the whole model and gradients are averaged
(Li et al. 2020); with ``fsdp`` each holds a part of every matrix, gathered when it is needed (Zhao
et al. 2023; `fully_shard`). The loss is scaled so that this average is the global mean per target.
"""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from hanlin.data.batch import Batch
from hanlin.errors import ConfigError
from hanlin.models.stack import Block
from hanlin.models.transformer import Transformer

Kind = Literal["none", "ddp", "fsdp"]
_PATIENCE = timedelta(days=1)  # while one process prepares the data, the others wait


@dataclass(frozen=True)
class World:
    """The processes of a run, as one of them sees it."""

    kind: Kind = "none"
    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def first(self) -> bool:
        """Whether this process is the one that prints and writes."""
        return self.rank == 0

    def sum(self, values: Sequence[float]) -> list[float]:
        """Sums over all processes of numbers each of them has, in float64."""
        if self.size == 1:
            return list(values)
        # Not on an accelerator where float64 is slow or absent: these are a handful of numbers.
        device = self.device if dist.get_backend() == "nccl" else torch.device("cpu")
        tensor = torch.tensor(values, dtype=torch.float64, device=device)
        dist.all_reduce(tensor)
        return tensor.tolist()

    def wait(self) -> None:
        """Return when every process has come here."""
        if self.size > 1:
            dist.barrier()

    def leave(self) -> None:
        """End the connection; the last call of a run that went well."""
        if self.kind != "none" and dist.is_initialized():
            dist.destroy_process_group()


def join(kind: Kind, *, device: str) -> World:
    """Take this process's place among those that `torchrun` started.

    Under torchrun with several processes, ``none`` means ``ddp``: they would otherwise each train
    a model of their own and write to the same place. Raises `ConfigError` for ddp or fsdp without
    torchrun.
    """
    if "WORLD_SIZE" not in os.environ:
        if kind != "none":
            raise ConfigError(
                f"distributed is {kind}, but this process was started alone. Start it with "
                "`torchrun --nproc-per-node N -m hanlin.cli train ...`, or set distributed=none."
            )
        return World(device=torch.device(device))
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    if kind == "none" and size == 1:
        return World(device=torch.device(device))
    place = torch.device(device)
    if place.type == "cuda":
        place = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(place)
    if not dist.is_initialized():
        backend = "nccl" if place.type == "cuda" else "gloo"
        dist.init_process_group(backend, timeout=_PATIENCE)
    return World("ddp" if kind == "none" else kind, rank, size, place)


class LossOf(nn.Module):
    """A model with its objective: the forward pass gives the sum of a batch's losses, or, where it
    is to be measured, the sums of them and of the objective's `measures` [1 + measures].

    Wrapping this, not the model, keeps everything the loss touches (the vocabulary matrix too)
    inside the pass that DDP and FSDP watch over.
    """

    def __init__(
        self,
        model: Transformer,
        loss: Callable[[Transformer, Batch], Tensor],
        measure: Callable[[Transformer, Batch], Tensor] | None = None,
    ) -> None:
        """measure: the sums of the losses and of the objective's measures, where it has any."""
        super().__init__()
        self.model = model
        self._loss = loss
        self._measure = measure

    def forward(self, batch: Batch, *, measured: bool = False) -> Tensor:
        if measured and self._measure is not None:
            return self._measure(self.model, batch)
        return self._loss(self.model, batch)


def spread(loss: LossOf, world: World, *, bf16: bool) -> nn.Module:
    """The same, over all processes; the model's parameters become shards with fsdp."""
    loss.to(world.device)
    if world.kind == "none":
        return loss
    if world.kind == "ddp":
        return DistributedDataParallel(loss, gradient_as_bucket_view=True)
    mesh = init_device_mesh(world.device.type, (world.size,))
    mixed = MixedPrecisionPolicy(
        param_dtype=torch.bfloat16 if bf16 else None, reduce_dtype=torch.float32
    )
    for module in loss.modules():
        if isinstance(module, Block):
            fully_shard(module, mesh=mesh, mp_policy=mixed)
    fully_shard(loss, mesh=mesh, mp_policy=mixed)
    return loss


@contextlib.contextmanager
def gathering(loss: nn.Module, *, last: bool) -> Iterator[None]:
    """Average the gradients over processes only in the `last` micro-batch of a step."""
    if isinstance(loss, DistributedDataParallel) and not last:
        with loss.no_sync():
            yield
        return
    if isinstance(loss, FSDPModule):
        loss.set_requires_gradient_sync(last)
    yield


def whole(tensor: Tensor) -> Tensor:
    """A parameter as one tensor; every process must ask for it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def fill(target: Tensor, source: Tensor) -> None:
    """Copy a whole tensor into a parameter (or a part of one, in a shard)."""
    if isinstance(target, DTensor):
        # Every process has the source: nothing needs to be sent.
        shards: Any = torch.distributed.tensor.distribute_tensor(
            source.to(target.device), target.device_mesh, target.placements, src_data_rank=None
        )
        target.to_local().copy_(shards.to_local())
    else:
        target.copy_(source)


def gather_model(model: Transformer, world: World) -> Transformer:
    """The model with whole parameters: itself, or with fsdp a copy in the first process's memory.

    Every process must ask; those after the first get a model without numbers (on ``meta``).
    """
    if world.kind != "fsdp":
        return model
    with torch.device("meta"):
        copy = Transformer(model.config)
    state = {}
    for name, parameter in model.named_parameters():
        tensor = whole(parameter.detach())
        if world.first:
            state[name] = tensor.cpu()
    if world.first:
        copy.load_state_dict(state, assign=True, strict=False)
        if model.config.tie_embeddings and copy.head is not None:
            copy.head.projection.weight = copy.embedding.weight
    return copy.eval()
