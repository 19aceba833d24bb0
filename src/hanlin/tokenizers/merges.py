"""Learning the merges of byte-level BPE (Sennrich et al. 2016; bytes as in Radford et al. 2019).

The pair of neighbours seen most often becomes a token, again and again. Of pairs seen equally often
the greater one, compared as bytes, is taken first, so that the same text always gives the same
merges, in whatever order it comes.
"""

import heapq
from collections import defaultdict
from collections.abc import Mapping
from itertools import pairwise

_COMPLEMENT = "".join(chr(255 - byte) for byte in range(256))
_END = "\u0100"


def learn_merges(
    words: Mapping[bytes, int], *, count: int, min_frequency: int = 2
) -> list[tuple[bytes, bytes]]:
    """Return at most `count` merges learnt from `words` and how often each occurs.

    Stops early when no pair occurs `min_frequency` times. Time grows with the number of different
    words and the merges made in them, not with the length of the text.
    """
    tokens: list[bytes] = [bytes([byte]) for byte in range(256)]
    order = [_order(token) for token in tokens]
    spelt: list[list[int]] = []
    weights: list[int] = []
    counts: defaultdict[tuple[int, int], int] = defaultdict(int)
    where: defaultdict[tuple[int, int], set[int]] = defaultdict(set)
    for word, weight in words.items():
        symbols = list(word)
        if len(symbols) < 2:
            continue
        for pair in pairwise(symbols):
            counts[pair] += weight
            where[pair].add(len(spelt))
        spelt.append(symbols)
        weights.append(weight)
    heap = [(-n, order[left], order[right], left, right) for (left, right), n in counts.items()]
    heapq.heapify(heap)
    merges: list[tuple[bytes, bytes]] = []
    while heap and len(merges) < count:
        minus, _, _, left, right = heapq.heappop(heap)
        seen = counts.get((left, right), 0)
        if seen < min_frequency:
            continue
        if seen != -minus:  # the count fell since this entry was made
            heapq.heappush(heap, (-seen, order[left], order[right], left, right))
            continue
        merged = len(tokens)
        merges.append((tokens[left], tokens[right]))
        tokens.append(tokens[left] + tokens[right])
        order.append(_order(tokens[merged]))
        changes: defaultdict[tuple[int, int], int] = defaultdict(int)
        for n in where.pop((left, right)):
            _merge(spelt, n, left, right, merged, weights[n], changes, where)
        del counts[(left, right)]
        changes.pop((left, right), None)
        for pair, change in changes.items():
            if change == 0:
                continue
            counts[pair] += change
            if change > 0:
                heapq.heappush(heap, (-counts[pair], order[pair[0]], order[pair[1]], *pair))
    return merges


def _merge(
    spelt: list[list[int]],
    n: int,
    left: int,
    right: int,
    merged: int,
    weight: int,
    changes: defaultdict[tuple[int, int], int],
    where: defaultdict[tuple[int, int], set[int]],
) -> None:
    """Replace `left` `right` by `merged` in word `n` and note which pairs came and went."""
    symbols = spelt[n]
    result: list[int] = []
    at, end = 0, len(symbols)
    while at < end:
        symbol = symbols[at]
        if symbol == left and at + 1 < end and symbols[at + 1] == right:
            if result:
                changes[(result[-1], left)] -= weight
                changes[(result[-1], merged)] += weight
                where[(result[-1], merged)].add(n)
            if at + 2 < end:
                following = symbols[at + 2]
                changes[(right, following)] -= weight
                changes[(merged, following)] += weight
                where[(merged, following)].add(n)
            result.append(merged)
            at += 2
        else:
            result.append(symbol)
            at += 1
    spelt[n] = result


def _order(token: bytes) -> str:
    """A string that sorts first for the token that is greatest as bytes."""
    return token.decode("latin-1").translate(_TABLE) + _END


_TABLE = dict(enumerate(_COMPLEMENT))
