"""What `--size` says in, the sizes to measure at out; no torch.

Shapes: L length, E channels, N state, T frames, H x W patches a frame, D model width.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

from bimba.errors import InputError


@dataclass(frozen=True)
class ScanSize:
    """A scan of one sequence.

    Attributes:
        name: as users ask for it.
        length: L.
        inner_dim: E.
        state_dim: N.
    """

    name: str
    length: int
    inner_dim: int
    state_dim: int

    @property
    def num_states(self) -> int:
        """Entries of all states of all steps, L E N: each takes one exponential."""
        return self.length * self.inner_dim * self.state_dim

    @property
    def num_values(self) -> int:
        """Entries of x, dt or y, L E."""
        return self.length * self.inner_dim


@dataclass(frozen=True)
class CompressSize:
    """A video's tokens and what their queries are pooled by.

    Attributes:
        name: as users ask for it.
        grid: T, H, W.
        dim: D.
        pool: factors over time, height and width.
    """

    name: str
    grid: tuple[int, int, int]
    dim: int
    pool: tuple[int, int, int]


SCAN_SIZES = {
    size.name: size
    for size in (
        ScanSize("small", 4096, 512, 16),
        ScanSize("released", 59_200, 7168, 16),
        ScanSize("paper", 108_800, 7168, 16),
    )
}
"""The released model with 64 frames: 46,656 tokens and 12,544 queries, D = 3,584, E = 7,168; the paper's longest."""

COMPRESS_SIZES = {
    size.name: size
    for size in (
        CompressSize("tiny", (4, 8, 8), 64, (1, 2, 2)),
        CompressSize("small", (8, 27, 27), 512, (1, 2, 2)),
        CompressSize("released", (64, 27, 27), 3584, (1, 2, 2)),
        CompressSize("paper", (64, 40, 40), 3584, (4, 2, 2)),
    )
}
"""Compressors of the same names."""

_LONGEST = 2**31 - 1


def scan_size(text: str) -> ScanSize:
    """The size that a name or LxExN stands for.

    Raises:
        InputError: it is neither.
    """
    if text in SCAN_SIZES:
        return SCAN_SIZES[text]
    length, inner_dim, state_dim = _numbers("--size", text, "LxExN", SCAN_SIZES, "4096x512x16")
    return ScanSize(text, length, inner_dim, state_dim)


def compress_size(text: str, pool: str | None) -> CompressSize:
    """The size that a name or TxHxWxD stands for, with the size's own pooling if none is given.

    Raises:
        InputError: it is neither, or frames are fewer than are pooled into one.
    """
    if text in COMPRESS_SIZES:
        size = COMPRESS_SIZES[text]
    else:
        frames, height, width, dim = _numbers("--size", text, "TxHxWxD", COMPRESS_SIZES, "8x27x27x512")
        size = CompressSize(text, (frames, height, width), dim, (1, 2, 2))
    if pool is None:
        return size
    time, rows, columns = _numbers("--pool", pool, "TxHxW", (), "1x2x2")
    if time > size.grid[0]:
        raise InputError(
            f"--pool {pool} makes one of {time} frames, and --size {text} has {size.grid[0]}.",
            fix=f"take --pool {size.grid[0]}x{rows}x{columns}, or more frames.",
        )
    return CompressSize(size.name, size.grid, size.dim, (time, rows, columns))


def _numbers(option: str, text: str, form: str, names: Iterable[str], example: str) -> tuple[int, ...]:
    """The numbers of a text such as 4096x512x16, as many as the form has letters.

    Raises:
        InputError: the text has another form, or a number is 0 or too large.
    """
    known = list(names)
    words = re.split("[x×,]", text.strip().lower())  # noqa: RUF001 # people paste it
    if len(words) != len(form.split("x")) or not all(re.fullmatch(r"[0-9_]*[0-9]", word) for word in words):
        near = get_close_matches(text.lower(), known, n=1)
        ways = [*known, f"{form} (e.g. {example})"]
        raise InputError(
            f"{option} {text!r} is no size.",
            fix=f"did you mean {near[0]}?" if near else f"take {', '.join(ways[:-1])}{' or ' * bool(known)}{ways[-1]}.",
        )
    numbers = tuple(int(word.replace("_", "")) for word in words)
    if not all(1 <= number <= _LONGEST for number in numbers):
        raise InputError(f"{option} {text} has a number that is 0 or above {_LONGEST:,}.", fix=f"take e.g. {example}.")
    return numbers
