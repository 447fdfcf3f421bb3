"""Which frames: equal to the public code where the file is long enough, and never a frame twice."""

import json
import math
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bimba.errors import InputError
from bimba.video.sampling import (
    choose_frames,
    every_nth,
    frame_step,
    frames_between,
    parse_seconds,
    uniform_indices,
)

counts = st.integers(1, 20_000)
rates = st.floats(0.1, 240.0)
frame_milliseconds = st.lists(st.integers(0, 100_000), min_size=1, max_size=60, unique=True).map(sorted)


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


@settings(deadline=None)
@given(st.integers(0, 99), st.integers(0, 59), st.integers(0, 59), st.integers(0, 999))
def test_a_time_means_the_same_however_it_is_written(hours: int, minutes: int, seconds: int, thousandths: int) -> None:
    expected = pytest.approx(hours * 3600 + minutes * 60 + seconds + thousandths / 1000)
    assert parse_seconds(f"{hours}:{minutes:02}:{seconds:02}.{thousandths:03}") == expected
    assert parse_seconds(f"{hours * 60 + minutes}:{seconds}.{thousandths:03}") == expected
    assert parse_seconds(f"{hours * 3600 + minutes * 60 + seconds}.{thousandths:03}") == expected
    assert parse_seconds(hours * 3600 + minutes * 60 + seconds + thousandths / 1000) == expected


@pytest.mark.parametrize(
    ("time", "seconds"), [("90", 90), (90, 90), ("0", 0), ("90.5", 90.5), ("1:30", 90), (".5", 0.5)]
)
def test_times_as_people_write_them(time: str | float, seconds: float) -> None:
    assert parse_seconds(time) == seconds


@pytest.mark.parametrize(
    "time",
    [
        *("", " ", "soon", "1:2:3:4", "1:60", "0:61:00", "-1", "1:-5", "1: 30", " 90", "1:", ":30", "1.5:30", "1h"),
        *("nan", "inf", "nan:30", math.nan, math.inf, -0.5),
    ],
)
def test_what_is_no_time_is_quoted_with_the_ways_to_write_one(time: str | float) -> None:
    with pytest.raises(InputError, match=r"is no time(.|\n)*1:02:03") as caught:
        parse_seconds(time)
    assert repr(time) in caught.value.problem


@settings(deadline=None)
@given(frame_milliseconds, st.integers(0, 110_000), st.integers(1, 110_000))
def test_a_segment_holds_the_frames_from_its_start_on_and_before_its_end(
    milliseconds: list[int], start: int, length: int
) -> None:
    times = np.array(milliseconds) / 1000
    duration = float(times[-1]) + 0.04
    if start / 1000 >= duration or (start + length) / 1000 <= times[0]:
        with pytest.raises(InputError):
            frames_between(times, duration, start / 1000, (start + length) / 1000)
        return
    chosen = frames_between(times, duration, start / 1000, (start + length) / 1000)
    inside = [index for index, time in enumerate(milliseconds) if start <= time < start + length]
    on_show = max([0, *(index for index, time in enumerate(milliseconds) if time <= start)])
    assert list(chosen) == (inside or [on_show])


@settings(deadline=None)
@given(frame_milliseconds, st.data())
def test_segments_that_meet_share_no_frame_and_leave_none_out(milliseconds: list[int], data: st.DataObject) -> None:
    times = np.array(milliseconds) / 1000
    duration = float(times[-1]) + 0.04
    meeting = data.draw(st.sampled_from(milliseconds)) / 1000
    if meeting == times[0]:
        assert frames_between(times, duration, meeting, None) == range(len(times))
        return
    before, after = frames_between(times, duration, None, meeting), frames_between(times, duration, meeting, None)
    assert [*before, *after] == list(range(len(times)))


@settings(deadline=None)
@given(st.integers(1, 2000), rates, st.data())
def test_a_segment_that_starts_at_a_frames_own_time_starts_with_it(n: int, fps: float, data: st.DataObject) -> None:
    times = np.arange(n) / fps
    index = data.draw(st.integers(0, n - 1))
    # As it is printed and typed again, to the microsecond.
    assert frames_between(times, n / fps, round(float(times[index]), 6), None)[0] == index


def test_no_start_and_no_end_mean_the_whole_video() -> None:
    assert frames_between([0.0, 0.5, 1.0], 1.5, None, None) == range(3)


def test_a_segment_between_two_frames_is_the_frame_on_show() -> None:
    assert frames_between([0.0, 1.0, 2.0], 3.0, 1.2, 1.8) == range(1, 2)
    assert frames_between([0.0, 1.0, 2.0], 3.0, 2.5, None) == range(2, 3)


def test_the_last_frame_can_be_reached_though_the_average_rate_ends_the_video_before_it() -> None:
    assert frames_between([0.0, 0.1, 5.0], 4.5, 5.0, None) == range(2, 3)
    with pytest.raises(InputError, match=r"starts at 5\.1 s, but the video ends at 5\.00 s"):
        frames_between([0.0, 0.1, 5.0], 4.5, 5.1, None)


@pytest.mark.parametrize(("start", "end"), [(2.0, 1.0), (1.0, 1.0), (0.5, 0.25)])
def test_a_segment_that_ends_before_it_starts_names_both_times(start: float, end: float) -> None:
    with pytest.raises(
        InputError, match=rf"starts at {start:g} s and ends at {end:g} s(.|\n)*--end come after --start"
    ):
        frames_between([0.0, 1.0, 2.0], 3.0, start, end)


def test_a_segment_after_the_end_names_where_that_is() -> None:
    with pytest.raises(InputError, match=r"starts at 3 s, but the video ends at 3\.00 s(.|\n)*--start"):
        frames_between([0.0, 1.0, 2.0], 3.0, 3.0, 4.0)


def test_a_segment_before_the_first_picture_names_when_that_comes() -> None:
    with pytest.raises(InputError, match=r"ends at 2 s, but the first picture comes at 3\.00 s(.|\n)*--end"):
        frames_between([3.0, 4.0], 5.0, 1.0, 2.0)
    assert frames_between([3.0, 4.0], 5.0, 1.0, 3.5) == range(1)


def test_choosing_frames_loads_neither_torch_nor_ffmpeg() -> None:
    program = "import sys, bimba.video.sampling; print(sorted({'torch', 'av', 'PIL'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_decoding_does_not_load_torch() -> None:
    program = "import sys, bimba.video.decode; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
