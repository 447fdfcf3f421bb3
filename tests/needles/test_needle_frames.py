import dataclasses
import subprocess
import sys
import tracemalloc
from collections import Counter
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from needle_runs import decoded_frames, small_settings
from PIL import Image

from bimba.errors import InputError, VideoError
from bimba.needles import NeedleSettings, choose_encoding, drawing, plan_video, render_frame, render_frames, write_video
from bimba.needles.contents import (
    COLOURS,
    DIGITS,
    LETTERS,
    SHAPES,
    Content,
    choose_contents,
    openmoji_pictures,
    picture_attributes,
    read_pictures,
)
from bimba.needles.drawing import draw_needle, fill_frame, paste
from bimba.needles.plan import SCALES


def every_content() -> list[Content]:
    shapes = [Content("shape", "", {"shape": shape, "colour": "red"}) for shape in SHAPES]
    digits = [Content("digit", "", {"digit": digit, "colour": "blue"}) for digit in DIGITS]
    letters = [Content("letter", "", {"letter": letter, "colour": "blue"}) for letter in LETTERS]
    pictures = [Content("picture", p.name, picture_attributes(p), p) for p in openmoji_pictures()[::40]]
    return [*shapes, *digits, *letters, *pictures, Content("caption", "", {"text": "crystal thunder"})]


def test_large_needles_are_not_kept() -> None:
    one = Content("shape", "", {"shape": "star", "colour": "red"})
    draw_needle(one, 640, 360, 0.3)
    before = drawing._kept_master.cache_info()
    for scale in (0.3, 0.31, 0.32):
        assert draw_needle(one, 1920, 1080, scale).shape[0] == round(scale * 1080)
    assert drawing._kept_master.cache_info() == before
    draw_needle(one, 640, 360, 0.31)
    assert drawing._kept_master.cache_info().hits == before.hits + 1


@pytest.mark.parametrize("size", [(32, 32), (33, 200), (200, 33), (448, 336)], ids=str)
def test_every_needle_fits_into_the_frame(size: tuple[int, int]) -> None:
    for content in every_content():
        tile = draw_needle(content, *size, SCALES[1])
        assert tile.dtype == np.uint8
        assert tile.shape[0] <= size[1], content
        assert tile.shape[1] <= size[0], content
        assert tile[:, :, 3].max() == 255, content


@pytest.mark.parametrize("size", [(32, 32), (33, 200), (200, 33), (448, 336)], ids=str)
def test_every_needle_fills_a_frame_of_its_own(size: tuple[int, int]) -> None:
    for content in every_content():
        frame = fill_frame(content, *size, (90, 120, 150))
        assert frame.shape == (size[1], size[0], 3)
        changed = (frame != (90, 120, 150)).any(axis=2)
        assert changed.mean() > 0.02, content
        assert not changed[[0, -1]].any() or not changed[:, [0, -1]].any(), "the plate is seen at two edges"


def test_needles_look_different_from_each_other() -> None:
    tiles = [draw_needle(content, 448, 336, 0.4).tobytes() for content in every_content()]
    assert len(set(tiles)) == len(tiles)


@pytest.mark.parametrize("colour", sorted(COLOURS))
def test_a_shape_is_filled_with_its_colour_inside_a_white_rim(colour: str) -> None:
    tile = draw_needle(Content("shape", "", {"shape": "circle", "colour": colour}), 448, 336, 0.4)
    assert tuple(tile[tile.shape[0] // 2, tile.shape[1] // 2]) == (*COLOURS[colour], 255)
    white = (tile[:, :, :3] > 240).all(axis=2) & (tile[:, :, 3] == 255)
    assert white.sum() > 100


@pytest.mark.parametrize("scale", [0.2, 0.42, 0.6])
def test_a_needle_is_reduced_to_the_size_that_is_asked_for(scale: float) -> None:
    for content in every_content()[:40]:
        if content.kind in ("shape", "digit", "letter"):
            assert draw_needle(content, 448, 336, scale).shape[0] == round(scale * 336)


def test_a_tile_goes_only_where_it_fits() -> None:
    frame, tile = np.zeros((10, 10, 3), np.uint8), np.full((4, 4, 4), 255, np.uint8)
    assert paste(frame, tile, (6, 6, 10, 10)).sum() == 16 * 3 * 255
    assert frame.sum() == 0
    for box in [(7, 6, 11, 10), (-1, 0, 3, 4), (0, 0, 4, 5)]:
        with pytest.raises(ValueError, match="does not go to box"):
            paste(frame, tile, box)


@pytest.mark.parametrize(("num_needles", "times"), [(20, {2}), (13, {1, 2}), (10, {1}), (7, {1})])
def test_nothing_is_shown_twice_while_something_else_was_not_shown(num_needles: int, times: set[int]) -> None:
    for seed in range(10):
        rng = np.random.default_rng(seed)
        contents = choose_contents(rng, num_needles=num_needles, kinds=("digit",), pictures=())
        shown = Counter(content.attributes["digit"] for content in contents)
        assert shown.total() == num_needles
        assert set(shown.values()) == times
        assert len(shown) == min(num_needles, len(DIGITS))


def test_what_is_repeated_is_shown_as_often_as_asked_for_and_anywhere() -> None:
    places = set()
    for seed in range(50):
        contents = choose_contents(
            np.random.default_rng(seed), num_needles=6, kinds=("digit", "shape"), pictures=(), num_repeats=3
        )
        shown = Counter(content.description for content in contents)
        assert sorted(shown.values()) == [1, 1, 1, 3]
        ((often, _),) = shown.most_common(1)
        places |= {place for place, content in enumerate(contents) if content.description == often}
    assert places == set(range(6))


@pytest.mark.parametrize("index", [-1, 30])
def test_frame_outside_the_video_is_refused(index: int) -> None:
    with pytest.raises(ValueError, match=f"frames {index} to {index} of a video with 30 frames"):
        render_frame(plan_video(small_settings(), 0), index)


@pytest.mark.parametrize("fps", ["10", "29.97"])
def test_needle_is_in_the_file_exactly_at_its_frames_and_in_its_box(tmp_path: Path, fps: str) -> None:
    settings = small_settings(seed=11, codec="ffv1", pixel_format="bgr0", fps=fps)
    plan = plan_video(settings, 0)
    bare = render_frames(dataclasses.replace(plan, needles=()))
    path = tmp_path / "exact.mkv"
    assert write_video(path, render_frames(plan), choose_encoding(settings)) == plan.num_frames
    frames = decoded_frames(path)
    assert len(frames) == plan.num_frames
    for index, (frame, haystack) in enumerate(zip(frames, bare, strict=True)):
        time = float(index / plan.fps)
        changed = (frame != haystack).any(axis=2)
        visible = [n.record for n in plan.needles if n.record.start_seconds <= time < n.record.end_seconds]
        in_range = [n.record for n in plan.needles if n.record.first_frame <= index <= n.record.last_frame]
        assert visible == in_range
        assert len(visible) <= 1
        assert changed.any() == bool(visible)
        for needle in visible:
            ((left, top, right, bottom),) = needle.boxes
            assert changed[top:bottom, left:right].mean() > 0.15
            changed[top:bottom, left:right] = False
            assert not changed.any()


def test_an_hour_needs_no_more_memory_than_a_moment() -> None:
    settings = small_settings(seconds=3600.0, num_needles=100, needle_seconds=2.0)
    plan = plan_video(settings, 0)
    frames = render_frames(plan)
    frame_bytes = next(frames).nbytes
    tracemalloc.start()
    try:
        for _, frame in zip(range(3000), frames, strict=False):
            del frame
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 60 * frame_bytes + 1_000_000, "3000 frames would be 27 MB"


def test_needles_do_not_import_torch() -> None:
    command = "import sys, bimba.needles; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", command], check=False).returncode == 0


class TestPictures:
    def folder(self, tmp_path: Path) -> Path:
        Image.new("RGB", (40, 20), (200, 30, 30)).save(tmp_path / "red_car.png")
        Image.new("RGB", (20, 40), (30, 30, 200)).save(tmp_path / "sea.JPG", format="JPEG")
        cut_out = Image.new("RGBA", (30, 30))
        cut_out.paste((250, 200, 0, 255), (8, 8, 22, 22))
        cut_out.save(tmp_path / "sun.png")
        (tmp_path / "notes.txt").write_text("no picture")
        return tmp_path

    def settings(self, folder: Path) -> NeedleSettings:
        return small_settings(kinds=("picture",), pictures=folder)

    def test_pictures_are_named_after_their_files(self, tmp_path: Path) -> None:
        pictures = read_pictures(self.folder(tmp_path))
        assert [picture.name for picture in pictures] == ["red car", "sea", "sun"]

    def test_pictures_are_shown(self, tmp_path: Path) -> None:
        folder = self.folder(tmp_path)
        plan = plan_video(self.settings(folder), 0, read_pictures(folder))
        assert {needle.record.description for needle in plan.needles} == {
            "red car",
            "sea",
            "sun",
        }
        red = next(needle.record for needle in plan.needles if needle.record.attributes["name"] == "red car")
        ((left, top, right, bottom),) = red.boxes
        assert right - left > bottom - top, "a wide picture stays wide"
        middle = render_frame(plan, red.first_frame)[(top + bottom) // 2, (left + right) // 2]
        np.testing.assert_array_equal(middle, (200, 30, 30))

    def test_missing_folder_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="there is no pictures folder"):
            read_pictures(tmp_path / "nowhere")

    def test_folder_without_pictures_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="has no png or jpg files"):
            read_pictures(tmp_path)

    def test_two_pictures_of_one_name_are_refused(self, tmp_path: Path) -> None:
        for name in ("Cat.png", "cat.jpg"):
            Image.new("RGB", (8, 8)).save(tmp_path / name)
        with pytest.raises(InputError, match=r"Cat\.png and .*cat\.jpg are both called 'cat'"):
            read_pictures(tmp_path)

    def test_picture_without_a_name_is_refused(self, tmp_path: Path) -> None:
        Image.new("RGB", (8, 8)).save(tmp_path / "_.png")
        with pytest.raises(InputError, match="has no name to ask about"):
            read_pictures(tmp_path)

    @pytest.mark.parametrize("broken", [b"no picture at all", b"\x89PNG\r\n\x1a\nbroken"])
    def test_broken_picture_is_named(self, tmp_path: Path, broken: bytes) -> None:
        (tmp_path / "cat.png").write_bytes(broken)
        with pytest.raises(VideoError, match=r"cat\.png cannot be opened"):
            plan_video(self.settings(tmp_path), 0, read_pictures(tmp_path))

    def test_forgotten_pictures_are_a_programming_error(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="no pictures were passed"):
            plan_video(self.settings(tmp_path), 0)
        with pytest.raises(ValueError, match="a picture without a source"):
            draw_needle(Content("picture", "x", {}), 64, 48, 0.4)


def test_times_are_those_of_the_exact_frame_rate() -> None:
    plan = plan_video(small_settings(fps="29.97", seconds=10.0), 0)
    assert plan.fps == Fraction(30000, 1001)
    for needle in plan.needles:
        assert needle.record.start_seconds == float(needle.record.first_frame / plan.fps)
        assert needle.record.end_seconds == float((needle.record.last_frame + 1) / plan.fps)
