"""Randomness of a run: the run's seed and a video's index go in, one generator for each purpose comes out."""

import zlib

import numpy as np

from bimba.needles.settings import SPLITS, Split

NUM_PLACES = 3
"""Beginning, middle and end: where in a video something is."""
HELD_OUT_SHARE = 10
"""One in so many (picture, place) pairs is held out."""


def video_seed(run_seed: int, index: int, split: Split = "test") -> int:
    """Return the seed of video `index`, which depends on the split, the run's seed and the index alone.

    It has at most 53 bits, so that every reader of JSON gets it back exactly. The remainder by the number of splits is
    the split's own, so that no two splits share a seed.
    """
    state = np.random.SeedSequence(run_seed, spawn_key=(index,)).generate_state(1, np.uint64)
    return (int(state[0]) >> 13) * len(SPLITS) + SPLITS.index(split)


def place_in_time(share: float) -> int:
    """Return the third of a video, 0 to 2, that a moment lies in, given as a share of the video's length."""
    return min(NUM_PLACES - 1, int(share * NUM_PLACES))


def is_held_out(name: str, place: int) -> bool:
    """Whether a picture never stands in a third of the video (0 to 2) in the splits train and validation.

    The test split has these pairs, and they tell whether a model learned what and when apart.
    """
    return zlib.crc32(f"{name}/{place}".encode()) % HELD_OUT_SHARE == 0


def round_seed(seed: int, number: int) -> int:
    """Return the seed of what a video is asked in a round, the video's own in round 0."""
    if not number:
        return seed
    state = np.random.SeedSequence(seed, spawn_key=(zlib.crc32(b"round"), number)).generate_state(1, np.uint64)
    return int(state[0]) >> 11


def generator(seed: int, purpose: str) -> np.random.Generator:
    """Return the random generator of a video for one purpose ("background", "schedule", a question kind, ...).

    Each purpose has its own stream, named and not numbered: adding a kind of question later changes no other draw.
    """
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(zlib.crc32(purpose.encode()),)))
