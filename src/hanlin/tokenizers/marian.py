"""Marian's tokenizers (OPUS-MT): two SentencePiece models that share one vocab.json.

The source model cuts what is translated, the target model the translations; ids come from
vocab.json by the text of each piece, so they follow neither model's own numbering. transformers
reads this layout (``source.spm``, ``target.spm``, ``vocab.json``) and no tokenizer.json, so it is
also what `save` writes.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tokenizers as rust

from hanlin.errors import FormatError, InputError, NotFoundError
from hanlin.tokenizers.sentencepiece import build
from hanlin.tokenizers.special import SpecialTokens
from hanlin.tokenizers.spm_file import read_model
from hanlin.tokenizers.tokenizer import Tokenizer

if TYPE_CHECKING:
    from hanlin.tokenizers.layouts import Settings


class MarianTokenizer(Tokenizer):
    """Encodes the source language; its `target` encodes translations with the same ids."""

    def __init__(
        self,
        models: Mapping[str, bytes],
        vocab: Mapping[str, int],
        backend: rust.Tokenizer,
        *,
        config: Mapping[str, Any],
        target: "MarianTokenizer | None" = None,
    ) -> None:
        """Wrap the backend of one side; `models` holds the bytes of both files by name."""
        named = SpecialTokens.from_config(config)
        special = SpecialTokens(
            eos=named.eos or "</s>", unk=named.unk or "<unk>", pad=named.pad or "<pad>"
        )
        missing = [text for text in special.all() if text not in vocab]
        if missing:
            raise FormatError(
                f"vocab.json lacks {missing[0]!r}, which every Marian model uses. Get it again."
            )
        self._vocab = dict(vocab)
        self._tokens = {n: token for token, n in self._vocab.items()}
        self._models = dict(models)
        self._config = dict(config)
        length = config.get("model_max_length")
        super().__init__(
            backend,
            special=special,
            max_length=length if isinstance(length, int) and 0 < length < 10**12 else None,
        )
        assert special.unk is not None
        self._unknown = self._vocab[special.unk]
        self.special_ids = frozenset(self._vocab[text] for text in special.all())
        self._target = target or self
        # What is decoded was written by the model, so it is in the target's spelling.
        self._spelling = self._target._spelling

    @classmethod
    def read(cls, directory: Path, *, settings: "Settings") -> "MarianTokenizer":
        """Read a Marian model's directory. Raises `FormatError` for a malformed file."""
        if settings.config.get("separate_vocabs"):
            raise FormatError(
                "This Marian model has a vocabulary for each language (separate_vocabs), which "
                "hanlin does not read. Use a model with one vocab.json for both."
            )
        try:
            vocab = json.loads((directory / "vocab.json").read_bytes())
        except (UnicodeDecodeError, json.JSONDecodeError) as error:
            raise FormatError(f"vocab.json is not valid JSON ({error}). Get it again.") from error
        models = {name: _bytes(directory / name) for name in ("source.spm", "target.spm")}
        sides = [build(read_model(directory / name).table) for name in ("source.spm", "target.spm")]
        target = cls(models, vocab, sides[1], config=settings.config)
        return cls(models, vocab, sides[0], config=settings.config, target=target)

    @property
    def target(self) -> "MarianTokenizer":
        """The tokenizer of the target language; itself on the target's side."""
        return self._target

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """Return the ids of `text`, ended by the end token; ``>>xx<<`` first names a language."""
        return self.encode_offsets(text, add_special_tokens=add_special_tokens)[0]

    def encode_offsets(
        self, text: str, *, add_special_tokens: bool = True
    ) -> tuple[list[int], list[tuple[int, int]]]:
        """Return the ids of `text` and for each the characters [start, end) it covers."""
        language, skipped = [], 0
        if text.startswith(">>") and (end := text.find("<<")) != -1:
            skipped = end + 2
            language = [self._vocab.get(text[:skipped], self._unknown)]
        _, offsets = super().encode_offsets(text[skipped:], add_special_tokens=False)
        # A piece's text, also of one the model does not know, is what vocab.json is asked for.
        pieces = self.backend.encode(text[skipped:], add_special_tokens=False).tokens
        ids = [*language, *(self._vocab.get(piece, self._unknown) for piece in pieces)]
        spans = [(0, skipped)] * len(language)
        spans += [(start + skipped, end + skipped) for start, end in offsets]
        if add_special_tokens:
            assert self.eos_id is not None
            ids.append(self.eos_id)
            spans.append((len(text), len(text)))
        return ids, spans

    def encode_batch(
        self, texts: Iterable[str], *, add_special_tokens: bool = True
    ) -> list[list[int]]:
        """Return the ids of each text, as `encode` would."""
        return [self.encode(text, add_special_tokens=add_special_tokens) for text in texts]

    def encode_pair(self, first: str, second: str) -> tuple[list[int], list[int]]:
        """Raise `InputError`: a translation model takes one text at a time."""
        raise InputError(
            "A Marian model has no pairs of texts. Encode the source, and the translation with "
            "`target`."
        )

    def _text_of(self, token_id: int) -> str | None:
        super()._text_of(token_id)  # refuses what is no id
        return self._tokens.get(token_id)

    def id(self, token: str) -> int | None:
        """Return the id vocab.json gives a token, or None."""
        return self._vocab.get(token)

    @property
    def vocab_size(self) -> int:
        """How many tokens vocab.json has."""
        return len(self._vocab)

    @property
    def hash(self) -> str:
        """SHA-256 (hexadecimal) of both models and the vocabulary."""
        digest = hashlib.sha256()
        for name in sorted(self._models):
            digest.update(self._models[name])
        digest.update(json.dumps(self._vocab, sort_keys=True).encode())
        return digest.hexdigest()

    def save(self, directory: str | Path) -> None:
        """Write source.spm, target.spm, vocab.json and tokenizer_config.json into `directory`."""
        from hanlin.tokenizers.directory import write_whole

        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        for name, content in self._models.items():
            write_whole(directory / name, content)
        vocab = json.dumps(self._vocab, ensure_ascii=False, indent=2)
        write_whole(directory / "vocab.json", vocab.encode())
        config = {
            **{k: v for k, v in self._config.items() if not k.startswith("added_tokens")},
            "tokenizer_class": "MarianTokenizer",
            **self.special.to_config(),
        }
        text = json.dumps(config, ensure_ascii=False, indent=2) + "\n"
        write_whole(directory / "tokenizer_config.json", text.encode())


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise NotFoundError(
            f"There is no {path.name} in {path.parent}. A Marian model needs it; get it again."
        ) from error
