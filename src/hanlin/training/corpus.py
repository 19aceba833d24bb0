"""From the data section of a run to what it learns from: a tokenizer, and two parts of tokens.

Raw text is prepared into ``OUTPUT/data`` once; a run that goes on reads what was prepared then,
whatever has become of the sources. Directories of token shards are read where they are.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hanlin.data.examples import TokenSource
from hanlin.data.prepare import prepare
from hanlin.data.shards import MANIFEST, TokenShards
from hanlin.data.split import split
from hanlin.errors import ConfigError
from hanlin.models.exchange import sync
from hanlin.models.named import resolve
from hanlin.text.read import read_documents
from hanlin.text.reading import ReadSettings
from hanlin.tokenizers import Tokenizer
from hanlin.tokenizers import train as learn
from hanlin.training.config import DataSettings, TrainConfig

_LEARN_FROM = 50_000_000  # characters a tokenizer is learnt from: more changes little


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """What a run learns from and is measured on."""

    tokenizer: Tokenizer
    train: TokenSource
    validation: TokenSource | None
    hashes: Mapping[str, str]
    """Of the tokens of each part, by name; equal where the tokens are."""


def read_corpus(config: TrainConfig, *, tell: Callable[[str], None]) -> Corpus:
    """The text of a run, prepared where it is raw; `tell` hears what is done meanwhile.

    Raises `ConfigError`, `NotFoundError` and what `prepare` raises.
    """
    data, folder = config.data, config.output / "data"
    sides = [_shards(Path(source)) for source in data.train]
    if any(sides):
        if len(sides) > 1:
            raise ConfigError(
                "data.train names a directory of token shards among others. Name one such "
                "directory, or raw text only."
            )
        train = sides[0]
        assert train is not None
        tokenizer = _same_tokenizer(config, train)
    else:
        tokenizer = _tokenizer(config, folder, tell)
        train = _prepared(data.train, folder / "train", tokenizer, data, tell)
    held = _validation(config, train, tokenizer, folder, tell)
    if isinstance(held, TokenShards):
        return Corpus(
            tokenizer=tokenizer,
            train=train,
            validation=held,
            hashes={"train": train.hash, "validation": held.hash},
        )
    hashes = {"train": train.hash}
    if held is None:
        return Corpus(tokenizer=tokenizer, train=train, validation=None, hashes=hashes)
    parts = split(train, held, seed=config.seed)
    hashes["validation"] = f"{held:g} of train by {parts.how}"
    return Corpus(
        tokenizer=tokenizer, train=parts.train, validation=parts.validation, hashes=hashes
    )


def _shards(source: Path) -> TokenShards | None:
    """The token shards a source names, itself or by its side ``train``; None for raw text."""
    if (source / MANIFEST).is_file():
        return TokenShards.open(source)
    if (source / "train" / MANIFEST).is_file():
        return TokenShards.open(source / "train")
    return None


def _validation(
    config: TrainConfig,
    train: TokenShards,
    tokenizer: Tokenizer,
    folder: Path,
    tell: Callable[[str], None],
) -> TokenShards | float | None:
    """The validation part, or the share of the training part that it is."""
    data = config.data
    own = train.directory.with_name("validation")
    prepared_apart = train.directory.name == "train" and own != folder / "validation"
    if prepared_apart and data.validation_share is not None and (own / MANIFEST).is_file():
        tell(f"The validation part is {own}, which was prepared with the training part.")
        return TokenShards.open(own)
    if not data.validation:
        return None
    if data.validation_share is not None:
        return data.validation_share
    sides = [_shards(Path(source)) for source in data.validation]
    if any(sides):
        held = sides[0]
        if len(sides) > 1 or held is None:
            raise ConfigError(
                "data.validation names a directory of token shards among others. Name one such "
                "directory, or raw text only."
            )
        if held.manifest["tokenizer"]["hash"] != tokenizer.hash:
            raise ConfigError(
                f"The validation part in {held.directory} was made with another tokenizer than the "
                "training part. Prepare it again."
            )
        return held
    return _prepared(data.validation, folder / "validation", tokenizer, data, tell)


def _prepared(
    sources: Sequence[str],
    target: Path,
    tokenizer: Tokenizer,
    data: DataSettings,
    tell: Callable[[str], None],
) -> TokenShards:
    if (target / MANIFEST).is_file():
        shards = TokenShards.open(target)
        if shards.manifest["tokenizer"]["hash"] == tokenizer.hash:
            return shards
    made = prepare(sources, target, tokenizer=tokenizer, field=data.field, progress=True)
    tell(
        f"Prepared {made.kept} documents, {made.tokens} tokens from {made.bytes / 1e6:.2f} MB of "
        f"text into {target}."
    )
    for problem in made.problems[:5]:
        tell(problem)
    return TokenShards.open(target)


def _same_tokenizer(config: TrainConfig, shards: TokenShards) -> Tokenizer:
    if config.tokenizer is None:
        return shards.tokenizer
    if not isinstance(config.tokenizer, str):
        raise ConfigError(
            "data.train is token shards, which have their tokenizer with them. Remove tokenizer."
        )
    named = Tokenizer.load(resolve(config.tokenizer))
    if named.hash != shards.manifest["tokenizer"]["hash"]:
        raise ConfigError(
            f"{shards.directory} was made with another tokenizer than {config.tokenizer}. Remove "
            "tokenizer, or prepare the text again."
        )
    return named


def _tokenizer(config: TrainConfig, folder: Path, tell: Callable[[str], None]) -> Tokenizer:
    """The tokenizer for raw text: named, the model's own, or learnt from the text once."""
    if isinstance(config.tokenizer, str):
        return Tokenizer.load(resolve(config.tokenizer))
    if config.tokenizer is None:
        if isinstance(config.model, str):
            return Tokenizer.load(resolve(config.model))
        raise ConfigError(
            "A fresh model on raw text needs a tokenizer. Name a directory, or have one learnt: "
            "tokenizer: {kind: bpe, vocab_size: 8192}."
        )
    kept = folder / "tokenizer"
    if kept.is_dir():
        return Tokenizer.load(kept)
    tell(f"Learning a tokenizer ({', '.join(f'{k} {v}' for k, v in config.tokenizer.items())}).")
    settings: dict[str, Any] = {"kind": "bpe", **config.tokenizer}
    learnt = learn(_texts(config.data), **settings)
    draft = folder / ".tokenizer.partial"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    learnt.save(draft)
    sync(draft)
    draft.rename(kept)
    return Tokenizer.load(kept)


def _texts(data: DataSettings) -> Iterator[str]:
    size = 0
    for document in read_documents(data.train, settings=ReadSettings(field=data.field)):
        yield document.text
        size += len(document.text)
        if size > _LEARN_FROM:
            return
