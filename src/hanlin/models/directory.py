"""A model directory, as Hugging Face's readers expect it, in and out.

config.json, model.safetensors (or shards with model.safetensors.index.json),
generation_config.json, the tokenizer's files, and hanlin.json with the provenance. Weights are
mapped, not read, until used; a directory is written beside its place and renamed into it, so it is
there whole or not at all.
"""

import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from hanlin.errors import FormatError, HanlinError, NotFoundError
from hanlin.models.config import ModelConfig
from hanlin.models.exchange import exchange, sync
from hanlin.models.families import describe, family_of
from hanlin.models.layers import Linear
from hanlin.models.transformer import Transformer
from hanlin.models.weights import Respelled, Tensors, gather, refuse_unknown, scatter

if TYPE_CHECKING:
    from hanlin.tokenizers import Tokenizer

DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float64": torch.float64,
}

SPECIAL = ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id")


class Shards:
    """The tensors of one or several safetensors files, mapped into memory."""

    def __init__(self, directory: Path) -> None:
        self._where: dict[str, Any] = {}
        for path in self._paths(directory):
            try:
                shard = safe_open(path, framework="pt")
            except (SafetensorError, OSError) as error:
                raise FormatError(
                    f"{path} is not a whole safetensors file ({error}). Fetch or write it again."
                ) from error
            names: list[str] = shard.keys()  # type: ignore[no-untyped-call]
            for name in names:
                self._where[name] = shard

    @staticmethod
    def _paths(directory: Path) -> list[Path]:
        whole, index = directory / "model.safetensors", directory / "model.safetensors.index.json"
        if whole.is_file():
            return [whole]
        if index.is_file():
            where = read_json(index).get("weight_map")
            if not isinstance(where, dict) or not where:
                raise FormatError(f"{index} has no weight_map. Fetch or write it again.")
            shards = sorted(set(map(str, where.values())))
            for shard in shards:
                if Path(shard).name != shard or not (directory / shard).is_file():
                    raise NotFoundError(f"{index} names {shard}, which is not there. Fetch it too.")
            return [directory / shard for shard in shards]
        other = [p.name for p in directory.glob("*.bin")] + [p.name for p in directory.glob("*.pt")]
        hint = (
            f"It has {other[0]}, a pickle, which hanlin never reads: convert it to safetensors."
            if other
            else "It needs model.safetensors."
        )
        raise NotFoundError(f"{directory} holds no weights. {hint}")

    @property
    def tensor_names(self) -> list[str]:
        """Every tensor there is."""
        return list(self._where)

    def tensor(self, name: str, dtype: torch.dtype | None = None) -> Tensor:
        """One tensor, converted to `dtype` unless None."""
        tensor: Tensor = self._where[name].get_tensor(name)
        if not tensor.is_floating_point():
            raise FormatError(
                f"{name} holds {tensor.dtype}, not real numbers: the weights are packed in a way "
                "hanlin does not read. Use the unquantised model, or a .gguf file."
            )
        return tensor if dtype is None else tensor.to(dtype)

    def shape(self, name: str) -> tuple[int, ...]:
        """One tensor's shape, without reading it."""
        return tuple(self._where[name].get_slice(name).get_shape())


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file; raises FormatError or NotFoundError naming the file."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NotFoundError(f"There is no {path}. Is {path.parent} a model directory?") from None
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise FormatError(f"{path} is not JSON ({error}). Fetch or write it again.") from error
    if not isinstance(value, dict):
        raise FormatError(f"{path} must hold a JSON object. Fetch or write it again.")
    return value


def read_config(directory: Path) -> ModelConfig:
    """The ModelConfig of a directory, with the end tokens of its generation_config.json."""
    raw = read_json(directory / "config.json")
    generation = directory / "generation_config.json"
    if generation.is_file():
        extra = read_json(generation)
        for name in SPECIAL:
            if extra.get(name) is not None:
                raw[name] = extra[name]
    return family_of(raw.get("model_type", "")).read(raw)


def build(
    config: ModelConfig, tensors: Tensors, *, dtype: torch.dtype | None = None, lazy: bool = False
) -> Transformer:
    """A Transformer with these weights, in `dtype` (None: as stored); nothing is initialised.

    With `lazy` the matrices of linear layers are checked and left for `inference.prepare` to read.
    """
    family = family_of(config.family)
    config = family.fit(config, tensors)
    table = family.weights(config)
    tied = family.tied(config)
    wanted = [name for source in table.values() for name in source.names]
    tensors = Respelled(tensors, [*wanted, *tied], family.spellings)
    names = tensors.tensor_names
    # A bare encoder has a pooler if its file has one; no key of config.json says.
    if config.pooler and config.head == "none" and table["pooler.weight"].names[0] not in names:
        config = config.with_changes(pooler=False)
        table = family.weights(config)
    ignored = [name for name in names if re.match(family.ignored, name)]
    refuse_unknown(names, table, [*tied, *ignored])
    for copy, original in tied.items():
        if {copy, original} <= set(names) and not torch.equal(
            tensors.tensor(copy), tensors.tensor(original)
        ):
            raise FormatError(
                f"config.json ties {copy} to {original}, but the weights differ. "
                "Set tie_word_embeddings to false."
            )
    state = gather(table, tensors, dtype)
    with torch.device("meta"):
        model = Transformer(config)
    expected = {name: p.shape for name, p in model.named_parameters()}
    for name, unread in state.items():
        if name not in expected:
            raise AssertionError(f"{config.family}'s table names {name}, which the model lacks")
        if unread.shape != expected[name]:
            raise FormatError(
                f"{' + '.join(table[name].names)} has shape {list(unread.shape)}; config.json "
                f"calls for {list(expected[name])}."
            )
    missing = set(expected) - set(state)
    assert not missing, f"{config.family}'s table lacks {sorted(missing)}"
    if lazy:
        for name, module in model.named_modules():
            if isinstance(module, Linear) and f"{name}.weight" in state:
                module.unread = state.pop(f"{name}.weight")
    weights = {name: unread() for name, unread in state.items()}
    model.load_state_dict(weights, assign=True, strict=False)
    if config.tie_embeddings and config.head in ("language-model", "masked-lm"):
        model.head.projection.weight = model.embedding.weight  # type: ignore[union-attr]
    return model.eval()


def load_directory(
    directory: Path, *, dtype: torch.dtype | None = None, lazy: bool = False
) -> Transformer:
    """The model of a directory; raises FormatError or NotFoundError saying what is wrong."""
    return build(read_config(directory), Shards(directory), dtype=dtype, lazy=lazy)


def save_directory(
    model: Transformer,
    directory: str | Path,
    *,
    tokenizer: "Tokenizer | None" = None,
    generation: Mapping[str, Any] | None = None,
    provenance: Mapping[str, Any] | None = None,
    shard_bytes: int = 5_000_000_000,
) -> Path:
    """Write a directory that transformers reads; replaces a model directory that is there.

    Files of the old directory that are not part of a model (notes, logs) stay.

    Raises HanlinError if something else is in the way or the disk is full, ConfigError if the
    family cannot say all of the model's config; then nothing has changed.
    """
    target = Path(directory)
    if target.exists() and not _is_replaceable(target):
        raise HanlinError(f"{target} exists and is not a model directory. Choose another place.")
    describe(model.config)
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        write_files(
            model,
            draft,
            tokenizer=tokenizer,
            generation=generation,
            provenance=provenance,
            shard_bytes=shard_bytes,
        )
        draft.chmod(0o755)
        if target.exists():
            _replace(target, draft)
        else:
            draft.rename(target)
        sync(target.parent)
    except (OSError, SafetensorError) as error:
        raise HanlinError(
            f"Could not write {target} ({error}). Free some space or choose "
            "another place; nothing was changed."
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return target


def _is_replaceable(target: Path) -> bool:
    """Whether `target` is an empty directory or a model's."""
    if not target.is_dir():
        return False
    if not any(target.iterdir()):
        return True
    config = target / "config.json"
    return config.is_file() and "model_type" in read_json(config)


def _replace(target: Path, draft: Path) -> None:
    """Put `draft` where `target` is; a kill at any moment leaves one of the two there, whole."""
    _keep_the_rest(target, draft)
    if exchange(draft, target):
        return
    old = draft.with_name(draft.name + ".old")
    target.rename(old)
    try:
        draft.rename(target)
    except OSError:
        old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _keep_the_rest(old: Path, draft: Path) -> None:
    """Link into the draft what the new model does not replace, except what described the old."""
    for entry in old.iterdir():
        stale = re.fullmatch(
            r"model.*\.safetensors(\.index\.json)?|(generation_config|hanlin)\.json", entry.name
        )
        kept = draft / entry.name
        if stale or kept.exists():
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.copytree(entry, kept, symlinks=True, copy_function=_link)
        else:
            _link(str(entry), str(kept))


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target, follow_symlinks=False)  # a file system without links


def write_files(
    model: Transformer,
    directory: Path,
    *,
    tokenizer: "Tokenizer | None" = None,
    generation: Mapping[str, Any] | None = None,
    provenance: Mapping[str, Any] | None = None,
    shard_bytes: int = 5_000_000_000,
) -> None:
    """Write a model's files into a directory that is there and that nobody reads yet.

    They are on the disk when this returns. Raises `OSError` or `SafetensorError`, and `ConfigError`
    as `save_directory` does.
    """
    config = model.config
    family = family_of(config.family)
    raw = describe(config) | {"dtype": str(model.dtype).removeprefix("torch.")}
    _write_json(directory / "config.json", raw)
    tensors = scatter(family.weights(config), dict(model.named_parameters()))
    _write_shards(tensors, directory, shard_bytes)
    if config.head == "language-model":
        tokens = (*SPECIAL, "forced_bos_token_id", "forced_eos_token_id")
        defaults = {name: raw[name] for name in tokens if raw.get(name) is not None}
        _write_json(directory / "generation_config.json", defaults | dict(generation or {}))
    if tokenizer is not None:
        tokenizer.save(directory)
    if provenance is not None:
        _write_json(directory / "hanlin.json", dict(provenance))
    for entry in directory.iterdir():
        sync(entry)
    sync(directory)


def _write_shards(tensors: dict[str, Tensor], draft: Path, shard_bytes: int) -> None:
    shards: list[dict[str, Tensor]] = [{}]
    filled = 0
    for name, tensor in tensors.items():
        size = tensor.numel() * tensor.element_size()
        if shards[-1] and filled + size > shard_bytes:
            shards.append({})
            filled = 0
        shards[-1][name] = tensor
        filled += size
    metadata = {"format": "pt"}
    if len(shards) == 1:
        save_file(shards[0], draft / "model.safetensors", metadata)
        return
    where: dict[str, str] = {}
    for number, shard in enumerate(shards, 1):
        name = f"model-{number:05}-of-{len(shards):05}.safetensors"
        save_file(shard, draft / name, metadata)
        where |= dict.fromkeys(shard, name)
    total = sum(t.numel() * t.element_size() for t in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": where}
    _write_json(draft / "model.safetensors.index.json", index)


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    path.write_text(text, encoding="utf-8")
