"""From the data section of a run to what it learns from: a tokenizer, and two parts of tokens.

Raw text is prepared into ``OUTPUT/data`` once; a run that goes on reads what was prepared then,
whatever has become of the sources. Directories of token shards are read where they are.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hanlin.data.examples import Examples, TokenSource
from hanlin.data.prepare import prepare
from hanlin.data.shards import MANIFEST, TokenShards, end_token, read_manifest
from hanlin.data.split import split
from hanlin.errors import ConfigError
from hanlin.models.exchange import sync
from hanlin.models.named import resolve
from hanlin.models.new import NEW
from hanlin.text.read import read_documents
from hanlin.text.reading import ReadSettings
from hanlin.tokenizers import Tokenizer
from hanlin.tokenizers import train as learn
from hanlin.tokenizers.bytelevel import around
from hanlin.tokenizers.train import SPECIAL_TOKENS
from hanlin.training.config import DataSettings, TrainConfig
from hanlin.training.objectives import RecordObjective, on_records
from hanlin.training.task_records import read_parts, records_hash, texts_of

_LEARN_FROM = 50_000_000  # characters a tokenizer is learnt from: more changes little


_NEEDED: dict[str, tuple[str, ...]] = {
    "causal-lm": (),
    "masked-lm": ("<pad>", "<mask>"),
    "span-corruption": ("<pad>", *(f"<extra_id_{number}>" for number in range(100))),
    "denoising": ("<pad>", "<mask>"),
    "seq2seq": ("<pad>",),
}
"""Special tokens that an objective needs of a tokenizer, beside those its kind has anyway."""


_CLOSED = ("span-corruption", "denoising", "seq2seq")
"""Objectives whose encoder reads texts that are closed by the end token. A tokenizer learnt for one
closes them itself, so that the model reads its source in use as it did in training."""


Part = TokenSource | list[Any]
"""Tokens, or the records of a task."""


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """What a run learns from and is measured on."""

    tokenizer: Tokenizer
    train: Part
    validation: Part | None
    replay: Part | None = None
    """Old data, some of which is read between the new."""
    hashes: Mapping[str, str]
    """Of the tokens of each part, by name; equal where the tokens are."""

    @property
    def records(self) -> Sequence[Any]:
        """The records a task learns from, old ones too; none of what learns from text."""
        old = self.replay if isinstance(self.replay, list) else []
        return [*self.train, *old] if isinstance(self.train, list) else ()


def size_of(part: Part | None, examples: Examples | None) -> tuple[int, int]:
    """Tokens and documents (records) of a part; 0 of what is not there.

    examples: made of it; they alone know how many tokens records have.
    """
    if part is None:
        return 0, 0
    if isinstance(part, list):
        lengths = None if examples is None else examples.lengths
        return (0 if lengths is None else int(lengths.sum())), len(part)
    return part.tokens, part.documents


def read_corpus(config: TrainConfig, *, again: bool, tell: Callable[[str], None]) -> Corpus:
    """The text of a run, prepared where it is raw; `tell` hears what is done meanwhile.

    again: the run was begun before, and takes what was prepared then.
    Raises `ConfigError`, `NotFoundError` and what `prepare` raises.
    """
    data, folder = config.data, config.output / "data"
    objective = config.objective.build()
    if on_records(objective):
        return _task(config, objective, folder, again, tell)
    sides = [shards_of(Path(source)) for source in data.train]
    if any(sides):
        if len(sides) > 1:
            raise ConfigError(
                "data.train names a directory of token shards among others. Name one such "
                "directory, or raw text only."
            )
        train = sides[0]
        assert train is not None
        tokenizer = _same_tokenizer(config, train)
    elif again and (folder / "train" / MANIFEST).is_file():
        train = TokenShards.open(folder / "train")
        tokenizer = train.tokenizer
    else:
        tokenizer = _tokenizer(config, folder, again, tell)
        train = _prepared(data.train, folder / "train", tokenizer, data, again, tell)
    held = _validation(config, train, tokenizer, folder, again, tell)
    hashes = {"train": train.hash}
    old = None
    if data.replay is not None:
        sources = data.replay.sources
        old = _given(sources, "replay", tokenizer) or _prepared(
            sources, folder / "replay", tokenizer, data, again, tell
        )
        hashes["replay"] = old.hash
    whole: dict[str, Any] = {"tokenizer": tokenizer, "replay": old, "hashes": hashes}
    if isinstance(held, TokenShards):
        hashes["validation"] = held.hash
        return Corpus(train=train, validation=held, **whole)
    if held is None:
        return Corpus(train=train, validation=None, **whole)
    parts = split(train, held, seed=config.seed)
    hashes["validation"] = f"{held:g} of train by {parts.how}"
    return Corpus(train=parts.train, validation=parts.validation, **whole)


def _task(
    config: TrainConfig,
    objective: RecordObjective,
    folder: Path,
    again: bool,
    tell: Callable[[str], None],
) -> Corpus:
    """The records of a task, which are read anew each time and held in memory."""
    train, held = read_parts(config, objective, tell=tell)
    parts = {"train": train, **({"validation": held} if held else {})}
    old: list[Any] | None = None
    if config.data.replay is not None:
        parts["replay"] = old = objective.read(config.data.replay.sources, config.data, tell=tell)
    return Corpus(
        tokenizer=_tokenizer(config, folder, again, tell, lambda: texts_of(train)),
        train=train,
        validation=held or None,
        replay=old,
        hashes={name: records_hash(part) for name, part in parts.items()},
    )


def shards_of(source: Path) -> TokenShards | None:
    """The token shards a source names, itself or by its side ``train``; None for raw text."""
    for place in (source, source / "train"):
        # Clean documents, which `prepare` makes without a tokenizer, have a manifest too.
        if (manifest := read_manifest(place)) is not None and manifest.get("tokenizer"):
            return TokenShards.open(place)
    return None


def _validation(
    config: TrainConfig,
    train: TokenShards,
    tokenizer: Tokenizer,
    folder: Path,
    again: bool,
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
    return _given(data.validation, "validation", tokenizer) or _prepared(
        data.validation, folder / "validation", tokenizer, data, again, tell
    )


def _given(sources: Sequence[str], part: str, tokenizer: Tokenizer) -> TokenShards | None:
    """The token shards that `sources` name for a part beside the training part; None for raw
    text."""
    sides = [shards_of(Path(source)) for source in sources]
    if not any(sides):
        return None
    found = sides[0]
    if len(sides) > 1 or found is None:
        raise ConfigError(
            f"data.{part} names a directory of token shards among others. Name one such directory, "
            "or raw text only."
        )
    if found.manifest["tokenizer"]["hash"] != tokenizer.hash:
        raise ConfigError(
            f"The {part} part in {found.directory} was made with another tokenizer than the "
            "training part. Prepare it again."
        )
    return found


def _prepared(
    sources: Sequence[str],
    target: Path,
    tokenizer: Tokenizer,
    data: DataSettings,
    again: bool,
    tell: Callable[[str], None],
) -> TokenShards:
    if again and (target / MANIFEST).is_file():
        return TokenShards.open(target)
    made = prepare(sources, target, tokenizer=tokenizer, field=data.field, progress=True)
    if made.made:
        tell(
            f"Prepared {made.kept} documents, {made.tokens} tokens from {made.bytes / 1e6:.2f} MB "
            f"of text into {target}."
        )
    for problem in made.problems[:5]:
        tell(problem)
    return TokenShards.open(target)


def _same_tokenizer(config: TrainConfig, shards: TokenShards) -> Tokenizer:
    if config.tokenizer is None:
        return shards.tokenizer
    if not isinstance(config.tokenizer, str):
        raise ConfigError(
            "data.train is token shards, which have their tokenizer with them. Remove tokenizer, "
            "or name the raw text."
        )
    named = Tokenizer.load(resolve(config.tokenizer))
    if named.hash != shards.manifest["tokenizer"]["hash"]:
        raise ConfigError(
            f"{shards.directory} was made with another tokenizer than {config.tokenizer}. Remove "
            "tokenizer, or prepare the text again."
        )
    return named


def _tokenizer(
    config: TrainConfig,
    folder: Path,
    again: bool,
    tell: Callable[[str], None],
    texts: Callable[[], Iterator[str]] | None = None,
) -> Tokenizer:
    """The tokenizer for raw text: named, the model's own, or learnt from the text (or from `texts`)
    once."""
    if (given := given_tokenizer(config)) is not None:
        return given
    if config.tokenizer is None:
        raise ConfigError(
            "A fresh model on raw text needs a tokenizer. Name a directory, or have one learnt: "
            "tokenizer: {kind: bpe, vocab_size: 8192}."
        )
    assert isinstance(config.tokenizer, dict)
    kept = folder / "tokenizer"
    if again and kept.is_dir():
        return Tokenizer.load(kept)
    tell(f"Learning a tokenizer ({', '.join(f'{k} {v}' for k, v in config.tokenizer.items())}).")
    learnt = learn_tokenizer(config, texts() if texts else _raw(config))
    draft = folder / ".tokenizer.partial"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    learnt.save(draft)
    for path in [*draft.iterdir(), draft]:
        sync(path)
    shutil.rmtree(kept, ignore_errors=True)
    draft.rename(kept)
    return Tokenizer.load(kept)


def given_tokenizer(config: TrainConfig) -> Tokenizer | None:
    """The tokenizer that is named, or the model's own with the special tokens asked for; None where
    one is to be learnt."""
    if isinstance(config.tokenizer, str):
        return Tokenizer.load(resolve(config.tokenizer))
    if not isinstance(config.model, str):
        return None
    own = Tokenizer.load(resolve(config.model))
    return own if config.tokenizer is None else own.with_special(config.tokenizer["special_tokens"])


def learn_tokenizer(config: TrainConfig, texts: Iterator[str]) -> Tokenizer:
    """The tokenizer that the settings describe, learnt from `texts`; writes nothing."""
    assert isinstance(config.tokenizer, dict)
    settings: dict[str, Any] = {"kind": "bpe", **config.tokenizer}
    own = SPECIAL_TOKENS.get(settings["kind"], ())
    if "special_tokens" not in settings and "[MASK]" not in own:
        needed = _NEEDED.get(config.objective.name, ("<pad>",))
        settings["special_tokens"] = list(dict.fromkeys([*own, *needed]))
    learnt = learn(_enough(texts), **settings)
    reads = isinstance(config.model, dict) and NEW[config.model["family"]].shape != "decoder"
    closed = reads and config.objective.name in _CLOSED
    if closed and learnt.encode("a")[-1] != end_token(learnt):
        around(learnt.backend, after=[learnt.decode([end_token(learnt)])])
    return learnt


def _enough(texts: Iterator[str]) -> Iterator[str]:
    """Text to learn a tokenizer from: as much as makes a difference."""
    size = 0
    for text in texts:
        yield text
        size += len(text)
        if size > _LEARN_FROM:
            return


def _raw(config: TrainConfig) -> Iterator[str]:
    settings = ReadSettings(field=config.data.field)
    for document in read_documents(config.data.train, settings=settings):
        yield document.text
