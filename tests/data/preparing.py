"""A small corpus of many kinds of files, a tokenizer for it, and the bytes of a result."""

import gzip
import hashlib
import json
import random
from pathlib import Path

from hanlin.tokenizers import Tokenizer, train

WORDS = "the academy drafted examined and explained words of an emperor 翰林 学士 起草 诏书".split()


def sentence(rng: random.Random) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(rng.randint(3, 30))) + ".\n"


def text(rng: random.Random, sentences: int) -> str:
    return "".join(sentence(rng) for _ in range(sentences))


def tokenizer(vocab_size: int = 400) -> Tokenizer:
    rng = random.Random(5)
    return train([text(rng, 300)], kind="bpe", vocab_size=vocab_size)


def corpus(folder: Path, *, seed: int = 0) -> Path:
    """Write large and small files: text in one piece and in lines, JSON lines, packed ones."""
    rng = random.Random(seed)
    folder.mkdir()
    (folder / "book.txt").write_text(text(rng, 900), encoding="utf-8")
    lines = [json.dumps({"text": text(rng, rng.randint(0, 9))}) for _ in range(300)]
    (folder / "lines.jsonl").write_text("\n".join(lines), encoding="utf-8")
    packed = [json.dumps({"text": text(rng, 3)}, ensure_ascii=False) for _ in range(200)]
    (folder / "packed.jsonl.gz").write_bytes(gzip.compress("\n".join(packed).encode(), mtime=0))
    (folder / "small").mkdir()
    for number in range(12):
        path = folder / "small" / f"{number:02}.md"
        path.write_text(f"# {number}\n\n" + text(rng, number), encoding="utf-8")
    (folder / "small" / "old.txt").write_bytes(text(rng, 20).encode("gb18030"))
    (folder / "small" / "picture.png").write_bytes(b"\x89PNG\0\0\0" * 40)
    return folder


def digest(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file but the manifests, in which times and commands differ."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "manifest.json"
    }
