"""Learning merges (Sennrich et al. 2016) so that the same text always gives the same ones.

The pair of neighbours seen most often becomes a token, again and again. Of pairs seen equally often
the greater one, compared symbol by symbol, is taken first, in whatever order the text comes.
"""

import heapq
import operator
from collections import defaultdict
from collections.abc import Callable, Mapping
from itertools import pairwise

_Pair = tuple[int, int]


def learn_merges(
    words: Mapping[tuple[str, ...], int],
    *,
    room: int,
    min_frequency: int = 2,
    join: Callable[[str, str], str] = operator.add,
) -> list[tuple[str, str]]:
    """Return merges that make at most `room` new tokens out of the symbols of `words`.

    `words` says how often each word, a row of symbols, occurs; `join` spells the token that two
    make. Stops early when no pair occurs `min_frequency` times. Time grows with the number of
    different words and the merges made in them, not with the length of the text.
    """
    tokens: list[str] = sorted({symbol for word in words for symbol in word})
    ids = {token: n for n, token in enumerate(tokens)}
    order = [_order(token) for token in tokens]
    spelt: list[list[int]] = []
    weights: list[int] = []
    counts: defaultdict[_Pair, int] = defaultdict(int)
    where: defaultdict[_Pair, set[int]] = defaultdict(set)
    for word, weight in words.items():
        if len(word) < 2:
            continue
        symbols = [ids[symbol] for symbol in word]
        for pair in pairwise(symbols):
            counts[pair] += weight
            where[pair].add(len(spelt))
        spelt.append(symbols)
        weights.append(weight)
    heap = [(-n, order[left], order[right], left, right) for (left, right), n in counts.items()]
    heapq.heapify(heap)
    merges: list[tuple[str, str]] = []
    made = 0
    while heap and made < room:
        minus, _, _, left, right = heapq.heappop(heap)
        seen = counts.get((left, right), 0)
        if seen < min_frequency:
            continue
        if seen != -minus:  # the count fell since this entry was made
            heapq.heappush(heap, (-seen, order[left], order[right], left, right))
            continue
        token = join(tokens[left], tokens[right])
        merged = ids.get(token)
        if merged is None:  # otherwise two other tokens have made the same one
            merged = ids[token] = len(tokens)
            tokens.append(token)
            order.append(_order(token))
            made += 1
        merges.append((tokens[left], tokens[right]))
        changes: defaultdict[_Pair, int] = defaultdict(int)
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
    changes: defaultdict[_Pair, int],
    where: defaultdict[_Pair, set[int]],
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


def _order(token: str) -> str:
    """A string that sorts first for the token that is greatest."""
    return "".join([chr(0x10FFFE - ord(character)) for character in token]) + "\U0010ffff"
