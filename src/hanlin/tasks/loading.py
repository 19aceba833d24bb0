"""`load`: from a reference to the object that does what the model is for."""

from pathlib import Path

from hanlin.errors import ConfigError, FormatError, InputError
from hanlin.models import load as load_network
from hanlin.models.directory import read_json
from hanlin.models.named import resolve
from hanlin.models.transformer import Transformer
from hanlin.tasks.classifier import Classifier
from hanlin.tasks.encoder import Encoder
from hanlin.tasks.language import LanguageModel
from hanlin.tasks.masked import MaskedLanguageModel
from hanlin.tasks.model import Model
from hanlin.tasks.pooling import Pooling
from hanlin.tokenizers import Tokenizer

DTYPES = ("auto", "float32", "bfloat16", "float16", "float64")


def load(ref: str | Path, *, dtype: str = "auto") -> Model:
    """The model that `ref` names: a named model, a directory, a .gguf file, or a hub id.

    Returns a `LanguageModel`, `MaskedLanguageModel`, `Classifier` or `Encoder`, by its head.
    dtype: float32 computes exactly in float32; auto does so too, except that a language model gets
    `kernels.packed`'s faster layers where the processor has them; bfloat16, float16 and float64
    compute in these. Raises `NotFoundError`, `FormatError` for a file that is not whole or a
    tokenizer that is not the model's, and `ConfigError`.
    """
    if dtype not in DTYPES:
        raise ConfigError(f"dtype {dtype!r} is not one of {', '.join(DTYPES)}.")
    path = resolve(ref)
    auto = dtype == "auto"
    network = load_network(path, dtype="float32" if auto else dtype, inference=auto)
    tokenizer = Tokenizer.load(path)
    _check_vocabulary(network, tokenizer, path)
    name, head = str(ref), network.config.head
    if head == "language-model":
        return LanguageModel(network, tokenizer, name=name, defaults=_generation_config(path))
    if head == "classify":
        return Classifier(network, tokenizer, name=name)
    pooling = Pooling.of(path) if path.is_dir() else Pooling()
    if head == "masked-lm":
        return MaskedLanguageModel(network, tokenizer, name=name, pooling=pooling)
    if head == "none" and network.config.shape != "encoder-decoder":
        return Encoder(network, tokenizer, name=name, pooling=pooling)
    what = "no head" if head == "none" else f"a {head!r} head"
    raise InputError(
        f"{name} is a {network.config.shape} with {what}, for which hanlin has no task. "
        "Use hanlin.models.load, which gives the bare network."
    )


def _generation_config(path: Path) -> dict[str, object] | None:
    file = path / "generation_config.json"
    return read_json(file) if file.is_file() else None


def _check_vocabulary(network: Transformer, tokenizer: Tokenizer, path: Path) -> None:
    rows = network.config.vocab_size
    if tokenizer.vocab_size > rows:
        raise FormatError(
            f"The tokenizer of {path} has {tokenizer.vocab_size} tokens, the model embeds {rows}: "
            "it is another model's. Put the right one there."
        )
