"""Where a model came from, as its hanlin.json says: its task or objective, and what it learnt."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hanlin.data.shards import MANIFEST, TokenShards
from hanlin.errors import HanlinError
from hanlin.models.named import resolve


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What is known of how a model was made; nothing, of a model that hanlin did not train."""

    objective: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    """Of the objective."""
    task: Mapping[str, Any] = field(default_factory=dict)
    """What a task's run remembers: its `name`, what its labels mean, its columns or template."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """All settings of the run."""
    training: tuple[str, ...] = ()
    """Sources of its training text that are still there: files, or a directory of token shards."""
    field: str | None = None
    """Where in these files the text is."""

    @classmethod
    def of(cls, name: str) -> "Origin":
        """Read hanlin.json in the directory that a model's reference means."""
        try:
            directory = resolve(name)
            content = json.loads((directory / "hanlin.json").read_text(encoding="utf-8"))
            config = content["provenance"]["config"]
            objective, data = config["objective"], config["data"]
        except (HanlinError, OSError, ValueError, KeyError, TypeError):
            return cls()  # another's model, or one made by other means
        task = content.get("task")
        given = {"name": objective} if isinstance(objective, str) else dict(objective)
        if given.get("name") == "distil":
            # What a student learnt is its task; who taught it changes nothing in use.
            of = given.get("of") or (task.get("name") if isinstance(task, dict) else None)
            given = dict(of) if isinstance(of, dict) else {"name": of}
        sources = data.get("train", []) if isinstance(data, dict) else data
        sources = [sources] if isinstance(sources, str) else list(sources)
        return cls(
            objective=given.pop("name", None),
            options=given,
            task=task if isinstance(task, dict) else {},
            config=config,
            training=_still_there(sources, directory),
            field=data.get("field") if isinstance(data, dict) else None,
        )


def _still_there(sources: list[str], directory: Path) -> tuple[str, ...]:
    """The sources if all of them are there, else what was prepared of them beside the model."""
    found = [_shards(Path(source)) or _files(source) for source in sources]
    if found and all(found):
        return tuple(path for path in found if path)
    prepared = _shards(directory / "data")
    return (prepared,) if prepared else ()


def _files(source: str) -> str | None:
    path = Path(source).expanduser()
    return source if path.exists() or any(mark in source for mark in "*?[") else None


def _shards(path: Path) -> str | None:
    for place in (path, path / "train"):
        if (place / MANIFEST).is_file():
            return str(place)
    return None


def shard_texts(directory: str) -> Iterator[str]:
    """The documents of token shards as text, as far as their tokenizer gives it back."""
    shards = TokenShards.open(directory)
    for number in range(shards.documents):
        start, stop = shards.document_bounds(number)
        yield shards.tokenizer.decode(shards.read(start, stop - 1).tolist())
