"""Which frames, one of each interval: equal to Vamba's public code but where that loses, repeats or shuffles frames."""

import json
import math
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bimba.errors import InputError
from bimba.video.interval_sampling import choose_in_intervals, middles_at_rate, random_indices
from bimba.video.sampling import choose_frames, middle_indices

counts = st.integers(1, 20_000)
rates = st.floats(0.1, 240.0)
seeds = st.integers(0, 2**32)


@pytest.fixture(scope="module")
def cases(golden: Path) -> list[dict[str, Any]]:
    """All calls of the public code that chose frames: of the golden video, and of bare counts."""
    record = json.loads((golden / "vamba" / "frame_sampling.json").read_text())
    named = [case for case in record["magic_mp4"].values() if "sample" in case]
    return [case for case in [*named, *record["get_frame_indices"]] if "indices" in case]


def interval(number: int, num_available: int, num_frames: int) -> range:
    """Frames of an interval, by another formula than the one that is tested."""
    bounds = [math.floor(index * num_available / num_frames) for index in (number, number + 1)]
    return range(*bounds)


# Golden frames ----------------------------------------------------------------------------------------------------


def test_golden_middles(cases: list[dict[str, Any]]) -> None:
    compared = [case for case in cases if case["sample"] == "middle" and case["num_frames"] <= case["vlen"]]
    assert len(compared) >= 7
    for case in compared:
        assert middle_indices(case["vlen"], case["num_frames"]) == case["indices"]
        choice = choose_in_intervals(case["vlen"], case["input_fps"], case["num_frames"])
        assert list(choice.indices) == case["indices"]
        assert choice.printed_seconds == tuple(index / case["input_fps"] for index in case["indices"])


def test_golden_middles_of_seconds(cases: list[dict[str, Any]]) -> None:
    compared = [
        case for case in cases if case["sample"].startswith("fps") and case["indices"] and "max_num_frames" not in case
    ]
    assert len(compared) >= 5
    for case in compared:
        rate = float(case["sample"].removeprefix("fps"))
        assert middles_at_rate(case["vlen"], case["input_fps"], rate) == case["indices"]
        choice = choose_in_intervals(case["vlen"], case["input_fps"], 16, sampling=rate)
        assert list(choice.indices) == case["indices"]
        assert choice.at_fixed_rate


def test_golden_random_frames_lie_in_our_intervals_and_never_last_in_them(cases: list[dict[str, Any]]) -> None:
    compared = [case for case in cases if case["sample"] == "rand" and case["num_frames"] < case["vlen"]]
    assert len(compared) >= 3
    for case in compared:
        for number, index in enumerate(case["indices"]):
            assert index in interval(number, case["vlen"], case["num_frames"])[:-1]


# Where the public code does what nobody wants ------------------------------------------------------------------------


def test_short_videos_give_each_frame_once(cases: list[dict[str, Any]]) -> None:
    compared = [case for case in cases if case["sample"] in ("middle", "rand") and case["num_frames"] > case["vlen"]]
    assert len(compared) >= 4
    for case in compared:
        assert case["indices"][case["vlen"] :] == [case["vlen"] - 1] * (case["num_frames"] - case["vlen"])
        sampling = {"middle": "middle", "rand": "random"}[case["sample"]]
        choice = choose_in_intervals(case["vlen"], case["input_fps"], case["num_frames"], sampling=sampling, seed=0)
        assert list(choice.indices) == list(range(case["vlen"]))


def test_a_clip_shorter_than_half_a_second_gives_its_middle_frame(cases: list[dict[str, Any]]) -> None:
    (case,) = [case for case in cases if not case["indices"]]
    assert (case["vlen"], case["input_fps"], case["sample"]) == (10, 30, "fps1")
    assert middles_at_rate(10, 30.0, 1.0) == [4]


def test_too_many_middles_of_seconds_are_spread_over_the_video_and_not_cut_off(cases: list[dict[str, Any]]) -> None:
    (case,) = [case for case in cases if "max_num_frames" in case]
    assert case["indices"] == middles_at_rate(case["vlen"], case["input_fps"], 4.0)[:8]
    assert case["indices"][-1] < case["vlen"] // 3
    choice = choose_in_intervals(case["vlen"], case["input_fps"], 8, sampling=4.0)
    assert list(choice.indices) == middle_indices(case["vlen"], 8)
    assert not choice.at_fixed_rate


def test_middles_between_two_frames_are_rounded_to_one_side() -> None:
    assert middles_at_rate(125, 25.0, 1.0) == [13, 38, 63, 88, 113]
    assert np.around(np.arange(0.5, 5.5) * 25).tolist() == [12, 38, 62, 88, 112]  # as the public code has it


def test_the_last_frame_of_an_interval_may_be_drawn() -> None:
    drawn = {index for seed in range(40) for index in random_indices(8, 4, seed)}
    assert drawn == set(range(8))


def test_an_interval_of_one_frame_gives_it_and_nothing_is_shuffled() -> None:
    assert random_indices(5, 5, seed=1) == [0, 1, 2, 3, 4]
    for seed in range(20):
        drawn = random_indices(6, 4, seed)  # intervals of 1, 2, 1 and 2 frames
        assert [drawn[0], drawn[2]] == [0, 3]
        assert (drawn[1] in (1, 2), drawn[3] in (4, 5)) == (True, True)


# What always holds ------------------------------------------------------------------------------------------------


@settings(deadline=None, derandomize=True)
@given(counts, st.integers(1, 2048), seeds)
def test_each_interval_gives_one_of_its_frames(num_available: int, num_frames: int, seed: int) -> None:
    num_intervals = min(num_available, num_frames)
    middles, drawn = middle_indices(num_available, num_frames), random_indices(num_available, num_frames, seed)
    assert len(middles) == len(drawn) == num_intervals
    for indices in (middles, drawn):
        assert indices == sorted(set(indices))
        assert 0 <= indices[0] <= indices[-1] < num_available
    for number in range(num_intervals):
        frames = interval(number, num_available, num_intervals)
        # numpy's linspace, which the public code calls, may put a bound that is a whole number one lower.
        assert frames.start - 1 <= drawn[number] < frames.stop
        assert frames[(len(frames) - 1) // 2] - middles[number] in (0, 1)


@settings(deadline=None, derandomize=True)
@given(counts, rates, rates)
def test_middles_of_seconds_are_evenly_spread_over_the_whole_video(n: int, average_fps: float, fps: float) -> None:
    indices = middles_at_rate(n, average_fps, fps)
    assert indices
    assert indices == sorted(set(indices))
    assert 0 <= indices[0] <= indices[-1] < n
    if fps >= average_fps:
        assert indices == list(range(n))
        return
    distance = average_fps / fps
    assert all(abs(later - earlier - distance) < 1 + 1e-6 * n for earlier, later in pairwise(indices))
    assert max(indices[0], n - 1 - indices[-1]) <= distance + 1


@settings(deadline=None, derandomize=True)
@given(counts, st.integers(1, 512), seeds)
def test_the_same_seed_draws_the_same_frames(num_available: int, num_frames: int, seed: int) -> None:
    first = choose_in_intervals(num_available, 25.0, num_frames, sampling="random", seed=seed)
    assert first == choose_in_intervals(num_available, 25.0, num_frames, sampling="random", seed=seed)
    assert first.indices == tuple(random_indices(num_available, num_frames, np.random.default_rng(seed)))


def test_other_seeds_draw_other_frames() -> None:
    assert len({tuple(random_indices(1000, 8, seed)) for seed in range(10)}) == 10


def test_an_enormous_rate_takes_each_frame_once() -> None:
    assert middles_at_rate(4, 10.0, 1e12) == [0, 1, 2, 3]


def test_uniform_and_fps_are_known_by_their_names() -> None:
    assert choose_in_intervals(100, 10.0, 8, sampling="uniform") == choose_frames(100, 10.0, 8)
    assert choose_in_intervals(100, 10.0, 16, sampling="fps") == choose_in_intervals(100, 10.0, 16, sampling=1)


@pytest.mark.parametrize(("num_available", "num_frames"), [(0, 8), (100, 0), (100, -1)])
@pytest.mark.parametrize("sampling", ["middle", "random", "fps", "uniform", 2.0])
def test_counts_below_one_are_refused(num_available: int, num_frames: int, sampling: str | float) -> None:
    with pytest.raises(InputError, match="frames"):
        choose_in_intervals(num_available, 25.0, num_frames, sampling=sampling, seed=0)


@pytest.mark.parametrize("sampling", ["rand", "headtail", "", "fps1", True])
def test_an_unknown_mode_names_the_known_ones(sampling: str | float) -> None:
    with pytest.raises(InputError, match=r"middle, random, fps, uniform(.|\n)*fix: pass middle"):
        choose_in_intervals(100, 25.0, 8, sampling=sampling)


@pytest.mark.parametrize("rate", [0.0, -1.0, math.nan, math.inf])
def test_an_impossible_rate_is_refused(rate: float) -> None:
    with pytest.raises(InputError, match="wanted frame rate"):
        choose_in_intervals(100, 25.0, 8, sampling=rate)
    with pytest.raises(InputError, match="average frame rate"):
        choose_in_intervals(100, rate, 8)


def test_random_frames_need_a_seed() -> None:
    with pytest.raises(InputError, match=r"without a seed(.|\n)*seed=0"):
        choose_in_intervals(100, 25.0, 8, sampling="random")


def test_choosing_needs_neither_torch_nor_transformers() -> None:
    program = "import sys, bimba.video.interval_sampling; print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
