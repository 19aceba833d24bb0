"""Learning a vocabulary from text: byte-level BPE, WordPiece or Unigram.

The same texts and settings always give the same vocabulary.
"""

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import tokenizers as rust
from tokenizers import models, normalizers, pre_tokenizers, trainers

from hanlin.errors import ConfigError, InputError, nearest
from hanlin.tokenizers.bytelevel import around, bytelevel_bpe, bytelevel_split
from hanlin.tokenizers.merges import learn_merges
from hanlin.tokenizers.patterns import GPT2, HANLIN, LLAMA3, UNIGRAM_WORDS, Split
from hanlin.tokenizers.sentencepiece import (
    BYTE,
    CONTROL,
    NORMAL,
    SPACE,
    UNKNOWN,
    PieceTable,
    build,
)
from hanlin.tokenizers.special import SpecialTokens
from hanlin.tokenizers.spelling import byte_alphabet
from hanlin.tokenizers.tokenizer import Tokenizer
from hanlin.tokenizers.unigram import learn_pieces
from hanlin.tokenizers.wordpiece import wordpiece

Kind = Literal["bpe", "wordpiece", "unigram"]
Ties = Literal["first", "greatest"]

PATTERNS = {"hanlin": HANLIN, "gpt2": GPT2, "gpt4": LLAMA3}
SPECIAL_TOKENS = {
    "bpe": ("<|endoftext|>",),
    "wordpiece": ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
    "unigram": ("<pad>", "</s>", "<unk>"),
}
_PARTS = {
    "bos": ("<s>", "<|begin_of_text|>", "<bos>", "<|endoftext|>"),
    "eos": ("</s>", "<|end_of_text|>", "<eos>", "<|endoftext|>", "<|im_end|>"),
    "pad": ("<pad>", "[PAD]", "<|pad|>"),
    "unk": ("<unk>", "[UNK]"),
    "mask": ("<mask>", "[MASK]"),
    "cls": ("[CLS]",),
    "sep": ("[SEP]",),
}
_TURN_ENDS = ("<|im_end|>", "<|eot_id|>", "<end_of_turn>")


def train(
    texts: Iterable[str],
    *,
    kind: Kind,
    vocab_size: int,
    special_tokens: Sequence[str] | None = None,
    pattern: str | None = None,
    ties: Ties | None = None,
    min_frequency: int = 2,
    byte_fallback: bool | None = None,
    lowercase: bool | None = None,
    split_chinese: bool | None = None,
) -> Tokenizer:
    """Learn a vocabulary of at most `vocab_size` tokens from `texts`, which are read once.

    `special_tokens` take the first ids (see `SPECIAL_TOKENS` for what each kind has by default);
    names in use, such as ``</s>`` and ``[MASK]``, get the part they usually play. `min_frequency`
    is how often a pair must occur to become a token (not for unigram, where it must stay as it is).

    For bpe: `pattern` cuts texts into words before merging: "hanlin" (the default), "gpt2", "gpt4"
    or a regular expression of one's own. `ties` says which of two equally frequent pairs merges
    first: "first", the one whose parts are older tokens (fast, on every core), or "greatest", the
    one that is greater as bytes (the rule of reference trainers; three times slower).
    For wordpiece: `lowercase` (default True) also takes accents off; `split_chinese` (default True)
    makes each Chinese character a word.
    For unigram: `byte_fallback` (default True) spells unknown characters as bytes, so that nothing
    is lost; it takes 256 of the tokens.

    Raises `ConfigError` for a setting that does not fit the kind and for a `vocab_size` that cannot
    hold the alphabet, and `InputError` for an empty corpus.
    """
    if kind not in _TRAINERS:
        raise ConfigError(
            f"There is no tokenizer of the kind {kind!r}.{nearest(kind, list(_TRAINERS))} "
            f"Choose one of: {', '.join(_TRAINERS)}."
        )
    given = {
        "pattern": pattern,
        "ties": ties,
        "byte_fallback": byte_fallback,
        "lowercase": lowercase,
        "split_chinese": split_chinese,
    }
    for name, value in given.items():
        if value is not None and name not in _SETTINGS[kind]:
            raise ConfigError(
                f"{name} says nothing to a tokenizer of the kind {kind!r}. Leave it out."
            )
    if vocab_size < 1 or min_frequency < 1:
        raise ConfigError("vocab_size and min_frequency must be at least 1. Raise them.")
    names = tuple(SPECIAL_TOKENS[kind] if special_tokens is None else special_tokens)
    if len(set(names)) != len(names) or "" in names:
        raise ConfigError("A special token is empty or named twice. Name each once.")
    plan = _Plan(
        vocab_size=vocab_size,
        names=names,
        min_frequency=min_frequency,
        pattern=pattern or "hanlin",
        ties=ties or "first",
        byte_fallback=byte_fallback is not False,
        lowercase=lowercase is not False,
        split_chinese=split_chinese is not False,
    )
    backend = _TRAINERS[kind](_not_empty(texts), plan)
    learnt = backend.get_vocab_size()
    if learnt > vocab_size:
        raise ConfigError(
            f"vocab_size is {vocab_size}, and the special tokens and the characters of the text "
            f"alone make {learnt}. Raise vocab_size, or use kind bpe, whose alphabet is the 256 "
            "bytes."
        )
    return Tokenizer(backend, special=_parts(names))


@dataclass(frozen=True, kw_only=True)
class _Plan:
    vocab_size: int
    names: tuple[str, ...]
    min_frequency: int
    pattern: str
    ties: Ties
    byte_fallback: bool
    lowercase: bool
    split_chinese: bool

    def special(self) -> list[rust.AddedToken]:
        return [rust.AddedToken(name, normalized=False, special=True) for name in self.names]


def _bpe(texts: Iterator[str], plan: _Plan) -> rust.Tokenizer:
    room = plan.vocab_size - len(plan.names) - 256
    if room < 0:
        raise ConfigError(
            f"vocab_size is {plan.vocab_size}, and {len(plan.names)} special tokens and 256 bytes "
            f"come first. Make it at least {len(plan.names) + 256}."
        )
    source = PATTERNS.get(plan.pattern, plan.pattern)
    try:
        cut = pre_tokenizers.Split(rust.Regex(source), behavior="isolated")
    except Exception as error:  # the library raises bare Exception
        raise ConfigError(
            f"The pattern {plan.pattern!r} is neither a known name nor a regular expression "
            f"({error}).{nearest(plan.pattern, list(PATTERNS))} Known names: {', '.join(PATTERNS)}."
        ) from error
    letters = {byte: letter for letter, byte in byte_alphabet().items()}
    if plan.ties == "greatest":
        words: Counter[str] = Counter()
        for text in texts:
            words.update([word for word, _ in cut.pre_tokenize_str(text)])
        # As Latin-1 a byte is one character of the same order.
        learnt = learn_merges(
            {tuple(word.encode().decode("latin-1")): n for word, n in words.items()},
            room=room,
            min_frequency=plan.min_frequency,
        )
        merges = [
            ("".join(letters[ord(c)] for c in left), "".join(letters[ord(c)] for c in right))
            for left, right in learnt
        ]
        tokens = [*plan.names, *letters.values(), *(left + right for left, right in merges)]
        vocab = {token: n for n, token in enumerate(dict.fromkeys(tokens))}
        backend = bytelevel_bpe(vocab, merges, split=Split((source,)))
        backend.add_special_tokens(plan.special())
        return backend
    backend = bytelevel_bpe({}, [], split=Split((source,)))
    backend.pre_tokenizer = bytelevel_split((source,))
    trainer = trainers.BpeTrainer(
        vocab_size=plan.vocab_size,
        min_frequency=plan.min_frequency,
        special_tokens=plan.special(),
        initial_alphabet=list(letters.values()),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    return backend


def _wordpiece(texts: Iterator[str], plan: _Plan) -> rust.Tokenizer:
    if "[UNK]" not in plan.names:
        raise ConfigError("A WordPiece vocabulary needs the special token '[UNK]'. Name it too.")
    learner = wordpiece({"[UNK]": 0}, lowercase=plan.lowercase, split_chinese=plan.split_chinese)
    words = _words(texts, learner)
    spelt = {(word[0], *(f"##{c}" for c in word[1:])): n for word, n in words.items()}
    alphabet = sorted({symbol for word in spelt for symbol in word})
    merges = learn_merges(
        spelt,
        room=plan.vocab_size - len(plan.names) - len(alphabet),
        min_frequency=plan.min_frequency,
        join=_join_pieces,
    )
    made = [_join_pieces(left, right) for left, right in merges]
    vocab = {token: n for n, token in enumerate(dict.fromkeys([*plan.names, *alphabet, *made]))}
    backend = wordpiece(vocab, lowercase=plan.lowercase, split_chinese=plan.split_chinese)
    backend.add_special_tokens(plan.special())
    if "[CLS]" in plan.names and "[SEP]" in plan.names:
        around(backend, before=["[CLS]"], after=["[SEP]"], second_type=1)
    return backend


def _join_pieces(left: str, right: str) -> str:
    return left + right.removeprefix("##")


def _unigram(texts: Iterator[str], plan: _Plan) -> rust.Tokenizer:
    if "<unk>" not in plan.names:
        raise ConfigError("A Unigram vocabulary needs the special token '<unk>'. Name it too.")
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)] if plan.byte_fallback else []
    room = plan.vocab_size - len(bytes_) - len(plan.names)
    if room < 1:
        raise ConfigError(
            f"vocab_size is {plan.vocab_size}, and {len(plan.names)} special tokens and "
            f"{len(bytes_)} bytes come first. Raise it, or set byte_fallback to False."
        )
    learner = rust.Tokenizer(models.Unigram())
    before = [normalizers.NFKC(), normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)]
    learner.normalizer = normalizers.Sequence(before)
    cut = pre_tokenizers.Split(rust.Regex(UNIGRAM_WORDS), behavior="isolated")
    learner.pre_tokenizer = cut
    pieces = learn_pieces(_words(texts, learner), size=room)
    for name in (*plan.names, *bytes_):
        pieces.pop(name, None)
    least = min(pieces.values(), default=0.0)
    kinds = [UNKNOWN if name == "<unk>" else CONTROL for name in plan.names]
    table = PieceTable(
        model="unigram",
        pieces=(*plan.names, *bytes_, *pieces),
        scores=(*(0.0 for _ in plan.names), *(least for _ in bytes_), *pieces.values()),
        kinds=(*kinds, *(BYTE for _ in bytes_), *(NORMAL for _ in pieces)),
        remove_extra_whitespaces=False,
    )
    backend = build(table)
    backend.normalizer = normalizers.Sequence(before)
    markup = backend.pre_tokenizer
    backend.pre_tokenizer = pre_tokenizers.Sequence([cut, *([] if markup is None else [markup])])
    if "</s>" in plan.names:
        around(backend, after=["</s>"])
    return backend


def _words(texts: Iterator[str], learner: rust.Tokenizer) -> Counter[str]:
    """Count the words that `learner` cuts texts into."""
    words: Counter[str] = Counter()
    for text in texts:
        text = learner.normalizer.normalize_str(text)
        words.update([word for word, _ in learner.pre_tokenizer.pre_tokenize_str(text)])
    return words


_TRAINERS: dict[str, Callable[[Iterator[str], _Plan], rust.Tokenizer]] = {
    "bpe": _bpe,
    "wordpiece": _wordpiece,
    "unigram": _unigram,
}
_SETTINGS = {
    "bpe": ("pattern", "ties"),
    "wordpiece": ("lowercase", "split_chinese"),
    "unigram": ("byte_fallback",),
}


def _not_empty(texts: Iterable[str]) -> Iterator[str]:
    """Return `texts` from the first that has something in it."""
    iterator = iter(texts)
    for first in iterator:
        if first.strip():
            return itertools.chain([first], iterator)
    raise InputError("There is no text to learn from. Give texts that are not empty.")


def _parts(names: Sequence[str]) -> SpecialTokens:
    def part(which: str) -> str | None:
        return next((name for name in _PARTS[which] if name in names), None)

    eos = part("eos")
    ends = tuple(name for name in _TURN_ENDS if name in names and name != eos)
    parts = [part(which) for which in _PARTS]
    return SpecialTokens(
        bos=part("bos"),
        eos=eos,
        pad=part("pad"),
        unk=part("unk"),
        mask=part("mask"),
        cls=part("cls"),
        sep=part("sep"),
        also_eos=ends,
        extra=tuple(name for name in names if name not in parts and name not in ends),
    )
