"""Sampling strategies and brace lists of published mixtures: a text and a number of entries in, which ones out."""

import math
from fractions import Fraction

import numpy as np

from bimba.errors import InputError

_FIX = "write all, first:N, end:N or random:N, where N is a number or a percentage such as 10%."


def chosen_positions(strategy: str, num_entries: int, seed: tuple[int, ...]) -> list[int]:
    """Which of a file's entries are taken, in their order.

    Args:
        strategy: all, first:N, end:N or random:N; N is a number, or a percentage that is rounded up.
        num_entries: how many there are.
        seed: of "random": numbers that nothing else shares.

    Raises:
        InputError: the strategy is unknown, or N is out of range.
    """
    kind, _, amount = strategy.partition(":")
    if kind == "all" and not amount:
        return list(range(num_entries))
    if kind not in ("first", "end", "random"):
        raise InputError(f"the sampling strategy {strategy!r} is unknown.", fix=_FIX)
    count = min(_count(strategy, amount, num_entries), num_entries)
    if kind == "first":
        return list(range(count))
    if kind == "end":
        return list(range(num_entries - count, num_entries))
    # The length is part of the seed, since trailing zeros are not.
    drawn = np.random.default_rng((len(seed), *seed)).choice(num_entries, size=count, replace=False)
    return [int(position) for position in np.sort(drawn)]


def _count(strategy: str, amount: str, num_entries: int) -> int:
    is_share = amount.endswith("%")
    try:
        number = Fraction(amount.removesuffix("%"))
    except (ValueError, ZeroDivisionError) as error:
        raise InputError(f"the sampling strategy {strategy!r} names no number.", fix=_FIX) from error
    if is_share and 0 < number <= 100:
        return math.ceil(num_entries * number / 100)
    if is_share or number < 1 or number.denominator != 1:
        raise InputError(f"the sampling strategy {strategy!r} names no number of samples above 0.", fix=_FIX)
    return int(number)


def expand_braces(text: str) -> list[str]:
    """Names that a brace list stands for, as a shell expands it: `a_{1,2}.json` is `a_1.json` and `a_2.json`.

    Braces without a comma, or without their other half, stand for themselves.
    """
    for start in (place for place, letter in enumerate(text) if letter == "{"):
        pieces, end = _alternatives(text, start)
        if len(pieces) > 1:
            tails = expand_braces(text[end:])
            return [text[:start] + head + tail for piece in pieces for head in expand_braces(piece) for tail in tails]
    return [text]


def _alternatives(text: str, start: int) -> tuple[list[str], int]:
    """What the commas of a brace list at `start` part, and where it ends; nothing if it does not end."""
    pieces, depth, begun = [], 0, start + 1
    for place in range(start, len(text)):
        letter = text[place]
        depth += {"{": 1, "}": -1}.get(letter, 0)
        if (letter == "," and depth == 1) or depth == 0:
            pieces.append(text[begun:place])
            begun = place + 1
        if depth == 0:
            return pieces, place + 1
    return [], len(text)
