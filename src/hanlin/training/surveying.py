"""A look at a run's text before anything is prepared: how much there is, and how hard it is."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hanlin.data.forecast import forecast as forecast_text
from hanlin.models.config import ModelConfig
from hanlin.models.directory import read_config as read_model_config
from hanlin.models.named import resolve
from hanlin.models.new import new_config
from hanlin.text.read import read_documents
from hanlin.text.reading import ReadSettings
from hanlin.tokenizers import Tokenizer
from hanlin.training.config import TrainConfig
from hanlin.training.corpus import given_tokenizer, shards_of
from hanlin.training.forecast import CorpusFacts
from hanlin.training.objectives import Distil, on_records
from hanlin.training.scaling import SAMPLE, difficulty
from hanlin.training.starting_model import with_room
from hanlin.training.task_records import texts_of

_TEXTS = 40_000
"""Encoded, to tell how many tokens there are."""
_BYTES_PER_TOKEN = 4.0
"""Of a tokenizer that is still to be learnt."""


def survey(config: TrainConfig) -> tuple[CorpusFacts, Tokenizer | None]:
    """The text of a run, and its tokenizer unless that is still to be learnt; writes nothing.

    Token shards are counted, raw text is told from a sample. Raises what reading them raises.
    """
    shards = [found for source in config.data.train if (found := shards_of(Path(source)))]
    if shards:
        sample = shards[0].tokenizer.decode(shards[0].read(0, min(shards[0].tokens, SAMPLE // 3)))
        facts = CorpusFacts(
            tokens=sum(one.tokens for one in shards),
            bytes=sum(one.bytes for one in shards),
            documents=sum(one.documents for one in shards),
            difficulty=difficulty(sample.encode()),
        )
        return _without_validation(facts, config), shards[0].tokenizer
    tokenizer = given_tokenizer(config)
    objective = config.objective.build()
    if on_records(objective):
        records = objective.read(config.data.train, config.data, tell=lambda text: None)
        return _without_validation(_facts(records, tokenizer), config), tokenizer
    read = ReadSettings(field=config.data.field)
    told = forecast_text(
        config.data.train, config.output, read=read, tokenizer=tokenizer, stages=(), workers=None
    )
    facts = CorpusFacts(
        tokens=told.tokens or round(told.bytes / _BYTES_PER_TOKEN),
        bytes=told.bytes,
        documents=told.documents,
        difficulty=difficulty(_sample(config, read)),
        estimated=True,
    )
    return _without_validation(facts, config), tokenizer


def model_of(config: TrainConfig, tokenizer: Tokenizer | None) -> ModelConfig:
    """The model that a run trains, without its weights."""
    if isinstance(config.model, str):
        path = resolve(config.model)
        if path.is_dir():
            known = read_model_config(path)
        else:
            from hanlin.models import load

            known = load(config.model).config
        objective = config.objective.build()
        known = objective.started(known) if isinstance(objective, Distil) else known
        return known if tokenizer is None else with_room(known, tokenizer)
    given: dict[str, Any] = dict(config.model)
    family = given.pop("family")
    if tokenizer is None and "vocab_size" not in given:
        assert isinstance(config.tokenizer, dict)
        given["vocab_size"] = config.tokenizer.get("vocab_size", 8192)
    return new_config(family, tokenizer=tokenizer, **given)


def _without_validation(facts: CorpusFacts, config: TrainConfig) -> CorpusFacts:
    left = 1.0 - (config.data.validation_share or 0.0)
    return CorpusFacts(
        tokens=round(facts.tokens * left),
        bytes=round(facts.bytes * left),
        documents=round(facts.documents * left),
        difficulty=facts.difficulty,
        estimated=facts.estimated,
    )


def _sample(config: TrainConfig, read: ReadSettings) -> bytes:
    out = bytearray()
    for document in read_documents(config.data.train, settings=read):
        out += document.text.encode()
        if len(out) >= SAMPLE:
            break
    return bytes(out[:SAMPLE])


def _facts(records: Sequence[Any], tokenizer: Tokenizer | None) -> CorpusFacts:
    size = 0
    sampled: list[str] = []
    for text in texts_of(records):
        size += len(text.encode())
        if len(sampled) < _TEXTS:
            sampled.append(text)
    tokens = round(size / _BYTES_PER_TOKEN)
    if tokenizer is not None and sampled:
        encoded = sum(map(len, tokenizer.encode_batch(sampled)))
        tokens = round(encoded * size / max(1, sum(len(text.encode()) for text in sampled)))
    return CorpusFacts(tokens=tokens, bytes=size, documents=len(records), estimated=True)
