"""Exact match and F1 of Chinese answers as CMRC 2018 defines them (Cui et al. 2019).

Its evaluation script cuts a text into Chinese characters and, between them, words as the Penn
Treebank has them, so that English and numbers inside Chinese count as words. F1 is over the longest
run of tokens that two texts share, not over a bag of them.
"""

import re
from collections.abc import Sequence

import numpy as np

from hanlin.metrics.answers import Answers, answer_scores
from hanlin.metrics.bootstrap import Floats
from hanlin.metrics.examples import answered
from hanlin.metrics.score import Score

# The script lists the ellipsis as a pair, which no single character is: it stays.
_PUNCTUATION = "-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』"
_NO_PUNCTUATION = dict.fromkeys(map(ord, _PUNCTUATION))
_PIECES = re.compile(r"[\u4e00-\u9fa5]|[^\u4e00-\u9fa5]+")

# The Treebank's rules, in their order, as far as they can apply: the punctuation above is gone and
# letters are small. White space around a thing makes it a word.
_TREEBANK = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        # quotes that open
        (r"[«‘„]", r" \g<0> "),
        (r'^"', " `` "),
        (r"""([ (\[{<])(?:"|'')""", r"\1 `` "),
        (r"(?<!\w)'(?!(?:re|ve|ll|m|t|s|d|n)\b)(?=\w)", "' "),
        # the last full stop, commas that are not inside a number, marks
        (r"""([^.])\.([\])}>"' »]*+)\s*$""", r"\1 . \2 "),
        (r",(\D)", r" , \1"),
        (r",$", " , "),
        (r"\.{2,}|[;@#$%&?!\u2012-\u2015]", r" \g<0> "),
        (r"([^'])' ", r"\1 ' "),
        (r"[\][(){}<>]", r" \g<0> "),
        # quotes that close, and what hangs on a word
        (r"\A|\Z", " "),
        (r"»", " » "),
        (r"""''|\"""", " '' "),
        (r"\s+", " "),
        (r"([^' ])('[smd]|') ", r"\1 \2 "),
        (r"([^' ])('ll|'re|'ve|n't) ", r"\1 \2 "),
        (
            r"\b(?:(can)(not)|(d)('ye)|(gim|lem)(me)|(gon)(na)|(got)(ta)|(more)('n))\b",
            r" \1\3\5\7\9\11 \2\4\6\8\10\12 ",
        ),
        (r"\b(wan)(na)(?=\s)| ('t)(is|was)\b", r" \1\3 \2\4 "),
    )
)


def cmrc(predictions: Sequence[str], answers: Answers, *, seed: int = 0) -> dict[str, Score]:
    """The shares "exact_match" and "f1", from 0 to 1, as CMRC 2018's evaluation script has them.

    `answers` has for each question a list of right texts. The script knows no question without an
    answer; here one, an empty list, is right where the prediction is empty, and named as by
    `squad`. Raises `InputError` for lists that do not fit.
    """
    values = cmrc_values(predictions, answers)
    return answer_scores(values, answers, about="match:cmrc-2018", seed=seed)


def cmrc_values(predictions: Sequence[str], answers: Answers) -> dict[str, Floats]:
    """The "exact_match" and "f1" of every question [U]."""
    texts, sets = answered(predictions, answers)
    exact, f1 = np.zeros(len(texts)), np.zeros(len(texts))
    for number, (text, right) in enumerate(zip(texts, sets, strict=True)):
        mine = _plain(text)
        theirs = [_plain(one) for one in right or [""]]
        exact[number] = mine in theirs
        if right:
            tokens = mixed_tokens(mine)
            f1[number] = max(_f1(tokens, mixed_tokens(one)) for one in theirs)
        else:
            f1[number] = exact[number]
    return {"exact_match": exact, "f1": f1}


def mixed_tokens(text: str) -> list[str]:
    """A text in lower case and without punctuation as Chinese characters and Treebank words."""
    tokens: list[str] = []
    for piece in _PIECES.findall(text):
        if len(piece) == 1 and "\u4e00" <= piece <= "\u9fa5":
            tokens.append(piece)
            continue
        for pattern, replacement in _TREEBANK:
            piece = pattern.sub(replacement, piece)
        tokens += piece.split()
    return tokens


def _plain(text: str) -> str:
    return text.lower().strip().translate(_NO_PUNCTUATION)


def _f1(mine: list[str], theirs: list[str]) -> float:
    shared = _longest_run(mine, theirs)
    if not shared:
        return 0.0
    precision, recall = shared / len(mine), shared / len(theirs)
    return 2 * precision * recall / (precision + recall)


def _longest_run(first: list[str], second: list[str]) -> int:
    """The length of the longest run of tokens that both have."""
    longest = 0
    before = [0] * (len(second) + 1)
    for token in first:
        row = [0] * (len(second) + 1)
        for j, other in enumerate(second, 1):
            if token == other:
                row[j] = before[j - 1] + 1
                longest = max(longest, row[j])
        before = row
    return longest
