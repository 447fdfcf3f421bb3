from collections import Counter
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from needle_runs import folder_contents, small_run, small_settings
from numpy.typing import NDArray
from PIL import Image

from bimba.errors import BimbaError, InputError, VideoError
from bimba.needles import Encoding, NeedleSettings, NeedleStream, plan_video, render_frame, render_frames, write_video
from bimba.needles.haystacks import choose_haystack
from bimba.needles.haystacks.leaves import TexturedLeaves
from bimba.needles.haystacks.photos import Panned
from bimba.needles.haystacks.scenes import DRAWN, Scenes
from bimba.needles.haystacks.videos import FRAMES_AT_ONCE

STEP = 4
"""Difference in grey between a frame of a numbered video and the next."""


def numbered_video(path: Path, num_frames: int, fps: Fraction = Fraction(10)) -> Path:
    """A lossless video whose frame n is grey with the value 4 n."""
    frames: list[NDArray[np.uint8]] = [np.full((48, 64, 3), STEP * n, np.uint8) for n in range(num_frames)]
    path.parent.mkdir(exist_ok=True)
    write_video(path, frames, Encoding("ffv1", "bgr0", "mkv", width=64, height=48, fps=fps))
    return path


def numbers(frames: list[NDArray[np.uint8]]) -> list[int]:
    """Which frames of a numbered video these are."""
    assert all(frame.min() == frame.max() for frame in frames)
    return [int(frame[0, 0, 0]) // STEP for frame in frames]


@pytest.mark.parametrize("kind", sorted(DRAWN))
class TestDrawn:
    def test_same_parameters_and_time_give_the_same_frame(self, kind: str) -> None:
        one, two = (DRAWN[kind](np.random.default_rng(4), 66, 49) for _ in range(2))
        one.frame(3.0)  # nothing is kept from one frame for the next
        np.testing.assert_array_equal(one.frame(1.5), two.frame(1.5))

    def test_frames_have_shape_and_type(self, kind: str) -> None:
        frame = DRAWN[kind](np.random.default_rng(4), 66, 49).frame(3600.0)
        assert (frame.shape, frame.dtype) == ((49, 66, 3), np.dtype(np.uint8))

    @pytest.mark.parametrize("seed", range(5))
    def test_it_moves_within_a_second_and_not_by_a_jump_within_a_frame(self, kind: str, seed: int) -> None:
        haystack = DRAWN[kind](np.random.default_rng(seed), 96, 64)
        now, next_frame, later = (haystack.frame(time).astype(float) for time in (10.0, 10.04, 11.0))
        # A camera stands still for a moment where it turns; everything else never does.
        assert np.abs(later - now).mean() > (0 if "leaves" in kind else 2)
        assert np.abs(next_frame - now).mean() < 6

    def test_seeds_differ(self, kind: str) -> None:
        one, two = (DRAWN[kind](np.random.default_rng(seed), 64, 48).frame(0.0) for seed in (1, 2))
        assert (one != two).any()


@pytest.mark.parametrize("kind", ["dead_leaves", "textured_leaves"])
def test_a_camera_over_leaves_has_moved_after_some_seconds(kind: str) -> None:
    for seed in range(5):
        haystack = DRAWN[kind](np.random.default_rng(seed), 96, 64)
        moved = [np.abs(haystack.frame(t + 3.0).astype(float) - haystack.frame(t)).mean() for t in (0.0, 10.0, 20.0)]
        assert max(moved) > 2


def test_every_drawn_haystack_is_chosen() -> None:
    kinds = Counter(video.record.haystack for video in NeedleStream(small_settings(num_videos=120)))
    assert set(kinds) == set(DRAWN)
    assert min(kinds.values()) > 8
    assert max(kinds, key=lambda kind: kinds[kind]) == "textured_leaves"


def test_things_before_a_scene_move_by_themselves() -> None:
    """In most videos some part of the frame is covered and bared again while the rest hardly changes."""
    haystacks = [TexturedLeaves(np.random.default_rng(seed), 96, 64) for seed in range(40)]
    assert {len(haystack._things) for haystack in haystacks} == {0, 1, 2, 3}
    haystack = next(one for one in haystacks if len(one._things) == 3 and one._shake is None)
    bare = Panned.frame(haystack, 5.0)
    assert 0.01 < (haystack.frame(5.0) != bare).any(axis=-1).mean() < 0.9


def test_a_scene_is_shaken_at_times() -> None:
    haystack = next(
        one for seed in range(40) if (one := TexturedLeaves(np.random.default_rng(seed), 96, 64))._shake is not None
    )
    sharpness = [np.abs(np.diff(haystack.frame(time).astype(float), axis=1)).mean() for time in np.arange(0, 12, 0.25)]
    smeared = np.array(sharpness) < 0.6 * max(sharpness)
    assert 0.1 < smeared.mean() < 0.7


@pytest.mark.parametrize("size", [(16, 16), (70, 49), (640, 360), (90, 160)])
def test_textured_leaves_fill_frames_of_any_shape(size: tuple[int, int]) -> None:
    for seed in range(6):
        frame = TexturedLeaves(np.random.default_rng(seed), *size).frame(2.0)
        assert frame.shape == (size[1], size[0], 3)
        assert frame.std() > 0


def test_a_video_has_as_many_scenes_as_were_asked_for_and_one_after_the_other() -> None:
    found = set()
    for seed in range(30):
        haystack = choose_haystack(np.random.default_rng(seed), small_settings(scenes="2-4", seconds=20.0))
        assert isinstance(haystack, Scenes)
        begins = [scene.begins for scene in haystack._scenes]
        assert begins[0] == 0.0
        assert begins == sorted(begins)
        assert begins[-1] < 20.0
        assert haystack.kind.count(" | ") + 1 == len(begins)
        found.add(len(begins))
        for scene, end in zip(haystack._scenes, [*begins[1:], 20.0], strict=True):
            middle = (scene.begins + end) / 2
            np.testing.assert_array_equal(haystack.frame(middle), scene.haystack.frame(middle))
    assert found == {2, 3, 4}


class TestVideos:
    def settings(self, folder: Path, **changes: object) -> NeedleSettings:
        return small_settings(haystack=folder, num_needles=1, **changes)

    def bare(self, folder: Path, index: int = 0, **changes: object) -> list[NDArray[np.uint8]]:
        """The frames of a haystack."""
        settings = self.settings(folder, **changes)
        haystack = plan_video(settings, index).haystack
        return [haystack.frame(float(n / settings.fps)) for n in range(settings.num_frames)]

    def test_frames_are_those_of_the_file_one_after_the_other(self, tmp_path: Path) -> None:
        numbered_video(tmp_path / "long.mkv", 60)
        found = numbers(self.bare(tmp_path))
        assert found == [(found[0] + n) % 60 for n in range(30)]

    @pytest.mark.parametrize("fps", ["29.97", "100", "7"])
    def test_no_frame_is_skipped_or_shown_twice_at_the_rate_of_the_file(self, tmp_path: Path, fps: str) -> None:
        settings = self.settings(tmp_path, fps=fps, seconds=0.6 if fps == "100" else 3.0, needle_seconds=0.1)
        numbered_video(tmp_path / "same.mkv", 60, settings.fps)
        haystack = plan_video(settings, 0).haystack
        found = numbers([haystack.frame(float(n / settings.fps)) for n in range(settings.num_frames)])
        assert found == [(found[0] + n) % 60 for n in range(settings.num_frames)]

    def test_a_video_that_is_too_short_begins_anew(self, tmp_path: Path) -> None:
        numbered_video(tmp_path / "short.mkv", 7)
        found = numbers(self.bare(tmp_path))
        assert found == [(found[0] + n) % 7 for n in range(30)]

    def test_a_file_of_one_frame_stands_still(self, tmp_path: Path) -> None:
        numbered_video(tmp_path / "still.mkv", 1)
        assert numbers(self.bare(tmp_path)) == [0] * 30

    def test_another_frame_rate_keeps_the_time(self, tmp_path: Path) -> None:
        numbered_video(tmp_path / "slow.mkv", 60, Fraction(5))
        found = numbers(self.bare(tmp_path))
        assert found == [(found[0] + n // 2) % 60 for n in range(30)]

    def test_videos_start_anywhere_and_every_file_is_taken(self, tmp_path: Path) -> None:
        for name in ("a.mkv", "b.mkv"):
            numbered_video(tmp_path / name, 60)
        (tmp_path / "notes.txt").write_text("no video")
        plans = [plan_video(self.settings(tmp_path), index) for index in range(12)]
        assert {plan.haystack.kind for plan in plans} == {"video a.mkv", "video b.mkv"}
        starts = {numbers([plan.haystack.frame(0.0)])[0] for plan in plans}
        assert len(starts) > 6

    def test_frames_decoded_together_are_those_decoded_alone(self, tmp_path: Path) -> None:
        numbered_video(tmp_path / "long.mkv", 50)
        plan = plan_video(self.settings(tmp_path, seconds=8.0), 0)
        frames = list(render_frames(plan))
        assert len(frames) == 80 > 2 * FRAMES_AT_ONCE
        for index in (0, 31, 32, 33, 63, 64, 79):
            np.testing.assert_array_equal(frames[index], render_frame(plan, index))

    def test_the_middle_is_cut_out_in_the_shape_of_the_frame(self, tmp_path: Path) -> None:
        wide = np.zeros((48, 128, 3), np.uint8)
        wide[:, 32:96] = 200
        write_video(tmp_path / "wide.mkv", [wide] * 4, Encoding("ffv1", "bgr0", "mkv", 128, 48, Fraction(10)))
        frame = plan_video(self.settings(tmp_path), 0).haystack.frame(0.0)
        assert frame.shape == (48, 64, 3)
        assert (frame[:, 2:-2] == 200).all()

    def test_needles_lie_on_the_video(self, tmp_path: Path) -> None:
        numbered_video(tmp_path / "in" / "a.mkv", 40)
        run = small_run(tmp_path / "out", haystack=tmp_path / "in", codec="ffv1", pixel_format="bgr0")
        (video,) = run.manifest.videos
        assert video.haystack == "video a.mkv"
        assert len(video.needles) == 3
        assert run.manifest.settings.haystack == tmp_path / "in"

    def test_a_broken_video_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "broken.mp4").write_bytes(b"no video at all")
        with pytest.raises(BimbaError, match=r"broken\.mp4"):
            _ = plan_video(self.settings(tmp_path), 0).haystack

    def test_no_videos_leave_the_folder_of_the_run_untouched(self, tmp_path: Path) -> None:
        (tmp_path / "in").mkdir()
        with pytest.raises(InputError, match=r"in has no videos(?s:.)*leave --haystack out"):
            small_run(tmp_path / "out", haystack=tmp_path / "in")
        with pytest.raises(InputError, match="there is no folder of videos"):
            small_run(tmp_path / "out", haystack=tmp_path / "nowhere")
        assert not (tmp_path / "out").exists()


class TestPhotos:
    def test_the_camera_pans_over_the_photo(self, tmp_path: Path) -> None:
        ramp = np.broadcast_to(np.arange(256, dtype=np.uint8)[None, :, None], (200, 256, 3))
        Image.fromarray(np.ascontiguousarray(ramp)).save(tmp_path / "ramp.png")
        haystack = plan_video(small_settings(photos=tmp_path), 0).haystack
        assert haystack.kind == "photo"
        first, later = haystack.frame(0.0).astype(int), haystack.frame(5.0).astype(int)
        assert (np.diff(first[0, :, 0]) >= 0).all(), "it is the photo and not mirrored"
        assert 0.3 < (first[0, -1, 0] - first[0, 0, 0]) / 255 < 0.85, "a part of it is seen"
        assert np.abs(later - first).max() > 3

    def test_photos_need_not_be_as_large_as_the_frame(self, tmp_path: Path) -> None:
        Image.new("RGB", (9, 7), (10, 200, 30)).save(tmp_path / "tiny.jpg")
        frame = plan_video(small_settings(photos=tmp_path), 0).haystack.frame(1.0)
        assert frame.shape == (48, 64, 3)
        assert np.abs(frame.astype(int) - (10, 200, 30)).max() < 6

    def test_large_photos_are_reduced(self, tmp_path: Path) -> None:
        Image.new("RGB", (4100, 40)).save(tmp_path / "wide.png")
        haystack = plan_video(small_settings(photos=tmp_path), 0).haystack
        assert isinstance(haystack, Panned)
        assert haystack._picture.size == (2048, 20)

    def test_scenes_cut_between_photos(self, tmp_path: Path) -> None:
        for name, colour in (("a", (255, 0, 0)), ("b", (0, 0, 255))):
            Image.new("RGB", (90, 60), colour).save(tmp_path / f"{name}.png")
        haystack = plan_video(small_settings(photos=tmp_path, scenes=8), 0).haystack
        assert haystack.kind == " | ".join(["photo"] * 8)
        assert {tuple(haystack.frame(time)[5, 5]) for time in np.arange(0, 3, 0.05)} == {(255, 0, 0), (0, 0, 255)}

    def test_a_broken_photo_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "cat.jpg").write_bytes(b"no photo at all")
        with pytest.raises(VideoError, match=r"the photo .*cat\.jpg cannot be opened"):
            _ = plan_video(small_settings(photos=tmp_path), 0).haystack

    def test_no_photos_leave_the_folder_of_the_run_untouched(self, tmp_path: Path) -> None:
        (tmp_path / "in").mkdir()
        with pytest.raises(InputError, match=r"in has no jpg, png or webp files(?s:.)*leave --photos out"):
            small_run(tmp_path / "out", photos=tmp_path / "in")
        with pytest.raises(InputError, match="there is no folder of photos"):
            small_run(tmp_path / "out", photos=tmp_path / "nowhere")
        assert folder_contents(tmp_path / "in") == {}
        assert not (tmp_path / "out").exists()
