"""Models that write one text for another: translators, summarisers. Such a model is a function.

translator = hanlin.load("runs/en-de")
translator("A dog runs.")           # "Ein Hund rennt."
translator(["A dog runs.", "Two."])  # a list for a list
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, overload

from hanlin.data.template import Template
from hanlin.errors import ConfigError, InputError
from hanlin.generation import generate
from hanlin.generation.prompts import longest_prompt
from hanlin.models.transformer import Transformer
from hanlin.tasks.language import LanguageModel
from hanlin.tasks.model import texts_of
from hanlin.tokenizers import Tokenizer

TOGETHER = 128
"""Sequences (texts times beams) written at a time."""


class Seq2SeqModel(LanguageModel):
    """Writes a text for a text, as it learnt to; it can also do what other language models can.

    Calling it puts the text into the template of its training and decodes as its
    generation_config.json says: with the beams and up to the length it was trained for.
    """

    kind = "a model that writes one text for another"
    can: ClassVar[tuple[str, ...]] = ("call", *LanguageModel.can)

    def __init__(
        self,
        network: Transformer,
        tokenizer: Tokenizer,
        *,
        name: str,
        defaults: Mapping[str, Any] | None = None,
        template: str | None = None,
    ) -> None:
        """template: what stood around each source in training; the source alone when None.

        Raises `ConfigError` for a decoder whose template does not say where it goes on.
        """
        super().__init__(
            network, tokenizer, name=name, defaults={"do_sample": False} | dict(defaults or {})
        )
        self.template = Template() if template is None else Template(template)
        """What stands around a source."""
        if self.template.goes_on != (network.config.shape == "decoder"):
            raise ConfigError(
                f"{name} is a {network.config.shape}, which does not go with its template "
                f"{self.template.text!r}. Correct task.template in its hanlin.json."
            )

    def fits(self, texts: Sequence[str]) -> list[bool]:
        """Whether the model can read each text whole and still has room to answer."""
        longest = longest_prompt(self.network.config, self.settings())
        read = self.template.read([text.strip() for text in texts], self.tokenizer)
        return [longest is None or len(ids) <= longest for ids in read]

    @overload
    def __call__(
        self,
        text: str,
        *,
        together: int = ...,
        progress: Callable[[int], None] | None = ...,
        **sampling: Any,
    ) -> str: ...
    @overload
    def __call__(
        self,
        text: Sequence[str],
        *,
        together: int = ...,
        progress: Callable[[int], None] | None = ...,
        **sampling: Any,
    ) -> list[str]: ...
    def __call__(
        self,
        text: str | Sequence[str],
        *,
        together: int = TOGETHER,
        progress: Callable[[int], None] | None = None,
        **sampling: Any,
    ) -> str | list[str]:
        """What the model writes for a text, or for each of a list, spaces around it left out.

        sampling: other settings of decoding than the model's own (beams, length_penalty,
        max_new_tokens ...). together: sequences written at a time; changes no text. progress: told
        how many texts were answered since it last was. Raises `InputError` for a text that is empty
        or too long (`fits` tells), `ConfigError` for a setting.
        """
        settings = self.settings(**sampling)
        if settings.n > 1:
            raise ConfigError(
                f"Calling a model gives one text for each, but n is {settings.n}. Use generate."
            )
        texts = texts_of(text)
        for number, each in enumerate(texts, 1):
            if not each.strip():
                raise InputError(f"Text number {number} is empty. Give it some words.")
        written = generate(
            self.network,
            self.tokenizer,
            self.template.read([each.strip() for each in texts], self.tokenizer),
            settings,
            together=together,
            progress=progress,
        )
        answers = [found[0].text.strip() for found in written]
        return answers[0] if isinstance(text, str) else answers
