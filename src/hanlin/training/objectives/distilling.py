"""The parts of distillation: what a pass through a model shows, which layers belong together, how
far states are apart, and a student made of some of its teacher's layers.

Layers: DistilBERT (Sanh et al. 2019) starts from every other layer of its teacher; TinyBERT (Jiao
et al. 2020) lets each student layer follow the teacher's layer at the same share of the depth.

Where the widths differ, the teacher's states are mapped to the student's width by one fixed matrix
with orthonormal columns: random projections keep angles and distances (Johnson and Lindenstrauss
1984), the student is free to choose its own directions, and there is nothing to learn, save or
resume beside the student.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hanlin.data.examples import Examples
from hanlin.errors import ConfigError
from hanlin.models import load
from hanlin.models.config import ModelConfig
from hanlin.models.families import describe
from hanlin.models.heads import VocabularyHead
from hanlin.models.transformer import Transformer

Distance = Literal["cosine", "mse"]
Pairs = tuple[tuple[int, int], ...]
"""Student layer and teacher layer, counted from 1."""


@dataclass(frozen=True)
class Lesson:
    """An example of the task that is learnt with the teacher beside it."""

    example: Any


class Lessons:
    """The examples of the task, each a lesson."""

    def __init__(self, examples: Examples) -> None:
        self.examples = examples
        """Of the task."""
        self.lengths = examples.lengths
        self.notes = examples.notes

    def __len__(self) -> int:
        return len(self.examples)

    def example(self, index: int, epoch: int) -> Lesson:
        """Example `index` of an epoch."""
        return Lesson(self.examples.example(index, epoch))


@dataclass
class Seen:
    """What one pass through a model showed."""

    final: dict[str, Tensor] = field(default_factory=dict)
    """Stack ("encoder", "decoder") -> what heads stand on [B, T, D]."""
    layers: dict[str, list[Tensor]] = field(default_factory=dict)
    """Stack -> the states after each block [B, T, D]; empty where they were not asked for."""
    logits: Tensor | None = None
    """Of a head that has labels: [B, labels] or [B, T, labels]."""


@contextmanager
def watched(model: Transformer, *, layers: bool) -> Iterator[Seen]:
    """Keep what a pass through `model` inside the block shows; gradients go through it.

    Raises `ConfigError` where blocks are compiled and their states are asked for.
    """
    seen = Seen()
    hooks = []
    for name, stack in (("encoder", model.encoder), ("decoder", model.decoder)):
        if stack is None:
            continue
        hooks.append(stack.register_forward_hook(_keep(seen.final, name)))
        if layers:
            kept = seen.layers[name] = []
            for block in stack.layers:
                if block._compiled_call_impl is not None:
                    raise ConfigError(
                        "objective.hidden reads the states between blocks, which compiled blocks "
                        "do not show. Set compile: false, or leave hidden out."
                    )
                hooks.append(block.register_forward_hook(_append(kept)))
    if model.head is not None and not isinstance(model.head, VocabularyHead):

        def note(module: nn.Module, given: Any, made: Tensor) -> None:
            seen.logits = made

        hooks.append(model.head.register_forward_hook(note))
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _keep(where: dict[str, Tensor], name: str) -> Any:
    def hook(module: nn.Module, given: Any, made: Tensor) -> None:
        where[name] = made

    return hook


def _append(where: list[Tensor]) -> Any:
    def hook(module: nn.Module, given: Any, made: Tensor) -> None:
        where.append(made)

    return hook


@lru_cache(maxsize=1)
def teacher_of(ref: str, device: torch.device) -> Transformer:
    """The teacher on a device, in float32, in eval mode, without gradients; loaded once."""
    network = load(ref, dtype="float32").to(device).eval()
    return network.requires_grad_(False)


def layer_pairs(student: int, teacher: int, wanted: str | Mapping[int, int]) -> Pairs:
    """Which layer of a student of so many layers follows which of its teacher's.

    wanted: "last", "every" (each at the same share of the depth), or student layer -> teacher layer
    counted from 1. Raises `ConfigError` for a layer that is not there.
    """
    if wanted == "last":
        return ((student, teacher),)
    if isinstance(wanted, str):
        return tuple((n, max(1, round(n * teacher / student))) for n in range(1, student + 1))
    for mine, theirs in wanted.items():
        if not 1 <= mine <= student or not 1 <= theirs <= teacher:
            raise ConfigError(
                f"objective.hidden.layers pairs layer {mine} with the teacher's {theirs}; the "
                f"student has layers 1 to {student}, the teacher 1 to {teacher}. Correct it."
            )
    return tuple(sorted(wanted.items()))


@lru_cache(maxsize=8)
def projection(taught: int, own: int, device: torch.device) -> Tensor:
    """The fixed map from a teacher's width to a student's [taught, own], of orthonormal columns
    (rows, for a wider student), scaled so that the size of a channel stays."""
    draw = torch.Generator().manual_seed(0)
    matrix = torch.randn(max(taught, own), min(taught, own), generator=draw, dtype=torch.float64)
    basis, _ = torch.linalg.qr(matrix)
    basis = basis if taught >= own else basis.t()
    fixed: Tensor = basis * (max(taught, own) / taught) ** 0.5
    return fixed.float().to(device)


def wide(tensor: Tensor) -> Tensor:
    """In float32, or float64 where it is."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def states_apart(
    student: Sequence[Tensor],
    teacher: Sequence[Tensor],
    pairs: Pairs,
    weights: Tensor,
    distance: Distance,
) -> Tensor:
    """The weighted sum over tokens of the mean distance of paired layers; a scalar.

    student, teacher: states after each block, [B, T, D] and [B, T, D of the teacher]; weights:
    [B, T]. cosine: 1 - cosine of the angle; mse: the mean over channels of squared differences.
    """
    total = weights.new_zeros(())
    for mine, theirs in pairs:
        own, told = wide(student[mine - 1]), wide(teacher[theirs - 1])
        if told.shape[-1] != own.shape[-1]:
            told = told @ projection(told.shape[-1], own.shape[-1], own.device).to(told.dtype)
        if distance == "cosine":
            each = 1 - F.cosine_similarity(own, told, dim=-1)
        else:
            each = (own - told).square().mean(-1)
        total = total + (each * weights).sum()
    return total / len(pairs)


def with_layers(
    network: Transformer, layers: Sequence[int], decoder_layers: Sequence[int] | None
) -> Transformer:
    """A network of some of another's layers (counted from 0), with copies of all its weights.

    Raises as `shortened` does.
    """
    student = Transformer(shortened(network.config, layers, decoder_layers))
    taken = _taken(network.config, layers, decoder_layers)
    state = {}
    for name, tensor in network.state_dict().items():
        stack, _, rest = name.partition(".layers.")
        number, _, own = rest.partition(".")
        if not rest:
            state[name] = tensor
        elif int(number) in taken[stack]:
            state[f"{stack}.layers.{taken[stack].index(int(number))}.{own}"] = tensor
    student.load_state_dict(state)
    return student


def shortened(
    config: ModelConfig, layers: Sequence[int], decoder_layers: Sequence[int] | None
) -> ModelConfig:
    """The config of a network of some of another's layers (counted from 0).

    Of an encoder-decoder `layers` are the encoder's; its decoder keeps all where `decoder_layers`
    is None. Raises `ConfigError` for layers that are not there, or that its family cannot do
    without.
    """
    taken = _taken(config, layers, decoder_layers)
    first = taken["decoder" if config.shape == "decoder" else "encoder"]
    if not config.first_attention_norm and first[0] != 0:
        raise ConfigError(
            f"The first layer of {config.family} is of another make than the rest. Let "
            "objective.student.layers begin with 0."
        )
    changes: dict[str, Any] = {"num_layers": len(first)}
    if config.layer_kinds is not None:
        changes["layer_kinds"] = tuple(config.layer_kinds[n] for n in first)
    if config.shape == "encoder-decoder":
        changes["decoder_layers"] = len(taken["decoder"])
    changed = config.with_changes(**changes)
    describe(changed)
    return changed


def _taken(
    config: ModelConfig, layers: Sequence[int], decoder_layers: Sequence[int] | None
) -> dict[str, list[int]]:
    """Stack -> the layers that are taken from it."""
    if config.shape != "encoder-decoder":
        if decoder_layers is not None:
            raise ConfigError(
                "objective.student.decoder_layers is for encoder-decoders; this is "
                f"{'an' if config.shape == 'encoder' else 'a'} {config.shape}. Use layers."
            )
        return {config.shape: _checked("layers", layers, config.num_layers)}
    had = config.decoder_layers or config.num_layers
    chosen = range(had) if decoder_layers is None else decoder_layers
    return {
        "encoder": _checked("layers", layers, config.num_layers),
        "decoder": _checked("decoder_layers", chosen, had),
    }


def _checked(name: str, layers: Sequence[int], have: int) -> list[int]:
    taken = list(layers)
    if not taken or taken != sorted(set(taken)) or not 0 <= taken[0] <= taken[-1] < have:
        raise ConfigError(
            f"objective.student.{name} is {taken}; name some of the layers 0 to {have - 1}, in "
            "ascending order."
        )
    return taken
