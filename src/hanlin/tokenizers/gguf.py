"""The tokenizer inside a GGUF file (the ``tokenizer.*`` keys of its metadata).

GGUF names four kinds of vocabulary: ``gpt2`` (byte-level BPE), ``llama`` (SentencePiece BPE),
``t5`` (SentencePiece Unigram) and ``bert`` (WordPiece, written with ``▁`` before whole words).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tokenizers as rust

from hanlin.errors import FormatError, nearest
from hanlin.tokenizers.bytelevel import around, bytelevel_bpe, parse_merges
from hanlin.tokenizers.chat import ChatTemplate
from hanlin.tokenizers.patterns import gguf_split
from hanlin.tokenizers.sentencepiece import (
    CONTROL,
    NORMAL,
    SPACE,
    UNKNOWN,
    USER_DEFINED,
    PieceTable,
    build,
)
from hanlin.tokenizers.special import SpecialTokens
from hanlin.tokenizers.tokenizer import Tokenizer
from hanlin.tokenizers.wordpiece import looks_cased, wordpiece

_PARTS = {
    "bos": ("bos_token_id",),
    "eos": ("eos_token_id",),
    "unk": ("unknown_token_id",),
    "sep": ("seperator_token_id", "separator_token_id"),  # the first is how the format spells it
    "pad": ("padding_token_id",),
    "cls": ("cls_token_id",),
    "mask": ("mask_token_id",),
}


def from_gguf(metadata: Mapping[str, Any]) -> Tokenizer:
    """Build the tokenizer; see `Tokenizer.from_gguf`."""
    vocabulary = _Vocabulary.read(metadata)
    if vocabulary.model not in _BUILDERS:
        known = list(_BUILDERS)
        raise FormatError(
            f"The GGUF file's vocabulary is of the kind {vocabulary.model!r} "
            f"(tokenizer.ggml.model), which hanlin does not "
            f"know.{nearest(vocabulary.model, known)} Known: {', '.join(known)}."
        )
    backend, begins, ends = _BUILDERS[vocabulary.model](vocabulary)
    special = vocabulary.special()
    begins = vocabulary.flag("add_bos_token", begins)
    ends = vocabulary.flag("add_eos_token", ends)
    if vocabulary.model == "bert":
        first, last = special.cls or special.bos, special.sep or special.eos
    else:
        first, last = special.bos, special.eos
    for wanted, token, key in ((begins, first, "bos"), (ends, last, "eos")):
        if wanted and token is None:
            raise FormatError(
                f"The GGUF file adds a token to every text but does not name it "
                f"(tokenizer.ggml.{key}_token_id). Convert the model again."
            )
    around(
        backend,
        before=[first] if begins and first else [],
        after=[last] if ends and last else [],
        second_type=1 if vocabulary.model == "bert" else 0,
    )
    template = metadata.get("tokenizer.chat_template")
    return Tokenizer(
        backend,
        special=special,
        chat_template=ChatTemplate(str(template)) if template else None,
    )


@dataclass(frozen=True)
class _Vocabulary:
    metadata: Mapping[str, Any]
    model: str
    tokens: list[str]
    kinds: list[int]

    @classmethod
    def read(cls, metadata: Mapping[str, Any]) -> "_Vocabulary":
        model = metadata.get("tokenizer.ggml.model")
        if not isinstance(model, str):
            raise FormatError(
                "The GGUF file has no tokenizer (tokenizer.ggml.model is missing). "
                "Convert the model again with its vocabulary."
            )
        tokens = _strings(metadata, "tokens")
        if not tokens:
            raise FormatError("The GGUF file's tokenizer has no tokens. Convert the model again.")
        kinds = _numbers(metadata, "token_type") or [NORMAL] * len(tokens)
        if len(kinds) != len(tokens):
            raise FormatError(
                f"The GGUF file's tokenizer has {len(tokens)} tokens and {len(kinds)} token types. "
                "Convert the model again."
            )
        return cls(metadata, model, tokens, [int(kind) for kind in kinds])

    def get(self, key: str) -> Any:
        return self.metadata.get(f"tokenizer.ggml.{key}")

    def flag(self, key: str, default: bool) -> bool:
        value = self.get(key)
        if value is not None and not isinstance(value, (bool, int, np.bool_, np.integer)):
            raise _wrong("a truth value", key)
        return default if value is None else bool(value)

    def text(self, key: str) -> str | None:
        """The text of the token whose id stands under `key`."""
        token_id = self.get(key)
        if token_id is None:
            return None
        if not isinstance(token_id, (int, np.integer)):
            raise _wrong("the id of a token", key)
        if not 0 <= int(token_id) < len(self.tokens):
            raise FormatError(
                f"The GGUF file names token {token_id} as its tokenizer.ggml.{key}, and it has "
                f"{len(self.tokens)} tokens. Convert the model again."
            )
        return self.tokens[int(token_id)]

    def special(self) -> SpecialTokens:
        def named(part: str) -> str | None:
            texts = (self.text(key) for key in _PARTS[part])
            return next((text for text in texts if text is not None), None)

        eos = named("eos")
        turns = [self.text(key) for key in ("eot_token_id", "eom_token_id")]
        return SpecialTokens(
            bos=named("bos"),
            eos=eos,
            unk=named("unk"),
            sep=named("sep"),
            pad=named("pad"),
            cls=named("cls"),
            mask=named("mask"),
            also_eos=tuple(dict.fromkeys(t for t in turns if t is not None and t != eos)),
        )

    def table(self, model: str, *, default_prefix: bool) -> PieceTable:
        scores = _numbers(self.metadata, "scores")
        if scores is None:
            raise FormatError(
                "The GGUF file's SentencePiece vocabulary has no scores. Convert the model again."
            )
        charsmap = _numbers(self.metadata, "precompiled_charsmap") or []
        kinds = list(self.kinds)
        if UNKNOWN not in kinds and (unknown := self.text("unknown_token_id")) is not None:
            kinds[self.tokens.index(unknown)] = UNKNOWN
        return PieceTable(
            model="unigram" if model == "unigram" else "bpe",
            pieces=tuple(self.tokens),
            scores=tuple(float(score) for score in scores),
            kinds=tuple(kinds),
            charsmap=bytes(bytearray(int(b) & 0xFF for b in charsmap)),
            add_dummy_prefix=self.flag("add_space_prefix", default_prefix),
            remove_extra_whitespaces=self.flag("remove_extra_whitespaces", model == "unigram"),
        )


_Built = tuple[rust.Tokenizer, bool, bool]
"""A tokenizer, and whether tokens of this kind begin and end a text unless the file says
otherwise."""


def _gpt2(vocabulary: _Vocabulary) -> _Built:
    # Old files lack the key; the kind is named after GPT-2, whose pattern transformers uses for
    # all.
    split = gguf_split(str(vocabulary.get("pre") or "gpt-2"))
    merges = parse_merges(_strings(vocabulary.metadata, "merges"), source="the GGUF file")
    vocab = {token: n for n, token in enumerate(vocabulary.tokens)}
    backend = bytelevel_bpe(vocab, merges, split=split)
    _mark_added(backend, vocabulary)
    return backend, split.begins, False


def _llama(vocabulary: _Vocabulary) -> _Built:
    return build(vocabulary.table("bpe", default_prefix=True)), True, False


def _t5(vocabulary: _Vocabulary) -> _Built:
    return build(vocabulary.table("unigram", default_prefix=True)), False, True


def _bert(vocabulary: _Vocabulary) -> _Built:
    vocab: dict[str, int] = {}
    for n, (token, kind) in enumerate(zip(vocabulary.tokens, vocabulary.kinds, strict=True)):
        if kind in (CONTROL, UNKNOWN) or (token.startswith("[") and token.endswith("]")):
            text = token
        else:
            text = token[1:] if token.startswith(SPACE) else f"##{token}"
        vocab[text] = n
    unknown = vocabulary.text("unknown_token_id") or "[UNK]"
    backend = wordpiece(vocab, unknown=unknown, lowercase=not looks_cased(vocab))
    _mark_added(backend, vocabulary)
    return backend, True, True


def _mark_added(backend: rust.Tokenizer, vocabulary: _Vocabulary) -> None:
    backend.add_tokens(
        [
            rust.AddedToken(token, normalized=False, special=kind == CONTROL)
            for token, kind in zip(vocabulary.tokens, vocabulary.kinds, strict=True)
            if kind in (CONTROL, USER_DEFINED)
        ]
    )


_BUILDERS: dict[str, Callable[[_Vocabulary], _Built]] = {
    "gpt2": _gpt2,
    "llama": _llama,
    "bert": _bert,
    "t5": _t5,
}


def _values(metadata: Mapping[str, Any], key: str) -> list[Any] | None:
    values = metadata.get(f"tokenizer.ggml.{key}")
    if values is None:
        return None
    if isinstance(values, np.ndarray):
        values = values.tolist()
    if not isinstance(values, (list, tuple, bytes, bytearray)):
        raise _wrong("a list", key)
    return list(values)


def _numbers(metadata: Mapping[str, Any], key: str) -> list[float] | None:
    values = _values(metadata, key)
    if values is not None and not _only(values, (int, float)):
        raise _wrong("a list of numbers", key)
    return values


def _strings(metadata: Mapping[str, Any], key: str) -> list[str]:
    values = _values(metadata, key)
    if values is None:
        raise FormatError(
            f"The GGUF file's tokenizer has no tokenizer.ggml.{key}. Convert the model again."
        )
    if not _only(values, (str,)):
        raise _wrong("a list of texts", key)
    return values


def _only(values: list[Any], types: tuple[type, ...]) -> bool:
    return all(issubclass(found, types) for found in set(map(type, values)))


def _wrong(wanted: str, key: str) -> FormatError:
    return FormatError(
        f"The GGUF file's tokenizer.ggml.{key} is not {wanted}. Convert the model again."
    )
