"""Where a video comes from and which part of it is meant: files, pipes, names; times that stay those of the file."""

import gc
import hashlib
import io
import os
import pty
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import pytest
from PIL import Image
from video_files import assert_all_frames_right, drawn_frame, sequential_frames, write_video, write_with_sound

from bimba.errors import InputError, VideoError
from bimba.video.decode import decode_frames
from bimba.video.source import Video

READ_STANDARD_INPUT = """
import hashlib, sys
from bimba.video.source import Video
with Video("-") as video:
    frames = list(video.frames(video.indices))
    print(video.info.path)
    print(hashlib.sha256(b"".join(frame.tobytes() for frame in frames)).hexdigest(), len(frames))
"""


@pytest.fixture(autouse=True)
def copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in which copies of what comes through pipes are kept."""
    folder = tmp_path / "copies"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Two seconds at 10 frames a second."""
    return write_video(tmp_path / "video.mp4", num_frames=20, rate=10, options={"g": "6", "bf": "2"})


def digest(path: Path) -> str:
    return hashlib.sha256(b"".join(frame.tobytes() for frame in sequential_frames(path))).hexdigest()


def test_a_file_by_its_name_or_path(path: Path) -> None:
    expected = sequential_frames(path)
    for source in (path, str(path)):
        with Video(source) as video:
            assert video.indices == range(20)
            assert_all_frames_right(video.info, expected)
            np.testing.assert_array_equal(list(video.frames([3, 3, 19])), [expected[3], expected[3], expected[19]])


def test_a_video_says_how_it_was_made() -> None:
    assert repr(Video("talk.mp4", start="1:00")) == "Video('talk.mp4', start=60.0, end=None)"


def test_nothing_is_read_until_it_is_needed(tmp_path: Path) -> None:
    video = Video(tmp_path / "nowhere.mp4", isolate=True)
    with pytest.raises(VideoError, match="does not exist"):
        _ = video.info
    video.close()


@pytest.mark.parametrize("name", ["video.mp4", "video.mkv", "video.ts", "video.webp", "video.png", "video.gif"])
def test_the_standard_input_is_read_through_a_pipe(tmp_path: Path, copies: Path, name: str) -> None:
    path = tmp_path / name
    if path.suffix in (".webp", ".png", ".gif"):
        first, *others = [Image.fromarray(drawn_frame(number)) for number in range(5)]
        first.save(path, save_all=path.suffix != ".png", append_images=others, duration=100, lossless=True)
    else:
        write_video(path, num_frames=12)
    with Video(path) as video:
        frames = b"".join(frame.tobytes() for frame in video.frames(video.indices))
        num_frames = len(video.indices)
    with subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import shutil, sys; shutil.copyfileobj(open(sys.argv[1], 'rb'), sys.stdout.buffer)",
            str(path),
        ],
        stdout=subprocess.PIPE,
    ) as writer:
        done = subprocess.run(
            [sys.executable, "-c", READ_STANDARD_INPUT], stdin=writer.stdout, capture_output=True, text=True, check=True
        )
    copy, result = done.stdout.splitlines()
    assert result == f"{hashlib.sha256(frames).hexdigest()} {num_frames}"
    assert Path(copy).is_relative_to(copies)
    assert list(copies.iterdir()) == []


def test_the_standard_input_may_be_a_file(path: Path, copies: Path) -> None:
    with path.open("rb") as file:
        done = subprocess.run(
            [sys.executable, "-c", READ_STANDARD_INPUT], stdin=file, capture_output=True, text=True, check=True
        )
    assert done.stdout.splitlines()[1] == f"{digest(path)} 20"
    assert list(copies.iterdir()) == []


def test_a_terminal_is_no_video(monkeypatch: pytest.MonkeyPatch, copies: Path) -> None:
    ours, theirs = pty.openpty()
    try:
        with os.fdopen(theirs, "r") as terminal:
            monkeypatch.setattr(sys, "stdin", terminal)
            with pytest.raises(InputError, match=r"- stands for a video that comes through a pipe(.|\n)*< talk\.mp4"):
                _ = Video("-").info
    finally:
        os.close(ours)
    assert list(copies.iterdir()) == []


def test_a_file_object_is_read_to_its_end_and_its_copy_removed(path: Path, copies: Path) -> None:
    with Video(io.BytesIO(path.read_bytes())) as video:
        assert list(copies.iterdir()) == []
        assert_all_frames_right(video.info, sequential_frames(path))
        assert video.info.path.is_relative_to(copies)
        assert video.info.path.exists()
    assert list(copies.iterdir()) == []
    with pytest.raises(VideoError, match="cannot be opened"):
        list(video.frames([0]))


def test_a_copy_goes_away_with_the_video(path: Path, copies: Path) -> None:
    video = Video(io.BytesIO(path.read_bytes()))
    assert video.info.num_frames == 20
    assert len(list(copies.iterdir())) == 1
    del video
    gc.collect()
    assert list(copies.iterdir()) == []


def test_a_copy_goes_away_when_it_is_no_video(copies: Path) -> None:
    with (
        Video(io.BytesIO(b"The dog ate the video. " * 50)) as video,
        pytest.raises(VideoError, match="cannot be opened"),
    ):
        _ = video.info
    assert list(copies.iterdir()) == []


def test_a_piped_video_can_be_decoded_in_isolation(path: Path, copies: Path) -> None:
    with Video(io.BytesIO(path.read_bytes()), isolate=True, start=1) as video:
        np.testing.assert_array_equal(list(video.frames(video.indices)), sequential_frames(path)[10:])
    assert list(copies.iterdir()) == []


class Trickle(io.RawIOBase):
    """A pipe that gives a few bytes at a time and cannot go back."""

    def __init__(self, content: bytes) -> None:
        self._left = content

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview") -> int:  # type: ignore[override]
        num_bytes = min(len(buffer), 1000, len(self._left))
        buffer[:num_bytes], self._left = self._left[:num_bytes], self._left[num_bytes:]
        return num_bytes


def test_a_pipe_that_gives_little_at_a_time(path: Path) -> None:
    with Video(cast("BinaryIO", io.BufferedReader(Trickle(path.read_bytes())))) as video:
        assert_all_frames_right(video.info, sequential_frames(path))


@pytest.fixture
def named_pipe(tmp_path: Path, path: Path) -> Iterator[Path]:
    """A pipe with a name, through which a thread sends a video."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    sender = threading.Thread(target=lambda: pipe.write_bytes(path.read_bytes()))
    sender.start()
    yield pipe
    sender.join()


@pytest.mark.parametrize("isolate", [False, True])
def test_a_named_pipe_is_read_once(named_pipe: Path, path: Path, copies: Path, isolate: bool) -> None:
    with Video(named_pipe, isolate=isolate) as video:
        assert video.info.num_frames == 20
        np.testing.assert_array_equal(list(video.frames([2, 17])), [sequential_frames(path)[n] for n in (2, 17)])
        np.testing.assert_array_equal(list(video.frames([5])), [sequential_frames(path)[5]])
    assert list(copies.iterdir()) == []


def test_a_named_pipe_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(VideoError, match="pipe may not be read by you"):
        _ = Video(tmp_path / "pipe").info


def test_a_pipe_through_which_nothing_comes_is_named(copies: Path) -> None:
    with pytest.raises(VideoError, match=r"nothing came through the pipe(.|\n)*command before it"):
        _ = Video(io.BytesIO()).info
    assert list(copies.iterdir()) == []


def test_a_pipe_whose_copy_has_no_room_is_named(path: Path, copies: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("bimba.video.source.shutil.copyfileobj", fail)
    with pytest.raises(VideoError, match=r"could not be kept in .*: No space left(.|\n)*TMPDIR"):
        _ = Video(io.BytesIO(path.read_bytes())).info
    assert list(copies.iterdir()) == []


@pytest.mark.parametrize(
    ("start", "end", "indices"),
    [
        (None, None, range(20)),
        (0, None, range(20)),
        (None, 2, range(20)),
        (0.5, 1.5, range(5, 15)),
        ("0.5", "1.5", range(5, 15)),
        ("0:00.5", "0:0:1.5", range(5, 15)),
        (1, None, range(10, 20)),
        (None, "0:01", range(10)),
        (0.45, 0.65, range(5, 7)),
        (0.51, 0.59, range(5, 6)),
        (1.95, None, range(19, 20)),
        (1.9, 100, range(19, 20)),
        (None, 0.05, range(1)),
    ],
)
def test_a_part_holds_the_frames_from_its_start_on_and_before_its_end(
    path: Path, start: str | float | None, end: str | float | None, indices: range
) -> None:
    video = Video(path, start=start, end=end)
    assert video.indices == indices
    np.testing.assert_array_equal(
        list(video.frames(video.indices)), sequential_frames(path)[indices.start : indices.stop]
    )


def test_times_of_a_part_stay_those_of_the_file(path: Path) -> None:
    video = Video(path, start=1, end=1.5)
    assert video.info.frame_seconds[list(video.indices)].tolist() == [1.0, 1.1, 1.2, 1.3, 1.4]
    assert video.info.num_frames == 20


def test_parts_that_meet_make_up_the_whole(path: Path) -> None:
    parts = [Video(path, end=0.7), Video(path, start=0.7, end=1.35), Video(path, start=1.35)]
    assert [index for part in parts for index in part.indices] == list(range(20))


@pytest.mark.parametrize("rate", [Fraction(30000, 1001), Fraction(24000, 1001), Fraction(25)])
def test_a_part_that_starts_at_a_frames_own_time_starts_with_it(tmp_path: Path, rate: Fraction) -> None:
    path = write_video(tmp_path / "video.mkv", num_frames=50, rate=rate)
    info = Video(path).info
    for index in (1, 7, 33, 49):
        assert Video(path, start=f"{info.frame_seconds[index]:.6f}").indices[0] == index
        assert Video(path, end=f"{info.frame_seconds[index]:.6f}").indices[-1] == index - 1


def test_the_last_frames_of_a_variable_rate_can_be_named(tmp_path: Path) -> None:
    times = [*range(0, 4000, 100), 4150, 4400]
    path = write_video(tmp_path / "uneven.mkv", times=times, time_base=Fraction(1, 1000), rate=10)
    video = Video(path, start=4.35)
    assert video.info.duration_seconds < 4.35
    assert video.indices == range(41, 42)
    np.testing.assert_array_equal(list(video.frames(video.indices)), sequential_frames(path)[41:])


def test_parts_count_from_sound_that_starts_before_the_pictures(tmp_path: Path) -> None:
    path = write_with_sound(tmp_path / "late.mkv", pictures_start=3, sound_start=0)
    first = Video(path).info.start_seconds
    assert Video(path, start=first + 0.2, end=first + 0.4).indices == range(5, 10)
    assert Video(path, start=1, end=first + 0.2).indices == range(5)
    with pytest.raises(InputError, match=r"ends at 2 s, but the first picture comes at 3\.\d+ s"):
        _ = Video(path, end=2).indices


@pytest.mark.parametrize("start", [2, "0:02", 99])
def test_a_part_after_the_end_names_where_that_is(path: Path, start: str | float) -> None:
    with pytest.raises(InputError, match=r"but the video ends at 2\.00 s"):
        _ = Video(path, start=start).indices


def test_a_part_that_ends_before_it_starts_is_refused(path: Path) -> None:
    with pytest.raises(InputError, match=r"starts at 1\.5 s and ends at 1 s"):
        _ = Video(path, start="1.5", end=1).indices


@pytest.mark.parametrize("time", ["soon", "", "1:99", -1, float("nan")])
def test_what_is_no_time_is_refused_before_anything_is_read(time: str | float) -> None:
    for arguments in ({"start": time}, {"end": time}):
        with pytest.raises(InputError, match="is no time"):
            Video("nowhere.mp4", **arguments)  # type: ignore[arg-type]


def test_a_part_of_an_image_is_refused(tmp_path: Path) -> None:
    Image.fromarray(drawn_frame(3)).save(tmp_path / "still.png")
    with pytest.raises(InputError, match=r"still\.png has no times(.|\n)*leave --start and --end out"):
        _ = Video(tmp_path / "still.png", end=1).indices
    video = Video(tmp_path / "still.png")
    assert video.indices == range(1)
    np.testing.assert_array_equal(decode_frames(video.info, [0]), [drawn_frame(3)])


def test_an_unknown_backend_is_refused_before_anything_is_read() -> None:
    with pytest.raises(InputError, match=r"'opencv', which is none of pyav, torchcodec"):
        Video("nowhere.mp4", backend="opencv")


def test_progress_is_told_frame_by_frame(path: Path) -> None:
    seen: list[int] = []
    for number, _ in enumerate(Video(path).frames([0, 4, 4, 19], on_frame=seen.append)):
        assert len(seen) == number
    assert seen == [1, 2, 3, 4]


def test_a_video_is_probed_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video = Video(path)
    info = video.info
    monkeypatch.setattr("bimba.video.source.probe", None)
    assert video.info is info
    assert video.indices == range(20)
