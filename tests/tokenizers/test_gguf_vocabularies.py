"""The four kinds of vocabulary in GGUF metadata, each against the tokenizer it was made from."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, pre_tokenizers

from hanlin.errors import FormatError, HanlinError
from hanlin.tokenizers import Tokenizer, train
from hanlin.tokenizers.patterns import GGUF_SPLITS
from hanlin.tokenizers.spm_file import read_model


def gpt2_metadata(lines: list[str], **more: Any) -> tuple[Tokenizer, dict[str, Any]]:
    learnt = train(
        lines * 2,
        kind="bpe",
        vocab_size=420,
        pattern="gpt4",
        special_tokens=["<s>", "</s>", "<|im_end|>"],
    )
    model = json.loads(learnt.backend.to_str())["model"]
    tokens = [learnt.token(n) for n in range(learnt.vocab_size)]
    keys = {
        "model": "gpt2",
        "pre": "dbrx",
        "tokens": tokens,
        "token_type": np.array([3, 3, 3] + [1] * (len(tokens) - 3), dtype=np.int32),
        "merges": [" ".join(merge) for merge in model["merges"]],
        "bos_token_id": np.uint32(0),
        "eos_token_id": np.uint32(1),
        "eot_token_id": np.uint32(2),
        **more,
    }
    return learnt, {f"tokenizer.ggml.{key}": value for key, value in keys.items()}


def test_gpt2(own_lines: list[str]) -> None:
    learnt, metadata = gpt2_metadata(own_lines)
    ours = Tokenizer.from_gguf(metadata)
    for line in own_lines:
        assert ours.encode(line) == learnt.encode(line)
    assert ours.eos_ids == (1, 2)
    assert ours.special_ids == {0, 1, 2}
    assert ours.encode("a<|im_end|>")[-1] == 2


def test_begin_and_end_follow_the_file(own_lines: list[str]) -> None:
    for begins, ends in ((True, False), (False, True), (True, True)):
        _, metadata = gpt2_metadata(own_lines, add_bos_token=begins, add_eos_token=ends)
        ours = Tokenizer.from_gguf(metadata)
        bare = ours.encode("text", add_special_tokens=False)
        assert ours.encode("text") == [0] * begins + bare + [1] * ends
    _, metadata = gpt2_metadata(own_lines, pre="llama-bpe")
    assert Tokenizer.from_gguf(metadata).encode("text")[0] == 0  # as its models were trained


def test_smollm_cuts_digits_like_its_own_tokenizer(own_lines: list[str]) -> None:
    # HuggingFaceTB/SmolLM2's tokenizer.json: Digits(individual_digits=True), then ByteLevel.
    original = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    ours = pre_tokenizers.Sequence(
        [
            *(
                pre_tokenizers.Split(Regex(pattern), "isolated")
                for pattern in GGUF_SPLITS["smollm"].patterns
            ),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    for line in [*own_lines, "a  1 23 ４五 x²", "v1.2.3\n\n 4"]:
        want = [word for word, _ in original.pre_tokenize_str(line)]
        assert [word for word, _ in ours.pre_tokenize_str(line)] == want, line


@pytest.mark.parametrize("name", GGUF_SPLITS)
def test_every_pattern_compiles_and_loses_nothing(name: str, own_lines: list[str]) -> None:
    _, metadata = gpt2_metadata(own_lines, pre=name, add_bos_token=False)
    ours = Tokenizer.from_gguf(metadata)
    for line in own_lines:
        if not GGUF_SPLITS[name].nfc:
            assert ours.decode(ours.encode(line)) == line


def sentencepiece_metadata(
    directory: Path, lines: list[str], kind: str
) -> tuple[sentencepiece.SentencePieceProcessor, dict[str, Any]]:
    options: dict[str, Any] = (
        {
            "model_type": "bpe",
            "byte_fallback": True,
            "normalization_rule_name": "identity",
            "remove_extra_whitespaces": False,
            "vocab_size": 620,
        }
        if kind == "llama"
        else {"model_type": "unigram", "vocab_size": 340}
    )
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines * 3),
        model_prefix=str(directory / "m"),
        hard_vocab_limit=False,
        character_coverage=0.98,
        minloglevel=2,
        **options,
    )
    table = read_model(directory / "m.model").table
    keys: dict[str, Any] = {
        "model": kind,
        "tokens": list(table.pieces),
        "scores": np.array(table.scores, dtype=np.float32),
        "token_type": np.array(table.kinds, dtype=np.int32),
        "unknown_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    if table.charsmap:
        keys["precompiled_charsmap"] = np.frombuffer(table.charsmap, dtype=np.int8)
    reference = sentencepiece.SentencePieceProcessor(model_file=str(directory / "m.model"))
    return reference, {f"tokenizer.ggml.{key}": value for key, value in keys.items()}


@pytest.mark.parametrize("kind", ["llama", "t5"])
def test_sentencepiece(tmp_path: Path, own_lines: list[str], kind: str) -> None:
    reference, metadata = sentencepiece_metadata(tmp_path, own_lines, kind)
    ours = Tokenizer.from_gguf(metadata)
    for line in own_lines:
        if "<unk>" in line:  # in a model for generation that text is the token
            continue
        want = reference.encode(line)
        assert sorted(ours.encode(line, add_special_tokens=False)) == sorted(want), line
        assert ours.encode(line)[0 if kind == "llama" else -1] == (1 if kind == "llama" else 2)
    no_prefix = {**metadata, "tokenizer.ggml.add_space_prefix": False}
    ours = Tokenizer.from_gguf(no_prefix)
    assert "▁" not in ours.token(ours.encode("text", add_special_tokens=False)[0])


def test_bert(own_lines: list[str]) -> None:
    learnt = train(own_lines * 2, kind="wordpiece", vocab_size=420)
    tokens = []
    for n in range(learnt.vocab_size):
        token = learnt.token(n)
        whole = token if token.startswith("[") and token.endswith("]") else f"▁{token}"
        tokens.append(token[2:] if token.startswith("##") else whole)
    metadata = {
        "tokenizer.ggml.model": "bert",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3 if n < 5 else 1 for n in range(len(tokens))],
        "tokenizer.ggml.unknown_token_id": 1,
        "tokenizer.ggml.cls_token_id": 2,
        "tokenizer.ggml.seperator_token_id": 3,
        "tokenizer.ggml.mask_token_id": 4,
        "tokenizer.ggml.padding_token_id": 0,
    }
    ours = Tokenizer.from_gguf(metadata)
    for line in own_lines:
        assert ours.encode(line) == learnt.encode(line), line
    assert ours.encode_pair("a", "好") == learnt.encode_pair("a", "好")
    assert (ours.mask_id, ours.pad_id) == (4, 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pre": "llama-pbe"}, r"'llama-pbe'.*Did you mean 'llama-bpe'"),
        ({"model": "rwkv"}, "'rwkv'"),
        ({"model": None}, "no tokenizer"),
        ({"tokens": []}, "no tokens"),
        ({"tokens": [1, 2]}, "not a list of texts"),
        ({"tokens": 5}, "not a list"),
        ({"token_type": ["a"]}, "not a list of numbers"),
        ({"eos_token_id": "x"}, "not the id of a token"),
        ({"add_bos_token": "yes"}, "not a truth value"),
        ({"tokens": None}, r"no tokenizer\.ggml\.tokens"),
        ({"merges": None}, r"no tokenizer\.ggml\.merges"),
        ({"merges": ["ab"]}, "Merge 1"),
        ({"merges": ["qq zz"]}, "do not fit"),
        ({"token_type": [1]}, "1 token types"),
        ({"eos_token_id": 10**6}, "names token 1000000"),
        ({"bos_token_id": None, "add_bos_token": True}, "does not name it"),
    ],
)
def test_malformed_metadata_is_named(
    own_lines: list[str], change: dict[str, Any], message: str
) -> None:
    _, metadata = gpt2_metadata(own_lines)
    for key, value in change.items():
        metadata[f"tokenizer.ggml.{key}"] = value
    metadata = {key: value for key, value in metadata.items() if value is not None}
    with pytest.raises(FormatError, match=message):
        Tokenizer.from_gguf(metadata)


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_random_damage_is_a_format_error(data: st.DataObject) -> None:
    _, metadata = gpt2_metadata(["a b"])
    key = data.draw(st.sampled_from(sorted(metadata)))
    junk = st.one_of(
        st.none(), st.integers(), st.text(max_size=3), st.lists(st.text(max_size=3), max_size=3),
        st.lists(st.integers(0, 9), max_size=3), st.booleans(), st.floats(),
    )  # fmt: skip
    metadata[key] = data.draw(junk)
    with suppress(HanlinError):
        Tokenizer.from_gguf(metadata)
