"""Learning a Unigram vocabulary (Kudo 2018), so that the same text always gives the same one.

Start with every frequent substring, then in turns fit the pieces' probabilities by expectation
maximisation over all ways to cut each word, and drop the pieces the text misses least. Written in
Python because the trainer of the ``tokenizers`` library adds up in an order that changes from run
to run, and its vocabularies with it.
"""

import math
from collections import Counter
from collections.abc import Mapping

_LONGEST_PIECE = 8
_LONGEST_WORD = 32  # characters; products of this many probabilities stay above the least double
_SEEDS = 4  # candidates for each piece that is wanted
_KEEP = 0.7  # share of the candidates that outlives one turn
_FEWEST = 0.5  # expected occurrences below which a candidate goes at once

_Cuts = list[tuple[int, int, str]]
"""Every piece that occurs in a word: start, end, text."""


def learn_pieces(words: Mapping[str, int], *, size: int) -> dict[str, float]:
    """Return at most `size` pieces and their log probabilities, likeliest first.

    `words` says how often each word occurs. Every character of theirs is a piece, whatever `size`
    is.
    """
    counted = sorted((word[:_LONGEST_WORD], n) for word, n in words.items() if word)
    letters: Counter[str] = Counter()
    for word, n in counted:
        for letter in word:
            letters[letter] += n
    pieces = _seeds(counted, letters, size * _SEEDS)
    wanted = max(size, len(letters))
    while True:
        cuts = [_cuts(word, pieces) for word, _ in counted]
        for _ in range(2):
            pieces = _fit(counted, cuts, pieces, letters)
        if len(pieces) <= wanted:
            break
        pieces = _prune(counted, cuts, pieces, letters, max(wanted, int(len(pieces) * _KEEP)))
    total = math.fsum(pieces.values())
    ranked = sorted(pieces.items(), key=lambda item: (-item[1], item[0]))
    return {piece: math.log(p / total) for piece, p in ranked}


def _seeds(
    counted: list[tuple[str, int]], letters: Mapping[str, int], most: int
) -> dict[str, float]:
    """Return the letters and the substrings that cover the most text, as probabilities."""
    found: Counter[str] = Counter()
    for word, n in counted:
        for start in range(len(word)):
            for end in range(start + 2, min(start + _LONGEST_PIECE, len(word)) + 1):
                found[word[start:end]] += n
    ranked = sorted(
        (-n * len(piece), piece) for piece, n in found.items() if n >= 2 and len(piece) > 1
    )
    weights: dict[str, float] = {letter: float(n) for letter, n in sorted(letters.items())}
    for minus, piece in ranked[: max(0, most - len(weights))]:
        weights[piece] = -minus / len(piece)
    return _normalised(weights)


def _cuts(word: str, pieces: Mapping[str, float]) -> _Cuts:
    found = []
    for start in range(len(word)):
        for end in range(start + 1, min(start + _LONGEST_PIECE, len(word)) + 1):
            piece = word[start:end]
            if piece in pieces:
                found.append((start, end, piece))
    return found


def _fit(
    counted: list[tuple[str, int]],
    cuts: list[_Cuts],
    pieces: dict[str, float],
    letters: Mapping[str, int],
) -> dict[str, float]:
    """Take one step of expectation maximisation; pieces nearly never expected are dropped."""
    expected = dict.fromkeys(pieces, 0.0)
    for (word, n), found in zip(counted, cuts, strict=True):
        forward = [0.0] * (len(word) + 1)
        backward = [0.0] * (len(word) + 1)
        forward[0] = backward[-1] = 1.0
        for start, end, piece in found:
            forward[end] += forward[start] * pieces.get(piece, 0.0)
        for start, end, piece in reversed(found):
            backward[start] += backward[end] * pieces.get(piece, 0.0)
        share = n / forward[-1]
        for start, end, piece in found:
            if piece in expected:
                expected[piece] += forward[start] * pieces[piece] * backward[end] * share
    kept = {
        piece: max(weight, 1e-3)  # a letter stays, so that every word can be spelt
        for piece, weight in expected.items()
        if weight >= _FEWEST or piece in letters
    }
    return _normalised(kept)


def _prune(
    counted: list[tuple[str, int]],
    cuts: list[_Cuts],
    pieces: dict[str, float],
    letters: Mapping[str, int],
    keep: int,
) -> dict[str, float]:
    """Keep the letters and the pieces without which the text would become least likely."""
    logs = {piece: math.log(p) for piece, p in pieces.items()}
    used: Counter[str] = Counter()
    for (word, n), found in zip(counted, cuts, strict=True):
        for piece in _best(word, found, logs)[1]:
            used[piece] += n
    losses = []
    for piece in pieces:
        if piece in letters:
            continue
        inner = [cut for cut in _cuts(piece, pieces) if cut[2] != piece]
        without = _best(piece, inner, logs)[0]
        losses.append((-used[piece] * (logs[piece] - without), -pieces[piece], piece))
    losses.sort()
    kept = [piece for _, _, piece in losses[: max(0, keep - len(letters))]]
    return _normalised({piece: pieces[piece] for piece in [*letters, *kept]})


def _best(word: str, found: _Cuts, logs: Mapping[str, float]) -> tuple[float, list[str]]:
    """Return the log probability of the likeliest way to cut `word`, and its pieces."""
    score = [-math.inf] * (len(word) + 1)
    last = [""] * (len(word) + 1)
    score[0] = 0.0
    for start, end, piece in found:
        reached = score[start] + logs.get(piece, -math.inf)
        if reached > score[end]:
            score[end], last[end] = reached, piece
    path = []
    at = len(word)
    while at > 0 and last[at]:
        path.append(last[at])
        at -= len(last[at])
    return score[-1], path


def _normalised(weights: Mapping[str, float]) -> dict[str, float]:
    total = math.fsum(weights.values())
    return {piece: weight / total for piece, weight in weights.items()}
