"""Randomness of a run: the run's seed and a video's index go in, one generator for each purpose comes out."""

import zlib

import numpy as np


def video_seed(run_seed: int, index: int) -> int:
    """Return the seed of video `index`, which depends on the run's seed and the index alone.

    It has 53 bits, so that every reader of JSON gets it back exactly.
    """
    state = np.random.SeedSequence(run_seed, spawn_key=(index,)).generate_state(1, np.uint64)
    return int(state[0]) >> 11


def generator(seed: int, purpose: str) -> np.random.Generator:
    """Return the random generator of a video for one purpose ("background", "schedule", a question kind, ...).

    Each purpose has its own stream, named and not numbered: adding a kind of question later changes no other draw.
    """
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(zlib.crc32(purpose.encode()),)))
