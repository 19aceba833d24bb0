"""The Transformer, its shapes, heads and families; weights in and out.

`load` gives the bare network: `load("smollm2-135m")(ids).logits`. What people ask of a model
(`generate`, `chat`, `embed` ...) is `hanlin.load`, in the tasks room.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from hanlin.errors import ConfigError, NotFoundError

if TYPE_CHECKING:
    from hanlin.models.transformer import Transformer
    from hanlin.models.weights import Tensors

__all__ = ["load"]


def load(ref: str | Path, dtype: str = "float32", *, inference: bool = False) -> "Transformer":
    """The network that `ref` names: an alias, a directory, a .gguf file, or a hub id.

    A directory may be an adapter's (`models.lora`): then it is its base with the adapter merged.

    dtype: float32, bfloat16, float16, float64, or "stored" for the directory's own. Returns a
    `Transformer` in eval mode. With `inference`, a language model's layers are read and laid out
    for this processor in the background (`inference.prepare`): it is ready sooner and faster, and
    can be neither trained nor saved. Raises NotFoundError, FormatError, ConfigError.
    """
    from hanlin.kernels.packed import supported
    from hanlin.models.directory import DTYPES, Shards, build, read_config
    from hanlin.models.families import family_of
    from hanlin.models.gguf import read_gguf
    from hanlin.models.lora.peft_config import is_adapter
    from hanlin.models.named import resolve

    if dtype != "stored" and dtype not in DTYPES:
        raise ConfigError(f"dtype {dtype!r} is not one of {', '.join(DTYPES)}, stored.")
    path = resolve(str(ref))
    if path.is_dir() and is_adapter(path):
        from hanlin.models.lora import load_adapted, merge

        network = load_adapted(path, dtype=dtype)
        merge(network)
        lay_out = inference and network.config.head == "language-model" and supported()
    else:
        tensors: Tensors
        if path.is_dir():
            config, tensors = read_config(path), Shards(path)
        elif path.suffix == ".gguf":
            tensors = file = read_gguf(path)
            config = family_of(file.hf_config["model_type"]).read(file.hf_config)
        else:
            raise NotFoundError(f"{path} is neither a model directory nor a .gguf file.")
        lay_out = inference and config.head == "language-model" and supported()
        network = build(config, tensors, dtype=DTYPES.get(dtype), lazy=lay_out)
    if lay_out:
        from hanlin.models.inference import prepare

        prepare(network)
    return network
