"""LAMBADA: the last word of a passage, which needs the whole of it (Paperno et al. 2016).

OpenAI's form: the word and the space before it are scored after all the rest. acc: whether every
token of it is the model's first choice; perplexity: of a word, not of a token.
"""

from collections.abc import Sequence
from pathlib import Path

from hanlin.errors import FormatError
from hanlin.evaluation.benchmarks.files import fields, file_of, json_rows
from hanlin.evaluation.benchmarks.options import Choice, Scored
from hanlin.evaluation.benchmarks.result import Answered, Found
from hanlin.metrics import accuracy, perplexity


def lambada(path: Path, *, limit: int | None) -> list[Choice]:
    """A folder with lambada_test.jsonl, or the file: an object with a text on each line."""
    file = file_of(path, "lambada_test.jsonl")
    found = []
    for number, (text,) in enumerate(fields(json_rows(file), "text", file=file), 1):
        before, _, word = text.rpartition(" ")
        if not before.strip() or not word:
            raise FormatError(f"{file}: item {number} has no last word. Give LAMBADA's own file.")
        found.append(Choice(before, (" " + word,)))
    return found[:limit]


def judged(
    passages: Sequence[Choice],
    scored: Sequence[Sequence[Scored]],
    *,
    seed: int,
    **about: object,
) -> Found:
    """Accuracy and perplexity."""
    words = [one for [one] in scored]
    ones = [1.0] * len(words)
    metrics = {
        "acc": accuracy([float(one.is_greedy) for one in words], ones, seed=seed, **about),
        "perplexity": perplexity(
            [-one.log_likelihood for one in words], ones, seed=seed, **about, unit="word"
        ),
    }
    items = tuple(
        Answered(
            question=passage.text,
            answer=passage.options[0].strip(),
            given=passage.options[0].strip() if one.is_greedy else "",
            value=float(one.is_greedy),
            scores=(one.log_likelihood,),
        )
        for passage, one in zip(passages, words, strict=True)
    )
    return Found(metrics, items)
