"""Part Tatoeba's English and Chinese pairs so that no English sentence is on both sides.

python examples/translate-en-zh/split.py cmn.txt data/tatoeba

An English sentence often has several translations. All of them go to one part: to train.jsonl as
pairs of their own, to validation.jsonl and test.jsonl as the references of one sentence.
"""

import hashlib
import json
import sys
from pathlib import Path

HELD = {"validation": 500, "test": 1000}  # sentences


def main() -> None:
    """Read the first argument, write three files into the second, a directory."""
    translations: dict[str, list[str]] = {}
    for line in Path(sys.argv[1]).read_text(encoding="utf-8").splitlines():
        english, chinese, *_ = line.split("\t")
        translations.setdefault(english.strip(), []).append(chinese.strip())
    # An order that is the same everywhere and has nothing to do with the sentences' lengths.
    order = sorted(translations, key=lambda text: hashlib.sha256(text.encode()).hexdigest())
    parts: dict[str, list[dict[str, object]]] = {}
    for name, count in HELD.items():
        parts[name] = [{"source": text, "target": translations[text]} for text in order[:count]]
        order = order[count:]
    parts["train"] = [
        {"source": text, "target": target} for text in order for target in translations[text]
    ]
    folder = Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in parts.items():
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
        print(f"{name}: {len(rows)}")


if __name__ == "__main__":
    main()
