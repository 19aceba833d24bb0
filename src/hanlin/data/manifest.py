"""What a prepared directory says of itself: its sources, what was kept and dropped, and hashes."""

import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hanlin.data.draft import Draft, Layout, writing
from hanlin.data.plan import Planned, recorded
from hanlin.data.shards import FORMAT, LAYOUT, MANIFEST, TOKENIZER, read_manifest, shards_hash
from hanlin.provenance import file_hash

if TYPE_CHECKING:
    from hanlin.tokenizers import Tokenizer

DOCUMENTS = "hanlin documents"
"""The format of a directory of JSON lines."""


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What `prepare` made."""

    path: Path
    documents: int
    """Documents that were found."""
    kept: int
    dropped: dict[str, int]
    """Documents and files that were left out, by reason."""
    bytes: int
    """UTF-8 bytes of the text that was kept."""
    tokens: int | None
    """End tokens included; None where there was no tokenizer."""
    replaced: int
    """U+FFFD put where bytes were not text."""
    problems: tuple[str, ...]
    """What was wrong with single files, in words."""
    sides: dict[str, dict[str, int]]
    """Documents, bytes and tokens of train and validation, where they were split."""
    hidden: int
    """Hidden files and folders that were left out."""
    made: int
    """Units made in this run; the others were there already."""
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return {**asdict(self), "path": str(self.path), "seconds": round(self.seconds, 3)}


def dropped_reasons(units: Sequence[dict[str, Any]]) -> dict[str, int]:
    dropped: Counter[str] = Counter()
    for unit in units:
        dropped.update(unit["account"]["dropped"])
    return dict(sorted(dropped.items()))


def source_list(
    planned: Sequence[Planned], units: Sequence[dict[str, Any]], licence: str | None
) -> list[dict[str, Any]]:
    """What the manifest says of each file."""
    listed = []
    for one, own in recorded(planned, units):
        accounts = [unit["account"] for unit in own]
        dropped = dropped_reasons(own)
        kept = sum(account["kept"] for account in accounts)
        encodings = [account["encoding"] for account in accounts if account["encoding"]]
        listed.append(
            {
                "path": one.file.name,
                "size": one.file.size,
                "sha256": one.sha256,
                "format": one.file.format,
                "compression": one.file.compression,
                "encoding": encodings[-1] if encodings else None,
                "licence": licence,
                "documents": kept + sum(dropped.values()),
                "kept": kept,
                "dropped": dropped,
                "replaced": sum(account["replaced"] for account in accounts),
                "bytes": sum(account["bytes"] for account in accounts),
                "tokens": sum(account["tokens"] for account in accounts),
                "problems": [text for account in accounts for text in account["problems"]],
            }
        )
    return listed


def write_manifest(
    draft: Draft, number: int, tokenizer: "Tokenizer | None", facts: dict[str, Any]
) -> None:
    """Write the manifest of one side."""
    directory = draft.directory / draft.layout.sides[number]
    counted = "bytes" if tokenizer is None else "tokens"
    shards = []
    for at, held in enumerate(draft.shards(number)):
        files = {}
        for name in (f"{at:05}{end}" for end in draft.layout.files):
            path = directory / name
            path.touch()
            files[name] = {"bytes": path.stat().st_size, "sha256": file_hash(path)}
        shards.append({counted: held["size"], "documents": held["documents"], "files": files})
    tokenizer_hash = "" if tokenizer is None else tokenizer.hash
    dropped: Counter[str] = Counter()
    for source in facts["sources"]:
        dropped.update(source["dropped"])
    kept = sum(shard["documents"] for shard in shards)
    manifest = {
        "format": DOCUMENTS if tokenizer is None else FORMAT,
        "layout": LAYOUT,
        "hash": shards_hash(shards, tokenizer_hash),
        "kept": kept,
        "dropped": dict(sorted(dropped.items())),
        "bytes": 0,
        "tokens": 0,
        "dtype": draft.layout.dtype,
        "tokenizer": None,
        "shards": shards,
        **facts,
    }
    if tokenizer is not None:
        manifest["tokenizer"] = {"hash": tokenizer.hash, "vocab_size": tokenizer.vocab_size}
        manifest["tokens"] = sum(shard["tokens"] for shard in shards)
        if directory != draft.directory:
            with writing(directory):
                tokenizer.save(directory / TOKENIZER)
    manifest["bytes"] = draft.text_bytes(number)
    with writing(directory):
        text = json.dumps(manifest, ensure_ascii=False, indent=1)
        (directory / MANIFEST).write_text(text + "\n", encoding="utf-8")


def result(
    target: Path,
    layout: Layout,
    units: Sequence[dict[str, Any]],
    *,
    hidden: int,
    made: int,
    started: float,
) -> Prepared:
    dropped = dropped_reasons(units)
    manifests = {side: read_manifest(target / side) or {} for side in layout.sides}
    sides = {
        side: {name: manifest[name] for name in ("kept", "bytes", "tokens")}
        for side, manifest in manifests.items()
        if side
    }
    kept = sum(manifest["kept"] for manifest in manifests.values())
    tokens = sum(manifest["tokens"] for manifest in manifests.values())
    return Prepared(
        path=target,
        documents=kept + sum(dropped.values()),
        kept=kept,
        dropped=dropped,
        bytes=sum(manifest["bytes"] for manifest in manifests.values()),
        tokens=None if layout.dtype is None else tokens,
        replaced=sum(unit["account"]["replaced"] for unit in units),
        problems=tuple(text for unit in units for text in unit["account"]["problems"]),
        sides=sides,
        hidden=hidden,
        made=made,
        seconds=time.monotonic() - started,
    )
