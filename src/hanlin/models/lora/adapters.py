"""Adapters on a network: put on, switched, switched off, merged.

A network keeps its weights; an adapter changes its linear layers (`layers.LoraLinear`) and may
bring some parameters of its own in full, such as a task's head (PEFT's modules_to_save). One
adapter or none is in use at a time.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import nn

from hanlin.errors import ConfigError, NotFoundError, nearest
from hanlin.models.layers import Linear
from hanlin.models.lora.layers import Change, LoraLinear, Part
from hanlin.models.lora.settings import LoraSettings
from hanlin.models.lora.sites import Site, choose, sites_of, trained_whole
from hanlin.models.transformer import Transformer

DEFAULT = "default"
"""What an adapter is called that nobody named."""


@dataclass
class Adapter:
    """One adapter of a network, beside the changes that its layers hold."""

    modules: tuple[str, ...]
    """What it changes, by transformers' names."""
    dropout: float
    whole: dict[str, nn.Parameter] = field(default_factory=dict)
    """Parameters it brings in full, by our names."""


@dataclass
class Adapters:
    """All adapters of a network."""

    held: dict[str, Adapter] = field(default_factory=dict)
    base: dict[str, nn.Parameter] = field(default_factory=dict)
    """What the parameters that some adapter brings in full are without it."""
    active: str | None = None


def apply_lora(
    network: Transformer, method: LoraSettings, *, name: str = DEFAULT, fresh: Iterable[str] = ()
) -> list[str]:
    """Put a fresh adapter on `network` and freeze the rest; what it computes is as before.

    Learnt are the adapter, in full a head for labels or spans, and the parameters named in `fresh`.
    A is drawn as PEFT draws it, from torch's generator; B is zero. Returns the modules it changes,
    by transformers' names. Raises `ConfigError` for targets the network has not and for a name in
    use, `InputError` where the network was laid out for inference.
    """
    sites = sites_of(network)
    whole = trained_whole(network, fresh)
    chosen = choose(sites, method.targets, whole=whole)

    def part(site: Site) -> Part:
        weight = network.get_submodule(site.layer).weight
        assert isinstance(weight, nn.Parameter)
        rows = weight.detach()[site.start : site.stop]
        down = torch.empty(method.rank, rows.shape[1], dtype=_kept(weight), device=weight.device)
        if not down.is_meta:
            nn.init.kaiming_uniform_(down, a=math.sqrt(5))
        up = torch.zeros(rows.shape[0], method.rank, dtype=down.dtype, device=weight.device)
        magnitude = torch.linalg.vector_norm(rows.to(down.dtype), dim=1) if method.dora else None
        return Part(
            down,
            up,
            start=site.start,
            alpha=method.alpha,
            rank_stabilised=method.rank_stabilised,
            magnitude=magnitude,
        )

    parameters = dict(network.named_parameters())
    own = {n: nn.Parameter(parameters[n].detach().clone()) for n in whole}
    add(network, name, [(site, part(site)) for site in chosen], dropout=method.dropout, whole=own)
    use(network, name)
    network.requires_grad_(False)
    for parameter in lora_parameters(network, name).values():
        parameter.requires_grad_(True)
    return [site.module for site in chosen]


def add(
    network: Transformer,
    name: str,
    parts: Iterable[tuple[Site, Part]],
    *,
    dropout: float,
    whole: Mapping[str, nn.Parameter],
) -> None:
    """Put an adapter of these parts on `network`, not yet in use; raises `ConfigError` for its
    name."""
    state = network.adapters or Adapters()
    if name in state.held or "." in name or not name or hasattr(nn.ModuleDict(), name):
        raise ConfigError(
            f"An adapter cannot be called {name!r} here. Give it a name without a point that no "
            f"other has{' (' + ', '.join(state.held) + ')' if state.held else ''}."
        )
    by_layer: dict[str, list[Part]] = {}
    modules = []
    for site, part in parts:
        by_layer.setdefault(site.layer, []).append(part)
        modules.append(site.module)
    parameters = dict(network.named_parameters())
    for layer, here in by_layer.items():
        plain = network.get_submodule(layer)
        assert isinstance(plain, Linear)
        holder = plain if isinstance(plain, LoraLinear) else LoraLinear(plain)
        change = Change(here, dropout=dropout)
        holder.changes[name] = change.train(plain.training)
        network.set_submodule(layer, holder)
    for n in whole:
        state.base.setdefault(n, parameters[n])
    state.held[name] = Adapter(tuple(modules), dropout, dict(whole))
    network.adapters = state


def use(network: Transformer, name: str | None) -> None:
    """Switch to an adapter that `network` has, or with None to the network without any.

    Raises `NotFoundError` for one it has not.
    """
    state = network.adapters or Adapters()
    if name is not None and name not in state.held:
        there = f"It has {', '.join(state.held)}." if state.held else "Load one first."
        raise NotFoundError(
            f"This network has no adapter {name!r}.{nearest(name, list(state.held))} {there}"
        )
    for layer in _layers(network):
        layer.active = name
    own = {} if name is None else state.held[name].whole
    for n, parameter in state.base.items():
        _put(network, n, own.get(n, parameter))
    state.active = name


@contextmanager
def disabled(network: Transformer) -> Iterator[None]:
    """Within it, `network` computes what it does without its adapters."""
    active = None if network.adapters is None else network.adapters.active
    if active is None:
        yield
        return
    use(network, None)
    try:
        yield
    finally:
        use(network, active)


def merge(network: Transformer) -> None:
    """Make the adapter in use a part of the weights, for good; the others are dropped.

    A plain network remains, whose logits are the adapter's to rounding. It can be trained whole,
    saved, and laid out for inference.
    """
    for path, module in list(network.named_modules()):
        if isinstance(module, LoraLinear):
            network.set_submodule(path, module.plain())
    network.adapters = None
    network.requires_grad_(True)


def lora_parameters(network: Transformer, name: str | None = None) -> dict[str, nn.Parameter]:
    """What the adapter `name` (None: the one in use) consists of, by our names."""
    adapter, name = held(network, name), name or _active(network)
    own: dict[str, nn.Parameter] = {}
    for path, layer in network.named_modules():
        if isinstance(layer, LoraLinear) and (change := layer.change(name)) is not None:
            own |= {f"{path}.changes.{name}.{n}": p for n, p in change.named_parameters()}
    return own | adapter.whole


def held(network: Transformer, name: str | None = None) -> Adapter:
    """The adapter `name` (None: the one in use). Raises `NotFoundError` where there is none."""
    name = name or _active(network)
    state = network.adapters
    if state is None or name not in state.held:
        raise NotFoundError(f"This network has no adapter {name!r}. Put it on first.")
    return state.held[name]


def parts_of(network: Transformer, name: str | None = None) -> list[tuple[Site, Part]]:
    """Every part of the adapter `name` (None: the one in use), and where it stands, in order."""
    name, found = name or _active(network), []
    for site in sites_of(network):
        layer = network.get_submodule(site.layer)
        change = layer.change(name) if isinstance(layer, LoraLinear) else None
        parts = [] if change is None else change.each
        found += [(site, part) for part in parts if part.start == site.start]
    return found


def _active(network: Transformer) -> str:
    if network.adapters is None or network.adapters.active is None:
        raise NotFoundError("This network has no adapter in use. Put one on, or switch to one.")
    return network.adapters.active


def _layers(network: Transformer) -> list[LoraLinear]:
    return [module for module in network.modules() if isinstance(module, LoraLinear)]


def _put(network: Transformer, name: str, parameter: nn.Parameter) -> None:
    path, _, leaf = name.rpartition(".")
    before = network.get_parameter(name)
    setattr(network.get_submodule(path), leaf, parameter)
    if name == "embedding.weight" and network.config.tie_embeddings:
        projection = getattr(network.head, "projection", None)
        if projection is not None and projection.weight is before:
            projection.weight = parameter


def _kept(weight: torch.Tensor) -> torch.dtype:
    """What an adapter's numbers are kept in: float32 at least, since they learn in small steps."""
    return torch.promote_types(weight.dtype, torch.float32)
