"""A good file's content and a seed go in, a damaged content comes out: four kinds of damage, each a pure function."""

import random
from collections.abc import Callable

from benchmarks.fuzz.headers import Place, header_numbers

Mutation = Callable[[bytes, int], bytes]

_MAX_FLIPS_LOG2 = 7
_HEADER_BYTES = 4096
_MAX_NUMBERS = 3
# How often damage is put where the sizes are, rather than anywhere.
_HEADER_SHARE = 0.75


def flip_bits(content: bytes, seed: int) -> bytes:
    """Turn 1 to 128 bits over, half of the times most of them near the sizes in the headers."""
    chance = random.Random(seed)
    damaged = bytearray(content)
    num_bits = min(round(2 ** chance.uniform(0, _MAX_FLIPS_LOG2)), len(content))
    starts = [place.start for place in header_numbers(content)] if chance.random() < 0.5 else []
    offsets: set[int] = set()  # each byte once, so that no bit is turned back
    while len(offsets) < num_bits:
        near_size = starts and chance.random() < _HEADER_SHARE
        offset = chance.choice(starts) + chance.randrange(4) if near_size else chance.randrange(len(content))
        offsets.add(min(offset, len(content) - 1))
    for offset in sorted(offsets):
        damaged[offset] ^= 1 << chance.randrange(8)
    return bytes(damaged)


def truncate(content: bytes, seed: int) -> bytes:
    """Cut the end off, sometimes within the first bytes, or only the last few."""
    chance = random.Random(seed)
    num_kept = chance.choice(
        (
            chance.randrange(len(content)),
            chance.randrange(len(content)),
            chance.randrange(min(_HEADER_BYTES, len(content))),
            len(content) - 1 - chance.randrange(min(64, len(content))),
        )
    )
    return content[:num_kept]


def swap_chunks(content: bytes, seed: int) -> bytes:
    """Exchange two stretches of the file, which need not be of the same length."""
    chance = random.Random(seed)
    places = [place.start for place in header_numbers(content)] or [0]
    while True:
        if chance.random() < 0.5:
            cuts = sorted(chance.randrange(len(content) + 1) for _ in range(4))
        else:  # whole boxes, elements, packets or tags, more or less
            cuts = sorted(chance.choice(places) for _ in range(4))
        first, second, third, last = cuts
        swapped = content[:first] + content[third:last] + content[second:third] + content[first:second] + content[last:]
        if swapped != content:
            return swapped


def wrong_sizes(content: bytes, seed: int) -> bytes:
    """Replace 1 to 3 numbers, mostly sizes in headers, by 0, 1, -1, the largest, a huge one, or one that is near."""
    chance = random.Random(seed)
    places = header_numbers(content)
    damaged = content
    num_wanted = chance.randint(1, _MAX_NUMBERS)
    while num_wanted or damaged == content:
        place = chance.choice(places) if places and chance.random() < _HEADER_SHARE else _any_place(content, chance)
        damaged = _replaced(damaged, place, chance)
        num_wanted = max(num_wanted - 1, 0)
    return damaged


def _any_place(content: bytes, chance: random.Random) -> Place:
    num_bytes = min(chance.choice((1, 2, 4, 8)), len(content))
    start = chance.randrange(min(_HEADER_BYTES, len(content)) - num_bytes + 1)
    return Place(start, num_bytes, chance.choice(("big", "little")))


def _replaced(content: bytes, place: Place, chance: random.Random) -> bytes:
    end = place.start + place.num_bytes
    num_bits = 8 * place.num_bytes - place.num_fixed_bits
    stored = int.from_bytes(content[place.start : end], place.order)
    most = (1 << num_bits) - 1  # -1 for those who read a sign
    value = stored & most
    wrong = chance.choice(
        (
            0,
            1,
            most,
            most >> 1,
            (most >> 1) + 1,
            2**31 - 1,
            value + 1,
            value - 1,
            2 * value,
            chance.getrandbits(num_bits),
        )
    )
    number = (stored & ~most) | (wrong & most)
    return content[: place.start] + number.to_bytes(place.num_bytes, place.order) + content[end:]


MUTATIONS: dict[str, Mutation] = {
    "bit flips": flip_bits,
    "truncation": truncate,
    "swapped chunks": swap_chunks,
    "wrong sizes": wrong_sizes,
}
"""The kinds of damage by name."""
