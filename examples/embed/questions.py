"""Questions and the passages that answer them, out of a file in SQuAD's format.

python examples/embed/questions.py cmrc2018_dev.json data/questions/train.jsonl
"""

import json
import sys
from pathlib import Path


def main() -> None:
    """Read the first argument; write anchor and positive of each question into the second."""
    articles = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))["data"]
    rows = [
        {"anchor": question["question"], "positive": paragraph["context"]}
        for article in articles
        for paragraph in article["paragraphs"]
        for question in paragraph["qas"]
    ]
    target = Path(sys.argv[2])
    target.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    target.write_text("".join(lines), encoding="utf-8")
    print(f"{target}: {len(rows)}")


if __name__ == "__main__":
    main()
