"""GSM8K: word problems, the answer written out and its last number judged (Cobbe et al. 2021).

strict takes the number after "####", as the examples have it; flexible the last number that the
answer holds. Thousands' commas, dollar signs and a full stop at the end do not count.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hanlin.errors import FormatError
from hanlin.evaluation.benchmarks.files import fields, file_of, json_rows
from hanlin.evaluation.benchmarks.result import Answered, Found
from hanlin.metrics import accuracy

STOP = ("Question:", "</s>", "<|im_end|>")
"""Where an answer ends, beside the end token."""
MAX_NEW_TOKENS = 256
_STRICT = re.compile(r"#### (-?[0-9.,]+)")
_FLEXIBLE = re.compile(r"(-?[$0-9.,]{2,})|(-?[0-9]+)")


@dataclass(frozen=True)
class Problem:
    """One problem."""

    question: str
    answer: str
    """Worked out; the number stands after "####"."""
    stem: str = ""
    """The examples before it."""

    @property
    def text(self) -> str:
        """As the model reads it, without examples."""
        return f"Question: {self.question}\nAnswer:"

    @property
    def prompt(self) -> str:
        """As the model reads it."""
        return self.stem + self.text


def gsm8k(path: Path, *, shots: int, limit: int | None) -> tuple[list[Problem], tuple[str, ...]]:
    """The problems of a folder with test.jsonl, or of a file, and what is to be said of them.

    The examples are the first of train.jsonl beside it; where that is not there, the first problems
    of the file itself, which are then not asked.
    """
    file = file_of(path, "test.jsonl")
    problems = _read(file)
    training = file.with_name("train.jsonl")
    notes: tuple[str, ...] = ()
    examples: list[Problem] = []
    if shots and training.is_file() and training != file:
        examples = _read(training)[:shots]
    elif shots:
        examples, problems = problems[:shots], problems[shots:]
        notes = (
            f"The {shots} examples are the first problems of the file, which are not asked: there "
            "is no train.jsonl beside it.",
        )
    stem = "".join(f"{example.text} {example.answer}\n\n" for example in examples)
    asked = [Problem(problem.question, problem.answer, stem) for problem in problems[:limit]]
    return asked, notes


def _read(file: Path) -> list[Problem]:
    found = [Problem(*row) for row in fields(json_rows(file), "question", "answer", file=file)]
    for number, problem in enumerate(found, 1):
        if strict(problem.answer) is None:
            raise FormatError(
                f"{file}: the answer of item {number} has no number after '####'. Give GSM8K's own "
                "file."
            )
    return found


def strict(text: str) -> str | None:
    """The number after the first "####", as it is compared; None where there is none."""
    found = _STRICT.search(text)
    return None if found is None else _plain(found[1])


def flexible(text: str) -> str | None:
    """The last number of a text, as it is compared; None where there is none."""
    found = [match[0] for match in _FLEXIBLE.finditer(text)]
    return _plain(found[-1]) if found else None


def _plain(number: str) -> str:
    return re.sub(r"\.$", "", re.sub(r"[,$]", "", number))


def judged(
    problems: Sequence[Problem], texts: Sequence[str], *, seed: int, **about: object
) -> Found:
    """The share of right numbers, by either way of reading the answer."""
    right = [strict(problem.answer) for problem in problems]
    ones = [1.0] * len(problems)
    metrics = {}
    for name, read in (("exact_match_strict", strict), ("exact_match_flexible", flexible)):
        hits = [float(read(text) == want) for text, want in zip(texts, right, strict=True)]
        metrics[name] = accuracy(hits, ones, seed=seed, **about)
    items = tuple(
        Answered(
            question=problem.question,
            answer=str(want),
            given=text,
            value=float(strict(text) == want),
        )
        for problem, text, want in zip(problems, texts, right, strict=True)
    )
    return Found(metrics, items)
