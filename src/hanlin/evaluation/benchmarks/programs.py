"""HumanEval: functions written from their docstrings and tried out (Chen et al. 2021).

A completion ends where something new begins at the margin. Prompt, completion and tests make one
program, which is run in the `sandbox`; it has passed when it comes to its end. pass@k is the
unbiased estimate from n samples. In JavaScript (HumanEval-X, Zheng et al. 2023) a failed
``console.assert`` counts as a failure, and printing does not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hanlin.evaluation.benchmarks.files import fields, file_of, json_rows
from hanlin.evaluation.benchmarks.result import Answered, Found
from hanlin.evaluation.sandbox import Language, Limits, Outcome, run_all
from hanlin.metrics import pass_at_k

STOPS: dict[Language, tuple[str, ...]] = {
    "python": ("\nclass", "\ndef", "\n#", "\nif", "\nprint"),
    "javascript": ("\n//", "\n/*", "\nfunction", "\nconst", "\nlet", "\nvar", "\nconsole", "\n```"),
}
"""Where a completion ends, beside the end token; Python's are the harness's."""
MAX_NEW_TOKENS = 1024
KS = (1, 10, 100)
"""The k of pass@k, as far as there are samples."""
SEVERAL = {"temperature": 0.8, "top_p": 0.95}
"""How more than one sample is drawn."""


@dataclass(frozen=True)
class Programming:
    """One function to write."""

    name: str
    prompt: str
    solution: str
    """That its authors wrote."""
    tests: str
    """What is run after it."""
    language: Language

    def program(self, completion: str) -> str:
        """What is run."""
        return f"{self.prompt}{completion}\n{self.tests}"


def humaneval(path: Path, *, limit: int | None) -> list[Programming]:
    """HumanEval: a folder with HumanEval.jsonl, compressed or not, or the file."""
    file = file_of(path, "HumanEval.jsonl.gz", "HumanEval.jsonl")
    names = ("task_id", "prompt", "canonical_solution", "test", "entry_point")
    rows = fields(json_rows(file)[:limit], *names, file=file)
    return [
        Programming(name, prompt, solution, f"{test}\ncheck({entry})\n", "python")
        for name, prompt, solution, test, entry in rows
    ]


def humaneval_js(path: Path, *, limit: int | None) -> list[Programming]:
    """HumanEval-X's JavaScript: a folder with humaneval_js.jsonl.gz, or the file."""
    place = "js/data/humaneval_js.jsonl"
    file = file_of(path, f"{place}.gz", place, "humaneval_js.jsonl.gz", "humaneval_js.jsonl")
    names = ("task_id", "prompt", "canonical_solution", "test")
    rows = fields(json_rows(file)[:limit], *names, file=file)
    return [
        Programming(name, prompt, solution, test, "javascript")
        for name, prompt, solution, test in rows
    ]


def judged(
    tasks: Sequence[Programming],
    completions: Sequence[Sequence[str]],
    *,
    seed: int,
    weak: bool = False,
    limits: Limits | None = None,
) -> Found:
    """pass@k of the completions, each task's in a list of its own."""
    programs = [
        task.program(one) for task, each in zip(tasks, completions, strict=True) for one in each
    ]
    outcomes = iter(run_all(programs, language=tasks[0].language, weak=weak, limits=limits))
    passed = [[next(outcomes) for _ in each] for each in completions]
    counts = [sum(outcome.finished for outcome in each) for each in passed]
    sizes = [len(each) for each in passed]
    metrics = {f"pass@{k}": pass_at_k(sizes, counts, k, seed=seed) for k in KS if k <= min(sizes)}
    items = tuple(
        Answered(
            question=task.prompt,
            answer=task.solution,
            given=_shown(task, completions[number], passed[number]),
            value=counts[number] / sizes[number],
        )
        for number, task in enumerate(tasks)
    )
    notes = []
    if weak:
        notes.append(
            "The programs ran with limits of time and memory alone: they could read and change "
            "what you can."
        )
    ends = [outcome.end for each in passed for outcome in each]
    told = [f"{ends.count(end)} {end}" for end in dict.fromkeys(ends)]
    notes.append(f"How the programs ended: {', '.join(told)}.")
    return Found(metrics, items, notes=tuple(notes))


def _shown(task: Programming, completions: Sequence[str], outcomes: Sequence[Outcome]) -> str:
    """The first completion, and how it ended where it did not pass."""
    outcome = outcomes[0]
    if outcome.finished:
        return completions[0]
    said = outcome.output.strip().splitlines()
    return f"{completions[0]}\n[{outcome.end}: {said[-1] if said else 'no output'}]"
