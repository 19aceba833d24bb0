"""Optimisers: which parameters are treated how, and one object that steps them all.

AdamW: Loshchilov & Hutter 2019; SGD with (Nesterov) momentum; Muon: `muon.py`. Every parameter has
one role, by the module it belongs to, and the role decides what steps it and whether it decays.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim.adamw import adamw
from torch.optim.sgd import sgd

from hanlin.errors import ConfigError, FormatError
from hanlin.models.attention import Attention
from hanlin.models.config import ModelConfig
from hanlin.models.layers import FeedForward
from hanlin.training.muon import fast_dtype, step_muon
from hanlin.training.optimizer_settings import OptimizerName, OptimizerSettings

Role = Literal["matrix", "embedding", "head", "vector"]
"""matrix: what multiplies hidden states; embedding: looked up by id or distance; head: an output
projection of its own; vector: norms and biases."""

_MUON_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def roles(model: nn.Module) -> dict[str, Role]:
    """The role of every parameter of a Transformer, by name; a tied matrix is an embedding."""
    out: dict[str, Role] = {}
    seen: set[int] = set()
    modules = sorted(model.named_modules(), key=lambda item: not isinstance(item[1], nn.Embedding))
    for prefix, module in modules:
        for name, parameter in module.named_parameters(recurse=False):
            if id(parameter) in seen:
                continue
            seen.add(id(parameter))
            path = f"{prefix}.{name}" if prefix else name
            if isinstance(module, nn.Embedding):
                out[path] = "embedding"
            elif parameter.ndim < 2:
                out[path] = "vector"
            else:
                out[path] = "head" if path == "head.projection.weight" else "matrix"
    return {name: out[name] for name, _ in model.named_parameters() if name in out}


def splits(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """Rows of the parts of each matrix that joins several: query, key, value; gate, up."""
    out: dict[str, tuple[int, ...]] = {}
    for prefix, module in model.named_modules():
        if isinstance(module, Attention):
            q, kv = module.heads * module.channels, module.kv_heads * module.channels
            if hasattr(module, "qkv"):
                out[f"{prefix}.qkv.weight"] = (q, kv, kv)
            if hasattr(module, "kv"):
                out[f"{prefix}.kv.weight"] = (kv, kv)
        elif isinstance(module, FeedForward) and module.gated:
            half = module.up.weight.shape[0] // 2
            out[f"{prefix}.up.weight"] = (half, half)
    return out


def default_lr(name: OptimizerName, model: nn.Module) -> float:
    """A learning rate that suits the optimiser and the size of a fresh model.

    For AdamW it falls with the parameters beside the embeddings: 3e-3 up to a million, 6e-4 at
    GPT-2's 85 million. Norms after the sublayers, as BERT and BART have, bear a third of that.
    """
    if name == "sgd":
        return 0.1
    role = roles(model)
    size = sum(p.numel() for n, p in model.named_parameters() if role[n] in ("matrix", "vector"))
    lr = 3e-3 * min(1.0, (max(size, 1) / 1e6) ** -0.35)
    config = getattr(model, "config", None)
    if isinstance(config, ModelConfig) and config.norm_place == "after":
        lr /= 3
    return float(f"{lr * (2 if name == 'muon' else 1):.2g}")


class Optimizer(torch.optim.Optimizer):
    """Steps every group in its own way; one state, one state_dict.

    A group has, beside what its `kind` reads, `peak_lr`, which `set_lr` multiplies.
    """

    def __init__(self, groups: list[dict[str, Any]]) -> None:
        super().__init__(groups, {})

    def set_lr(self, factor: float) -> None:
        """Set every group's learning rate to `factor` times its highest."""
        for group in self.param_groups:
            group["lr"] = group["peak_lr"] * factor

    @property
    def lr(self) -> float:
        """The learning rate of the first group: the matrices."""
        return float(self.param_groups[0]["lr"])

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Change every parameter that has a gradient."""
        assert closure is None
        for group in self.param_groups:
            _STEPS[group["kind"]](group, self.state)


def _step_adamw(group: dict[str, Any], state: dict[Tensor, dict[str, Any]]) -> None:
    params = [p for p in group["params"] if p.grad is not None]
    if not params:
        return
    for p in params:
        if "step" not in state[p]:
            state[p]["step"] = torch.zeros((), dtype=torch.float32, device=p.device)
            state[p]["exp_avg"] = torch.zeros_like(p)
            state[p]["exp_avg_sq"] = torch.zeros_like(p)
    # On a CPU fused takes a third of the plain loop's time and a sixth of foreach's.
    adamw(
        params,
        [p.grad for p in params],
        [state[p]["exp_avg"] for p in params],
        [state[p]["exp_avg_sq"] for p in params],
        [],
        [state[p]["step"] for p in params],
        fused=True,
        amsgrad=False,
        beta1=group["betas"][0],
        beta2=group["betas"][1],
        lr=group["lr"],
        weight_decay=group["weight_decay"],
        eps=group["eps"],
        maximize=False,
    )


def _step_sgd(group: dict[str, Any], state: dict[Tensor, dict[str, Any]]) -> None:
    params = [p for p in group["params"] if p.grad is not None]
    if not params:
        return
    momentum, buffers = group["momentum"], [state[p].get("momentum_buffer") for p in params]
    if group["weight_decay"]:
        # Decoupled, as AdamW's: the same number means the same with every optimiser.
        torch._foreach_mul_(params, 1 - group["lr"] * group["weight_decay"])
    # Element by element: each process of FSDP steps its own rows, for which torch's fused SGD has
    # no rule of its own.
    own = [None if b is None else _local(b) for b in buffers]
    sgd(
        [_local(p) for p in params],
        [_local(p.grad) for p in params],
        own,
        fused=True,
        weight_decay=0.0,
        momentum=momentum,
        lr=group["lr"],
        dampening=0.0,
        nesterov=group["nesterov"],
        maximize=False,
    )
    if momentum:
        for p, before, after in zip(params, buffers, own, strict=True):
            state[p]["momentum_buffer"] = _spread(after, p) if before is None else before


def _local(tensor: Tensor) -> Tensor:
    """What this process holds of a tensor that FSDP shards; any other tensor itself."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _spread(rows: Tensor | None, parameter: Tensor) -> Tensor | None:
    """The reverse of `_local`: this process's rows as a part of what the parameter is a part of."""
    if rows is None or not isinstance(parameter, DTensor):
        return rows
    mesh, placements = parameter.device_mesh, parameter.placements
    shape, stride = parameter.shape, parameter.stride()
    return DTensor.from_local(rows, mesh, placements, shape=shape, stride=stride)


_STEPS = {"adamw": _step_adamw, "sgd": _step_sgd, "muon": step_muon}


def parameter_groups(model: nn.Module, settings: OptimizerSettings) -> list[dict[str, Any]]:
    """The groups of an `Optimizer`: which parameters are stepped how, matrices first.

    Each has `name`, `kind`, `params` (as name and parameter), `peak_lr`, `weight_decay` and what
    the kind reads.
    """
    lr = default_lr(settings.name, model) if settings.lr is None else settings.lr
    role, parts = roles(model), splits(model)
    by_role: dict[Role, list[tuple[str, nn.Parameter]]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            by_role.setdefault(role[name], []).append((name, parameter))
    groups: list[dict[str, Any]] = []
    for kind in ("matrix", "head", "embedding", "vector"):
        members = by_role.get(kind)
        if not members:
            continue
        how = settings.name if settings.name != "muon" or kind == "matrix" else "adamw"
        decays = kind in ("matrix", "head") or (kind == "embedding" and settings.decay_embeddings)
        peak = lr
        if settings.name == "muon" and kind != "matrix" and settings.rest_lr is not None:
            peak = settings.rest_lr
        groups.append(
            {
                "name": kind,
                "kind": how,
                "params": members,
                "lr": peak,
                "peak_lr": peak,
                "weight_decay": settings.decay if decays else 0.0,
                **_own(how, settings, [(n, p, parts.get(n)) for n, p in members]),
            }
        )
    return groups


def _own(
    kind: OptimizerName,
    settings: OptimizerSettings,
    members: list[tuple[str, nn.Parameter, tuple[int, ...] | None]],
) -> dict[str, Any]:
    """What a group of this kind reads beside the learning rate and the decay."""
    if kind == "adamw":
        betas = settings.betas or (0.9, 0.95)
        return {"betas": betas, "eps": 1e-8 if settings.eps is None else settings.eps}
    if kind == "sgd":
        momentum = 0.9 if settings.momentum is None else settings.momentum
        return {"momentum": momentum, "nesterov": bool(settings.nesterov)}
    return {
        "momentum": 0.95 if settings.momentum is None else settings.momentum,
        "nesterov": settings.nesterov is not False,
        "splits": [parts or (p.shape[0],) for _, p, parts in members],
        "dtype": _MUON_DTYPES.get(settings.newton_schulz or "auto") or fast_dtype(),
    }


def build_optimizer(model: nn.Module, settings: OptimizerSettings) -> Optimizer:
    """The optimiser of a Transformer. Build it after FSDP has sharded the model, from the bare one.

    Raises ConfigError when nothing is there to be learnt.
    """
    groups = parameter_groups(model, settings)
    if not groups:
        raise ConfigError("No parameter of the model is to be learnt. Unfreeze some.")
    return Optimizer(groups)


def clip_gradients(parameters: Iterable[Tensor], largest: float | None) -> Tensor:
    """Scale gradients down to a global norm of `largest` (None: leave them); return what it was.

    A norm that is not finite leaves the gradients unfit for a step, whatever `largest` says.
    """
    with_grad = [p for p in parameters if p.grad is not None]
    norm = nn.utils.get_total_norm([p.grad for p in with_grad], foreach=True)  # type: ignore[misc]
    if hasattr(norm, "full_tensor"):
        norm = norm.full_tensor()
    if largest is not None and float(norm) > largest:
        nn.utils.clip_grads_with_norm_(with_grad, largest, norm, foreach=True)
    return norm


def flatten_state(optimizer: Optimizer) -> dict[str, Tensor]:
    """The whole state by names: ``<parameter>.<buffer>``, as safetensors can hold it."""
    out: dict[str, Tensor] = {}
    for group in optimizer.param_groups:
        for name, parameter in zip(group["param_names"], group["params"], strict=True):
            for key, value in optimizer.state.get(parameter, {}).items():
                out[f"{name}.{key}"] = value
    return out


def restore_state(optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """The reverse of `flatten_state`, bit for bit; learning rates and other settings stay.

    Raises FormatError for tensors that are of another model or another optimiser.
    """
    left = set(tensors)
    for group in optimizer.param_groups:
        buffers = _BUFFERS[group["kind"]]
        wanted = (*buffers, AVERAGE)
        for name, parameter in zip(group["param_names"], group["params"], strict=True):
            mine = {key: tensors[f"{name}.{key}"] for key in wanted if f"{name}.{key}" in left}
            left -= {f"{name}.{key}" for key in mine}
            for key, value in mine.items():
                expected = () if key == "step" else tuple(parameter.shape)
                if tuple(value.shape) != expected:
                    raise FormatError(
                        f"The optimiser's {name}.{key} has shape {list(value.shape)}, not "
                        f"{list(expected)}. The checkpoint is of another model."
                    )
            if 0 < len(set(mine) & set(buffers)) < len(buffers):
                raise FormatError(f"The optimiser's state of {name} is not whole. Use another one.")
            if mine:
                optimizer.state[parameter] = {k: v.detach().clone() for k, v in mine.items()}
    if left:
        raise FormatError(
            f"The optimiser's state has {min(left)!r}, which this run has no place for. It is of "
            "another model or another optimiser; resume with the settings it was made with."
        )


AVERAGE = "average"
"""Of the weights of a parameter; see `averaging`."""

_BUFFERS = {
    "adamw": ("step", "exp_avg", "exp_avg_sq"),
    "sgd": ("momentum_buffer",),
    "muon": ("momentum_buffer",),
}
