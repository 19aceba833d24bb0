"""What every loaded model has, and how it says what it cannot do."""

from collections.abc import Sequence
from typing import Any, ClassVar

from hanlin.errors import InputError
from hanlin.models.transformer import Transformer
from hanlin.tokenizers import Tokenizer

_ABILITIES = {
    "generate": "Load a language model, such as smollm2-135m.",
    "stream": "Load a language model, such as smollm2-135m.",
    "chat": "Load a language model tuned for chat, such as smollm2-135m.",
    "stream_chat": "Load a language model tuned for chat, such as smollm2-135m.",
    "infill": "Load a language model of code.",
    "score": "Load a language model or a masked language model.",
    "embed": "Load an encoder, such as minilm.",
    "fill": "Load a masked language model, such as a BERT.",
    "probabilities": "Load a classifier.",
    "tag": "Load a tagger.",
    "best": "Load an extractor.",
}
"""Everything some model can do -> where to find one that does."""


class UnableError(InputError, AttributeError):
    """This kind of model cannot do what was asked; an AttributeError too, so `hasattr` says so."""


class Model:
    """A network and its tokenizer, ready to be asked. `load` gives one of its kinds."""

    kind: ClassVar[str] = "a model"
    """What it is, for messages."""
    can: ClassVar[tuple[str, ...]] = ()
    """What it can do: the names of its methods, "call" for calling it."""

    def __init__(self, network: Transformer, tokenizer: Tokenizer, *, name: str) -> None:
        self.network = network
        """The bare Transformer, in eval mode."""
        self.tokenizer = tokenizer
        self.name = name
        """The reference it was loaded by."""

    def __getattr__(self, name: str) -> Any:
        if name in _ABILITIES:
            raise self._unable(name, _ABILITIES[name])
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __call__(self, *arguments: Any, **settings: Any) -> Any:
        """Classifiers are functions; other models raise `InputError`."""
        raise self._unable("be called", "Use one of those, or load a classifier.")

    def __repr__(self) -> str:
        parameters = sum(p.numel() for p in self.network.parameters())
        return f"<{type(self).__name__} {self.name}: {parameters / 1e6:.3g}M parameters>"

    def _unable(self, what: str, remedy: str) -> UnableError:
        return UnableError(
            f"{self.name} is {self.kind} and cannot {what}; it can {', '.join(self.can)}. {remedy}"
        )


def texts_of(text: str | Sequence[str], *, what: str = "text") -> list[str]:
    """One text or several as a list. Raises `InputError` for what is not text, and for no texts."""
    texts: object = [text] if isinstance(text, str) else text
    if not isinstance(texts, list | tuple):
        raise InputError(f"The {what} is of the type {type(text).__name__}. Pass a str or a list.")
    for number, each in enumerate(texts):
        if not isinstance(each, str):
            raise InputError(
                f"{what} number {number + 1} is of the type {type(each).__name__}. Pass a str."
            )
    return list(texts)
