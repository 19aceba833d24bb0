"""The end of a run: its output becomes a model directory, with how it was made in hanlin.json."""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from hanlin.errors import HanlinError
from hanlin.models.directory import write_files
from hanlin.models.exchange import sync, write_text
from hanlin.models.transformer import Transformer
from hanlin.tokenizers import Tokenizer

_LAST = ("config.json", "adapter_config.json")
"""Without one of them nobody takes a directory for a model's or an adapter's."""


def write_model(
    model: Transformer,
    output: Path,
    *,
    tokenizer: Tokenizer,
    provenance: Mapping[str, Any],
    base: str | None = None,
    generation: Mapping[str, Any] | None = None,
    files: Mapping[str, Any] | None = None,
) -> None:
    """Put the model's files into `output`, beside what the run has written there.

    base: the model that a LoRA was trained on; then only the adapter is written. generation: how
    the model decodes, for generation_config.json. files: path -> content of further files of JSON,
    such as sentence-transformers reads. The model's files are written whole in a hidden place
    first, then moved; ``config.json`` (``adapter_config.json``) comes last, so that a kill leaves
    no directory that looks like a model and is not. Raises `HanlinError` where the disk is full;
    checkpoints stay.
    """
    draft = output / ".model.partial"
    shutil.rmtree(draft, ignore_errors=True)
    try:
        draft.mkdir()
        if base is None:
            write_files(
                model, draft, tokenizer=tokenizer, provenance=provenance, generation=generation
            )
        else:
            from hanlin.models.lora import save_adapter

            save_adapter(model, draft, base=base)
            tokenizer.save(draft)
            (draft / "hanlin.json").write_text(_json(dict(provenance)), encoding="utf-8")
            if generation:
                told = _json(dict(generation))
                (draft / "generation_config.json").write_text(told, encoding="utf-8")
            for path in draft.iterdir():
                sync(path)
        for name, content in (files or {}).items():
            (output / name).parent.mkdir(exist_ok=True)
            write_text(output / name, _json(content))
        for path in sorted(draft.iterdir(), key=lambda path: path.name in _LAST):
            if path.name in _LAST:
                sync(output)
            os.replace(path, output / path.name)
        sync(output)
    except (OSError, SafetensorError) as error:
        raise HanlinError(
            f"Could not write the model to {output} ({error}). Free some space, then go on with "
            "--resume: the checkpoints are whole."
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _json(content: Any) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
