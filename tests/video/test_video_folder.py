"""Folders of pictures: their pictures in the order in which people number them, and nothing else that lies there."""

import logging
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from video_files import assert_all_frames_right, cut, drawn_frame, write_video

from bimba.errors import InputError, VideoError
from bimba.video.decode import decode_frames, iter_frames
from bimba.video.pictures.folder import _natural
from bimba.video.probe import probe
from bimba.video.source import Video


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve pictures, frame1.png to frame12.png, in a folder of their own."""
    path = tmp_path / "pictures"
    path.mkdir()
    for number in range(12):
        Image.fromarray(drawn_frame(number)).save(path / f"frame{number + 1}.png")
    return path


def test_pictures_come_in_the_order_of_their_numbers(folder: Path) -> None:
    info = probe(folder)
    assert [picture.name for picture in info.pictures] == [f"frame{number}.png" for number in range(1, 13)]
    assert (info.kind, info.width, info.height, info.num_frames, info.codec) == ("folder", 64, 48, 12, "png")
    assert_all_frames_right(info, [drawn_frame(number) for number in range(12)])


@given(
    st.lists(st.integers(0, 10_000), min_size=2, max_size=30, unique=True), st.sampled_from(["a", "shot 3 take ", ""])
)
def test_names_are_sorted_by_the_value_of_their_numbers(numbers: list[int], name: str) -> None:
    paths = [Path(f"{name}{number}.png") for number in numbers]
    assert sorted(paths, key=_natural) == [Path(f"{name}{number}.png") for number in sorted(numbers)]


def test_names_that_differ_in_case_or_zeros_alone_have_one_order(tmp_path: Path) -> None:
    names = ["B2.png", "b02.png", "A1.png", "a.PNG", "2.png", "10.png", "1.png"]
    for name in names:
        Image.fromarray(drawn_frame(1)).save(tmp_path / name)
    order = [picture.name for picture in probe(tmp_path).pictures]
    assert order == ["1.png", "2.png", "10.png", "a.PNG", "A1.png", "B2.png", "b02.png"]


def test_without_a_rate_the_pictures_have_no_times(folder: Path) -> None:
    info = probe(folder)
    assert not info.is_timed
    assert not info.is_image
    assert info.frame_seconds.tolist() == [0.0] * 12
    assert info.duration_seconds == 0


@pytest.mark.parametrize("rate", [1, 2.5, 30000 / 1001, 0.1])
def test_with_a_rate_the_pictures_have_times(folder: Path, rate: float) -> None:
    info = probe(folder, image_fps=rate)
    assert info.is_timed
    assert info.average_fps == rate
    assert info.frame_seconds.tolist() == [index / rate for index in range(12)]
    assert info.duration_seconds == 12 / rate


@pytest.mark.parametrize("rate", [0, -1, float("inf"), float("nan")])
def test_an_impossible_rate_is_refused(folder: Path, rate: float) -> None:
    with pytest.raises(InputError, match=r"image_fps is (.|\n)*--image-fps 1"):
        probe(folder, image_fps=rate)


def test_a_rate_for_what_is_no_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    for path in (folder / "frame1.png", write_video(tmp_path / "video.mp4", num_frames=3)):
        with pytest.raises(InputError, match=r"image_fps is 5, but .* is not a folder of pictures"):
            probe(path, image_fps=5)


def test_a_part_of_a_folder_with_a_rate_is_named_by_time(folder: Path) -> None:
    video = Video(folder, image_fps=2, start=1, end="2.5")
    assert video.indices == range(2, 5)


def test_a_part_of_a_folder_without_a_rate_is_refused(folder: Path) -> None:
    with pytest.raises(InputError, match=r"pictures has no times(.|\n)*--image-fps"):
        _ = Video(folder, start=1).indices
    assert Video(folder).indices == range(12)


def test_pictures_of_another_size_are_scaled_to_the_first(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    large = Image.fromarray(drawn_frame(4, 128, 96))
    large.save(folder / "frame5.png")
    with caplog.at_level(logging.INFO, logger="bimba"):
        frames = decode_frames(probe(folder), range(12))
    assert frames.shape == (12, 48, 64, 3)
    np.testing.assert_array_equal(frames[4], large.resize((64, 48), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(frames[5], drawn_frame(5))
    assert "frame5.png: scaled from 128 x 96 to 64 x 48" in caplog.text


def test_pictures_of_every_kind_mix(tmp_path: Path) -> None:
    drawn = Image.fromarray(drawn_frame(3))
    for number, extension in enumerate(["png", "BMP", "webp", "jpg", "JPEG"]):
        drawn.save(tmp_path / f"{number}.{extension}", lossless=True, quality=100, subsampling=0)
    drawn.convert("RGBA").save(tmp_path / "5.png")
    drawn.quantize(256).save(tmp_path / "6.png")
    frames = decode_frames(probe(tmp_path), range(7)).astype(int)
    for number, most in enumerate([0, 0, 0, 4, 4, 0, 40]):
        assert np.abs(frames[number] - drawn_frame(3)).max() <= most


def test_other_files_hidden_ones_and_folders_are_ignored(folder: Path) -> None:
    (folder / "notes.txt").write_text("not a picture")
    (folder / ".frame0.png").write_bytes(b"left behind by a file manager")
    (folder / "._frame1.png").write_bytes(b"left behind by another system")
    (folder / "frame0.png").mkdir()
    write_video(folder / "video.mp4", num_frames=3)
    assert_all_frames_right(probe(folder), [drawn_frame(number) for number in range(12)])


def test_an_empty_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"is a folder without a picture: it holds no file at all(.|\n)*folder of png"):
        probe(tmp_path)


def test_a_folder_with_only_a_video_names_the_video(tmp_path: Path) -> None:
    write_video(tmp_path / "video.mp4", num_frames=3)
    with pytest.raises(VideoError, match=r"it holds 1 other file, such as video\.mp4(.|\n)*pass a video file"):
        probe(tmp_path)


def test_a_folder_with_only_other_files_counts_them(tmp_path: Path) -> None:
    for name in ("b.txt", "a.txt", ".hidden"):
        (tmp_path / name).write_text("no picture")
    with pytest.raises(VideoError, match=r"it holds 2 other files, such as a\.txt"):
        probe(tmp_path)


def test_a_broken_picture_in_the_middle_is_named(folder: Path) -> None:
    cut(folder / "frame6.png", 0.5, "frame6.png")
    info = probe(folder)
    np.testing.assert_array_equal(decode_frames(info, [4, 6]), [drawn_frame(4), drawn_frame(6)])
    with pytest.raises(VideoError, match=r"frame6\.png looks like an image but cannot be read"):
        decode_frames(info, range(12))


def test_a_file_in_the_middle_that_is_no_picture_is_named(folder: Path) -> None:
    (folder / "frame6.png").write_text("The dog ate the picture.")
    with pytest.raises(VideoError, match=r"frame6\.png is named like a picture, but is none"):
        decode_frames(probe(folder), range(12))


def test_a_first_file_that_is_no_picture_is_named(folder: Path) -> None:
    (folder / "frame1.png").write_text("The dog ate the picture.")
    with pytest.raises(VideoError, match=r"frame1\.png is named like a picture, but is none"):
        probe(folder)


def test_a_picture_of_sixteen_bits_in_the_middle_is_named(folder: Path) -> None:
    Image.fromarray(np.zeros((4, 4), dtype=np.uint16)).save(folder / "frame6.png")
    with pytest.raises(VideoError, match=r"frame6\.png has pixels of mode I;16"):
        decode_frames(probe(folder), range(12))


def test_a_picture_removed_while_reading_is_named_with_how_many_came(folder: Path) -> None:
    frames = iter_frames(probe(folder), [0, 4, 8, 11])
    np.testing.assert_array_equal([next(frames), next(frames)], [drawn_frame(0), drawn_frame(4)])
    (folder / "frame9.png").unlink()
    with pytest.raises(VideoError, match=r"gave 2 of the 4 wanted pictures: frame9\.png is gone"):
        next(frames)


def test_photos_are_turned_as_their_exif_orientation_says(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # must be turned clockwise
    for number in range(2):
        Image.fromarray(drawn_frame(number)).save(tmp_path / f"{number}.png", exif=exif)
    info = probe(tmp_path)
    assert (info.width, info.height) == (48, 64)
    assert_all_frames_right(info, [np.rot90(drawn_frame(number), -1) for number in range(2)])


def test_a_folder_that_may_not_be_read_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(VideoError, match="pictures may not be read by you"):
        probe(folder)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("mode", [0o000, 0o400])
def test_a_folder_without_the_rights_to_list_and_enter_it_is_named(folder: Path, mode: int) -> None:
    folder.chmod(mode)
    try:
        with pytest.raises(VideoError, match="pictures may not be read by you"):
            probe(folder)
    finally:
        folder.chmod(0o700)
