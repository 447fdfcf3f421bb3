import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from needle_runs import VARIED, small_settings, varied_videos

from bimba.errors import InputError
from bimba.needles import NeedleSettings, plan_video
from bimba.needles.schedule import check_schedule, most_needles, schedule_needles, schedule_pair
from bimba.needles.seeds import generator


@given(st.data())
def test_needles_stay_inside_the_video_with_bare_frames_between_them(data: st.DataObject) -> None:
    lengths = data.draw(st.lists(st.integers(1, 20), min_size=1, max_size=12))
    gap = data.draw(st.integers(0, 5))
    least = sum(lengths) + gap * (len(lengths) - 1)
    num_frames = data.draw(st.integers(least, least + 400))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    first = schedule_needles(rng, lengths=lengths, num_frames=num_frames, fps=Fraction(25), gap=gap)
    assert len(first) == len(lengths)
    assert first[0] >= 0
    ends = [start + length for start, length in zip(first, lengths, strict=True)]
    assert ends[-1] <= num_frames
    assert all(later - end >= gap for end, later in zip(ends, first[1:], strict=False))


@given(st.data())
def test_as_many_fit_as_is_said(data: st.DataObject) -> None:
    length, gap = data.draw(st.integers(1, 20)), data.draw(st.integers(0, 5))
    num_frames = data.draw(st.integers(length, 400))
    most = most_needles(num_frames, length, gap)
    rng = np.random.default_rng(0)
    schedule_needles(rng, lengths=[length] * most, num_frames=num_frames, fps=Fraction(25), gap=gap)
    with pytest.raises(InputError, match=f"{most} fit"):
        schedule_needles(rng, lengths=[length] * (most + 1), num_frames=num_frames, fps=Fraction(25), gap=gap)


@pytest.mark.parametrize(("num_frames", "needle_frames", "most"), [(30, 5, 5), (29, 5, 5), (28, 5, 4), (4, 5, 0)])
def test_too_many_needles_are_refused_with_the_number_that_fits(num_frames: int, needle_frames: int, most: int) -> None:
    with pytest.raises(InputError, match=rf"{most + 1} needles of 0.5 seconds do not fit .*: {most} fit\.") as error:
        schedule_needles(
            np.random.default_rng(0),
            lengths=[needle_frames] * (most + 1),
            num_frames=num_frames,
            fps=Fraction(10),
        )
    assert ("--needles" in error.value.fix) == (most > 0)
    assert "--needle-seconds" in error.value.fix


@given(st.data())
def test_exactly_two_needles_share_a_window_and_the_same_one(data: st.DataObject) -> None:
    window, gap = data.draw(st.integers(2, 12)), data.draw(st.integers(0, 3))
    lengths = data.draw(st.lists(st.integers(1, 20), min_size=2, max_size=6))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    num_frames = sum(lengths) + 2 * window + len(lengths) * (max(gap, window)) + data.draw(st.integers(0, 200))
    starts, shown = schedule_pair(rng, lengths=lengths, window=window, num_frames=num_frames, fps=Fraction(2), gap=gap)
    assert len(starts) == len(shown) == len(lengths)
    assert starts == sorted(starts)
    assert starts[-1] + shown[-1] <= num_frames
    windows = [set(range(s // window, (s + n - 1) // window + 1)) for s, n in zip(starts, shown, strict=True)]
    (pair,) = [i for i, (one, two) in enumerate(itertools.pairwise(windows)) if one & two]
    assert windows[pair] == windows[pair + 1]
    assert shown[pair : pair + 2] == [1, 1]
    assert starts[pair] < starts[pair + 1]
    assert [n for i, n in enumerate(shown) if i not in (pair, pair + 1)] == lengths[:pair] + lengths[pair + 2 :]


@pytest.mark.parametrize("name", VARIED)
def test_planned_needles_are_in_order_and_apart(name: str) -> None:
    settings, videos = varied_videos(name)
    for video in videos:
        needles = video.record.needles
        assert needles[0].first_frame >= 0
        assert needles[-1].last_frame < video.record.num_frames
        bare = [later.first_frame - earlier.last_frame - 1 for earlier, later in itertools.pairwise(needles)]
        # The two of a pair may follow each other at once.
        assert sum(frames < settings.gap_frames for frames in bare) <= (settings.pair_window is not None)
        assert all(frames >= 0 for frames in bare)


@pytest.mark.parametrize("name", [name for name in VARIED if name != "pair"])
def test_numbers_and_durations_fill_their_ranges(name: str) -> None:
    settings, videos = varied_videos(name)
    counts = {len(video.record.needles) for video in videos}
    assert counts == set(range(settings.num_needles[0], settings.num_needles[1] + 1))
    lengths = {n.last_frame - n.first_frame + 1 for video in videos for n in video.record.needles}
    shortest, longest = settings.needle_frames
    assert (min(lengths), max(lengths)) == (shortest, longest)


@pytest.mark.parametrize(
    "changes",
    [
        {"num_needles": "1-6"},
        {"needle_seconds": "0.1-3.1"},
        {"num_needles": 4, "gap_frames": 4},
        {"num_needles": "2-4", "pair_window": 10},
        {"num_needles": "2-3", "pair_window": 4, "needle_seconds": "0.1-2.5"},
    ],
    ids=str,
)
def test_what_may_not_fit_is_refused_before_any_video_is_planned(changes: dict[str, object]) -> None:
    with pytest.raises(InputError, match="do not fit into a video of 3 seconds"):
        check_schedule(small_settings(**changes))


@given(
    num_needles=st.tuples(st.integers(2, 6), st.integers(0, 4)),
    shortest=st.integers(1, 6),
    longest=st.integers(0, 6),
    gap=st.integers(0, 4),
    window=st.none() | st.integers(2, 10),
    seed=st.integers(0, 2**32),
)
def test_what_passes_the_check_can_always_be_planned(
    num_needles: tuple[int, int], shortest: int, longest: int, gap: int, window: int | None, seed: int
) -> None:
    values = {
        "num_needles": (num_needles[0], sum(num_needles)),
        "needle_seconds": (shortest / 10, (shortest + longest) / 10),
        "gap_frames": gap,
        "pair_window": window,
        "seed": seed,
        "kinds": ("digit",),
    }
    settings: NeedleSettings = small_settings(**values)
    try:
        check_schedule(settings)
    except InputError:
        return
    for index in range(5):
        plan_video(settings, index)


def test_streams_differ_by_seed_and_by_purpose() -> None:
    drawn = {int(generator(seed, purpose).integers(2**60)) for seed in range(5) for purpose in ("a", "b", "c")}
    assert len(drawn) == 15
