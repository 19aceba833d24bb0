"""Part ChnSentiCorp's hotel reviews: a tenth is for the test, and nothing is learnt from it.

python examples/reviews-zh/split.py ChnSentiCorp_htl_all.csv data/chnsenticorp_htl

Some reviews stand there twice: both go to one part, by a hash of their text.
"""

import csv
import hashlib
import sys
from pathlib import Path


def main() -> None:
    """Read the first argument, write train.csv and test.csv into the second, a directory."""
    with open(sys.argv[1], encoding="utf-8-sig", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["review"]]
    folder = Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    parts: dict[str, list[dict[str, str]]] = {"train": [], "test": []}
    for row in rows:
        drawn = hashlib.sha256(row["review"].strip().encode()).digest()[0]
        parts["test" if drawn < 26 else "train"].append(row)
    for name, part in parts.items():
        with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as out:
            writer = csv.DictWriter(out, ["label", "review"])
            writer.writeheader()
            writer.writerows(part)
        print(f"{name}: {len(part)}")


if __name__ == "__main__":
    main()
