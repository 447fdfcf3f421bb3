"""Animated gif, webp and png: the pictures that Pillow shows, in their order, at the times that the file states."""

import random
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageSequence
from video_files import Frame, assert_all_frames_right, cut, drawn_frame

from bimba.errors import InputError, VideoError
from bimba.video.decode import decode_frames, iter_frames
from bimba.video.probe import probe
from bimba.video.source import Video

UNEVEN = [40, 100, 250, 60, 70, 500, 20, 110, 90]
FORMATS = ["gif", "webp", "png"]


def moving_square(number: int) -> Frame:
    """A square that moves over a background; uint8 RGB."""
    picture = np.full((24, 32, 3), (10, 40, 60), dtype=np.uint8)
    picture[4:12, number * 2 : number * 2 + 8] = (200, 30 * number % 256, 40)
    return picture


def transparent_square(number: int) -> Frame:
    """A square that moves over nothing; uint8 RGBA."""
    picture = np.zeros((24, 32, 4), dtype=np.uint8)
    picture[4:12, number * 2 : number * 2 + 8] = (200, 30 * number % 256, 40, 255)
    return picture


def write_animation(path: Path, pictures: list[Frame], duration: int | list[int], **options: Any) -> Path:
    first, *others = [Image.fromarray(picture) for picture in pictures]
    if path.suffix == ".webp":
        options["lossless"] = True
    first.save(path, save_all=True, append_images=others, duration=duration, **options)
    return path


def pillows_frames(path: Path) -> list[Frame]:
    """Each picture as Pillow shows it, opaque."""
    with Image.open(path) as image:
        return [np.array(picture.convert("RGB")) for picture in ImageSequence.Iterator(image)]


@pytest.mark.parametrize("extension", FORMATS)
def test_pictures_of_equal_durations_come_as_pillow_shows_them(tmp_path: Path, extension: str) -> None:
    path = write_animation(tmp_path / f"even.{extension}", [moving_square(number) for number in range(9)], 100)
    info = probe(path)
    assert (info.width, info.height, info.num_frames, info.average_fps) == (32, 24, 9, 10)
    assert info.is_timed
    assert not info.is_image
    assert info.frame_seconds.tolist() == [index / 10 for index in range(9)]
    assert info.duration_seconds == 0.9
    assert_all_frames_right(info, pillows_frames(path))


@pytest.mark.parametrize("extension", FORMATS)
def test_pictures_of_unequal_durations_keep_their_times(tmp_path: Path, extension: str) -> None:
    path = write_animation(tmp_path / f"uneven.{extension}", [moving_square(number) for number in range(9)], UNEVEN)
    info = probe(path)
    starts = np.cumsum([0, *UNEVEN[:-1]]) / 1000
    np.testing.assert_allclose(info.frame_seconds, starts, rtol=0, atol=1e-12)
    assert info.average_fps == pytest.approx(9 / (sum(UNEVEN) / 1000), rel=0.1)
    assert_all_frames_right(info, pillows_frames(path))


@pytest.mark.parametrize("extension", FORMATS)
def test_pictures_come_in_order_and_at_random(tmp_path: Path, extension: str) -> None:
    path = write_animation(tmp_path / f"long.{extension}", [drawn_frame(number) for number in range(30)], 50)
    info, expected = probe(path), pillows_frames(path)
    chosen = sorted(random.Random(5).sample(range(30), 7))
    for indices in (list(range(30)), chosen, *([index] for index in reversed(chosen))):
        np.testing.assert_array_equal(decode_frames(info, indices), [expected[index] for index in indices])


@pytest.mark.parametrize("extension", FORMATS)
def test_what_is_opaque_is_shown_whatever_lies_around_it(tmp_path: Path, extension: str) -> None:
    path = write_animation(
        tmp_path / f"clear.{extension}",
        [transparent_square(number) for number in range(9)],
        100,
        disposal={"gif": 2, "png": 1, "webp": None}[extension],
    )
    frames = decode_frames(probe(path), range(9))
    for number, frame in enumerate(frames):
        drawn = transparent_square(number)
        opaque = drawn[..., 3] == 255
        np.testing.assert_array_equal(frame[opaque], drawn[opaque][:, :3])
        # FFmpeg paints the rest of a gif white; of the others only the transparency is dropped.
        assert (frame[~opaque] == (255 if extension == "gif" else 0)).all()


@pytest.mark.parametrize(("disposal", "blend"), [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)])
def test_each_way_to_go_on_to_the_next_picture_of_a_png(tmp_path: Path, disposal: int, blend: int) -> None:
    pictures = [transparent_square(number) for number in range(6)]
    path = write_animation(tmp_path / "way.png", pictures, 100, disposal=disposal, blend=blend)
    assert_all_frames_right(probe(path), pillows_frames(path))


@pytest.mark.parametrize("disposal", [0, 1, 2])
def test_each_way_to_go_on_to_the_next_picture_of_a_gif(tmp_path: Path, disposal: int) -> None:
    path = write_animation(tmp_path / "way.gif", [moving_square(number) for number in range(6)], 100, disposal=disposal)
    assert_all_frames_right(probe(path), pillows_frames(path))


@pytest.mark.parametrize("extension", FORMATS)
def test_durations_too_short_to_be_meant_are_a_tenth_of_a_second(tmp_path: Path, extension: str) -> None:
    pictures = [moving_square(number) for number in range(9)]
    info = probe(write_animation(tmp_path / f"hasty.{extension}", pictures, [10, 5, 20, 0, 30, 10, 1, 40, 10]))
    starts = np.cumsum([0, 10, 100, 20, 100, 30, 10, 100, 40]) / 1000
    np.testing.assert_allclose(info.frame_seconds, starts, rtol=0, atol=1e-12)


def test_a_picture_for_those_that_show_no_animations_is_no_frame(tmp_path: Path) -> None:
    pictures = [drawn_frame(30), *(moving_square(number) for number in range(8))]
    pictures[0] = pictures[0][:24, :32]
    path = write_animation(tmp_path / "default.png", pictures, 100, default_image=True)
    info = probe(path)
    assert info.num_frames == 8
    assert info.frame_seconds.tolist() == [index / 10 for index in range(8)]
    assert_all_frames_right(info, pictures[1:])


@pytest.mark.parametrize("extension", FORMATS)
def test_an_animation_of_one_picture_is_read_as_one_frame(tmp_path: Path, extension: str) -> None:
    path = write_animation(tmp_path / f"still.{extension}", [moving_square(3)], 100)
    info = probe(path)
    assert info.num_frames == 1
    assert info.frame_seconds.tolist() == [0.0]
    assert info.is_image == (extension != "gif")
    assert_all_frames_right(info, pillows_frames(path))


@pytest.mark.parametrize("extension", FORMATS)
def test_a_part_of_an_animation_is_named_by_time(tmp_path: Path, extension: str) -> None:
    path = write_animation(tmp_path / f"part.{extension}", [moving_square(number) for number in range(9)], 100)
    video = Video(path, start=0.3, end="0.6")
    assert video.indices == range(3, 6)
    np.testing.assert_array_equal(list(video.frames(video.indices)), pillows_frames(path)[3:6])


def test_an_animation_is_turned_as_its_exif_orientation_says(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # must be turned clockwise
    pictures = [moving_square(number) for number in range(4)]
    info = probe(write_animation(tmp_path / "turned.webp", pictures, 100, exif=exif))
    assert (info.width, info.height) == (24, 32)
    assert_all_frames_right(info, [np.rot90(picture, -1) for picture in pictures])


@pytest.mark.parametrize("extension", FORMATS)
def test_a_cut_animation_is_an_error(tmp_path: Path, extension: str) -> None:
    path = write_animation(tmp_path / f"whole.{extension}", [drawn_frame(number) for number in range(20)], 100)
    with pytest.raises(VideoError, match=r"gave \d+ of its 20 pictures|looks like an image but|ends "):
        probe(cut(path, 0.6, f"part.{extension}"))


def test_a_cut_gif_gives_its_whole_pictures_if_it_may(tmp_path: Path) -> None:
    whole = write_animation(tmp_path / "whole.gif", [drawn_frame(number) for number in range(20)], 100)
    path = cut(whole, 0.6, "part.gif")
    info = probe(path, allow_truncated=True)
    assert 8 < info.num_frames < 13
    assert_all_frames_right(info, pillows_frames(whole)[: info.num_frames])


def test_a_gif_cut_anywhere_gives_whole_pictures_or_an_error(tmp_path: Path) -> None:
    whole = write_animation(tmp_path / "whole.gif", [moving_square(number) for number in range(4)], 100)
    content, expected = whole.read_bytes(), pillows_frames(whole)
    num_refused = 0
    for length in range(20, len(content)):
        path = tmp_path / "part.gif"
        path.write_bytes(content[:length])
        try:
            frames = decode_frames(info := probe(path), range(info.num_frames))
        except VideoError:
            num_refused += 1
            continue
        np.testing.assert_array_equal(frames, expected[: len(frames)])
    assert 0.9 * len(content) < num_refused < len(content) - 20


def test_a_gif_without_its_trailer_is_whole(tmp_path: Path) -> None:
    whole = write_animation(tmp_path / "whole.gif", [moving_square(number) for number in range(4)], 100)
    path = tmp_path / "no_trailer.gif"
    path.write_bytes(whole.read_bytes().removesuffix(b"\x3b"))
    assert_all_frames_right(probe(path), pillows_frames(whole))


def test_a_rate_for_an_animation_is_refused(tmp_path: Path) -> None:
    path = write_animation(tmp_path / "timed.webp", [moving_square(number) for number in range(3)], 100)
    with pytest.raises(InputError, match=r"image_fps is 2(.|\n)*store their own times"):
        probe(path, image_fps=2)


def test_no_more_than_two_pictures_are_held_at_a_time(tmp_path: Path) -> None:
    path = write_animation(tmp_path / "long.webp", [drawn_frame(number) for number in range(20)], 50)
    alive: list[weakref.ref[Frame]] = []
    for frame in iter_frames(probe(path), range(20)):
        alive.append(weakref.ref(frame))
        assert sum(reference() is not None for reference in alive) <= 2
