"""Cut a text into its first nine tenths and the rest, by characters.

python examples/hongloumeng/split.py 红楼梦.txt data/hongloumeng
"""

import sys
from pathlib import Path


def main() -> None:
    """Write train.txt and held-out.txt into the second argument, a directory."""
    text = Path(sys.argv[1]).read_text(encoding="utf-8")
    folder = Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    cut = int(len(text) * 0.9)
    (folder / "train.txt").write_text(text[:cut], encoding="utf-8")
    (folder / "held-out.txt").write_text(text[cut:], encoding="utf-8")


if __name__ == "__main__":
    main()
