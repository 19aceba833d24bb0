"""A hundred labelled texts, many without labels, and a thousand to test on, out of labelled ones.

python examples/label/split.py SMSSpamCollection data/spam

The file has lines of a label, a tab and a text, or is a .csv with these two as its first columns,
under a header.
"""

import csv
import json
import random
import sys
from pathlib import Path


def labelled(path: Path) -> list[tuple[str, str]]:
    """The label and the text of each row; what stands there twice, once."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        if path.suffix == ".csv":
            rows = [(row[0], row[1]) for row in list(csv.reader(file))[1:]]
        else:
            split = (line.rstrip("\r\n").split("\t", 1) for line in file)
            rows = [(label, text) for label, text in split]
    return list(dict.fromkeys(rows))


def main() -> None:
    """Read the first argument; write seed.jsonl, pool.jsonl and test.jsonl into the second."""
    rows = [{"label": label, "text": text} for label, text in labelled(Path(sys.argv[1]))]
    random.Random(0).shuffle(rows)
    folder = Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    parts = {"test": rows[:1000], "seed": rows[1000:1100], "pool": rows[1100:]}
    for name, part in parts.items():
        if name == "pool":
            part = [{"text": row["text"]} for row in part]
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in part)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
        print(f"{folder / name}.jsonl: {len(part)}")


if __name__ == "__main__":
    main()
