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
from hanlin.models.exchange import sync
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
) -> None:
    """Put the model's files into `output`, beside what the run has written there.

    base: the model that a LoRA was trained on; then only the adapter is written. The files are
    written whole in a hidden place first, then moved; ``config.json`` (``adapter_config.json``)
    comes last, so that a kill leaves no directory that looks like a model and is not. Raises
    `HanlinError` where the disk is full; checkpoints stay.
    """
    draft = output / ".model.partial"
    shutil.rmtree(draft, ignore_errors=True)
    try:
        draft.mkdir()
        if base is None:
            write_files(model, draft, tokenizer=tokenizer, provenance=provenance)
        else:
            from hanlin.models.lora import save_adapter

            save_adapter(model, draft, base=base)
            tokenizer.save(draft)
            about = json.dumps(dict(provenance), indent=2, ensure_ascii=False)
            (draft / "hanlin.json").write_text(about + "\n", encoding="utf-8")
            for path in draft.iterdir():
                sync(path)
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
