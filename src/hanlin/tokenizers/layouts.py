"""The layouts of vocabularies older than tokenizer.json, each put together as its models expect.

What the files leave out (which tokens stand around a text, how ids are shifted) belongs to the
model's family, which ``tokenizer_class`` or ``model_type`` names.
"""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import tokenizers as rust
from tokenizers import decoders, models, processors

from hanlin.errors import FormatError
from hanlin.tokenizers.bytelevel import around, gpt2_split, parse_merges
from hanlin.tokenizers.chat import ChatTemplate
from hanlin.tokenizers.patterns import QWEN2, Split
from hanlin.tokenizers.sentencepiece import build
from hanlin.tokenizers.special import SpecialTokens, token_text
from hanlin.tokenizers.spm_file import append_tokens, fairseq_order, read_model
from hanlin.tokenizers.tokenizer import Tokenizer, add_missing
from hanlin.tokenizers.wordpiece import looks_cased, read_vocab, wordpiece

GPT2_TOKENS = SpecialTokens(bos="<|endoftext|>", eos="<|endoftext|>", unk="<|endoftext|>")
ROBERTA_TOKENS = SpecialTokens(
    bos="<s>", eos="</s>", pad="<pad>", unk="<unk>", mask="<mask>", cls="<s>", sep="</s>"
)
BERT_TOKENS = SpecialTokens(pad="[PAD]", unk="[UNK]", mask="[MASK]", cls="[CLS]", sep="[SEP]")
T5_TOKENS = SpecialTokens(eos="</s>", pad="<pad>", unk="<unk>")
LLAMA_TOKENS = SpecialTokens(bos="<s>", eos="</s>", unk="<unk>")
MBART_CODES = (
    "ar_AR cs_CZ de_DE en_XX es_XX et_EE fi_FI fr_XX gu_IN hi_IN it_IT ja_XX kk_KZ ko_KR lt_LT "
    "lv_LV my_MM ne_NP nl_XX ro_RO ru_RU si_LK tr_TR vi_VN zh_CN"
).split()
"""The languages of mBART, in the order of their ids behind the vocabulary."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What stands beside the vocabulary in a model directory."""

    config: dict[str, Any] = field(default_factory=dict)
    """tokenizer_config.json over special_tokens_map.json."""
    added: dict[str, Any] = field(default_factory=dict)
    """added_tokens.json: ids of tokens beyond the vocabulary."""
    model_type: str = ""
    """``model_type`` of config.json."""
    stops: tuple[int, ...] = ()
    """The ids at which generation_config.json stops."""
    chat_template: ChatTemplate | None = None

    @property
    def family(self) -> str:
        """The family in lower case, for example "roberta", from the class or the model type."""
        name = str(self.config.get("tokenizer_class") or "")
        name = name.removesuffix("Fast").removesuffix("Tokenizer").lower()
        return self.model_type if name in ("", "pretrained") else name

    def finish(
        self,
        backend: rust.Tokenizer,
        *,
        defaults: SpecialTokens,
        splits_special: bool = False,
        complete: bool = False,
    ) -> Tokenizer:
        """Add the tokens the config lists to `backend` and make a `Tokenizer` of it.

        A `complete` backend, out of a tokenizer.json, already puts the right tokens around a text;
        add_bos_token and add_eos_token of the config say nothing then, as in transformers.
        """
        listed = self.config.get("added_tokens_decoder") or {}
        try:
            entries = {
                int(n): {"content": entry} if isinstance(entry, str) else entry
                for n, entry in listed.items()
                if token_text(entry)
            }
            entries.update({int(n): {"content": text} for text, n in self.added.items()})
        except (AttributeError, TypeError, ValueError) as error:
            raise FormatError(
                "added_tokens_decoder in tokenizer_config.json (or added_tokens.json) does not map "
                "between ids and tokens. Get the file again."
            ) from error
        known = backend.get_added_tokens_decoder()
        for n, entry in sorted(entries.items()):
            if n in known and known[n].content == token_text(entry):
                continue
            token = rust.AddedToken(
                entry["content"],
                special=bool(entry.get("special", True)),
                normalized=bool(entry.get("normalized", False)),
                lstrip=bool(entry.get("lstrip", False)),
                rstrip=bool(entry.get("rstrip", False)),
                single_word=bool(entry.get("single_word", False)),
            )
            add = backend.add_special_tokens if token.special else backend.add_tokens
            add([token])
            if backend.token_to_id(token.content) != n:
                raise FormatError(
                    f"The config gives the token {token.content!r} the id {n}, and the vocabulary "
                    f"gives it {backend.token_to_id(token.content)}. The two files do not belong "
                    "together; get both again."
                )
        special = self.special(backend, defaults)
        add_missing(backend, special)
        if not complete:
            self._mark_ends(backend, special)
        length = self.config.get("model_max_length")
        known_length = isinstance(length, int) and 0 < length < 10**12  # 1e30 means "no limit"
        return Tokenizer(
            backend,
            special=special,
            chat_template=self.chat_template,
            cleans_up=bool(self.config.get("clean_up_tokenization_spaces", False)),
            splits_special=bool(self.config.get("split_special_tokens", splits_special)),
            max_length=length if known_length else None,
        )

    def special(self, backend: rust.Tokenizer, defaults: SpecialTokens) -> SpecialTokens:
        """Return the special tokens the config names, and of `defaults` those that exist."""
        named = SpecialTokens.from_config(self.config)
        missing = {
            part: text
            for part in ("bos", "eos", "pad", "unk", "mask", "cls", "sep")
            if f"{part}_token" not in self.config
            and (text := getattr(defaults, part)) is not None
            and backend.token_to_id(text) is not None
        }
        eos = missing.get("eos", named.eos)
        stops = [backend.id_to_token(n) for n in self.stops if isinstance(n, int) and n >= 0]
        also = tuple(dict.fromkeys(text for text in stops if text is not None and text != eos))
        return replace(named, **missing, also_eos=also)

    def _mark_ends(self, backend: rust.Tokenizer, special: SpecialTokens) -> None:
        """Follow add_bos_token and add_eos_token where the config has them."""
        flags = [self.config.get(f"add_{part}_token") for part in ("bos", "eos")]
        if flags == [None, None]:
            return
        before = [special.bos] if flags[0] and special.bos else []
        after = [special.eos] if flags[1] and special.eos else []
        if before or after:
            around(backend, before=before, after=after, between=[*after, *before])
        else:
            backend.post_processor = processors.ByteLevel(trim_offsets=False)


def from_merges(vocab_path: Path, merges_path: Path, settings: Settings) -> Tokenizer:
    """Read byte-level BPE: a JSON object from tokens to ids, and merges one a line."""
    vocab = _read_vocab(vocab_path)
    lines = _read_text(merges_path).split("\n")
    if lines and lines[0].startswith("#version"):
        del lines[0]
    merges = parse_merges(
        (line.rstrip("\r") for line in lines if line.strip()), source=merges_path.name
    )
    prefix = bool(settings.config.get("add_prefix_space", False))
    try:
        backend = rust.Tokenizer(models.BPE(vocab=vocab, merges=merges))
    except Exception as error:  # the library raises bare Exception
        raise FormatError(
            f"{merges_path.name} does not fit {vocab_path.name} ({error}). Get both again."
        ) from error
    backend.decoder = decoders.ByteLevel()
    if settings.family.startswith("qwen"):
        from tokenizers import normalizers

        from hanlin.tokenizers.bytelevel import bytelevel_split

        backend.normalizer = normalizers.NFC()
        backend.pre_tokenizer = bytelevel_split(Split((QWEN2,)).patterns, add_prefix_space=prefix)
        return settings.finish(backend, defaults=GPT2_TOKENS)
    backend.pre_tokenizer = gpt2_split(add_prefix_space=prefix)
    if settings.family in ("roberta", "bart", "longformer", "distilroberta"):
        special = settings.special(backend, ROBERTA_TOKENS)
        sep, cls = special.sep or "</s>", special.cls or "<s>"
        for token in (sep, cls):
            if token not in vocab:
                raise FormatError(
                    f"{vocab_path.name} lacks {token!r}, which RoBERTa puts around a text. "
                    "Name the right tokens in tokenizer_config.json."
                )
        backend.post_processor = processors.RobertaProcessing(
            (sep, vocab[sep]), (cls, vocab[cls]), trim_offsets=True, add_prefix_space=prefix
        )
        if special.mask and "mask_token" not in settings.config:
            # A hidden word takes the space before it along, as in the model's training.
            backend.add_special_tokens(
                [rust.AddedToken(special.mask, lstrip=True, normalized=False, special=True)]
            )
        return settings.finish(backend, defaults=ROBERTA_TOKENS)
    return settings.finish(backend, defaults=GPT2_TOKENS)


def from_vocab_txt(path: Path, settings: Settings) -> Tokenizer:
    """Read BERT's vocabulary.

    ``do_lower_case`` of the config decides about capitals; where no config says, text is
    lower-cased unless the vocabulary itself has capitals.
    """
    vocab = read_vocab(_read_text(path), name=path.name)
    config = settings.config
    lowercase = config.get("do_lower_case")
    backend = wordpiece(
        vocab,
        unknown=token_text(config.get("unk_token")) or "[UNK]",
        lowercase=not looks_cased(vocab) if lowercase is None else bool(lowercase),
        strip_accents=config.get("strip_accents"),
        split_chinese=bool(config.get("tokenize_chinese_chars", True)),
    )
    special = settings.special(backend, BERT_TOKENS)
    if special.cls and special.sep:
        around(backend, before=[special.cls], after=[special.sep], second_type=1)
    return settings.finish(backend, defaults=BERT_TOKENS)


def from_sentencepiece(path: Path, settings: Settings, *, alone: bool) -> Tokenizer:
    """Read a SentencePiece model; the family decides on shifted ids and the tokens around a text.

    A file read `alone` gives exactly the ids of the ``sentencepiece`` library: nothing is added,
    and text that looks like a control piece is spelt out.
    """
    file = read_model(path)
    table, family = file.table, settings.family
    own = SpecialTokens(
        bos=file.piece(file.bos),
        eos=file.piece(file.eos),
        unk=file.piece(file.unk),
        pad=file.piece(file.pad),
    )
    if alone:
        return settings.finish(build(table), defaults=own, splits_special=True)
    if family in ("t5", "mt5", "umt5"):
        extra = int(settings.config.get("extra_ids", 100))
        names = tuple(f"<extra_id_{n}>" for n in reversed(range(extra)))
        table = append_tokens(table, tuple(name for name in names if name not in table.pieces))
        backend = build(table)
        around(backend, after=["</s>"])
        return settings.finish(backend, defaults=T5_TOKENS)
    if family in ("xlmroberta", "xlm-roberta", "camembert"):
        if family == "camembert":
            raise FormatError(
                "CamemBERT numbers its SentencePiece model in a way of its own. Use a directory "
                "with a tokenizer.json."
            )
        backend = build(fairseq_order(table, after=("<mask>",)))
        around(backend, before=["<s>"], after=["</s>"], between=["</s>", "</s>"])
        return settings.finish(backend, defaults=ROBERTA_TOKENS)
    if family == "mbart":
        backend = build(fairseq_order(table, after=(*MBART_CODES, "<mask>")))
        language = str(settings.config.get("src_lang") or "en_XX")
        around(backend, after=["</s>", language], between=[])
        return settings.finish(backend, defaults=ROBERTA_TOKENS)
    tokenizer = settings.finish(build(table), defaults=own)
    if family in ("llama", "gemma", "mistral") and "add_bos_token" not in settings.config:
        around(tokenizer.backend, before=[own.bos] if own.bos else [])
    return tokenizer


def _read_text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise FormatError(f"{path.name} is not UTF-8. Get it again.") from error


def _read_vocab(path: Path) -> dict[str, int]:
    try:
        vocab = json.loads(_read_text(path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise FormatError(f"{path.name} is not valid JSON ({error}). Get it again.") from error
    if not isinstance(vocab, dict) or not all(
        isinstance(n, int) and 0 <= n < 1 << 32 for n in vocab.values()
    ):
        raise FormatError(
            f"{path.name} is not an object from tokens to ids. Get the vocabulary again."
        )
    return vocab
