"""Tokenizers in model directories: every layout Hugging Face models come in, and the one we write.

Reads ``tokenizer.json``; without it ``vocab.json`` with ``merges.txt`` (or OpenAI's
``encoder.json`` with ``vocab.bpe``), BERT's ``vocab.txt`` or a SentencePiece model.
``tokenizer_config.json`` and ``special_tokens_map.json`` name the special tokens,
``chat_template.jinja`` holds the template.
"""

import json
import os
from pathlib import Path
from typing import Any

from hanlin.errors import FormatError, NotFoundError
from hanlin.formats.gguf import GGUFFile
from hanlin.tokenizers.chat import ChatTemplate
from hanlin.tokenizers.gguf import from_gguf
from hanlin.tokenizers.layouts import Settings, from_merges, from_sentencepiece, from_vocab_txt
from hanlin.tokenizers.marian import MarianTokenizer
from hanlin.tokenizers.special import SpecialTokens
from hanlin.tokenizers.tokenizer import Tokenizer, backend_from_json

CONFIG = "tokenizer_config.json"
TEMPLATE = "chat_template.jinja"
_MERGES = (("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe"))
_SENTENCEPIECE = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model")


def load(path: Path) -> Tokenizer:
    """Read the tokenizer at `path`, a directory or a file; see `Tokenizer.load`."""
    if path.is_dir():
        if all((path / name).is_file() for name in ("source.spm", "target.spm", "vocab.json")):
            return MarianTokenizer.read(path, settings=_settings(path))
        return _load_file(_find(path), path)
    if not path.is_file():
        raise NotFoundError(f"There is no tokenizer at {path}. Give a model directory or a file.")
    return _load_file(path, path.parent, alone=True)


def _find(directory: Path) -> Path:
    names = ["tokenizer.json", *(vocab for vocab, _ in _MERGES), *_SENTENCEPIECE, "vocab.txt"]
    for name in names:
        if (directory / name).is_file():
            return directory / name
    models = sorted([*directory.glob("*.model"), *directory.glob("*.spm")])
    if len(models) == 1:
        return models[0]
    raise NotFoundError(
        f"There is no tokenizer in {directory}. It should hold one of: {', '.join(names)}."
    )


def _load_file(path: Path, directory: Path, *, alone: bool = False) -> Tokenizer:
    settings = _settings(directory)
    for vocab, merges in _MERGES:
        if path.name in (vocab, merges):
            return from_merges(_there(path.parent / vocab), _there(path.parent / merges), settings)
    if path.suffix in (".model", ".spm"):
        return from_sentencepiece(path, settings, alone=alone and not settings.config)
    if path.suffix == ".txt":
        return from_vocab_txt(path, settings)
    if path.suffix == ".json":
        return _from_json(path, settings)
    if path.suffix == ".gguf":
        return from_gguf(GGUFFile.open(path).metadata)
    raise FormatError(
        f"{path.name} is not a kind of tokenizer file that hanlin reads. Give tokenizer.json, "
        "vocab.json with merges.txt, vocab.txt, a SentencePiece .model or a .gguf."
    )


def _there(path: Path) -> Path:
    if not path.is_file():
        raise NotFoundError(
            f"There is no {path.name} beside the other half of the vocabulary in {path.parent}. "
            "A BPE tokenizer needs both files."
        )
    return path


def _from_json(path: Path, settings: Settings) -> Tokenizer:
    try:
        content = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise FormatError(f"{path.name} is not UTF-8. Write or download it again.") from error
    backend = backend_from_json(content, name=path.name)
    return settings.finish(backend, defaults=SpecialTokens(), complete=True)


def _settings(directory: Path) -> Settings:
    config = _json(directory / "special_tokens_map.json")
    config.update(_json(directory / CONFIG))
    stops = _json(directory / "generation_config.json").get("eos_token_id")
    template: ChatTemplate | None = None
    source = config.get("chat_template")
    if (directory / TEMPLATE).is_file():
        source = (directory / TEMPLATE).read_text(encoding="utf-8")
    if isinstance(source, list):  # several templates by name
        named = {entry.get("name"): entry.get("template") for entry in source}
        source = named.get("default")
    if isinstance(source, str) and source:
        template = ChatTemplate(source)
    return Settings(
        config=config,
        added=_json(directory / "added_tokens.json"),
        model_type=str(_json(directory / "config.json").get("model_type", "")),
        stops=tuple(stops) if isinstance(stops, list) else () if stops is None else (stops,),
        chat_template=template,
    )


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise FormatError(f"{path.name} is not valid JSON ({error}). Get it again.") from error
    if not isinstance(content, dict):
        raise FormatError(f"{path.name} is not a JSON object. Get it again.")
    return content


def save(tokenizer: Tokenizer, directory: Path) -> None:
    """Write `tokenizer` as transformers reads it; each file is replaced whole or not at all."""
    directory.mkdir(parents=True, exist_ok=True)
    write_whole(directory / "tokenizer.json", tokenizer.backend.to_str(pretty=True).encode())
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **tokenizer.special.to_config(),
        "clean_up_tokenization_spaces": tokenizer.cleans_up,
        "model_max_length": tokenizer.max_length or int(1e30),
    }
    if tokenizer.splits_special:
        config["split_special_tokens"] = True
    # Without a [CLS], the library still numbers the texts of a pair; no model asks for that.
    _, type_ids = tokenizer.encode_pair("a", "a")
    types = ["token_type_ids"] if 1 in type_ids and tokenizer.cls_id is not None else []
    config["model_input_names"] = ["input_ids", *types, "attention_mask"]
    text = json.dumps(config, ensure_ascii=False, indent=2) + "\n"
    write_whole(directory / CONFIG, text.encode())
    if tokenizer.chat_template is not None:
        write_whole(directory / TEMPLATE, tokenizer.chat_template.source.encode())
    else:
        (directory / TEMPLATE).unlink(missing_ok=True)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old content or the new, never a part."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
