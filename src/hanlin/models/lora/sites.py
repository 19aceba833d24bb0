"""Where adapters can stand: our linear layers, row by row, under the names of transformers.

The families' tables of weight names say which rows of which of our matrices belong to which module.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from hanlin.errors import ConfigError, InputError, nearest
from hanlin.kernels.packed import PackedLinear
from hanlin.models.families import family_of
from hanlin.models.heads import VocabularyHead
from hanlin.models.layers import Linear
from hanlin.models.lora.settings import ALL_LINEAR
from hanlin.models.transformer import Transformer

_PROJECTION = "head.projection"


@dataclass(frozen=True)
class Site:
    """Some rows of one of our linear layers."""

    layer: str
    """Our name: ``decoder.layers.0.attention.qkv``."""
    start: int
    stop: int
    module: str
    """Transformers' name: ``model.layers.0.self_attn.q_proj``."""
    transposed: bool
    """Whether that module stores its weight as [in, out] (GPT-2's Conv1D)."""


def sites_of(network: Transformer) -> list[Site]:
    """Every place of `network` that has a module of its own in transformers, in order.

    Raises `InputError` where the network was laid out for inference and has no weights any more.
    """
    sites = []
    for ours, source in family_of(network.config.family).weights(network.config).items():
        layer, _, kind = ours.rpartition(".")
        module = network.get_submodule(layer)
        if isinstance(module, PackedLinear):
            raise InputError(
                "This model was laid out for inference, and its weights are gone. Load it with "
                "dtype='float32' to put adapters on it."
            )
        if kind != "weight" or not isinstance(module, Linear):
            continue
        start = 0
        for name, size in zip(source.names, source.sizes or (module.out_features,), strict=True):
            name = name.removesuffix(".weight")
            sites.append(Site(layer, start, start + size, name, source.transpose))
            start += size
    return sites


def trained_whole(network: Transformer, fresh: Iterable[str] = ()) -> list[str]:
    """Parameters that are learnt in full beside an adapter: a task's head, and `fresh` ones.

    The pooler belongs to a head that stands on it: pretrained checkpoints often lack it.
    """
    names = [name for name, _ in network.named_parameters()]
    with_pooler = network.config.head == "classify" and network.config.classifier == "pooler"
    own_head = network.head is not None and not isinstance(network.head, VocabularyHead)
    chosen = set(fresh)
    chosen |= {n for n in names if own_head and n.startswith("head.")}
    chosen |= {n for n in names if with_pooler and n.startswith("pooler.")}
    if unknown := chosen - set(names):
        raise ConfigError(f"The network has no parameter {min(unknown)!r}. Name one it has.")
    return [name for name in names if name in chosen]


def choose(
    sites: Collection[Site], targets: str | Collection[str], *, whole: Collection[str]
) -> list[Site]:
    """The sites that `targets` mean: all in the stacks, or those whose names end so.

    whole: parameters that are learnt in full and need no adapter. Raises `ConfigError` for a target
    that is not there or cannot have an adapter.
    """
    possible = [site for site in sites if f"{site.layer}.weight" not in whole]
    if targets == ALL_LINEAR:
        return [site for site in possible if site.layer.startswith(("encoder.", "decoder."))]
    wanted = [targets] if isinstance(targets, str) else list(targets)
    found: dict[str, Site] = {}
    for target in wanted:
        here = [site for site in possible if _named(site.module, target)]
        if any(site.layer == _PROJECTION for site in here) or target == "lm_head":
            raise ConfigError(
                f"method.targets names {target}, the output projection, which adapters of hanlin "
                "leave as it is. Remove it."
            )
        if not here:
            ends = sorted({site.module.rpartition(".")[2] for site in possible})
            raise ConfigError(
                f"method.targets names {target!r}, and no linear layer of this model ends so."
                f"{nearest(target, ends)} There are: {', '.join(ends)}."
            )
        found |= {site.module: site for site in here}
    return [site for site in possible if site.module in found]


def shortest_names(chosen: Collection[str], all_modules: Collection[str]) -> list[str]:
    """The shortest ends of names that mean exactly the modules `chosen` among all: PEFT's
    target_modules."""
    for parts in (1, 2, 3):
        ends = sorted({".".join(name.split(".")[-parts:]) for name in chosen})
        meant = {name for name in all_modules if any(_named(name, end) for end in ends)}
        if meant == set(chosen):
            return ends
    return sorted(chosen)


def _named(module: str, target: str) -> bool:
    """Whether PEFT would take `target` to mean `module`."""
    return module == target or module.endswith(f".{target}")
