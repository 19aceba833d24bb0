"""A few labelled messages, many without labels, and a test part, out of the SMS spam collection.

python examples/label/split.py SMSSpamCollection data/spam
"""

import json
import random
import sys
from pathlib import Path


def main() -> None:
    """Read the first argument; write seed.jsonl, pool.jsonl and test.jsonl into the second."""
    lines = dict.fromkeys(Path(sys.argv[1]).read_text(encoding="utf-8").splitlines())
    rows = [dict(zip(("label", "text"), line.split("\t", 1), strict=True)) for line in lines]
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
