"""HumanEval with one line hidden: filled in from both sides, and gone on with from one.

Bavarian et al. 2022, "Efficient training of language models to fill in the middle": of the solution
that the authors wrote each line that is not empty is hidden once (1,033 lines). What the model
writes ends with the line, and its function has to pass its tests. A model without marks for a
middle sees the text before the gap alone, as every model does once for comparison.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from hanlin.evaluation.benchmarks.programs import Programming, judged
from hanlin.evaluation.benchmarks.result import Found
from hanlin.metrics import accuracy

MAX_NEW_TOKENS = 128
STOP = ("\n",)
BEFORE = "_before"
"""What a score is called by that was reached without the text after the gap."""


@dataclass(frozen=True)
class Gap(Programming):
    """One line to write: `prompt` stands before it, `solution` is the line."""

    suffix: str
    """What stands after it."""

    def program(self, completion: str) -> str:
        """What is run."""
        return f"{self.prompt}{completion}\n{self.suffix}\n{self.tests}"


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
                        prompt=task.prompt + "".join(lines[:number]),
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
    tasks: Sequence[Gap], lines: Sequence[Sequence[str]], *, seed: int, weak: bool
) -> Found:
    found = judged(tasks, lines, seed=seed, weak=weak)
    same = [
        sum(line.rstrip() == task.solution.rstrip() for line in each) / len(each)
        for task, each in zip(tasks, lines, strict=True)
    ]
    exact = accuracy(same, [1.0] * len(same), seed=seed, items="lines")
    return replace(found, metrics={**found.metrics, "exact_match": exact})
