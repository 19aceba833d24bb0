"""Token shards: what is read is what was encoded, across shard borders, and damage is seen."""

import json
import pickle
import random

import numpy as np
import pytest
from preparing import text, tokenizer

from hanlin.data.prepare import prepare
from hanlin.data.shards import TokenShards, end_token, token_bytes, token_dtype
from hanlin.errors import ConfigError, FormatError, InputError, NotFoundError
from hanlin.tokenizers import Tokenizer, train


@pytest.fixture(scope="module")
def tok() -> Tokenizer:
    return tokenizer()


@pytest.fixture(scope="module")
def texts() -> list[str]:
    rng = random.Random(7)
    return [text(rng, rng.randint(1, 12)) for _ in range(60)]


@pytest.fixture(scope="module")
def made(tok, texts, tmp_path_factory):
    """Sixty documents, each a file, in several shards."""
    folder = tmp_path_factory.mktemp("shards")
    for number, one in enumerate(texts):
        (folder / f"{number:03}.txt").write_text(one, encoding="utf-8")
    prepare(folder, folder / "out", tokenizer=tok, shard_size=3000, workers=1)
    return folder / "out"


def test_tokens_bounds_and_bytes_are_those_of_the_documents(made, tok, texts):
    shards = TokenShards.open(made, verify=True)
    expected = [[*tok.encode(one, add_special_tokens=False), tok.eos_id] for one in texts]
    assert len(shards.manifest["shards"]) > 2
    assert shards.documents == 60
    assert shards.len_tokens == shards.tokens == len(shards) == sum(map(len, expected))
    assert shards.bytes == sum(len(one.encode()) for one in texts)
    for number, ids in enumerate(expected):
        start, stop = shards.document_bounds(number)
        assert shards.read(start, stop).tolist() == ids
        assert shards.document_bytes(number) == len(texts[number].encode())
        assert shards.document_at(start) == shards.document_at(stop - 1) == number
    assert shards.read(0, 0).dtype == np.int64
    assert shards.tokenizer.hash == tok.hash


def test_any_stretch_reads_like_one_array(made, tok, texts):
    shards = TokenShards.open(made)
    flat = np.concatenate(
        [[*tok.encode(one, add_special_tokens=False), tok.eos_id] for one in texts]
    )
    ends = np.flatnonzero(flat == tok.eos_id) + 1
    seed = random.randrange(1 << 30)
    print("seed", seed)
    rng = random.Random(seed)
    for _ in range(200):
        start, stop = sorted(rng.randint(0, len(flat)) for _ in range(2))
        assert np.array_equal(shards.read(start, stop), flat[start:stop])
        inside = ends[(ends > start) & (ends <= stop)]
        assert np.array_equal(shards.bounds_within(start, stop), inside)
        if start < len(flat):
            assert shards.document_at(start) == np.searchsorted(ends, start, side="right")


def test_reading_outside_is_an_error(made):
    shards = TokenShards.open(made)
    for start, stop in ((-1, 3), (5, 4), (0, shards.tokens + 1)):
        with pytest.raises(InputError):
            shards.read(start, stop)
    for call in (shards.document_bounds, shards.document_at):
        with pytest.raises(InputError):
            call(-1)
    with pytest.raises(InputError):
        shards.document_bounds(60)


def test_shards_go_to_another_process(made):
    shards = TokenShards.open(made)
    shards.read(0, 10)
    again = pickle.loads(pickle.dumps(shards))
    assert len(pickle.dumps(shards)) < 100_000
    assert np.array_equal(again.read(5, 900), shards.read(5, 900))


def test_bytes_of_tokens_add_up_to_the_text(made, tok):
    shards = TokenShards.open(made)
    lengths = token_bytes(tok)
    assert lengths.shape == (tok.vocab_size,)
    assert lengths[tok.eos_id] == 0
    for number in range(shards.documents):
        ids = shards.read(*shards.document_bounds(number))
        assert lengths[ids].sum() == shards.document_bytes(number)


def test_damage_is_seen(made, tmp_path):
    import shutil

    def copy(name: str):
        return shutil.copytree(made, tmp_path / name)

    first = copy("short") / "00001.tokens.bin"
    first.write_bytes(first.read_bytes()[:-2])
    with pytest.raises(FormatError, match=r"00001\.tokens\.bin has \d+ bytes"):
        TokenShards.open(first.parent)

    other = copy("changed") / "00000.index.bin"
    data = bytearray(other.read_bytes())
    data[0] ^= 1
    other.write_bytes(data)
    TokenShards.open(other.parent)
    with pytest.raises(FormatError, match="was changed"):
        TokenShards.open(other.parent, verify=True)

    gone = copy("gone")
    (gone / "00000.tokens.bin").unlink()
    with pytest.raises(FormatError, match="missing"):
        TokenShards.open(gone)

    broken = copy("manifest")
    (broken / "manifest.json").write_text("{")
    with pytest.raises(FormatError, match="not valid JSON"):
        TokenShards.open(broken)

    swapped = copy("tokenizer")
    tokenizer(300).save(swapped / "tokenizer")
    with pytest.raises(FormatError, match="not the one that made"):
        _ = TokenShards.open(swapped).tokenizer

    later = copy("later")
    manifest = json.loads((later / "manifest.json").read_text())
    (later / "manifest.json").write_text(json.dumps({**manifest, "layout": 99}))
    with pytest.raises(FormatError, match="another version"):
        TokenShards.open(later)

    with pytest.raises(NotFoundError, match="no token shards"):
        TokenShards.open(tmp_path)


def test_end_tokens_and_widths(tok):
    assert end_token(tok) == tok.eos_id
    assert token_dtype(tok) == np.dtype("<u2")
    words = train(["a b c"], kind="wordpiece", vocab_size=60)
    assert end_token(words) == words.sep_id
    bare = train(["a b c"], kind="bpe", vocab_size=257, special_tokens=[])
    with pytest.raises(ConfigError, match="ends a document"):
        end_token(bare)


@pytest.mark.parametrize("kind", ["bpe", "wordpiece", "unigram"])
def test_every_kind_of_tokenizer_encodes_as_it_does_alone(texts, tmp_path, kind):
    own = train(texts, kind=kind, vocab_size=420)
    (tmp_path / "a.txt").write_text("--".join(texts), encoding="utf-8")
    made = prepare(tmp_path / "a.txt", tmp_path / "out", tokenizer=own, split="--", workers=2)
    shards = TokenShards.open(made.path)
    end = end_token(own)
    assert shards.documents == len(texts)
    for number, one in enumerate(texts):
        ids = shards.read(*shards.document_bounds(number)).tolist()
        assert ids == [*own.encode(one.strip(), add_special_tokens=False), end]


def test_a_vocabulary_beyond_sixteen_bits_takes_four_bytes(tmp_path):
    import tokenizers as rust
    from tokenizers import models, pre_tokenizers

    from hanlin.tokenizers import SpecialTokens

    vocab = {f"w{n}": n for n in range(70_000)} | {"<unk>": 70_000, "</s>": 70_001}
    backend = rust.Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    wide = Tokenizer(backend, special=SpecialTokens(eos="</s>", unk="<unk>"))
    (tmp_path / "a.txt").write_text("w69999 w1 w65536")
    prepare(tmp_path / "a.txt", tmp_path / "out", tokenizer=wide)
    shards = TokenShards.open(tmp_path / "out")
    assert shards.manifest["dtype"] == "<u4"
    assert shards.read(0, 4).tolist() == [69_999, 1, 65_536, 70_001]
