"""`run`: a model, the name of a benchmark and where it lies, to scores."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from hanlin.data.middle import Marks
from hanlin.errors import ConfigError, InputError, nearest
from hanlin.evaluation.benchmarks import (
    TITLES,
    choice,
    infilling,
    last_word,
    problems,
    programs,
)
from hanlin.evaluation.benchmarks.continuations import continued
from hanlin.evaluation.benchmarks.options import Choice, Scored, score_options
from hanlin.evaluation.benchmarks.programs import Programming
from hanlin.evaluation.benchmarks.result import BenchmarkResult, Found
from hanlin.evaluation.contamination import contamination
from hanlin.evaluation.request import about
from hanlin.evaluation.sandbox import check
from hanlin.evaluation.texts import Sources
from hanlin.generation import generate
from hanlin.metrics import accuracy
from hanlin.progress import Progress
from hanlin.tasks import LanguageModel, load
from hanlin.tasks.coding import Mode, ending_middle, prompt_for_middle

if TYPE_CHECKING:
    from hanlin.tasks import Model

T = TypeVar("T")

SHOTS = {"cmmlu": 5, "gsm8k": 5}
"""Examples before each question where nothing is said; of the other benchmarks none."""
_NO_SHOTS = ("truthfulqa", "lambada", "humaneval", "humaneval-infill", "humaneval-js")
"""Whose prompts are fixed."""
_ONE_FILE = ("arc-easy", "arc-challenge", "piqa")
"""Whose examples are the first items of the file that is asked."""
_CHOICES: Mapping[str, tuple[Callable[..., list[choice.Question]], Mapping[str, choice.Metric]]] = {
    "arc-easy": (choice.arc, choice.BY_SIZE),
    "arc-challenge": (choice.arc, choice.BY_SIZE),
    "piqa": (choice.piqa, choice.BY_SIZE),
    "cmmlu": (choice.cmmlu, choice.LIKELIEST),
    "truthfulqa": (choice.truthfulqa, choice.TRUTHFUL),
}


def run(
    model: "str | Path | Model",
    name: str,
    path: str | Path,
    *,
    limit: int | None = None,
    shots: int | None = None,
    samples: int | None = None,
    seed: int = 0,
    batch: int = 32,
    against: Sources | None = None,
    weak_sandbox: bool = False,
    mode: Mode | None = None,
    dtype: str = "float32",
) -> BenchmarkResult:
    """Ask a language model a benchmark: one of `TITLES`, its file or folder at `path`.

    limit: the first so many items (of CMMLU, of each subject). shots: examples before each question
    (None: as `SHOTS` says). samples: of programs, how many of each are drawn for pass@k (None: one,
    greedy). batch: rows computed together; no score depends on it beyond rounding. against:
    training text, or a directory of token shards, in which the items are looked for. weak_sandbox:
    run programs where this machine cannot confine them (see `sandbox`). mode: in which order the
    sides of a gap are read (None: psm; see `LanguageModel.infill`). dtype: of a model that is
    loaded here.

    Raises `ConfigError` for a name or setting that cannot be, `NotFoundError` and `FormatError` for
    files, `InputError` for a model that is no language model.
    """
    shots = _checked(name, limit=limit, shots=shots, samples=samples, weak=weak_sandbox, mode=mode)
    if batch < 1:
        raise ConfigError(f"batch is {batch}; it must be at least 1.")
    # The files first: they are quickly read, and a model is not quickly loaded.
    ask = _plan(
        name,
        Path(path).expanduser(),
        limit=limit,
        shots=shots,
        samples=samples or 1,
        seed=seed,
        batch=batch,
        weak=weak_sandbox,
        mode=mode or "psm",
    )
    lm = load(model, dtype=dtype) if isinstance(model, str | Path) else model
    if not isinstance(lm, LanguageModel):
        raise InputError(
            f"{lm.name} is {lm.kind}, and a benchmark asks a language model. Load one, such as "
            "smollm2-135m."
        )
    begin = time.perf_counter()
    found = ask(lm)
    seconds = time.perf_counter() - begin
    result = BenchmarkResult(
        benchmark=name,
        model=lm.name,
        metrics=found.metrics,
        items=found.items,
        seconds=seconds,
        shots=shots,
        subjects=found.subjects,
        notes=found.notes,
    )
    return result if against is None else _compared(result, found, against, seed=seed)


def _checked(
    name: str,
    *,
    limit: int | None,
    shots: int | None,
    samples: int | None,
    weak: bool,
    mode: Mode | None,
) -> int:
    """The examples before each question. Raises `ConfigError` for what cannot be."""
    if name not in TITLES:
        raise ConfigError(
            f"There is no benchmark {name!r}.{nearest(name, list(TITLES))} Choose among "
            f"{', '.join(TITLES)}."
        )
    if limit is not None and limit < 1:
        raise ConfigError(f"limit is {limit}; it must be at least 1.")
    if shots is not None and shots < 0:
        raise ConfigError(f"shots is {shots}; it must be at least 0.")
    if shots and name in _NO_SHOTS:
        raise ConfigError(f"The prompt of {name} is fixed. Leave shots out.")
    if not name.startswith("humaneval"):
        for what, given in (("samples", samples is not None), ("weak_sandbox", weak)):
            if given:
                raise ConfigError(f"Of {name}, {what} would be ignored. Leave it out.")
    if mode is not None and name != "humaneval-infill":
        raise ConfigError(f"Of {name}, mode would be ignored. Leave it out.")
    if mode not in (None, "psm", "spm"):
        raise ConfigError(f"mode is {mode!r}; it must be psm or spm.")
    if samples is not None and samples < 1:
        raise ConfigError(f"samples is {samples}; it must be at least 1.")
    return SHOTS.get(name, 0) if shots is None else shots


def _plan(
    name: str,
    place: Path,
    *,
    limit: int | None,
    shots: int,
    samples: int,
    seed: int,
    batch: int,
    weak: bool,
    mode: Mode,
) -> Callable[[LanguageModel], Found]:
    """Read the benchmark's files; what is returned asks a model."""

    def how(lm: LanguageModel) -> dict[str, object]:
        return {"benchmark": name, "shots": shots, **about(lm)}

    if name in _CHOICES:
        read, metrics = _CHOICES[name]
        questions = _some(read(place, shots=shots, limit=limit))
        choices = [question.choice for question in questions]
        said = (_unasked(shots),) if shots and name in _ONE_FILE else ()

        def choose(lm: LanguageModel) -> Found:
            scored, cut = _scored(lm, choices, batch, name)
            found = choice.judged(questions, scored, metrics, seed=seed, **how(lm))
            return replace(found, notes=(*said, *cut))

        return choose
    if name == "lambada":
        passages = _some(last_word.lambada(place, limit=limit))

        def finish(lm: LanguageModel) -> Found:
            scored, cut = _scored(lm, passages, batch, name)
            return replace(last_word.judged(passages, scored, seed=seed, **how(lm)), notes=cut)

        return finish
    if name == "gsm8k":
        asked, notes = problems.gsm8k(place, shots=shots, limit=limit)
        prompts = [problem.prompt for problem in _some(asked)]

        def solve(lm: LanguageModel) -> Found:
            texts, cut = _written(
                lm, prompts, batch=batch, longest=problems.MAX_NEW_TOKENS, stop=problems.STOP
            )
            found = problems.judged(asked, [text for [text] in texts], seed=seed, **how(lm))
            return replace(found, notes=(*notes, *cut))

        return solve
    read_tasks = programs.humaneval_js if name == "humaneval-js" else programs.humaneval
    tasks = _some(read_tasks(place, limit=limit))
    check(tasks[0].language, weak=weak)  # before the writing, not after it
    if name == "humaneval-infill":
        hidden = _some(infilling.gaps(tasks))

        def fill(lm: LanguageModel) -> Found:
            lines, short = None, tuple[str, ...]()
            if Marks.find(lm.tokenizer):
                lines, short = _lines(lm, hidden, samples, seed, batch, mode)
            before, cut = _completions(
                lm, hidden, samples, seed, batch, longest=infilling.MAX_NEW_TOKENS,
                **infilling.WRITING,
            )  # fmt: skip
            found = infilling.compared(hidden, lines, before, seed=seed, weak=weak)
            return replace(found, notes=(*found.notes, *short, *cut))

        return fill

    def program(lm: LanguageModel) -> Found:
        texts, cut = _completions(
            lm, tasks, samples, seed, batch, longest=programs.MAX_NEW_TOKENS,
            stop=programs.STOPS[tasks[0].language],
        )  # fmt: skip
        found = programs.judged(tasks, texts, seed=seed, weak=weak)
        return replace(found, notes=(*found.notes, *cut))

    return program


def _some(items: list[T]) -> list[T]:
    if not items:
        raise InputError("Nothing is left to ask. Give fewer shots, or a file with more items.")
    return items


def _unasked(shots: int) -> str:
    return f"The {shots} examples are the first items of the file, which are not asked."


def _scored(
    lm: LanguageModel, choices: Sequence[Choice], batch: int, title: str
) -> tuple[list[list[Scored]], tuple[str, ...]]:
    """The scores of every option, and what is to be said of texts that were cut."""
    with Progress(title, total=len(choices), unit="items") as progress:
        scored = score_options(lm, choices, batch=batch, progress=progress.advance)
    cut = sum(any(one.cut for one in each) for each in scored)
    if not cut:
        return scored, ()
    return scored, (
        f"{cut} of {len(choices)} questions did not fit the context of {lm.context} tokens and "
        "lost their beginning.",
    )


def _completions(
    lm: LanguageModel,
    tasks: Sequence[Programming],
    samples: int,
    seed: int,
    batch: int,
    *,
    longest: int,
    **writing: Any,
) -> tuple[list[list[str]], tuple[str, ...]]:
    return _written(
        lm,
        [task.prompt for task in tasks],
        batch=batch,
        longest=longest,
        **writing,
        **_drawn(samples, seed),
    )


def _drawn(samples: int, seed: int) -> dict[str, Any]:
    return {"seed": seed, "n": samples, **programs.SEVERAL} if samples > 1 else {"temperature": 0}


def _lines(
    lm: LanguageModel,
    gaps: Sequence[infilling.Gap],
    samples: int,
    seed: int,
    batch: int,
    mode: Mode,
) -> tuple[list[list[str]], tuple[str, ...]]:
    """What the model writes into each gap, of which it sees both sides, as far as they fit."""
    longest, room = infilling.MAX_NEW_TOKENS, None
    if lm.context is not None:
        longest = min(longest, lm.context // 2)
        room = lm.context - longest
    ids, cut = list[list[int]](), 0
    for gap in gaps:
        whole = prompt_for_middle(lm, gap.prompt, gap.suffix, mode=mode)
        if room is not None and len(whole) > room:
            whole = prompt_for_middle(lm, gap.prompt, gap.suffix, mode=mode, room=room)
            cut += 1
        ids.append(whole)
    sampling = ending_middle(
        lm, max_new_tokens=longest, **infilling.WRITING, **_drawn(samples, seed)
    )
    with Progress("filling in", total=len(gaps), unit="gaps") as progress:
        answers = generate(
            lm.network, lm.tokenizer, ids, sampling, together=batch, progress=progress.advance
        )
    texts = [[one.text for one in each] for each in answers]
    if not cut:
        return texts, ()
    return texts, (
        f"{cut} of {len(gaps)} gaps did not fit the context of {lm.context} tokens with all that "
        "stands around them, and lost what is farthest off.",
    )


def _written(
    lm: LanguageModel, prompts: Sequence[str], *, batch: int, longest: int, **settings: Any
) -> tuple[list[list[str]], tuple[str, ...]]:
    """What the model writes after each prompt, greedily where no temperature is given, and what is
    to be said of a context that is short for it."""
    context, room, notes = lm.context, longest, []
    if context is not None:
        apart = lm.network.config.shape == "encoder-decoder"
        room = min(longest, context - 1 if apart else context // 2)
    if room < longest:
        notes.append(f"Answers end after {room} tokens, not {longest}: the context has {context}.")
    sampling = lm.settings(**{"temperature": 0, "max_new_tokens": room, **settings})
    with Progress("writing", total=len(prompts), unit="prompts") as progress:
        found = continued(
            lm, prompts, sampling, batch=batch, context=context, progress=progress.advance
        )
    if found.cut:
        notes.append(
            f"{found.cut} of {len(prompts)} prompts did not fit the context of {context} tokens "
            f"beside {room} of an answer and lost their beginning."
        )
    return found.texts, tuple(notes)


def _compared(
    result: BenchmarkResult, found: Found, against: Sources, *, seed: int
) -> BenchmarkResult:
    """With what of the items stands in the training text, and the score of the others."""
    # A question may stand there without its answer, or with something between them.
    texts = [(item.question, f"{item.question} {item.answer}") for item in found.items]
    overlap = contamination(texts, against)
    clean = [item for item, share in zip(found.items, overlap.shares, strict=True) if not share]
    metrics = dict(result.metrics)
    if 0 < len(clean) < len(found.items):
        first = next(iter(metrics))
        metrics["right_clean"] = accuracy(
            [item.value for item in clean], [1.0] * len(clean), seed=seed, items="clean"
        )
        note = f"right_clean: {first} of the {len(clean)} items of which nothing was found."
        result = replace(result, notes=(*result.notes, note))
    return replace(result, metrics=metrics, contamination=overlap)
