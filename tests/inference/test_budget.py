"""A budget of tokens: frames and pooling counted by hand, and what holds for all numbers."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bimba.errors import InputError
from bimba.inference.budget import MOST_POOLED, Fit, Room, Wanted, fit_budget
from bimba.models.bimba.configuration import BimbaConfig
from bimba.models.bimba.separators import num_video_tokens
from bimba.ops.pool import pooled_shape
from bimba.video.sampling import SamplingOrRate, every_nth

RELEASED = BimbaConfig()
"""A group of frames is 14 x 14 queries and 14 separators: 210 tokens."""

HOUR = Wanted(num_available=108_000, average_fps=30.0)


def eight_a_frame(num_frames: int, sampling: SamplingOrRate) -> int:
    """A text of 100 tokens, and eight for each frame's time."""
    del sampling
    return 100 + 8 * num_frames


NO_LIMIT = Room(None, 0, eight_a_frame)
ROOMY = Room(32_768, 512, eight_a_frame)


def pooling_by(frames: int) -> BimbaConfig:
    return BimbaConfig(temporal_pooling=frames)


@pytest.mark.parametrize(
    ("wanted", "room", "expected"),
    [
        # 64 frames are 13,440 tokens, which is what is allowed.
        (replace(HOUR, max_video_tokens=13_440), NO_LIMIT, Fit(64, "uniform", 1, 13_440)),
        # One token less, and two frames become one.
        (replace(HOUR, max_video_tokens=13_439), NO_LIMIT, Fit(64, "uniform", 2, 6_720)),
        # 3,600 frames, 64 groups at most: 3,600 // 55 = 65, 3,600 // 56 = 64.
        (replace(HOUR, fps=1.0, max_video_tokens=13_440), NO_LIMIT, Fit(3_600, 1.0, 56, 13_440)),
        # Without a budget the rate costs nothing.
        (replace(HOUR, fps=1.0), NO_LIMIT, Fit(3_600, 1.0, 1, 756_000)),
        # The times of 3,600 frames leave 32,768 - 512 - 28,900 = 3,356 tokens: 15 groups; 3,600 // 226 = 15.
        (replace(HOUR, fps=1.0), ROOMY, Fit(3_600, 1.0, 226, 3_150)),
        # Four frames become one in "auto", no more: 64 groups.
        (replace(HOUR, frames="auto", max_video_tokens=13_440), NO_LIMIT, Fit(256, "uniform", 4, 13_440)),
        # 242 tokens a group with the times of its four frames: (32,768 - 512 - 100) // 242 = 132.
        (replace(HOUR, frames="auto"), ROOMY, Fit(528, "uniform", 4, 27_720)),
        # A minute and a half at one frame a second fits as it is.
        (replace(HOUR, num_available=2_700, frames="auto"), ROOMY, Fit(90, "uniform", 1, 18_900)),
        # Three minutes: two become one.
        (replace(HOUR, num_available=5_400, frames="auto"), ROOMY, Fit(180, "uniform", 2, 18_900)),
        # Seven minutes and a second: 421 frames, of which one would be left without a group.
        (replace(HOUR, num_available=12_630, frames="auto"), ROOMY, Fit(420, "uniform", 4, 22_050)),
        # Short videos are looked at 64 times, shorter ones at all frames.
        (replace(HOUR, num_available=300, frames="auto"), ROOMY, Fit(64, "uniform", 1, 13_440)),
        (replace(HOUR, num_available=40, frames="auto"), ROOMY, Fit(40, "uniform", 1, 8_400)),
        # A rate is the most of "auto": two a second of ten seconds.
        (replace(HOUR, num_available=300, frames="auto", fps=2.0), ROOMY, Fit(20, "uniform", 1, 4_200)),
        # Pictures without times are all taken.
        (Wanted(100, None, "auto"), ROOMY, Fit(100, "uniform", 1, 21_000)),
        # One a second, for as long as that is at most so many; then uniform.
        (replace(HOUR, num_available=900, sampling="fps", max_video_tokens=2_100), NO_LIMIT, Fit(30, "fps", 3, 2_100)),
        (replace(HOUR, sampling="fps", max_video_tokens=2_100), NO_LIMIT, Fit(64, "fps", 6, 2_100)),
    ],
)
def test_counted_by_hand(wanted: Wanted, room: Room, expected: Fit) -> None:
    assert fit_budget(wanted, RELEASED, room) == expected


def test_a_models_own_pooling_is_the_least() -> None:
    wanted = replace(HOUR, frames="auto", max_video_tokens=13_440)
    assert fit_budget(wanted, pooling_by(8), NO_LIMIT) == Fit(512, "uniform", 8, 13_440)
    assert fit_budget(replace(HOUR, max_video_tokens=10**6), pooling_by(8), NO_LIMIT) == Fit(64, "uniform", 8, 1_680)


def test_pooling_that_is_given_stays() -> None:
    given_by_hand = replace(HOUR, frames="auto", max_video_tokens=13_440, may_pool=False)
    assert fit_budget(given_by_hand, RELEASED, NO_LIMIT) == Fit(64, "uniform", 1, 13_440)
    with pytest.raises(InputError, match=r"756,000 tokens(.|\n)*--temporal-pooling(.|\n)*--fps 0\.0177 fits"):
        fit_budget(replace(given_by_hand, frames=64, fps=1.0), RELEASED, NO_LIMIT)


def test_learned_queries_are_enough_for_so_many_groups() -> None:
    learned = replace(HOUR, frames="auto", max_video_tokens=10**6, most_groups=32)
    assert fit_budget(learned, RELEASED, NO_LIMIT) == Fit(128, "uniform", 4, 6_720)
    with pytest.raises(InputError, match="more than the 32 for which the model learned"):
        fit_budget(replace(learned, frames=64, may_pool=False), RELEASED, NO_LIMIT)


@pytest.mark.parametrize("frames", ["auto", 64])
def test_less_than_one_group_is_refused_with_the_least_that_would_do(frames: int) -> None:
    wanted = replace(HOUR, frames=frames, max_video_tokens=209)
    with pytest.raises(InputError, match=r"are 210 tokens of the video, and 209(.|\n)*allow 210 or more") as refusal:
        fit_budget(wanted, RELEASED, ROOMY)
    assert "fewer frames" not in refusal.value.fix  # which would change nothing
    assert fit_budget(replace(wanted, max_video_tokens=210), RELEASED, ROOMY).num_video_tokens == 210


def test_a_text_that_leaves_no_room_is_told() -> None:
    with pytest.raises(InputError, match=r"43,300 of the text(.|\n)*leave 0 for the video(.|\n)*--no-time") as refusal:
        fit_budget(replace(HOUR, fps=1.5), RELEASED, ROOMY)
    suggested = float(refusal.value.fix.split("--fps ")[1].split(" ")[0])
    assert fit_budget(replace(HOUR, fps=suggested), RELEASED, ROOMY).temporal_pooling <= MOST_POOLED


def test_auto_needs_something_that_limits_it() -> None:
    with pytest.raises(InputError, match=r"any length(.|\n)*--max-video-tokens"):
        fit_budget(replace(HOUR, frames="auto"), RELEASED, NO_LIMIT)


def test_fewer_frames_than_are_pooled_are_refused() -> None:
    with pytest.raises(InputError, match="3 frames are fewer than the 4"):
        fit_budget(Wanted(3, 30.0, "auto"), pooling_by(4), ROOMY)


def test_a_rate_needs_times() -> None:
    with pytest.raises(InputError, match="--image-fps"):
        fit_budget(Wanted(10, None, fps=1.0), RELEASED, ROOMY)


def tokens(num_frames: int, pooling: int) -> int:
    return num_video_tokens(pooled_shape(num_frames, 27, 27, (pooling, 2, 2), "bilinear"), "grid")


@settings(deadline=None)
@given(st.integers(1, 5_000), st.integers(1, 60), st.integers(1, 6), st.integers(210, 40_000), st.floats(0.05, 40))
def test_a_rate_fits_with_the_least_pooling_that_does(
    num_available: int, average_fps: int, own: int, limit: int, fps: float
) -> None:
    num_frames = len(every_nth(num_available, average_fps, fps))
    wanted = Wanted(num_available, float(average_fps), fps=fps, max_video_tokens=limit)
    if num_frames < own or eight_a_frame(num_frames, fps) + 512 + 210 > 32_768:
        with pytest.raises(InputError, match=r"fewer than the|for the video"):
            fit_budget(wanted, pooling_by(own), ROOMY)
        return
    fit = fit_budget(wanted, pooling_by(own), ROOMY)

    def fits(pooling: int) -> bool:
        num_tokens = tokens(fit.num_frames, pooling)
        return num_tokens <= limit and num_tokens + 512 + eight_a_frame(fit.num_frames, "uniform") <= 32_768

    assert fit.num_frames == num_frames
    assert fit.num_video_tokens == tokens(fit.num_frames, fit.temporal_pooling)
    assert fits(fit.temporal_pooling)
    assert not any(fits(pooling) for pooling in range(own, fit.temporal_pooling))
    assert fit.sampling == fps


@settings(deadline=None)
@given(st.integers(1, 500_000), st.integers(1, 60), st.integers(1, 6), st.integers(210, 40_000))
def test_auto_fits_fills_its_groups_and_wastes_no_room(
    num_available: int, average_fps: int, own: int, limit: int
) -> None:
    wanted = Wanted(num_available, float(average_fps), "auto", max_video_tokens=limit)
    if num_available < own:
        return
    fit = fit_budget(wanted, pooling_by(own), ROOMY)

    def fits(num_frames: int, pooling: int) -> bool:
        num_tokens = tokens(num_frames, pooling)
        return num_tokens <= limit and num_tokens + 512 + eight_a_frame(num_frames, "uniform") <= 32_768

    most = min(num_available, max(64, -(-num_available // average_fps)))
    pooling = fit.temporal_pooling
    assert fits(fit.num_frames, pooling)
    assert fit.num_frames % pooling == 0
    assert own <= pooling <= max(own, MOST_POOLED)
    assert not any(fits(most - most % fewer, fewer) for fewer in range(own, pooling))
    assert fit.num_frames == most - most % pooling or not fits(fit.num_frames + pooling, pooling)
