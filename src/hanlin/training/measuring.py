"""A few steps of a model that is not to be kept, to learn how fast and how large a run will be."""

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hanlin.data.batch import IGNORE, Batch
from hanlin.models.config import ModelConfig
from hanlin.models.transformer import Transformer
from hanlin.training.cost import best_of, count, flops_per_token, outline
from hanlin.training.optimizers import build_optimizer, clip_gradients

if TYPE_CHECKING:
    from hanlin.training.config import TrainConfig
    from hanlin.training.objectives import Objective

_SLOW = 3e11
"""Operations of a step above which it is measured on one and two layers, not on all."""
_ROWS = 8192
"""Tokens of a micro-batch that is measured: enough for the products to be at their speed."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a step takes."""

    token_seconds: float
    """Per token read: forwards and backwards."""
    step_seconds: float
    """Per step of the optimiser, clipping included."""
    token_bytes: float
    """Memory that a token holds between the passes."""


def measure(
    config: ModelConfig,
    settings: "TrainConfig",
    *,
    seconds: float = 1.0,
    task: "tuple[Objective, Batch] | None" = None,
) -> Measured:
    """Time steps of a model with these settings on this machine, in about three times `seconds`.

    A model whose step would take long is measured with one and with two layers; the others take as
    long as the second. task: the objective as fitted and a micro-batch of its records; tokens are
    made up without it.
    """
    from hanlin.training.objectives import Distil

    whole = outline(config)
    length = min(settings.batch.length, config.max_context)
    micro = settings.batch.micro or settings.batch.sequences
    rows = max(1, min(micro, _ROWS // length))
    name: str = settings.objective.name
    if task is None:
        objective = settings.objective.build()

        def batch_of(config: ModelConfig, rows: int) -> Batch:
            return made_up(config, name, rows, length)
    else:
        objective, batch = task
        rows, length = batch.ids.shape

        def batch_of(config: ModelConfig, rows: int) -> Batch:
            return batch

    if isinstance(objective, Distil):
        # Of a few layers alone, none can be paired with the teacher's.
        name, objective = objective.task.name, objective.without_states()

    def timed(config: ModelConfig, rows: int, seconds: float) -> Measured:
        with torch.random.fork_rng(devices=[]):  # measuring must not change what is drawn after it
            return _time(config, settings, objective, batch_of(config, rows), seconds)

    cost = flops_per_token(whole, objective=name, length=length) * rows * length
    weights = 20.0 * count(whole).total  # the optimiser reads and writes each some times
    if config.num_layers <= 2 or cost + weights < _SLOW:
        return timed(config, rows, seconds)
    if cost / config.num_layers > _SLOW:
        rows = max(1, round(rows * _SLOW * config.num_layers / cost))
    one = timed(_with_layers(config, 1), rows, seconds / 2)
    two = timed(_with_layers(config, 2), rows, seconds / 2)
    more = config.num_layers - 1

    def whole_of(first: float, second: float) -> float:
        return first + more * max(second - first, 0.0)

    return Measured(
        token_seconds=whole_of(one.token_seconds, two.token_seconds),
        step_seconds=whole_of(one.step_seconds, two.step_seconds),
        token_bytes=whole_of(one.token_bytes, two.token_bytes),
    )


def _with_layers(config: ModelConfig, layers: int) -> ModelConfig:
    kinds = None if config.layer_kinds is None else config.layer_kinds[:layers]
    decoder = None
    if config.decoder_layers is not None:
        decoder = max(1, round(config.decoder_layers * layers / config.num_layers))
    return config.with_changes(num_layers=layers, decoder_layers=decoder, layer_kinds=kinds)


def _time(
    config: ModelConfig,
    settings: "TrainConfig",
    objective: "Objective",
    batch: Batch,
    seconds: float,
) -> Measured:
    device = "cpu" if settings.device == "cpu" or not torch.cuda.is_available() else "cuda"
    model = Transformer(config)
    if settings.method.kind == "lora":
        from hanlin.models.lora import apply_lora

        apply_lora(model, settings.method)
    model.to(device).train()
    if settings.objective.name == "prefer" and settings.method.kind == "full":
        from hanlin.training.objectives import Prefer

        assert isinstance(objective, Prefer)
        objective = objective.against(copy.deepcopy(model))
    batch = batch.to(device)
    model.checkpointing = settings.checkpoint.activation
    optimizer = build_optimizer(model, settings.optimizer)

    def forwards() -> Tensor:
        bf16 = settings.precision == "bf16"
        with torch.autocast(device, torch.bfloat16, enabled=bf16):
            return objective.loss(model, batch)

    def both() -> None:
        optimizer.zero_grad()
        forwards().backward()  # type: ignore[no-untyped-call]
        if device == "cuda":
            torch.cuda.synchronize()

    def step() -> None:
        clip_gradients(model.parameters(), settings.optimizer.clip)
        optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()

    held: dict[int, int] = {}
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            held[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = forwards()
    held_bytes = sum(held.values())
    del loss
    read = best_of(both, seconds=seconds)
    return Measured(
        token_seconds=read / batch.tokens,
        step_seconds=best_of(step, seconds=seconds / 2),
        token_bytes=held_bytes / batch.tokens,
    )


def made_up(config: ModelConfig, objective: str, rows: int, length: int) -> Batch:
    """A batch of random tokens with the shape that an objective's batches have."""
    ids = torch.randint(0, config.vocab_size, (rows, length))
    if objective == "causal-lm":
        return Batch(ids=ids, targets=ids.roll(-1, 1), target_tokens=ids.numel())
    if objective == "masked-lm":
        targets = torch.full_like(ids, IGNORE)
        asked = torch.rand(ids.shape) < 0.15
        asked[:, 0] = True
        targets[asked] = ids[asked]
        return Batch(ids=ids, targets=targets, target_tokens=int(asked.sum()))
    written = max(2, round(length * 0.22)) if objective == "span-corruption" else length
    decoder_ids = torch.randint(0, config.vocab_size, (rows, written))
    return Batch(
        ids=ids,
        targets=decoder_ids.roll(-1, 1),
        decoder_ids=decoder_ids,
        target_tokens=decoder_ids.numel(),
    )
