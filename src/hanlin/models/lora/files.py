"""Adapters on disk, as PEFT writes and reads them: adapter_config.json, adapter_model.safetensors.

Beside them lies a config.json of the network that the adapter makes of its base: PEFT does not read
it, and it says which head there is and what its labels are called.
"""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from hanlin.errors import FormatError, NotFoundError
from hanlin.models.directory import SPECIAL
from hanlin.models.exchange import write_text
from hanlin.models.families import describe, family_of
from hanlin.models.layers import Linear
from hanlin.models.lora.adapters import DEFAULT, add, held, parts_of, use
from hanlin.models.lora.layers import Part
from hanlin.models.lora.peft_config import CONFIG, PeftConfig, read_peft_config, task_type
from hanlin.models.lora.sites import Site, shortest_names, sites_of
from hanlin.models.transformer import Transformer
from hanlin.models.weights import scatter

WEIGHTS = "adapter_model.safetensors"
_PREFIX = "base_model.model."
_DOWN, _UP = ".lora_A.weight", ".lora_B.weight"
_MAGNITUDES = (".lora_magnitude_vector", ".lora_magnitude_vector.weight")


def save_adapter(
    network: Transformer, directory: str | Path, *, base: str, name: str | None = None
) -> Path:
    """Write an adapter of `network` (None: the one in use) into a directory, which is made.

    base: what the network was before: the name or the path that `hanlin.load` will look for.
    Raises `NotFoundError` where there is no such adapter, `OSError` where it cannot be written.
    """
    target = Path(directory)
    adapter, parts = held(network, name), parts_of(network, name)
    table = family_of(network.config.family).weights(network.config)
    tensors = scatter({n: table[n] for n in adapter.whole}, adapter.whole)
    saved = _modules([n for source in table.values() for n in source.names], list(tensors))
    for site, part in parts:
        tensors[f"{site.module}{_DOWN}"] = part.down
        tensors[f"{site.module}{_UP}"] = part.up
        if part.magnitude is not None:
            tensors[f"{site.module}{_MAGNITUDES[0]}"] = part.magnitude
    everything = {n.rpartition(".")[0] for source in table.values() for n in source.names}
    ranks = {site.module: part.rank for site, part in parts}
    alphas = {site.module: part.alpha for site, part in parts}
    rank, alpha = _usual(ranks.values(), 8), _usual(alphas.values(), 8.0)
    about = {
        "peft_type": "LORA",
        "task_type": task_type(network.config),
        "base_model_name_or_path": _absolute(base),
        "revision": None,
        "inference_mode": True,
        "r": rank,
        "lora_alpha": alpha,
        "lora_dropout": adapter.dropout,
        "target_modules": shortest_names(set(ranks), everything),
        "modules_to_save": saved or None,
        "bias": "none",
        "fan_in_fan_out": any(site.transposed for site, _ in parts),
        "use_dora": any(part.magnitude is not None for _, part in parts),
        "use_rslora": any(part.rank_stabilised for _, part in parts),
        "init_lora_weights": True,
        "rank_pattern": {module: r for module, r in ranks.items() if r != rank},
        "alpha_pattern": {module: a for module, a in alphas.items() if a != alpha},
    }
    target.mkdir(parents=True, exist_ok=True)
    draft = target / f".{WEIGHTS}"
    save_file({_PREFIX + n: t.detach().contiguous() for n, t in tensors.items()}, draft)
    draft.replace(target / WEIGHTS)
    made = describe(network.config)
    write_text(target / "config.json", _json(made))
    if network.config.head == "language-model":
        tokens = {name: made[name] for name in SPECIAL if made.get(name) is not None}
        write_text(target / "generation_config.json", _json(tokens))
    write_text(target / CONFIG, _json(about))
    return target


def load_adapter(network: Transformer, directory: str | Path, *, name: str = DEFAULT) -> None:
    """Put an adapter that PEFT or hanlin wrote on `network`, its base, and switch to it.

    Raises `FormatError` for what hanlin does not compute or what does not fit the network,
    `NotFoundError` where a file is missing, `ConfigError` for a name in use.
    """
    folder = Path(directory)
    about, tensors = read_peft_config(folder), read_tensors(folder)
    parts, whole = fit(network, about, tensors, folder=folder)
    own = {n: nn.Parameter(tensor) for n, tensor in whole.items()}
    add(network, name, parts, dropout=about.dropout, whole=own)
    use(network, name)


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """The tensors of an adapter by transformers' names; raises `FormatError`, `NotFoundError`."""
    path = folder / WEIGHTS
    if not path.is_file():
        pickled = (folder / "adapter_model.bin").is_file()
        hint = "It has a pickle, which hanlin never reads: convert it." if pickled else "Fetch it."
        raise NotFoundError(f"{folder} has no {WEIGHTS}. {hint}")
    try:
        stored = load_file(path)
    except (SafetensorError, OSError) as error:
        raise FormatError(
            f"{path} is not a whole safetensors file ({error}). Fetch or write it again."
        ) from error
    return {name.removeprefix(_PREFIX): tensor for name, tensor in stored.items()}


def fit(
    network: Transformer, about: PeftConfig, tensors: Mapping[str, Tensor], *, folder: Path
) -> tuple[list[tuple[Site, Part]], dict[str, Tensor]]:
    """Where on `network` the tensors belong: low-rank parts, and parameters in full."""
    family = family_of(network.config.family)
    table = family.weights(network.config)
    names = {theirs: ours for ours, source in table.items() for theirs in source.names}
    known = {other: name for name in names for other in family.spellings(name)} | {
        n: n for n in names
    }
    tied = family.tied(network.config)
    by_module = {site.module: site for site in sites_of(network)}
    left = dict(tensors)
    parts: list[tuple[Site, Part]] = []
    for name in tensors:
        if not name.endswith(_DOWN):
            continue
        module = name.removesuffix(_DOWN)
        named = known.get(f"{module}.weight", "").removesuffix(".weight")
        site = by_module.get(named)
        down, up = left.pop(name), left.pop(f"{module}{_UP}", None)
        magnitude = next((left.pop(module + m) for m in _MAGNITUDES if module + m in left), None)
        if site is None or up is None or (magnitude is None) is about.dora:
            raise FormatError(
                f"{folder} adapts {module}, which is no linear layer of this model or not whole. "
                "Is it the adapter of another model?"
            )
        layer, rows = network.get_submodule(site.layer), site.stop - site.start
        assert isinstance(layer, Linear)
        rank = max(1, down.shape[0]) if down.dim() else 1
        wanted = [(rank, layer.in_features), (rows, rank), (rows,)]
        given = [tuple(t.shape) for t in (down, up, magnitude) if t is not None]
        if given != wanted[: len(given)]:
            raise FormatError(
                f"{folder}: {module} has a weight of [{rows}, {layer.in_features}], which the "
                f"adapter's {', '.join(str(list(shape)) for shape in given)} do not fit. It is the "
                "adapter of another model."
            )
        dtype = torch.promote_types(network.dtype, torch.float32)
        part = Part(
            down.to(network.device, dtype),
            up.to(network.device, dtype),
            start=site.start,
            alpha=about.alpha_of(module),
            rank_stabilised=about.rank_stabilised,
            magnitude=None if magnitude is None else magnitude.to(network.device, dtype),
        )
        parts.append((site, part))
    whole = {}
    for name, tensor in left.items():
        if name in tied and tied[name] in left and torch.equal(tensor, left[tied[name]]):
            continue
        ours = names.get(known.get(name, ""))
        if ours is None or len(table[ours].names) > 1:
            raise FormatError(
                f"{folder} has {name}, for which hanlin has no place. Merge it with PEFT, and load "
                "the merged model."
            )
        source = table[ours]
        value = tensor.t() if source.transpose else tensor
        value = value.reshape(-1) if source.shape is not None else value
        if value.shape != network.get_parameter(ours).shape:
            raise FormatError(
                f"{folder}: {name} has shape {list(tensor.shape)}, the model's has "
                f"{list(network.get_parameter(ours).shape)}. It is the adapter of another model."
            )
        whole[ours] = value.to(network.device, network.dtype).clone()
    if not parts and not whole:
        raise FormatError(f"The adapter in {folder} is empty. Fetch or write it again.")
    return parts, whole


def _modules(names: list[str], saved: list[str]) -> list[str]:
    """The largest modules all of whose tensors are `saved`: PEFT's modules_to_save."""
    found = []
    for name in saved:
        path = name.split(".")
        for depth in range(1, len(path)):
            module = ".".join(path[:depth])
            if all(n in saved for n in names if n.startswith(f"{module}.")):
                found.append(module)
                break
    return sorted(set(found))


def _usual(values: Any, without: Any) -> Any:
    """The commonest value."""
    counted = Counter(values).most_common(1)
    return counted[0][0] if counted else without


def _absolute(base: str) -> str:
    """A path from wherever the adapter is loaded; a name as it is."""
    from hanlin.models.named import NAMED

    path = Path(base).expanduser()
    return str(path.resolve()) if base not in NAMED and path.exists() else base


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
