"""What an ablation is asked for: arguments in, checked and frozen settings out."""

import difflib
import importlib.util
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bimba.ablation.contenders import BASELINE, CONTENDERS, SHAPES
from bimba.errors import InputError

START = "bimba-nano"
SEEDS, STEPS, VIDEOS = 3, 400, 320

_NEEDED = {"accelerate": "accelerate", "peft": "peft", "yaml": "PyYAML"}
"""Packages of the extra `train` by the modules they hold."""


@dataclass(frozen=True)
class Settings:
    """What is compared, and how thoroughly.

    Attributes:
        start: model that every run starts from: a shipped name, a folder or a hub id.
        seeds: runs of each contender, with the seeds 0, 1, ...
        steps: optimizer steps of each run.
        contenders: names in `CONTENDERS`, in its order.
        compressions: factors in `SHAPES` at which the scan and pooling are compared; empty for none.
        videos: with a pair of needles in one window that each run is asked about.
    """

    start: str = START
    seeds: int = SEEDS
    steps: int = STEPS
    contenders: tuple[str, ...] = tuple(CONTENDERS)
    compressions: tuple[int, ...] = tuple(SHAPES)
    videos: int = VIDEOS


def checked(
    *,
    start: str = START,
    seeds: int = SEEDS,
    steps: int = STEPS,
    contenders: Iterable[str] | None = None,
    compressions: Iterable[int] | None = None,
    videos: int = VIDEOS,
) -> Settings:
    """Settings of the arguments of `run_ablation`.

    Args:
        start: model that every run starts from.
        seeds: runs of each contender.
        steps: optimizer steps of each run.
        contenders: names; all of them if None. The selective scan is added, as the others are compared with it.
        compressions: factors; all of them if None.
        videos: with a pair of needles that each run is asked about.

    Raises:
        InputError: a contender or a compression is unknown, or a number is below one.
    """
    for name, number in (("seeds", seeds), ("steps", steps), ("videos", videos)):
        if number < 1:
            raise InputError(f"{name} is {number}.", fix=f"take at least one (--{name} 1).")
    if not start:
        raise InputError(
            "the model to start from has no name.", fix=f"leave out --start for {START}, or name a folder."
        )
    chosen = list(CONTENDERS) if contenders is None else list(contenders)
    if not chosen:
        raise InputError("no contender is named.", fix=f"name some of {', '.join(CONTENDERS)}.")
    for name in chosen:
        if name not in CONTENDERS:
            near = difflib.get_close_matches(name, CONTENDERS, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}? " if near else ""
            raise InputError(f"there is no contender {name!r}.", fix=f"{hint}They are {', '.join(CONTENDERS)}.")
    factors = list(SHAPES) if compressions is None else list(compressions)
    for factor in factors:
        if factor not in SHAPES:
            raise InputError(f"there is no compression {factor}.", fix=f"take some of {', '.join(map(str, SHAPES))}.")
    return Settings(
        start=start,
        seeds=seeds,
        steps=steps,
        contenders=tuple(name for name in CONTENDERS if name in {BASELINE, *chosen}),
        compressions=tuple(factor for factor in SHAPES if factor in factors),
        videos=videos,
    )


def parse_names(text: str) -> tuple[str, ...]:
    """Names in a text such as ``"pooling,none"``."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def parse_factors(text: str) -> tuple[int, ...]:
    """Numbers in a text such as ``"4,16"``, or ``"4x,16x"``.

    Raises:
        InputError: one of them is no whole number.
    """
    parts: Sequence[str] = parse_names(text)
    try:
        return tuple(int(part.removesuffix("x")) for part in parts)
    except ValueError as error:
        raise InputError(
            f"--compressions {text!r} is no list of whole numbers.", fix='write 4,16, or "" for none.'
        ) from error


def check_packages() -> None:
    """Refuse to begin where training cannot run.

    Raises:
        InputError: packages are missing.
    """
    missing = [name for module, name in _NEEDED.items() if importlib.util.find_spec(module) is None]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise InputError(
            f"the ablation trains models, for which {' and '.join(missing)} {verb} not installed.",
            fix='pip install "bimba[train]"',
        )
