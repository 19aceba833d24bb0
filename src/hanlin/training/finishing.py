"""The end of a run: its output becomes a model directory, with how it was made in hanlin.json."""

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

_LAST = "config.json"  # without it nobody takes a directory for a model's


def write_model(
    model: Transformer, output: Path, *, tokenizer: Tokenizer, provenance: Mapping[str, Any]
) -> None:
    """Put the model's files into `output`, beside what the run has written there.

    They are written whole in a hidden place first, then moved; ``config.json`` comes last, so that
    a kill leaves no directory that looks like a model and is not. Raises `HanlinError` where the
    disk is full; checkpoints stay.
    """
    draft = output / ".model.partial"
    shutil.rmtree(draft, ignore_errors=True)
    try:
        draft.mkdir()
        write_files(model, draft, tokenizer=tokenizer, provenance=provenance)
        for path in sorted(draft.iterdir(), key=lambda path: path.name == _LAST):
            if path.name == _LAST:
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
