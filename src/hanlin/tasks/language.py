"""Language models: decoders, and encoder-decoders that answer a source."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

from hanlin.errors import ConfigError, InputError
from hanlin.generation import Generation, Piece, Sampling, generate, stream
from hanlin.models.transformer import Transformer
from hanlin.tasks.batches import fitting
from hanlin.tasks.model import Model, texts_of
from hanlin.tasks.scoring import Asked, Likelihood, log_probabilities
from hanlin.tasks.settings import sampling_of
from hanlin.tokenizers import Tokenizer

Messages = str | Sequence[Mapping[str, Any]]
"""A conversation, ``[{"role": "user", "content": "..."}]``, or one message of the user."""


class LanguageModel(Model):
    """Writes text (`generate`, `stream`, `chat`, `stream_chat`) and scores it (`score`).

    Settings of generation are keywords, those of `hanlin.generation.Sampling`. What is not given is
    as the directory's generation_config.json says, else as `tasks.settings.DEFAULTS` say.
    """

    kind = "a language model"
    can: ClassVar[tuple[str, ...]] = (
        "generate",
        "stream",
        "chat",
        "stream_chat",
        "score",
        "infill",
    )

    def __init__(
        self,
        network: Transformer,
        tokenizer: Tokenizer,
        *,
        name: str,
        defaults: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(network, tokenizer, name=name)
        self.defaults = defaults
        self.settings()  # a generation_config.json we cannot follow is refused at once

    @property
    def context(self) -> int | None:
        """Tokens that prompt and answer may have together; None where there is no limit."""
        return self.network.config.reads()

    @property
    def start_id(self) -> int | None:
        """The token a text is taken to follow: the begin token, else an end token, else None."""
        config = self.network.config
        for token in (config.bos_id, self.tokenizer.bos_id, *config.eos_ids[:1]):
            if token is not None:
                return token
        return self.tokenizer.eos_id

    def settings(self, **sampling: Any) -> Sampling:
        """The settings that `generate` would use. Raises `ConfigError` naming what is wrong."""
        return sampling_of(self.defaults, sampling)

    def generate(
        self, prompt: str | Sequence[str], *, n: int = 1, **sampling: Any
    ) -> list[Generation]:
        """Continue a prompt, or answer it if the model is an encoder-decoder: `n` sequences.

        Of several prompts, all sequences of the first come first. Raises `InputError` for a prompt
        that is empty or too long, `ConfigError` for a setting.
        """
        if n != 1:
            sampling["n"] = n
        settings = self.settings(**sampling)
        prompts = [self._prompt(text) for text in texts_of(prompt, what="prompt")]
        results = generate(self.network, self.tokenizer, prompts, settings)
        return [sequence for sequences in results for sequence in sequences]

    def stream(self, prompt: str, **sampling: Any) -> Iterator[Piece]:
        """As `generate` for one sequence, piece by piece as soon as characters are whole."""
        [text] = texts_of([prompt], what="prompt")
        settings = self.settings(**sampling)
        return stream(self.network, self.tokenizer, self._prompt(text), settings)

    def chat(self, messages: Messages, **sampling: Any) -> Generation:
        """Answer a conversation. Raises `InputError` where the model has no chat template."""
        settings = self.settings(**sampling)
        if settings.n > 1:
            raise ConfigError(
                f"A conversation gets one answer, but n is {settings.n}. Leave n out."
            )
        ids = self.encode_chat(messages)
        [[answer]] = generate(self.network, self.tokenizer, [ids], settings)
        return answer

    def stream_chat(self, messages: Messages, **sampling: Any) -> Iterator[Piece]:
        """As `chat`, piece by piece as soon as characters are whole."""
        settings = self.settings(**sampling)
        return stream(self.network, self.tokenizer, self.encode_chat(messages), settings)

    def infill(
        self, prefix: str, suffix: str, *, mode: Literal["psm", "spm"] = "psm", **sampling: Any
    ) -> list[Generation]:
        """What may stand between two texts, by a model that was trained for it: see `coding`."""
        from hanlin.tasks.coding import infill

        return infill(self, prefix, suffix, mode=mode, **sampling)

    def encode_chat(self, messages: Messages) -> list[int]:
        """The token ids of a conversation, up to where the assistant's answer begins."""
        turns = [{"role": "user", "content": messages}] if isinstance(messages, str) else messages
        if isinstance(turns, Mapping) or not isinstance(turns, Sequence):
            raise InputError(
                f"The messages are of the type {type(turns).__name__}. Pass a list of dicts with "
                "role and content, or one str."
            )
        for number, turn in enumerate(turns, 1):
            if not isinstance(turn, Mapping) or not isinstance(turn.get("role"), str):
                raise InputError(
                    f"Message {number} has no role. Each is a dict with role and content."
                )
        return self.tokenizer.encode_chat(turns)

    def score(self, text: str, continuation: str | None = None) -> Likelihood:
        """How likely the model finds `text`, or `continuation` after it (natural logarithms).

        Both are tokenized as one text; a token with at least one character of the continuation is
        scored. A text's first token follows the model's begin token, else its end token (as
        evaluation harnesses have it); with neither, it is left out. Texts longer than the context
        are read in windows: every token is scored once, after at least half a context. An
        encoder-decoder scores the continuation, with its end token, as an answer to `text`. Raises
        `InputError` where there is nothing to score.
        """
        texts_of([text] if continuation is None else [text, continuation])
        if self.network.config.shape == "encoder-decoder":
            return self._score_answer(text, continuation)
        ids, offsets = self.tokenizer.encode_offsets(text + (continuation or ""))
        border = 0 if continuation is None else len(text)
        first = next((i for i, (_, end) in enumerate(offsets) if end > border), len(ids))
        scored = text if continuation is None else continuation
        size = len(scored.encode())
        if first == 0 and (start := self.start_id) is not None:
            ids, first = [start, *ids], 1
        elif first == 0 and ids:
            size -= len(self.tokenizer.token_bytes(ids[0]))
            first = 1
        if first >= len(ids):
            what = "text" if continuation is None else "continuation"
            raise InputError(f"The {what} has no tokens to score. Give it some words.")
        return self._likelihood(Asked(ids, first), size)

    def _score_answer(self, text: str, continuation: str | None) -> Likelihood:
        if continuation is None:
            raise InputError(
                f"{self.name} is an encoder-decoder, which scores an answer to a text. "
                "Pass the answer as `continuation`."
            )
        source = fitting(self.tokenizer.encode(text), length=self.context, what="text")
        answer = self.tokenizer.target.encode(continuation)
        start = self.network.config.decoder_start_id
        if start is None:
            raise ConfigError(
                f"{self.name} names no token to start decoding from. Set decoder_start_token_id in "
                "its config.json."
            )
        fitting(answer, length=self.context, what="continuation")
        asked = Asked([start, *answer], 1, source)
        return self._likelihood(asked, len(continuation.encode()))

    def _likelihood(self, asked: Asked, size: int) -> Likelihood:
        [scored] = log_probabilities(self.network, [asked], context=self.context)
        logprobs = tuple(scored.logprobs.tolist())
        tokens = tuple(asked.ids[asked.first :])
        return Likelihood(sum(logprobs), tokens, logprobs, bool(scored.greedy.all()), size)

    def _prompt(self, text: str) -> list[int]:
        ids = self.tokenizer.encode(text)
        if not text:
            raise InputError("The prompt is empty. Give it some words.")
        return ids
