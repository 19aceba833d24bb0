"""From an adapter's directory to the network it makes of its base.

The base is what adapter_config.json names. A task's head, which the base may lack, comes with the
adapter; config.json beside it says what it is, and where PEFT wrote the adapter, its task does.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from hanlin.errors import FormatError, NotFoundError
from hanlin.models.config import ModelConfig
from hanlin.models.directory import read_config
from hanlin.models.families import family_of
from hanlin.models.heading import with_head
from hanlin.models.lora.files import load_adapter, read_tensors
from hanlin.models.lora.peft_config import CONFIG, read_peft_config
from hanlin.models.named import resolve
from hanlin.models.transformer import Transformer

_LABELS = ("classifier.weight", "score.weight", "classifier.out_proj.weight",
           "classification_head.out_proj.weight")  # fmt: skip
"""What holds a row for each label in transformers' classes."""


def base_of(directory: Path) -> Path:
    """Where the base model of an adapter lies, brought here if need be.

    Raises `NotFoundError` where it cannot be found.
    """
    base = read_peft_config(directory).base
    beside = directory / base
    if base and not Path(base).is_absolute() and beside.exists() and not Path(base).exists():
        return beside
    try:
        return resolve(base)
    except NotFoundError as error:
        raise NotFoundError(
            f"{directory} is an adapter of {base or 'a model it does not name'}, which is not "
            f"here. Put it there, or correct base_model_name_or_path in {directory / CONFIG}."
        ) from error


def load_adapted(directory: Path, *, dtype: str = "float32") -> Transformer:
    """The base model with the adapter in `directory` on it and in use, as `models.load` gives
    models.

    Raises what `models.load` and `load_adapter` raise.
    """
    from hanlin.models import load

    network = load(base_of(directory), dtype=dtype)
    config = _config(directory, network)
    if config != network.config:
        network = _with_head(network, config, directory)
    load_adapter(network, directory)
    return network.eval()


def _config(directory: Path, base: Transformer) -> ModelConfig:
    """What the adapter makes of its base."""
    if (directory / "config.json").is_file():
        config = read_config(directory)
        # Only the base's weights say whether it has a pooler.
        return config if config.head != "none" else config.with_changes(pooler=base.config.pooler)
    head = read_peft_config(directory).head
    if head is None or head == base.config.head:
        return base.config
    if head not in ("classify", "tag", "extract"):
        raise FormatError(
            f"{directory} is an adapter for a network with the head {head!r}, and its base ends in "
            f"{base.config.head!r}. Name another base in {directory / CONFIG}."
        )
    labels: list[str] = []
    if head != "extract":
        tensors = read_tensors(directory)
        rows = next((len(tensors[name]) for name in _LABELS if name in tensors), 2)
        labels = [f"LABEL_{i}" for i in range(rows)]
    return with_head(base.config, head, labels=labels)


def _with_head(base: Transformer, config: ModelConfig, directory: Path) -> Transformer:
    """The base's weights under another head, whose weights the adapter brings."""
    with torch.device("meta"):
        network = Transformer(config)
    held = dict(base.named_parameters())
    state: dict[str, Tensor] = {}
    missing = []
    for name, parameter in network.named_parameters():
        if name in held and held[name].shape == parameter.shape:
            state[name] = held[name].detach()
        else:
            state[name] = torch.zeros(parameter.shape, dtype=base.dtype, device=base.device)
            missing.append(name)
    network.load_state_dict(state, assign=True, strict=False)
    if config.tie_embeddings and config.head in ("language-model", "masked-lm"):
        network.head.projection.weight = network.embedding.weight  # type: ignore[union-attr]
    _check(missing, read_tensors(directory), config, directory)
    return network


def _check(
    missing: list[str], brought: Mapping[str, Tensor], config: ModelConfig, directory: Path
) -> None:
    """Raise `FormatError` where neither the base nor the adapter has a weight."""
    family = family_of(config.family)
    table = family.weights(config)
    for name in missing:
        for theirs in table[name].names:
            if not {theirs, *family.spellings(theirs)} & set(brought):
                raise FormatError(
                    f"{directory} lacks {theirs}, which its base has not either. Train it in full "
                    "(PEFT's modules_to_save), or name another base."
                )
