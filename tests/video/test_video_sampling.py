"""Which frames: equal to the public code where the file is long enough, and never a frame twice."""

import json
import math
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bimba.errors import InputError
from bimba.video.sampling import choose_frames, every_nth, frame_step, uniform_indices

counts = st.integers(1, 20_000)
rates = st.floats(0.1, 240.0)


def test_every_golden_case_gives_the_same_frames_and_times(golden: Path) -> None:
    record = json.loads((golden / "sampling.json").read_text())
    assert len(record["cases"]) >= 12
    for case in record["cases"]:
        choice = choose_frames(
            record["total_frames"],
            record["avg_fps"],
            case["max_frames_num"],
            sampling="uniform" if case["force_sample"] else "fps",
            fps=case["fps"],
        )
        assert list(choice.indices) == case["frame_idx"]
        assert ",".join(f"{seconds:.2f}s" for seconds in choice.printed_seconds) == case["frame_time"]


@settings(deadline=None)
@given(counts, st.integers(1, 512))
def test_uniform_frames_are_sorted_distinct_and_in_range(num_available: int, num_frames: int) -> None:
    indices = uniform_indices(num_available, num_frames)
    assert len(indices) == min(num_available, num_frames)
    assert indices == sorted(set(indices))
    assert indices[0] == 0
    if num_frames > 1:
        assert indices[-1] == num_available - 1


@settings(deadline=None)
@given(counts, st.integers(2, 512))
def test_uniform_frames_are_evenly_spread(num_available: int, num_frames: int) -> None:
    indices = uniform_indices(num_available, num_frames)
    gaps = {later - earlier for earlier, later in pairwise(indices)}
    assert not gaps or max(gaps) - min(gaps) <= 1


@settings(deadline=None)
@given(counts, rates, st.integers(1, 512), st.floats(0.1, 60.0))
def test_fps_mode_takes_every_nth_frame_while_they_fit(n: int, average_fps: float, most: int, fps: float) -> None:
    choice = choose_frames(n, average_fps, most, sampling="fps", fps=fps)
    step = frame_step(average_fps, fps)
    assert len(choice.indices) == len(choice.printed_seconds) <= most
    if math.ceil(n / step) <= most:
        assert list(choice.indices) == every_nth(n, average_fps, fps) == list(range(0, n, step))
        assert choice.printed_seconds == tuple(index / step for index in choice.indices)
    else:
        assert choice == choose_frames(n, average_fps, most)


def test_short_video_repeats_no_frame() -> None:
    assert uniform_indices(5, 64) == [0, 1, 2, 3, 4]


def test_a_single_frame_is_the_first() -> None:
    assert choose_frames(750, 25.0, 1).indices == (0,)


def test_asking_for_more_frames_a_second_than_there_are_takes_each_once() -> None:
    assert every_nth(4, 10.0, 1000.0) == [0, 1, 2, 3]


@pytest.mark.parametrize("num_frames", [0, -3])
def test_no_frames_asked_for_names_the_option(num_frames: int) -> None:
    with pytest.raises(InputError, match=rf"{num_frames} frames were asked for(.|\n)*--frames"):
        choose_frames(100, 25.0, num_frames)


def test_a_video_without_frames_is_an_error() -> None:
    with pytest.raises(InputError, match="0 frames"):
        choose_frames(0, 25.0, 8)


@pytest.mark.parametrize("fps", [0.0, -1.0, math.nan, math.inf])
def test_an_impossible_rate_names_the_option(fps: float) -> None:
    with pytest.raises(InputError, match=r"wanted frame rate is (.|\n)*--fps 1"):
        choose_frames(100, 25.0, 8, sampling="fps", fps=fps)


@pytest.mark.parametrize("sampling", ["uniform", "fps"])
def test_a_file_without_a_rate_is_an_error(sampling: str) -> None:
    with pytest.raises(InputError, match=r"average frame rate is 0\.0"):
        choose_frames(100, 0.0, 8, sampling=sampling)


def test_an_unknown_mode_names_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"'random'(.|\n)*uniform, fps(.|\n)*--sampling uniform"):
        choose_frames(100, 25.0, 8, sampling="random")


def test_choosing_frames_loads_neither_torch_nor_ffmpeg() -> None:
    program = "import sys, bimba.video.sampling; print(sorted({'torch', 'av', 'PIL'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_decoding_does_not_load_torch() -> None:
    program = "import sys, bimba.video.decode; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
