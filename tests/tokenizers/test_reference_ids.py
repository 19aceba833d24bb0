"""Token ids equal those of the reference tokenizer, line by line."""

import json
import random
import shutil
import unicodedata
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
from transformers import AutoTokenizer, BertTokenizer, GPT2Tokenizer, RobertaTokenizer

from hanlin.errors import FormatError, InputError, NotFoundError
from hanlin.tokenizers import Tokenizer, train


def assert_same(ours: Tokenizer, theirs: Any, lines: Sequence[str]) -> None:
    """Compare with a transformers tokenizer, special tokens included."""
    expected = theirs(list(lines))["input_ids"]
    for line, got, want in zip(lines, ours.encode_batch(lines), expected, strict=True):
        assert got == want, line


def assert_same_pieces(ours: Tokenizer, model: Path, lines: Sequence[str]) -> None:
    """Compare with the sentencepiece library, and its decoding with ours."""
    theirs = sentencepiece.SentencePieceProcessor(model_file=str(model))
    expected = theirs.encode(list(lines))
    permuted = 0
    for line, got, want in zip(lines, ours.encode_batch(lines), expected, strict=True):
        if got != want:  # the same pieces in another order are equally likely (a run such as "!!!")
            assert sorted(got) == sorted(want), line
            permuted += 1
        if theirs.unk_id() not in got:
            assert ours.decode(got) == theirs.decode(want)
    assert permuted <= len(lines) // 100


def gpt2_files(directory: Path, lines: Sequence[str]) -> Path:
    """Write a small byte-level BPE vocabulary in GPT-2's two files."""
    learnt = train(lines, kind="bpe", vocab_size=500, pattern="gpt2")
    model = json.loads(learnt.backend.to_str())["model"]
    (directory / "vocab.json").write_text(json.dumps(model["vocab"]), encoding="utf-8")
    merges = "\n".join(" ".join(merge) for merge in model["merges"])
    (directory / "merges.txt").write_text(f"#version: 0.2\n{merges}\n", encoding="utf-8")
    return directory


class TestByteLevelBpe:
    def test_small_vocabulary(self, tmp_path: Path, own_lines: list[str]) -> None:
        files = gpt2_files(tmp_path, own_lines)
        assert_same(Tokenizer.load(files), GPT2Tokenizer.from_pretrained(files), own_lines)
        assert Tokenizer.load(files / "merges.txt").hash == Tokenizer.load(files).hash

    @pytest.mark.slow
    def test_gpt2_on_shared_texts(
        self, tmp_path: Path, shared_data: Path, shared_lines: list[str], own_lines: list[str]
    ) -> None:
        shutil.copy(shared_data / "gpt2_bpe" / "encoder.json", tmp_path / "vocab.json")
        shutil.copy(shared_data / "gpt2_bpe" / "vocab.bpe", tmp_path / "merges.txt")
        ours = Tokenizer.load(shared_data / "gpt2_bpe")  # under OpenAI's file names
        assert_same(ours, GPT2Tokenizer.from_pretrained(tmp_path), shared_lines + own_lines)
        for line in shared_lines[::50] + own_lines:
            assert ours.decode(ours.encode(line)) == line

    def test_roberta_puts_its_tokens_around(self, tmp_path: Path, own_lines: list[str]) -> None:
        files = gpt2_files(tmp_path, own_lines)
        vocab = json.loads((files / "vocab.json").read_text())
        for token in ("<s>", "<pad>", "</s>", "<unk>", "<mask>"):
            vocab[token] = len(vocab)
        (files / "vocab.json").write_text(json.dumps(vocab))
        (files / "config.json").write_text('{"model_type": "roberta"}')
        ours, theirs = Tokenizer.load(files), RobertaTokenizer.from_pretrained(files)
        assert_same(ours, theirs, own_lines)
        assert ours.encode_pair("one", "two")[0] == theirs("one", "two")["input_ids"]
        assert (ours.cls_id, ours.mask_id) == (theirs.cls_token_id, theirs.mask_token_id)


class TestWordPiece:
    @pytest.mark.parametrize("lower", [True, False])
    def test_small_vocabulary(self, tmp_path: Path, own_lines: list[str], lower: bool) -> None:
        learnt = train(own_lines, kind="wordpiece", vocab_size=400, lowercase=lower)
        tokens = [learnt.token(n) for n in range(learnt.vocab_size)]
        (tmp_path / "vocab.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8")
        (tmp_path / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": lower}))
        theirs = BertTokenizer.from_pretrained(tmp_path)
        assert_same(Tokenizer.load(tmp_path), theirs, own_lines)
        pair = theirs("Hello there", "你好 world")
        ours = Tokenizer.load(tmp_path).encode_pair("Hello there", "你好 world")
        assert ours == (pair["input_ids"], pair["token_type_ids"])

    def test_capitals_are_kept_where_the_vocabulary_has_them(self, tmp_path: Path) -> None:
        path = tmp_path / "vocab.txt"
        path.write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nhello\n")
        assert Tokenizer.load(path).encode("Hello", add_special_tokens=False) == [5]
        path.write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nhello\nHello\n")
        assert Tokenizer.load(path).encode("Hello", add_special_tokens=False) == [6]

    @pytest.mark.slow
    @pytest.mark.parametrize("name", ["bert_base_uncased_vocab", "bert_base_chinese_vocab"])
    def test_bert_on_shared_texts(
        self, shared_data: Path, shared_lines: list[str], own_lines: list[str], name: str
    ) -> None:
        vocab = next((shared_data / name).rglob("vocab.txt"))
        ours, theirs = Tokenizer.load(vocab), BertTokenizer.from_pretrained(vocab.parent)
        assert_same(ours, theirs, shared_lines + own_lines)


class TestSentencePiece:
    OPTIONS = (
        {},
        {"normalization_rule_name": "identity", "remove_extra_whitespaces": False},
        {"normalization_rule_name": "nfkc_cf", "add_dummy_prefix": False},
        {"byte_fallback": True},
        {"user_defined_symbols": ["<sep>", "好"]},
    )

    @pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(o) or "default")
    @pytest.mark.parametrize("model_type", ["unigram", "bpe"])
    def test_trained_models(
        self, tmp_path: Path, own_lines: list[str], model_type: str, options: dict[str, Any]
    ) -> None:
        if model_type == "bpe" and options.get("add_dummy_prefix", True):
            options = {k: v for k, v in options.items() if k != "user_defined_symbols"}
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(own_lines * 3),
            model_prefix=str(tmp_path / "m"),
            vocab_size=620 if options.get("byte_fallback") else 360,
            model_type=model_type,
            hard_vocab_limit=False,
            character_coverage=0.98,
            minloglevel=2,
            **options,
        )
        model = tmp_path / "m.model"
        seed = 11
        rng = random.Random(seed)
        letters = sorted({*"".join(own_lines), *" \t\n ▁　　<>/sunk"})
        mixed = ["".join(rng.choices(letters, k=rng.randint(0, 30))) for _ in range(300)]
        mixed = [line for line in mixed if not _loose_mark(line)]
        assert_same_pieces(Tokenizer.load(model), model, own_lines + mixed)

    @pytest.mark.slow
    def test_shared_model_on_shared_texts(
        self, shared_data: Path, shared_lines: list[str], own_lines: list[str]
    ) -> None:
        model = next((shared_data / "sentencepiece_test").rglob("*.model"))
        assert_same_pieces(Tokenizer.load(model), model, shared_lines + own_lines)


def _loose_mark(line: str) -> bool:
    """Whether a mark stands on another mark or on a symbol: what `build` says may differ."""
    return any(
        unicodedata.category(b) in ("Mn", "Mc", "Me", "Cf")
        and (unicodedata.category(a)[0] in "MZ" or unicodedata.normalize("NFC", a + b) == a + b)
        for a, b in pairwise(line)
    )


class TestGguf:
    @pytest.mark.slow
    @pytest.mark.real
    def test_smollm2_equals_transformers(self, smollm2_gguf: Path, own_lines: list[str]) -> None:
        gguf = pytest.importorskip("gguf")
        fields = gguf.GGUFReader(smollm2_gguf).fields
        metadata = {k: f.contents() for k, f in fields.items() if k.startswith("tokenizer.")}
        ours = Tokenizer.from_gguf(metadata)
        theirs = AutoTokenizer.from_pretrained(smollm2_gguf.parent, gguf_file=smollm2_gguf.name)
        # transformers ignores tokenizer.ggml.pre, which cuts off each digit with what precedes it.
        lines = [line for line in own_lines if not any(c.isnumeric() for c in line)]
        assert_same(ours, theirs, lines)
        assert ours.eos_ids == (theirs.eos_token_id,)
        chat = [{"role": "user", "content": "你好 🤗"}]
        assert ours.encode_chat(chat) == list(
            theirs.apply_chat_template(chat, add_generation_prompt=True)["input_ids"]
        )


class TestBrokenInput:
    def test_a_lone_surrogate_is_refused(self, own_lines: list[str]) -> None:
        tokenizer = train(own_lines, kind="bpe", vocab_size=300)
        for encode in (tokenizer.encode, lambda t: tokenizer.encode_batch(["fine", t])):
            with pytest.raises(InputError, match=r"lone surrogate \(U\+D83E\) at character 2"):
                encode("ab\ud83e")

    def test_missing_files_are_named(self, tmp_path: Path) -> None:
        with pytest.raises(NotFoundError, match="no tokenizer"):
            Tokenizer.load(tmp_path)
        with pytest.raises(NotFoundError, match="no tokenizer at"):
            Tokenizer.load(tmp_path / "absent.json")
        (tmp_path / "vocab.json").write_text("{}")
        with pytest.raises(NotFoundError, match=r"merges\.txt"):
            Tokenizer.load(tmp_path)

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("tokenizer.json", b"{"),
            ("tokenizer.json", b'{"version": "1.0"}'),
            ("tokenizer.json", b"\xff\xfe"),
            ("vocab.txt", b""),
            ("vocab.txt", b"hello\n"),
            ("vocab.txt", b"\xff"),
            ("m.model", b"\x0a\xff\xff\xff\xff\x0f"),
            ("m.model", b""),
            ("vocab.json", b"[1]"),
            ("model.gguf", b"GGUF"),
            ("weights.bin", b"x"),
        ],
    )
    def test_malformed_files_are_refused(self, tmp_path: Path, name: str, content: bytes) -> None:
        (tmp_path / name).write_bytes(content)
        (tmp_path / "merges.txt").write_text("a b\n")
        with pytest.raises(FormatError):
            Tokenizer.load(tmp_path / name)
