"""The network a run begins with: fresh, a reference as it is, or a reference with a task's head."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from hanlin.errors import ConfigError, FormatError
from hanlin.models import load as load_model
from hanlin.models.config import HeadKind, ModelConfig
from hanlin.models.directory import read_config as read_model_config
from hanlin.models.heading import with_head
from hanlin.models.lora.directory import base_of
from hanlin.models.lora.peft_config import is_adapter
from hanlin.models.named import resolve
from hanlin.models.new import new_config
from hanlin.models.pooling import Pooling
from hanlin.models.transfer import take_weights
from hanlin.models.transformer import Transformer
from hanlin.provenance import file_hash
from hanlin.tokenizers import Tokenizer
from hanlin.training.checkpoints import Checkpoint
from hanlin.training.config import TrainConfig
from hanlin.training.objectives import Distil, Embed, Objective, Prefer, on_records
from hanlin.training.resuming import refuse_other_models

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
    reference are there. A tokenizer without a padding token is given the one of a decoder that
    classifies. Raises `ConfigError` for a model that the objective cannot train, or that is not
    the one a run began with.
    """
    lora = settings.method.kind == "lora"
    again = _read_again(settings, objective)
    if found is not None:
        refuse_other_models(found.state["parents"], again)
    if isinstance(objective, Embed) and isinstance(settings.model, str):
        objective = _pooled_as(objective, settings.model, tell)
    if not isinstance(settings.model, str):
        given = dict(settings.model)
        family = given.pop("family")
        config = new_config(family, tokenizer=tokenizer, **given)
        config, objective = fitted_to(config, objective, records)
        torch.manual_seed(settings.seed)
        return Transformer(_padded(config, tokenizer)), objective, again
    if found is not None and not lora:
        config, objective = fitted_to(read_model_config(found.path), objective, records)
        return Transformer(_padded(config, tokenizer)), objective, found.state["parents"]
    reference = load_model(settings.model, dtype="float32")
    parents = again
    if settings.model not in again:
        parents = {settings.model: weights_hash(resolve(settings.model)), **again}
    _check(settings, objective, reference.config, tokenizer)
    if isinstance(objective, Distil):
        reference = objective.begin(reference)
    config, objective = fitted_to(reference.config, objective, records)
    config = with_room(_padded(config, tokenizer), tokenizer)
    if config == reference.config:
        network, fresh = reference, list[str]()
        for parameter in network.parameters():
            # Mapped from a file until now: training writes, and needs memory of its own.
            parameter.data = parameter.data.clone()
    else:
        torch.manual_seed(settings.seed)
        network = Transformer(config)
        fresh = take_weights(network, reference)
        if added := config.vocab_size - reference.config.vocab_size:
            tell(f"The vocabulary of {settings.model} has {added} more tokens now, whose vectors "
                 "begin near the mean of the others.")  # fmt: skip
        if fresh:
            tell(_told_fresh(fresh, config, reference.config))
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
    """The config with the head that the objective needs, and a task with what the records decide.

    Raises `ConfigError` where the model's family has no such head.
    """
    try:
        if not on_records(objective):
            head: HeadKind = "masked-lm" if config.shape == "encoder" else "language-model"
            return config if config.head == head else with_head(config, head), objective
        fit = getattr(objective, "fitted", None)
        fitted = objective if fit is None else fit(records, config)
        return fitted.adapt(config, records), fitted
    except FormatError as error:
        raise ConfigError(
            f"{error} So {objective.name} cannot train it. Choose a model of another family."
        ) from error


def _read_again(settings: TrainConfig, objective: Objective) -> dict[str, str]:
    """The models that a run reads also as it goes on, each with the hash of its weights."""
    names = [objective.teacher] if isinstance(objective, Distil) else []
    # A checkpoint holds neither what a LoRA stands on nor what preferences are held to.
    whole = settings.method.kind == "full" and not isinstance(objective, Prefer)
    if isinstance(settings.model, str) and not whole:
        names.insert(0, settings.model)
    return {name: weights_hash(resolve(name)) for name in names}


def _pooled_as(objective: Embed, model: str, tell: Tell) -> Embed:
    """What learns vectors, pooling as the files beside the model say, where nothing else is."""
    if objective.pooling is not None or not (resolve(model) / "modules.json").is_file():
        return objective
    try:
        base = Pooling.of(resolve(model))
    except FormatError as error:
        raise ConfigError(f"{error} Or set objective.pooling to train it without that.") from error
    tell(f"Vectors are pooled as those of {model}: {' and '.join(base.modes)}.")
    return objective.following(base)


def _padded(config: ModelConfig, tokenizer: Tokenizer) -> ModelConfig:
    """A decoder that classifies with a padding token, which the tokenizer is given too.

    By it other software finds the last token of a text, so no text may end with it.
    """
    if config.shape != "decoder" or config.head != "classify":
        return config
    last = tokenizer.encode("a")[-1:]
    named = (tokenizer.pad_id, tokenizer.eos_id, tokenizer.unk_id, tokenizer.bos_id)
    free = [token for token in named if token is not None and token not in last]
    pad = free[0] if config.pad_id is None and free else config.pad_id
    if pad is not None and tokenizer.pad_id is None:
        tokenizer.special = replace(tokenizer.special, pad=tokenizer.token(pad))
        tokenizer.pad_id = pad
    return config.with_changes(pad_id=pad)


def with_room(config: ModelConfig, tokenizer: Tokenizer) -> ModelConfig:
    """The config with a row for every token, also for those that the tokenizer was given now."""
    rows = max(config.vocab_size, tokenizer.vocab_size)
    return config.with_changes(vocab_size=rows)


def _told_fresh(fresh: Sequence[str], config: ModelConfig, reference: ModelConfig) -> str:
    told = f"New weights, drawn from the seed: {', '.join(fresh)}."
    new = [label for label in config.labels if label not in reference.labels]
    if config.head != reference.head or len(new) in (0, len(config.labels)):
        return told
    return f"{told} Of head.projection only the rows of {', '.join(new)}; the others stay."


def _check(
    settings: TrainConfig, objective: Objective, config: ModelConfig, tokenizer: Tokenizer
) -> None:
    learnt = objective.task if isinstance(objective, Distil) else objective
    if config.shape not in learnt.shapes:
        raise ConfigError(
            f"{settings.model} is {'an' if config.shape[0] == 'e' else 'a'} {config.shape}, and "
            f"{learnt.name} trains a {' or '.join(learnt.shapes)}. Choose another objective."
        )
    if tokenizer.vocab_size > config.vocab_size and not isinstance(settings.tokenizer, dict):
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
    """Of a model's weights: its file, or all files of its directory that hold some; of an adapter
    those of its base too."""
    if path.is_file():
        return file_hash(path)
    files = sorted(path.glob("*.safetensors"))
    if is_adapter(path):
        both = [weights_hash(base_of(path)), *map(file_hash, files)]
        return hashlib.sha256("".join(both).encode()).hexdigest()
    return hashlib.sha256("".join(map(file_hash, files)).encode()).hexdigest()
