"""Part a file in two, so that a model is tested on what it has not learnt from.

python examples/hold_out.py xquad.en.json data/answers-en

Every fifth article of a SQuAD file, element of a JSON array or line of any other file goes to the
test, the others to train; both keep the file's ending. The order stays.
"""

import json
import sys
from pathlib import Path

EVERY = 5


def main() -> None:
    """Read the first argument, write train.* and test.* into the second, a directory."""
    source, folder = Path(sys.argv[1]), Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    text = source.read_text(encoding="utf-8")
    is_json = source.suffix == ".json"
    whole = json.loads(text) if is_json else None
    items = whole["data"] if isinstance(whole, dict) else whole or text.splitlines(keepends=True)
    for part, tested in (("train", False), ("test", True)):
        kept = [item for at, item in enumerate(items) if (at % EVERY == EVERY - 1) == tested]
        if whole is None:
            written = "".join(kept)
        else:
            written = json.dumps(
                whole | {"data": kept} if isinstance(whole, dict) else kept, ensure_ascii=False
            )
        (folder / f"{part}{source.suffix}").write_text(written, encoding="utf-8")
        print(f"{part}: {len(kept)}")


if __name__ == "__main__":
    main()
