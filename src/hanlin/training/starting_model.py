"""The network a run begins with: fresh, a reference as it is, or a reference with a task's head."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from hanlin.errors import ConfigError, FormatError
from hanlin.models import load as load_model
from hanlin.models.config import ModelConfig
from hanlin.models.directory import read_config as read_model_config
from hanlin.models.named import resolve
from hanlin.models.new import new_config
from hanlin.models.transfer import take_weights
from hanlin.models.transformer import Transformer
from hanlin.provenance import file_hash
from hanlin.tokenizers import Tokenizer
from hanlin.training.checkpoints import Checkpoint
from hanlin.training.config import TrainConfig
from hanlin.training.objectives import Distil, Objective, Prefer, on_records

Tell = Callable[[str], None]


def starting_model(
    settings: TrainConfig,
    objective: Objective,
    records: Sequence[Any],
    tokenizer: Tokenizer,
    found: Checkpoint | None,
    *,
    tell: Tell,
) -> tuple[Transformer, Objective, dict[str, str]]:
    """The network in float32, the objective fitted to it, and the hashes of what it was made from.

    records: of the training part, of a task. The weights of a checkpoint are not there yet: they
    are put back by `checkpoints.restore`. With LoRA the layers are swapped, and all weights of the
    reference are there. Raises `ConfigError` for a model that the objective cannot train.
    """
    lora = settings.method.kind == "lora"
    taught: dict[str, str] = {}
    if isinstance(objective, Distil):
        taught = {objective.teacher: weights_hash(resolve(objective.teacher))}
    if not isinstance(settings.model, str):
        given = dict(settings.model)
        family = given.pop("family")
        config = new_config(family, tokenizer=tokenizer, **given)
        config, objective = fitted_to(config, objective, records)
        torch.manual_seed(settings.seed)
        return Transformer(config), objective, taught
    if found is not None and not lora:
        config, objective = fitted_to(read_model_config(found.path), objective, records)
        return Transformer(config), objective, found.state["parents"]
    reference = load_model(settings.model, dtype="float32")
    parents = {settings.model: weights_hash(resolve(settings.model)), **taught}
    if found is not None and found.state["parents"] != parents:
        raise ConfigError(
            f"{settings.model} is another model than this run began with, and a LoRA needs the "
            "very same. Put that back, or begin a new run in another output."
        )
    _check(settings, objective, reference.config, tokenizer)
    if isinstance(objective, Distil):
        reference = objective.begin(reference)
    config, objective = fitted_to(reference.config, objective, records)
    if config == reference.config:
        network, fresh = reference, list[str]()
        for parameter in network.parameters():
            # Mapped from a file until now: training writes, and needs memory of its own.
            parameter.data = parameter.data.clone()
    else:
        torch.manual_seed(settings.seed)
        network = Transformer(config)
        fresh = take_weights(network, reference)
        if fresh:
            tell(f"New weights, drawn from the seed: {', '.join(fresh)}.")
    if lora:
        from hanlin.models.lora import apply_lora

        torch.manual_seed(settings.seed)
        apply_lora(network, settings.method, fresh=fresh)
        tell(_told(network))
    return network, objective, parents


def with_reference(settings: TrainConfig, objective: Objective) -> Objective:
    """What learns preferences with all weights, beside a copy of the model as it was; else itself.

    Raises `ConfigError` for a fresh model, which has nothing to hold to.
    """
    if not isinstance(objective, Prefer) or settings.method.kind == "lora":
        return objective
    if not isinstance(settings.model, str):
        raise ConfigError(
            "Preferences are learnt against the model that a run starts from, and this one is "
            "drawn from nothing. Name a model."
        )
    return objective.against(load_model(settings.model, dtype="float32"))


def fitted_to(
    config: ModelConfig, objective: Objective, records: Sequence[Any]
) -> tuple[ModelConfig, Objective]:
    """The config with the task's head, and the task with what the records decide.

    Raises `ConfigError` where the model's family has no such head.
    """
    if not on_records(objective):
        return config, objective
    fit = getattr(objective, "fitted", None)
    fitted = objective if fit is None else fit(records, config)
    try:
        return fitted.adapt(config, records), fitted
    except FormatError as error:
        raise ConfigError(
            f"{error} So {objective.name} cannot train it. Choose a model of another family."
        ) from error


def _check(
    settings: TrainConfig, objective: Objective, config: ModelConfig, tokenizer: Tokenizer
) -> None:
    if config.shape not in objective.shapes:
        raise ConfigError(
            f"{settings.model} is {'an' if config.shape[0] == 'e' else 'a'} {config.shape}, and "
            f"{objective.name} trains a {' or '.join(objective.shapes)}. Choose another objective."
        )
    if tokenizer.vocab_size > config.vocab_size:
        raise ConfigError(
            f"The tokenizer has {tokenizer.vocab_size} tokens, {settings.model} embeds "
            f"{config.vocab_size}. Leave tokenizer out to use the model's own."
        )
    bounded = config.position == "learned"
    if on_records(objective) and bounded and settings.batch.length > config.max_context:
        raise ConfigError(
            f"batch.length is {settings.batch.length}, and {settings.model} reads at most "
            f"{config.max_context} tokens. Lower it."
        )


def _told(network: Transformer) -> str:
    learnt = sum(p.numel() for p in network.parameters() if p.requires_grad)
    whole = sum(p.numel() for p in network.parameters())
    return f"LoRA: {learnt:,} of {whole:,} weights are learnt ({learnt / whole:.2%})."


def weights_hash(path: Path) -> str:
    """Of a model's weights: its file, or all files of its directory that hold some."""
    if path.is_file():
        return file_hash(path)
    files = sorted(path.glob("*.safetensors"))
    return hashlib.sha256("".join(map(file_hash, files)).encode()).hexdigest()
