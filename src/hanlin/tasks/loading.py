"""`load`: from a reference to the object that does what the model is for."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hanlin.errors import ConfigError, FormatError, InputError, NotFoundError
from hanlin.models import load as load_network
from hanlin.models.directory import read_json
from hanlin.models.lora import base_of, is_adapter
from hanlin.models.named import resolve
from hanlin.models.pooling import Pooling
from hanlin.models.transformer import Transformer
from hanlin.tasks.classifier import Classifier
from hanlin.tasks.encoder import Encoder
from hanlin.tasks.extractor import Extractor
from hanlin.tasks.language import LanguageModel
from hanlin.tasks.masked import MaskedLanguageModel
from hanlin.tasks.model import Model
from hanlin.tasks.tagger import Tagger
from hanlin.tasks.writing import Seq2SeqModel
from hanlin.tokenizers import Tokenizer

DTYPES = ("auto", "float32", "bfloat16", "float16", "float64")


def load(ref: str | Path, *, dtype: str = "auto") -> Model:
    """The model that `ref` names: a named model, a directory, a .gguf file, or a hub id.

    The directory of an adapter (LoRA, PEFT's format) is its base model with the adapter merged.

    Returns a `LanguageModel` (one that writes a text for a text: `Seq2SeqModel`),
    `MaskedLanguageModel`, `Classifier`, `Tagger`, `Extractor` or `Encoder`, by its head.
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
    home = base_of(path) if path.is_dir() and is_adapter(path) else path
    tokenizer = _tokenizer(path, home)
    _check_vocabulary(network, tokenizer, path)
    name, head = str(ref), network.config.head
    if head == "language-model":
        task, defaults = _task(path), _generation_config(path, home)
        if task.get("name") == "seq2seq" or (
            not task and network.config.shape == "encoder-decoder"
        ):
            return Seq2SeqModel(
                network, tokenizer, name=name, defaults=defaults, template=task.get("template")
            )
        return LanguageModel(network, tokenizer, name=name, defaults=defaults)
    if head == "classify":
        return Classifier(network, tokenizer, name=name, length=_task(path).get("length"))
    if head == "tag" and network.config.shape != "encoder-decoder":
        return Tagger(network, tokenizer, name=name, length=_task(path).get("length"))
    if head == "extract":
        return Extractor.trained(network, tokenizer, name=name, task=_task(path))
    pooled = path if (path / "modules.json").is_file() else home
    pooling = Pooling.of(pooled) if pooled.is_dir() else Pooling()
    if head == "masked-lm":
        return MaskedLanguageModel(network, tokenizer, name=name, pooling=pooling)
    if head == "none" and network.config.shape != "encoder-decoder":
        return Encoder(network, tokenizer, name=name, pooling=pooling)
    what = "no head" if head == "none" else f"a {head!r} head"
    raise InputError(
        f"{name} is a {network.config.shape} with {what}, for which hanlin has no task. "
        "Use hanlin.models.load, which gives the bare network."
    )


def _tokenizer(path: Path, home: Path) -> Tokenizer:
    """That of a model; an adapter may leave it to its base, `home`."""
    try:
        return Tokenizer.load(path)
    except NotFoundError:
        if path == home:
            raise
        return Tokenizer.load(home)


def _task(path: Path) -> Mapping[str, Any]:
    """What a directory remembers of the task it was trained for; nothing where it says none."""
    file = path / "hanlin.json"
    task = read_json(file).get("task") if file.is_file() else None
    return {"name": task} if isinstance(task, str) else task if isinstance(task, dict) else {}


def _generation_config(path: Path, home: Path) -> dict[str, object] | None:
    """The defaults of generation; an adapter's come before those of its base, `home`."""
    files = [place / "generation_config.json" for place in dict.fromkeys([home, path])]
    found = [read_json(file) for file in files if file.is_file()]
    return {key: value for config in found for key, value in config.items()} if found else None


def _check_vocabulary(network: Transformer, tokenizer: Tokenizer, path: Path) -> None:
    rows = network.config.vocab_size
    if tokenizer.vocab_size > rows:
        raise FormatError(
            f"The tokenizer of {path} has {tokenizer.vocab_size} tokens, the model embeds {rows}: "
            "it is another model's. Put the right one there."
        )
