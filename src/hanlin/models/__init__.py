"""The Transformer, its shapes, heads and families; weights in and out.

`load` gives the bare network: `load("smollm2-135m")(ids).logits`. What people ask of a model
(`generate`, `chat`, `embed` ...) is `hanlin.load`, in the tasks room.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from hanlin.errors import ConfigError, NotFoundError

if TYPE_CHECKING:
    from hanlin.models.transformer import Transformer

__all__ = ["load"]


def load(ref: str | Path, dtype: str = "float32") -> "Transformer":
    """The network that `ref` names: an alias, a directory, a .gguf file, or a hub id.

    dtype: float32, bfloat16, float16, float64, or "stored" for the directory's own. Returns a
    `Transformer` in eval mode. Raises NotFoundError, FormatError, ConfigError.
    """
    from hanlin.models.directory import DTYPES, build, load_directory
    from hanlin.models.families import family_of
    from hanlin.models.gguf import read_gguf
    from hanlin.models.named import resolve

    if dtype != "stored" and dtype not in DTYPES:
        raise ConfigError(f"dtype {dtype!r} is not one of {', '.join(DTYPES)}, stored.")
    wanted = DTYPES.get(dtype)
    path = resolve(str(ref))
    if path.is_dir():
        return load_directory(path, dtype=wanted)
    if path.suffix == ".gguf":
        file = read_gguf(path)
        config = family_of(file.hf_config["model_type"]).read(file.hf_config)
        return build(config, file, dtype=wanted)
    raise NotFoundError(f"{path} is neither a model directory nor a .gguf file.")
