"""Answer the questions of `hanlin label` from labelled texts, in the place of a person.

python examples/label/answer.py SMSSpamCollection runs/spam/round1/questions.csv
"""

import csv
import sys
from pathlib import Path

from split import labelled


def main() -> None:
    """Read the labels of the first argument; fill in the column "answer" of the second."""
    known = {text: label for label, text in labelled(Path(sys.argv[1]))}
    place = Path(sys.argv[2])
    with place.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["answer"] = known[row["text"]]
    with place.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    right = sum(row["answer"] == row["guess"] for row in rows)
    print(f"{place}: {len(rows)} answers, of which {right} are the model's own guess")


if __name__ == "__main__":
    main()
