"""Byte-level BPE (Radford et al. 2019) put together from a vocabulary and its merges."""

from collections.abc import Iterable, Sequence

import tokenizers as rust
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

from hanlin.errors import FormatError
from hanlin.tokenizers.patterns import Split


def bytelevel_bpe(
    vocab: dict[str, int], merges: Sequence[tuple[str, str]], *, split: Split
) -> rust.Tokenizer:
    """Build the tokenizer. Raises `FormatError` where a merge uses a token the vocabulary lacks."""
    try:
        model = models.BPE(vocab=vocab, merges=merges, ignore_merges=split.whole_words)
    except Exception as error:  # the library raises bare Exception
        raise FormatError(
            f"The merges do not fit the vocabulary ({error}). Both must come from the same "
            "tokenizer."
        ) from error
    backend = rust.Tokenizer(model)
    if split.nfc:
        backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = bytelevel_split(split.patterns)
    backend.decoder = decoders.ByteLevel()
    return backend


def bytelevel_split(
    patterns: Sequence[str], *, add_prefix_space: bool = False
) -> pre_tokenizers.PreTokenizer:
    """Cut at each match of each pattern in turn, then write bytes as characters."""
    cuts = [pre_tokenizers.Split(rust.Regex(pattern), behavior="isolated") for pattern in patterns]
    return pre_tokenizers.Sequence(
        [*cuts, pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space, use_regex=False)]
    )


def gpt2_split(*, add_prefix_space: bool = False) -> pre_tokenizers.PreTokenizer:
    """Return GPT-2's own cut; `add_prefix_space` treats the first word like the others."""
    return pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space, use_regex=True)


def parse_merges(lines: Iterable[str], *, source: str) -> list[tuple[str, str]]:
    """Read merges written "left right", one a line. Raises `FormatError` naming a bad line."""
    merges = []
    for number, line in enumerate(lines, start=1):
        pair = line.split(" ")
        if len(pair) != 2 or "" in pair:
            raise FormatError(
                f"Merge {number} of {source} is {line[:60]!r}, not two tokens with a space "
                "between. Get the file again."
            )
        merges.append((pair[0], pair[1]))
    return merges


def around(
    backend: rust.Tokenizer,
    *,
    before: Sequence[str] = (),
    after: Sequence[str] = (),
    between: Sequence[str] | None = None,
    second_type: int = 0,
) -> None:
    """Put special tokens around every sequence that `backend` encodes.

    For two texts, `between` stands between them (default: `after`); the second text and what
    follows it have the type `second_type`.
    """
    between = after if between is None else between
    names = dict.fromkeys([*before, *after, *between])
    if not names:
        return
    ids = {}
    for name in names:
        token_id = backend.token_to_id(name)
        if token_id is None:
            raise FormatError(
                f"The tokenizer puts {name!r} around a text but its vocabulary lacks that token. "
                "Correct tokenizer_config.json or the vocabulary."
            )
        ids[name] = token_id
    backend.post_processor = processors.TemplateProcessing(
        single=[*before, "$A", *after],
        pair=[
            *before,
            "$A",
            *between,
            f"$B:{second_type}",
            *(f"{name}:{second_type}" for name in after),
        ],
        special_tokens=list(ids.items()),
    )
