"""SentencePiece vocabularies (Kudo and Richardson 2018), Unigram and BPE, as tokenizers.

Two sources describe the same thing: the ``.model`` file (a protocol buffer, see `spm_file`) and the
GGUF metadata of Llama and T5 models. Both become a `PieceTable`, and `build` turns that into a
tokenizer whose ids are those of the ``sentencepiece`` library, white space included.
"""

import re
from dataclasses import dataclass
from typing import Literal

import tokenizers as rust
from tokenizers import decoders, models, normalizers, pre_tokenizers

from hanlin.errors import FormatError
from hanlin.tokenizers.spelling import BYTE_TOKEN

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
"""The kinds of pieces, numbered as SentencePiece and GGUF number them."""

SPACE = "▁"


@dataclass(frozen=True, kw_only=True)
class PieceTable:
    """One SentencePiece vocabulary: pieces in the order of their ids, and how text is prepared."""

    model: Literal["unigram", "bpe"]
    pieces: tuple[str, ...]
    scores: tuple[float, ...]
    kinds: tuple[int, ...]
    charsmap: bytes = b""
    """The compiled table of character replacements (``precompiled_charsmap``)."""
    add_dummy_prefix: bool = True
    """A space is put before the text."""
    remove_extra_whitespaces: bool = True
    """Spaces at both ends go, and runs of them become one."""
    escape_whitespaces: bool = True
    """Spaces are written ``▁``."""

    def __post_init__(self) -> None:
        if not self.pieces:
            raise FormatError("The SentencePiece vocabulary is empty. Get the file again.")
        if not len(self.pieces) == len(self.scores) == len(self.kinds):
            raise FormatError(
                f"The SentencePiece vocabulary has {len(self.pieces)} pieces, {len(self.scores)} "
                f"scores and {len(self.kinds)} kinds. Get the file again."
            )
        if UNUSED in self.kinds and self.model == "unigram":
            raise FormatError(
                "The SentencePiece vocabulary has pieces marked unused, which hanlin cannot leave "
                "out. Export the model again without a restricted vocabulary."
            )

    @property
    def unknown(self) -> int:
        """The id of the piece that stands for what cannot be spelt."""
        if UNKNOWN not in self.kinds:
            raise FormatError(
                "The SentencePiece vocabulary has no piece for unknown text. Get the file again."
            )
        return self.kinds.index(UNKNOWN)

    @property
    def has_bytes(self) -> bool:
        """Whether text the pieces cannot spell falls back to bytes."""
        return BYTE in self.kinds


def build(table: PieceTable) -> rust.Tokenizer:
    """Return the tokenizer `table` describes; it adds no special tokens around a text."""
    backend = rust.Tokenizer(_unigram(table) if table.model == "unigram" else _bpe(table))
    steps = _normalisers(table)
    if steps:
        backend.normalizer = normalizers.Sequence(steps)
    if table.model == "unigram" and (cut := _cut(table)):
        backend.pre_tokenizer = pre_tokenizers.Split(rust.Regex(cut), behavior="isolated")
    decode = [decoders.Replace(SPACE, " "), decoders.Fuse()]
    if table.has_bytes:
        decode.insert(1, decoders.ByteFallback())
    if table.add_dummy_prefix or table.remove_extra_whitespaces:
        decode.append(decoders.Strip(" ", 1, 0))
    backend.decoder = decoders.Sequence(decode)
    backend.add_tokens(
        [
            rust.AddedToken(piece, normalized=False, special=kind != USER_DEFINED)
            for piece, kind in zip(table.pieces, table.kinds, strict=True)
            if kind in (CONTROL, UNKNOWN) or (kind == USER_DEFINED and table.model == "bpe")
        ]
    )
    return backend


def _normalisers(table: PieceTable) -> list[normalizers.Normalizer]:
    steps: list[normalizers.Normalizer] = []
    if table.charsmap:
        try:
            replacements = normalizers.Precompiled(table.charsmap)
        except Exception as error:  # the library raises bare Exception
            raise FormatError(
                f"The SentencePiece table of character replacements is damaged ({error}). "
                "Get the file again."
            ) from error
        steps += _composed_first(replacements)
        steps.append(replacements)
    if table.remove_extra_whitespaces:
        steps.append(normalizers.Replace(rust.Regex(r"\A +"), ""))
        steps.append(normalizers.Replace(rust.Regex(" {2,}"), " "))
    space = SPACE if table.escape_whitespaces else " "
    if table.add_dummy_prefix:
        steps.append(normalizers.Prepend(space))
    if table.escape_whitespaces:
        steps.append(normalizers.Replace(" ", SPACE))
    if table.remove_extra_whitespaces:
        # Last, because SentencePiece takes a literal mark of space off the end too.
        steps.append(normalizers.Replace(rust.Regex(rf"{space}+\z"), ""))
    return steps


def _composed_first(replacements: normalizers.Precompiled) -> list[normalizers.Normalizer]:
    """Return the steps that must come before a table of replacements.

    The Rust library looks a whole grapheme up by its shortest prefix, and so loses the mark of "ｶﾞ"
    or of "e" with an accent apart. Composed first, almost every grapheme is one character. What
    still differs from SentencePiece is a letter under two loose marks (which it leaves half
    composed) and a joiner after a space: no line of the test corpora, 1 of 20,000 random strings
    full of marks.
    """
    if replacements.normalize_str("e\u0301") != "\u00e9":
        return []
    if replacements.normalize_str("①") != "1":
        return [normalizers.NFC()]
    lower = [normalizers.Lowercase()] if replacements.normalize_str("A") == "a" else []
    # A table of an older Unicode leaves newer signs alone, and some leave the full-width tilde.
    kept = [c for c in "～㋿" if replacements.normalize_str(c) == c]
    shields = [chr(0xF8F0 + n) for n in range(len(kept))]
    return [
        *(normalizers.Replace(c, shield) for c, shield in zip(kept, shields, strict=True)),
        normalizers.NFKC(),
        *(normalizers.Replace(shield, c) for c, shield in zip(kept, shields, strict=True)),
        *lower,
    ]


def _cut(table: PieceTable) -> str:
    """Return a pattern that cuts text which only looks like an unknown, control or byte piece.

    To SentencePiece "<unk>" in a text is five characters; the Unigram of the Rust library would
    find the piece. A cut after its first character prevents that.
    """
    ends: dict[str, list[str]] = {}
    for piece, kind in zip(table.pieces, table.kinds, strict=True):
        if kind in (UNKNOWN, CONTROL) and len(piece) > 1:
            ends.setdefault(piece[-1], []).append(re.escape(piece[:-1]))
    if table.has_bytes:
        ends.setdefault(">", []).append("<0x[0-9A-F]{2}")
    return "|".join(
        f"(?<={'|'.join(sorted(starts))})(?={re.escape(end)})" for end, starts in ends.items()
    )


def _unigram(table: PieceTable) -> models.Unigram:
    normal = [s for s, kind in zip(table.scores, table.kinds, strict=True) if kind == NORMAL]
    best = max(normal, default=0.0)
    vocab = [
        # SentencePiece's own bonus: a user-defined symbol weighs as if each of its bytes were the
        # likeliest piece.
        (piece, _exact(len(piece.encode()) * best - 0.1 if kind == USER_DEFINED else score))
        for piece, score, kind in zip(table.pieces, table.scores, table.kinds, strict=True)
    ]
    return models.Unigram(vocab, unk_id=table.unknown, byte_fallback=table.has_bytes)


def _exact(score: float) -> float:
    """Round to nine digits, all a 32-bit score has; the Rust library's JSON loses more than
    those."""
    return float(f"{score:.9g}")


def _bpe(table: PieceTable) -> models.BPE:
    vocab = {piece: n for n, piece in enumerate(table.pieces)}
    unknown = table.pieces[table.unknown]
    return models.BPE(
        vocab=vocab,
        merges=merges_from_scores(table),
        unk_token=unknown,
        fuse_unk=True,
        byte_fallback=table.has_bytes,
    )


def merges_from_scores(table: PieceTable) -> list[tuple[str, str]]:
    """Return every merge of two pieces into a third, best score first.

    SentencePiece keeps no list of merges: any two neighbours whose union is a piece may merge, the
    best-scored union first.
    """
    mergeable = {
        piece: score
        for piece, score, kind in zip(table.pieces, table.scores, table.kinds, strict=True)
        if kind in (NORMAL, UNUSED) and not (table.has_bytes and BYTE_TOKEN.fullmatch(piece))
    }
    merges: list[tuple[float, int, str, str]] = []
    for piece, score in mergeable.items():
        for cut in range(1, len(piece)):
            left, right = piece[:cut], piece[cut:]
            if left in mergeable and right in mergeable:
                merges.append((-score, len(merges), left, right))
    merges.sort()
    return [(left, right) for _, _, left, right in merges]
