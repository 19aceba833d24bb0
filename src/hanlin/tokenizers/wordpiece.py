"""WordPiece (Schuster and Nakajima 2012) as BERT uses it (Devlin et al. 2019).

Text is cleaned, Chinese characters are set apart, words are cut at white space and punctuation, and
each word is spelt by the longest tokens from its left; ``##`` marks a token that continues a word.
"""

from collections.abc import Iterable

import tokenizers as rust
from tokenizers import decoders, models, normalizers, pre_tokenizers

from hanlin.errors import FormatError


def wordpiece(
    vocab: dict[str, int],
    *,
    unknown: str = "[UNK]",
    lowercase: bool,
    strip_accents: bool | None = None,
    split_chinese: bool = True,
) -> rust.Tokenizer:
    """Build BERT's tokenizer; accents go with capitals unless `strip_accents` says otherwise.

    Raises `FormatError` where the vocabulary lacks the token for unknown words.
    """
    if unknown not in vocab:
        raise FormatError(
            f"The WordPiece vocabulary has no {unknown!r} for unknown words. "
            "Name the right token as unk_token in tokenizer_config.json."
        )
    backend = rust.Tokenizer(models.WordPiece(vocab=vocab, unk_token=unknown))
    backend.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=split_chinese,
        strip_accents=strip_accents,
        lowercase=lowercase,
    )
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(prefix="##", cleanup=False)
    return backend


def looks_cased(vocab: Iterable[str]) -> bool:
    """Whether a vocabulary was made from text that kept its capitals.

    A lower-cased vocabulary has no Latin capitals outside its special tokens.
    """
    return any(
        token.lower() != token and not (token.startswith(("[", "<")) and token.endswith(("]", ">")))
        for token in vocab
    )


def read_vocab(text: str, *, name: str) -> dict[str, int]:
    """Read vocab.txt: one token a line, its id the line's number from 0. Raises `FormatError`."""
    lines = text.split("\n")
    if lines and lines[-1] == "":
        lines.pop()
    if not lines:
        raise FormatError(f"{name} is empty. Get the vocabulary again.")
    return {line.removesuffix("\r"): n for n, line in enumerate(lines)}
