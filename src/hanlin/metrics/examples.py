"""Lists of predictions and what they are held against: checked before anything is counted."""

from collections import Counter
from collections.abc import Iterable, Sequence, Sized
from typing import Any

from hanlin.errors import InputError
from hanlin.text.scripts import script

_NO_LETTERS = ("digit", "punctuation", "space", "emoji", "other")


def aligned(
    predictions: Sequence[str], references: Sequence[str] | Sequence[Sequence[str]]
) -> tuple[list[str], list[list[str]]]:
    """Predictions and their references as lists: a text and a list of texts for each example.

    Raises `InputError` where there are none, where the two differ in length, and where something is
    not a text or a prediction has no reference.
    """
    same_length(predictions, references, "references")
    taken = [_text(p, f"Prediction {number}") for number, p in enumerate(predictions, 1)]
    sets = [_texts(r, f"Reference {number}") for number, r in enumerate(references, 1)]
    for number, found in enumerate(sets, 1):
        if not found:
            raise InputError(
                f"Prediction {number} has no reference. Leave it out, or give it at least one."
            )
    return taken, sets


def answered(
    predictions: Sequence[str], answers: Sequence[str] | Sequence[Sequence[str]]
) -> tuple[list[str], list[list[str]]]:
    """As `aligned`, for questions: an empty list of answers is a question that has none."""
    same_length(predictions, answers, "answers")
    taken = [_text(p, f"Prediction {number}") for number, p in enumerate(predictions, 1)]
    return taken, [_texts(a, f"Answer {number}") for number, a in enumerate(answers, 1)]


def same_length(predictions: Sized, others: Sized, name: str) -> None:
    """Raises `InputError` where there are no predictions, or not as many as of the others."""
    for what, given in (("predictions", predictions), (name, others)):
        if isinstance(given, str) or not isinstance(given, Sized):
            raise InputError(
                f"The {what} are {type(given).__name__}, not a list. Give one entry an example."
            )
    if len(predictions) == 0:
        raise InputError("There are no predictions to score. Give at least one.")
    if len(predictions) != len(others):
        raise InputError(
            f"There are {len(predictions)} predictions and {len(others)} {name}. "
            f"Give one entry of {name} for each prediction"
            + (
                "; several texts for one are a list in its place."
                if name in ("references", "answers")
                else "."
            )
        )


def mostly_han(sets: Sequence[Sequence[str]]) -> bool:
    """Whether most letters of the references are Chinese characters (and there is little Kana)."""
    return _is_han(_scripts(text for texts in sets for text in texts))


def chinese_among(sets: Sequence[Sequence[str]]) -> int:
    """How many examples have a reference that is mostly Chinese; none where much of all is Kana, as
    in Japanese, whose short texts may be Chinese characters alone."""
    found = sum(any(_is_han(_scripts([text])) for text in texts) for texts in sets)
    if not found:
        return 0
    counts = _scripts(text for texts in sets for text in texts)
    return found if counts["Kana"] * 10 < counts["Han"] + counts["Kana"] else 0


def _scripts(texts: Iterable[str]) -> Counter[str]:
    """How many letters of each script there are."""
    characters: Counter[str] = Counter()
    for text in texts:
        characters.update(text)
    counts: Counter[str] = Counter()
    for character, count in characters.items():
        counts[script(character)] += count
    return Counter({name: n for name, n in counts.items() if name not in _NO_LETTERS})


def _is_han(counts: Counter[str]) -> bool:
    return counts["Han"] * 2 > counts.total() and counts["Kana"] * 10 < counts.total()


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise InputError(
            f"{name} is {type(value).__name__}, not a text. Give an empty one for none."
        )
    return value


def _texts(value: Any, name: str) -> list[str]:
    if isinstance(value, str):
        return [value]
    if not isinstance(value, Sequence):
        raise InputError(
            f"{name} is {type(value).__name__}, not a text or a list of texts. Give either."
        )
    return [_text(one, name) for one in value]
