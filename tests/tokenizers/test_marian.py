"""Marian's two SentencePiece models and one vocabulary, against transformers."""

import json
from pathlib import Path

import pytest
import sentencepiece
from transformers import MarianTokenizer as Reference

from hanlin.data.pairs import PairRecord
from hanlin.errors import FormatError, InputError
from hanlin.models.new import new_config
from hanlin.models.transformer import Transformer
from hanlin.tasks.language import LanguageModel
from hanlin.tasks.prompted import PromptedLabeller
from hanlin.tokenizers import Tokenizer
from hanlin.training.objectives import Seq2Seq

ENGLISH = ["The cat sat on the mat.", "A dog ate  my homework!", "hello 12 worlds"]
CHINESE = ["猫坐在垫子上。", "狗吃了我的作业！", "你好，世界"]


@pytest.fixture(scope="module")
def marian(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("marian"))


def made(folder: Path, *, byte_fallback: bool = False) -> Path:
    """A directory; byte_fallback: whether the target's model spells in bytes what it lacks."""
    pieces: list[str] = []
    for side, lines in (("source", ENGLISH), ("target", CHINESE)):
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines * 20),
            model_prefix=str(folder / side),
            vocab_size=60 + 256 * (bytewise := byte_fallback and side == "target"),
            hard_vocab_limit=False,
            byte_fallback=bytewise,
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


def test_what_is_written_is_encoded_as_the_target(marian: Path) -> None:
    """In training, in scoring and in labelling by a prompt, as transformers' text_target."""
    ours, theirs = Tokenizer.load(marian), Reference.from_pretrained(marian)
    want = [theirs(text_target=line)["input_ids"] for line in CHINESE]
    assert all(ours.encode(line) != ids for line, ids in zip(CHINESE, want, strict=True))
    records = [PairRecord(*pair) for pair in zip(ENGLISH, [(c,) for c in CHINESE], strict=True)]
    examples = Seq2Seq().examples(records, tokenizer=ours, length=64, seed=0)
    for number, (line, ids) in enumerate(zip(ENGLISH, want, strict=True)):
        assert examples.example(number, 0).ids.tolist() == theirs(line)["input_ids"]
        assert examples.example(number, 0).targets.tolist() == ids
    sizes = {"hidden_size": 16, "num_layers": 1, "num_heads": 2, "max_context": 64}
    network = Transformer(new_config("marian", tokenizer=ours, **sizes)).eval()
    lm = LanguageModel(network, ours, name="a translator")
    assert list(lm.score(ENGLISH[0], CHINESE[0]).tokens) == want[0]
    asked = PromptedLabeller(lm, "{text}", CHINESE)._asked(ENGLISH[0], CHINESE[1])
    assert asked.ids[1:] == want[1]
    assert asked.source == theirs(ENGLISH[0])["input_ids"]


def test_what_was_written_is_decoded_as_the_target(tmp_path: Path) -> None:
    ours = Tokenizer.load(made(tmp_path, byte_fallback=True))
    ids = ours.target.encode("狗☃")
    assert len(ids) > 4  # the snowman in bytes
    assert ours.decode(ids, skip_special_tokens=True) == "狗☃"


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
