"""Lists of predictions and what they are held against: checked before anything is counted."""

from collections.abc import Sequence, Sized
from typing import Any

from hanlin.errors import InputError
from hanlin.text.scripts import script

_SAMPLE = 20_000
"""Characters that decide which language texts are in."""


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
    counts: dict[str, int] = {}
    seen = 0
    for texts in sets:
        for character in texts[0] if texts else "":
            name = script(character)
            counts[name] = counts.get(name, 0) + 1
            seen += 1
        if seen >= _SAMPLE:
            break
    classes = ("digit", "punctuation", "space", "emoji", "other")
    letters = sum(n for name, n in counts.items() if name not in classes)
    return counts.get("Han", 0) * 2 > letters and counts.get("Kana", 0) * 10 < letters


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
