"""Windows and best spans by loops over everything, from the definitions."""

import math


def windows(length: int, room: int, stride: int) -> list[tuple[int, int]]:
    """Return the pieces of a context of `length` tokens."""
    pieces = [(0, min(room, length))]
    while pieces[-1][1] < length:
        begin = pieces[-1][0] + room - min(stride, 2 * room // 3)
        pieces.append((begin, min(begin + room, length)))
    return pieces


def log_softmax(values: list[float]) -> list[float]:
    total = sum(math.exp(value) for value in values)
    return [value - math.log(total) for value in values]


def best(
    views: list[tuple[list[float], list[float], list[int], int, list[bool]]], limit: int
) -> tuple[float, int, int, int] | None:
    """Return (score, window, start position, end position) of the best span.

    Args:
        views: For each window start and end logits, the positions of its context tokens, the null position, and which
            of the context tokens are not blank.
        limit: Most tokens.
    """
    found: tuple[float, int, int, int] | None = None
    for number, (start, end, places, null, solid) in enumerate(views):
        ones = log_softmax([start[null], *(start[place] for place in places)])[1:]
        others = log_softmax([end[null], *(end[place] for place in places)])[1:]
        for i in range(len(places)):
            for j in range(i, min(i + limit, len(places))):
                if solid[i] and solid[j] and (found is None or ones[i] + others[j] > found[0] + 1e-12):
                    found = (ones[i] + others[j], number, places[i], places[j])
    return found
