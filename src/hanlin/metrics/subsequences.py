"""The longest common subsequence, bit-parallel: a row of its table is one integer.

Bit j of a row is set where the length grows between column j and j + 1, which by Hyyrö 2004
("Bit-parallel LCS-length computation revisited") takes four operations a row.
"""

from collections.abc import Hashable, Sequence


def common_size(first: Sequence[Hashable], second: Sequence[Hashable]) -> int:
    """The length of the longest common subsequence."""
    return _rows(first, second)[-1].bit_count()


def common_places(first: Sequence[Hashable], second: Sequence[Hashable]) -> list[int]:
    """The places in `first` of one longest common subsequence, from the last to the first.

    Of several it is the one that rouge-score reads out: from the ends, equal tokens are taken at
    once, and otherwise a token of `second` is passed over only where that loses nothing and passing
    over one of `first` would.
    """
    rows = _rows(first, second)
    i, j = len(first), len(second)
    places = []
    while i and j:
        if first[i - 1] == second[j - 1]:
            places.append(i - 1)
            i, j = i - 1, j - 1
        elif _length(rows[i], j - 1) > _length(rows[i - 1], j):
            j -= 1
        else:
            i -= 1
    return places


def _rows(first: Sequence[Hashable], second: Sequence[Hashable]) -> list[int]:
    """Row i: where the length grows along `second` for the first i tokens of `first`."""
    where: dict[Hashable, int] = {}
    for j, token in enumerate(second):
        where[token] = where.get(token, 0) | 1 << j
    whole = (1 << len(second)) - 1
    same = whole
    rows = [0]
    for token in first:
        hit = same & where.get(token, 0)
        same = ((same + hit) | (same - hit)) & whole
        rows.append(whole & ~same)
    return rows


def _length(row: int, columns: int) -> int:
    """The length of the common subsequence with the first `columns` tokens of the second."""
    return (row & ((1 << columns) - 1)).bit_count()
