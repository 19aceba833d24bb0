"""Marian's two SentencePiece models and one vocabulary, against transformers."""

import json
from pathlib import Path

import pytest
import sentencepiece
from transformers import MarianTokenizer as Reference

from hanlin.errors import FormatError, InputError
from hanlin.tokenizers import Tokenizer

ENGLISH = ["The cat sat on the mat.", "A dog ate  my homework!", "hello 12 worlds"]
CHINESE = ["猫坐在垫子上。", "狗吃了我的作业！", "你好，世界"]


@pytest.fixture(scope="module")
def marian(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("marian")
    pieces: list[str] = []
    for side, lines in (("source", ENGLISH), ("target", CHINESE)):
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines * 20),
            model_prefix=str(folder / side),
            vocab_size=60,
            hard_vocab_limit=False,
            minloglevel=2,
        )
        (folder / f"{side}.model").rename(folder / f"{side}.spm")
        model = sentencepiece.SentencePieceProcessor(model_file=str(folder / f"{side}.spm"))
        pieces += [model.id_to_piece(n) for n in range(3, model.get_piece_size())]
        (folder / f"{side}.vocab").unlink()
    names = ["</s>", "<unk>", *sorted(set(pieces))[:-3], ">>zho<<", "<pad>"]
    vocab = {name: n for n, name in enumerate(names)}
    (folder / "vocab.json").write_text(json.dumps(vocab), encoding="utf-8")
    config = {"tokenizer_class": "MarianTokenizer", "source_lang": "en", "target_lang": "zh"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "config.json").write_text('{"model_type": "marian"}')
    return folder


@pytest.mark.filterwarnings("ignore:Recommended")
def test_ids_equal_transformers(marian: Path) -> None:
    ours, theirs = Tokenizer.load(marian), Reference.from_pretrained(marian)
    for line in [*ENGLISH, *CHINESE, "", "  odd  space ", "☃☃ snow", ">>zho<< The cat", ">>xx<< a"]:
        assert ours.encode(line) == theirs(line)["input_ids"], line
        assert ours.target.encode(line) == theirs(text_target=line)["input_ids"], line
    for line in CHINESE:
        ids = ours.target.encode(line)
        text = theirs.decode(ids, skip_special_tokens=True)
        if ours.unk_id not in ids:
            assert ours.decode(ids, skip_special_tokens=True) == text
    assert (ours.eos_id, ours.unk_id, ours.pad_id) == (0, 1, theirs.pad_token_id)
    assert ours.vocab_size == len(theirs.get_vocab())


@pytest.mark.filterwarnings("ignore:Recommended")
def test_saved_and_read_again(marian: Path, tmp_path: Path) -> None:
    ours = Tokenizer.load(marian)
    ours.save(tmp_path / "saved")
    again = Tokenizer.load(tmp_path / "saved")
    theirs = Reference.from_pretrained(tmp_path / "saved")
    assert again.hash == ours.hash
    for line in ENGLISH:
        assert again.encode(line) == ours.encode(line) == theirs(line)["input_ids"]
    stream = ours.stream()
    pieces = [stream.push(token) for token in ours.target.encode(CHINESE[2])]
    assert "".join(pieces) + stream.finish() == "你好,世界"


def test_faults_are_named(marian: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="pairs"):
        Tokenizer.load(marian).encode_pair("a", "b")
    for name in ("source.spm", "target.spm", "vocab.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((marian / name).read_bytes())
    (tmp_path / "vocab.json").write_text('{"a": 0}')
    with pytest.raises(FormatError, match=r"lacks '</s>'"):
        Tokenizer.load(tmp_path)
    (tmp_path / "vocab.json").write_text("[")
    with pytest.raises(FormatError, match="not valid JSON"):
        Tokenizer.load(tmp_path)
