"""HumanEval with one line hidden: filled in from both sides, and gone on with from one.

Bavarian et al. 2022, "Efficient training of language models to fill in the middle": of the solution
that the authors wrote each line that is not empty is hidden once (1,033 lines). The first line that
the model writes takes its place, and the function has to pass its tests. A model without marks for
a middle sees the text before the gap alone, as every model does once for comparison.

The line break before the gap is left to the model: most vocabularies have a token for a line break
with the indentation after it, and a prompt that ends between the two is one that they never saw.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from hanlin.evaluation.benchmarks.programs import Programming, judged
from hanlin.evaluation.benchmarks.result import Found
from hanlin.metrics import accuracy

MAX_NEW_TOKENS = 128
WRITING = {"stop": ("\n",), "min_new_tokens": 2}
"""The line break that the model begins with is no end: stop strings are not looked for before the
last of the tokens that have to be there."""
BEFORE = "_before"
"""What a score is called by that was reached without the text after the gap."""


@dataclass(frozen=True)
class Gap(Programming):
    """One line to write: `prompt` stands before it and its line break, `solution` is the line."""

    suffix: str
    """What stands after it."""

    def program(self, completion: str) -> str:
        """What is run."""
        return f"{self.prompt}\n{completion}\n{self.suffix}\n{self.tests}"


def line_of(written: str) -> str:
    """The first line that is not empty."""
    return next((line for line in written.splitlines() if line.strip()), "")


def gaps(tasks: Sequence[Programming]) -> list[Gap]:
    """Every line of every solution, hidden."""
    found = []
    for task in tasks:
        lines = task.solution.splitlines(keepends=True)
        for number, line in enumerate(lines):
            if line.strip():
                found.append(
                    Gap(
                        name=f"{task.name}/L{number}",
                        prompt=(task.prompt + "".join(lines[:number])).removesuffix("\n"),
                        solution=line.rstrip("\r\n"),
                        tests=task.tests,
                        language=task.language,
                        suffix="".join(lines[number + 1 :]),
                    )
                )
    return found


def compared(
    tasks: Sequence[Gap],
    filled: Sequence[Sequence[str]] | None,
    before: Sequence[Sequence[str]],
    *,
    seed: int,
    weak: bool,
) -> Found:
    """pass@k and the share of lines that are the authors' own, with the text after the gap (`None`:
    the model cannot read it) and without."""
    alone = _scored(tasks, before, seed=seed, weak=weak)
    named = {f"{name}{BEFORE}": score for name, score in alone.metrics.items()}
    if filled is None:
        note = (
            "The tokenizer has no marks for a middle, so that the model saw the text before each "
            "gap alone."
        )
        return replace(alone, metrics=named, notes=(note, *alone.notes))
    found = _scored(tasks, filled, seed=seed, weak=weak)
    return replace(found, metrics={**found.metrics, **named})


def _scored(
    tasks: Sequence[Gap], written: Sequence[Sequence[str]], *, seed: int, weak: bool
) -> Found:
    lines = [[line_of(text) for text in each] for each in written]
    found = judged(tasks, lines, seed=seed, weak=weak)
    same = [
        sum(line.rstrip() == task.solution.rstrip() for line in each) / len(each)
        for task, each in zip(tasks, lines, strict=True)
    ]
    exact = accuracy(same, [1.0] * len(same), seed=seed, items="lines")
    return replace(found, metrics={**found.metrics, "exact_match": exact})
