"""Text to token ids and back: the one tokenizer class that training, generation and serving share.

The work on text is done by the Rust library ``tokenizers``; this class adds what a model needs
around it: the parts special tokens play, the bytes of each token, text that streams out in whole
characters, the chat template, and a directory that other software reads.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, overload

import tokenizers as rust

from hanlin.errors import FormatError, InputError
from hanlin.tokenizers.chat import ChatTemplate, Message
from hanlin.tokenizers.special import PARTS, SpecialTokens
from hanlin.tokenizers.spelling import Detokeniser, spelling_of


class Tokenizer:
    """Encodes text as token ids and decodes ids as text; see `load`, `from_gguf` and `train`."""

    def __init__(
        self,
        backend: rust.Tokenizer,
        *,
        special: SpecialTokens | None = None,
        chat_template: ChatTemplate | None = None,
        cleans_up: bool = False,
        splits_special: bool = False,
        max_length: int | None = None,
    ) -> None:
        """Wrap `backend`; tokens named in `special` that it lacks are added to the vocabulary.

        `cleans_up` records that the model's authors join punctuation to the word before it when
        they decode; with `splits_special`, text that looks like a special token is spelt out like
        any other text (SentencePiece's rule) and not read as that token; `max_length` is the
        longest input in tokens, as its config states it.
        """
        self.special = special or SpecialTokens()
        backend.no_padding()
        backend.no_truncation()
        add_missing(backend, self.special)
        backend.encode_special_tokens = splits_special
        self.backend = backend
        self.chat_template = chat_template
        self.cleans_up = cleans_up
        self.splits_special = splits_special
        self.max_length = max_length
        decoder = backend.decoder
        self._spelling = spelling_of(
            None if decoder is None else json.loads(decoder.__getstate__())
        )
        self._inside: dict[int, bytes] = {}
        self._hash: str | None = None
        self.special_ids = frozenset(
            token_id
            for token_id, token in backend.get_added_tokens_decoder().items()
            if token.special
        )
        ids = {part: self._part(part) for part in PARTS}
        self.bos_id, self.eos_id, self.pad_id = ids["bos"], ids["eos"], ids["pad"]
        self.unk_id, self.mask_id = ids["unk"], ids["mask"]
        self.cls_id, self.sep_id = ids["cls"], ids["sep"]
        stops = [self.eos_id, *(self.id(text) for text in self.special.also_eos)]
        self.eos_ids = tuple(dict.fromkeys(stop for stop in stops if stop is not None))

    @classmethod
    def load(cls, path: str | Path) -> "Tokenizer":
        """Read a tokenizer from a model directory or from one of its files.

        Takes tokenizer.json, vocab.json with merges.txt, BERT's vocab.txt, SentencePiece and GGUF,
        with what tokenizer_config.json and chat_template.jinja beside them say. Raises
        `NotFoundError` where there is none and `FormatError` where a file is malformed.
        """
        from hanlin.tokenizers.directory import load

        return load(Path(path))

    @classmethod
    def from_gguf(cls, metadata: Mapping[str, Any]) -> "Tokenizer":
        """Build the tokenizer that the metadata of a GGUF file (``tokenizer.*`` keys) describes.

        Raises `FormatError` for a vocabulary or split pattern of an unknown kind.
        """
        from hanlin.tokenizers.gguf import from_gguf

        return from_gguf(metadata)

    @property
    def target(self) -> "Tokenizer":
        """What encodes the texts that a model writes: itself, but for Marian's two languages."""
        return self

    # Text to ids

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """Return the ids of `text`. Raises `InputError` for what is not text (a lone surrogate)."""
        try:
            encoding = self.backend.encode(text, add_special_tokens=add_special_tokens)
        except (UnicodeEncodeError, TypeError) as error:
            raise _not_text(text) from error
        ids: list[int] = encoding.ids
        return ids

    def encode_pair(self, first: str, second: str) -> tuple[list[int], list[int]]:
        """Return the ids of two texts joined as the model expects, and which text each belongs
        to."""
        try:
            encoding = self.backend.encode(first, second)
        except (UnicodeEncodeError, TypeError) as error:
            raise _not_text(first, second) from error
        return encoding.ids, encoding.type_ids

    def encode_batch(
        self, texts: Iterable[str], *, add_special_tokens: bool = True
    ) -> list[list[int]]:
        """Return the ids of each text, as `encode` would; several processor cores share the
        work."""
        texts = list(texts)
        try:
            encodings = self.backend.encode_batch_fast(texts, add_special_tokens=add_special_tokens)
        except (UnicodeEncodeError, TypeError) as error:
            raise _not_text(*texts) from error
        return [encoding.ids for encoding in encodings]

    def encode_offsets(
        self, text: str, *, add_special_tokens: bool = True
    ) -> tuple[list[int], list[tuple[int, int]]]:
        """Return the ids of `text` and for each the characters [start, end) it covers."""
        try:
            encoding = self.backend.encode(text, add_special_tokens=add_special_tokens)
        except (UnicodeEncodeError, TypeError) as error:
            raise _not_text(text) from error
        return encoding.ids, encoding.offsets

    # Ids to text

    def decode(
        self, ids: Iterable[int], *, skip_special_tokens: bool = False, clean_up: bool = False
    ) -> str:
        """Return the text that `ids` spell, exactly: no spaces are added or taken away.

        With `clean_up`, and where the model's config asks for it, spaces before punctuation go. Ids
        beyond the vocabulary (a padded embedding has them) spell nothing.
        """
        stream = self.stream(skip_special_tokens=skip_special_tokens)
        text = "".join([stream.push(int(token_id)) for token_id in ids]) + stream.finish()
        return _clean_up(text) if clean_up and self.cleans_up else text

    def stream(self, *, skip_special_tokens: bool = True) -> Detokeniser:
        """Return a `Detokeniser`, to turn ids into text as they are generated."""
        skip = self.special_ids if skip_special_tokens else frozenset()
        return Detokeniser(self._bytes_of, lead=self._spelling.lead, skip=skip)

    def token_bytes(self, token_id: int) -> bytes:
        """Return the bytes the token adds in the middle of a text, its leading space included."""
        return self._bytes_of(token_id, False)

    def _bytes_of(self, token_id: int, first: bool) -> bytes:
        if first:
            token = self._text_of(token_id)
            return b"" if token is None else self._spelling.first(token)
        spelt = self._inside.get(token_id)
        if spelt is None:
            token = self._text_of(token_id)
            spelt = b"" if token is None else self._spelling.inside(token)
            self._inside[token_id] = spelt
        return spelt

    def _text_of(self, token_id: int) -> str | None:
        if not 0 <= token_id < 1 << 32:
            raise InputError(f"{token_id} is not a token id. Ids are whole numbers from 0 up.")
        text: str | None = self.backend.id_to_token(token_id)
        return text

    # The vocabulary

    def token(self, token_id: int) -> str:
        """Return the token with this id as the vocabulary writes it. Raises `InputError` if
        none."""
        text = self._text_of(token_id)
        if text is None:
            raise InputError(
                f"No token has the id {token_id}. This vocabulary has {self.vocab_size} tokens."
            )
        return text

    def id(self, token: str) -> int | None:
        """Return the id of a token written as the vocabulary writes it, or None."""
        token_id: int | None = self.backend.token_to_id(token)
        return token_id

    @property
    def vocab_size(self) -> int:
        """How many tokens there are, added ones included."""
        size: int = self.backend.get_vocab_size(with_added_tokens=True)
        return size

    @property
    def hash(self) -> str:
        """SHA-256 (hexadecimal) of the canonical form of tokenizer.json: same hash, same ids."""
        if self._hash is None:
            content = json.loads(self.backend.to_str())
            canonical = json.dumps(content, sort_keys=True, ensure_ascii=False)
            self._hash = hashlib.sha256(canonical.encode()).hexdigest()
        return self._hash

    def _part(self, part: str) -> int | None:
        text = getattr(self.special, part)
        return None if text is None else self.id(text)

    # Conversations

    def apply_chat(
        self,
        messages: Sequence[Message],
        *,
        add_generation_prompt: bool = True,
        tools: Sequence[Mapping[str, Any]] | None = None,
        **variables: Any,
    ) -> str:
        """Return the conversation as the one text the model was trained to continue.

        Raises `InputError` where the tokenizer has no chat template or the template refuses the
        messages.
        """
        return self._template().render(
            messages,
            add_generation_prompt=add_generation_prompt,
            tools=tools,
            **{**self.chat_variables(), **variables},
        )

    @overload
    def encode_chat(
        self,
        messages: Sequence[Message],
        *,
        add_generation_prompt: bool = True,
        tools: Sequence[Mapping[str, Any]] | None = None,
        mask: Literal[False] = False,
        **variables: Any,
    ) -> list[int]: ...

    @overload
    def encode_chat(
        self,
        messages: Sequence[Message],
        *,
        add_generation_prompt: bool = True,
        tools: Sequence[Mapping[str, Any]] | None = None,
        mask: Literal[True],
        **variables: Any,
    ) -> tuple[list[int], list[bool]]: ...

    def encode_chat(
        self,
        messages: Sequence[Message],
        *,
        add_generation_prompt: bool = True,
        tools: Sequence[Mapping[str, Any]] | None = None,
        mask: bool = False,
        **variables: Any,
    ) -> list[int] | tuple[list[int], list[bool]]:
        """Return the ids of a conversation; with `mask`, also which of them the assistant wrote.

        The mask comes from the template's ``{% generation %}`` spans: a token belongs to a span
        when it covers at least one of its characters. Raises `InputError` where `mask` is asked of
        a template that marks no spans.
        """
        if not mask:
            text = self.apply_chat(
                messages, add_generation_prompt=add_generation_prompt, tools=tools, **variables
            )
            return self.encode(text, add_special_tokens=False)
        template = self._template()
        if not template.marks_generation:
            raise InputError(
                "This chat template does not mark what the assistant writes. Put {% generation %} "
                "and {% endgeneration %} around the assistant's text in the template."
            )
        text, spans = template.render_spans(
            messages,
            add_generation_prompt=add_generation_prompt,
            tools=tools,
            **{**self.chat_variables(), **variables},
        )
        ids, offsets = self.encode_offsets(text, add_special_tokens=False)
        flags = [False] * len(ids)
        span = 0
        for token, (start, end) in enumerate(offsets):
            while span < len(spans) and spans[span][1] <= start:
                span += 1
            if span < len(spans):
                flags[token] = start < spans[span][1] and end > spans[span][0]
        return ids, flags

    def _template(self) -> ChatTemplate:
        if self.chat_template is None:
            raise InputError(
                "This tokenizer has no chat template, so it cannot hold a conversation. Use a "
                "model tuned for chat, or set `chat_template`."
            )
        return self.chat_template

    def chat_variables(self) -> dict[str, str]:
        """The special tokens under the names chat templates use."""
        return {f"{part}_token": text for part in PARTS if (text := getattr(self.special, part))}

    # Out again

    def with_special(self, tokens: Sequence[str]) -> "Tokenizer":
        """This one with these special tokens too, of which those it lacks take the next ids.

        Raises `InputError` for one that is a word of the vocabulary, or whose class keeps two
        vocabularies (Marian).
        """
        if type(self) is not Tokenizer:
            raise InputError(
                f"A {type(self).__name__} keeps its vocabulary in files of its own, which take no "
                "further tokens. Use a model with another tokenizer."
            )
        ordinary = [text for text in tokens if self.id(text) not in (None, *self.special_ids)]
        if ordinary:
            raise InputError(
                f"{', '.join(ordinary)} is a word of the vocabulary, and texts that hold it would "
                "be read otherwise than before. Give the special token another name."
            )
        extra = tuple(dict.fromkeys([*self.special.extra, *tokens]))
        return Tokenizer(
            backend_from_json(self.backend.to_str(), name="the tokenizer"),
            special=replace(self.special, extra=extra),
            chat_template=self.chat_template,
            cleans_up=self.cleans_up,
            splits_special=self.splits_special,
            max_length=self.max_length,
        )

    def save(self, directory: str | Path) -> None:
        """Write tokenizer.json, tokenizer_config.json and chat_template.jinja into `directory`."""
        from hanlin.tokenizers.directory import save

        save(self, Path(directory))

    def __repr__(self) -> str:
        return f"Tokenizer({type(self.backend.model).__name__}, vocab_size={self.vocab_size})"


def add_missing(backend: rust.Tokenizer, special: SpecialTokens) -> None:
    """Give `backend` the special tokens that it does not know as such."""
    known = {token.content for token in backend.get_added_tokens_decoder().values()}
    missing = [text for text in special.all() if text not in known]
    if missing:
        backend.add_special_tokens(
            [rust.AddedToken(text, normalized=False, special=True) for text in missing]
        )


def backend_from_json(content: str, *, name: str) -> rust.Tokenizer:
    """Build the Rust tokenizer a tokenizer.json describes. Raises `FormatError`, naming the
    file."""
    try:
        return rust.Tokenizer.from_str(content)
    except Exception as error:  # the library raises bare Exception for every malformed file
        raise FormatError(
            f"{name} is not a tokenizer.json that can be read ({error}). Write or download it "
            "again."
        ) from error


def _not_text(*texts: object) -> InputError:
    for text in texts:
        if not isinstance(text, str):
            return InputError(f"A text to encode is of the type {type(text).__name__}. Pass a str.")
        for position, character in enumerate(text):
            if 0xD800 <= ord(character) <= 0xDFFF:
                return InputError(
                    f"The text has a lone surrogate (U+{ord(character):04X}) at character "
                    f"{position}, which no encoding can hold. Replace it, for example with U+FFFD."
                )
    return InputError("The text cannot be encoded. Pass valid Unicode.")


def _clean_up(text: str) -> str:
    for mark in (" .", " ?", " !", " ,", " ' ", " n't", " 'm", " 's", " 've", " 're"):
        text = text.replace(mark, mark.strip())
    return text
