"""Questions and a folder in, which videos are there, can be read and have the parts that are asked about, out."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bimba.errors import InputError, VideoError
from bimba.evaluation.benchmarks import (
    Footage,
    Question,
    Segment,
    check_videos,
    find_benchmark,
    find_video,
    open_footage,
)
from bimba.inference.clip import ClipFile

TEMPCOMPASS, MVBENCH = find_benchmark("tempcompass"), find_benchmark("mvbench")


def about(*videos: str) -> list[Question]:
    return [
        Question(id=str(number), video=video, question="?", options=("a", "b"), answer="A")
        for number, video in enumerate(videos)
    ]


def test_videos_are_found_missing_or_unreadable(video: Path, tmp_path: Path) -> None:
    (tmp_path / "sub folder").mkdir()
    shutil.copyfile(video, tmp_path / "sub folder/größe.mp4")
    (tmp_path / "torn.mp4").write_bytes(video.read_bytes()[:300])
    questions = about("sub folder/größe.mp4", "torn.mp4", "none.mp4", "sub folder/größe.mp4")
    told: list[tuple[int, int]] = []
    checked = check_videos(questions, tmp_path, TEMPCOMPASS, on_video=lambda done, all_: told.append((done, all_)))
    assert checked.found == {"sub folder/größe.mp4": tmp_path / "sub folder/größe.mp4"}
    assert checked.missing == ("none.mp4",)
    assert list(checked.unreadable) == ["torn.mp4"]
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert set(check_videos(questions, tmp_path, TEMPCOMPASS, read=False).found) == {"sub folder/größe.mp4", "torn.mp4"}


def test_a_video_is_found_without_its_folder_or_with_another_suffix(tmp_path: Path) -> None:
    for name in ("a.mkv", "b.mp4", "b.webm"):
        (tmp_path / name).touch()
    assert find_video(tmp_path, Footage("1101/a.mp4"), TEMPCOMPASS) == tmp_path / "a.mkv"
    assert find_video(tmp_path, Footage("b.webm"), TEMPCOMPASS) == tmp_path / "b.webm"
    assert find_video(tmp_path, Footage("c.mp4"), TEMPCOMPASS) is None


def test_a_name_that_no_system_can_hold_is_missing(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    assert find_video(tmp_path, Footage("a" * 300), TEMPCOMPASS) is None
    assert find_video(tmp_path, Footage("a" * 300, images_per_second=3), TEMPCOMPASS) is None
    assert find_video(tmp_path, Footage(f"{'a' * 300}/a.mp4"), TEMPCOMPASS) == tmp_path / "a.mp4"
    assert check_videos(about(f"{'ä' * 200}.mp4"), tmp_path, TEMPCOMPASS).missing == (f"{'ä' * 200}.mp4",)


def test_a_name_that_two_videos_have_counts_with_its_folder_only(tmp_path: Path) -> None:
    (tmp_path / "video_1.mp4").touch()
    footage = Footage("clevrer/video_validation/video_1.mp4")
    assert find_video(tmp_path, footage, TEMPCOMPASS) == tmp_path / "video_1.mp4"
    assert find_video(tmp_path, footage, MVBENCH) is None
    supplement = tmp_path / "data0613/clevrer/video_validation/video_1.webm"
    supplement.parent.mkdir(parents=True)
    supplement.touch()
    assert find_video(tmp_path, footage, MVBENCH) == supplement


def pictures(folder: Path, count: int) -> Path:
    """A folder of pictures, each of one grey that is its number, from 1."""
    folder.mkdir(parents=True)
    for number in range(1, count + 1):
        Image.fromarray(np.full((32, 48, 3), number, np.uint8)).save(folder / f"{number:05d}.png")
    return folder


def test_a_folder_of_pictures_is_a_video_where_there_may_be_one(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "tvqa/clip_1", 9)
    assert find_video(tmp_path, Footage("tvqa/clip_1"), MVBENCH) is None
    footage = Footage("tvqa/clip_1", Segment(start=1, end=2), images_per_second=3)
    assert find_video(tmp_path, footage, MVBENCH) == folder
    (tmp_path / "tvqa/clip_1.mp4").touch()
    assert find_video(tmp_path, footage, MVBENCH) == tmp_path / "tvqa/clip_1.mp4"


def test_the_part_of_a_folder_of_pictures_is_counted_by_its_rate(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "clip", 9)
    opened = open_footage(folder, Footage("clip", Segment(start=1, end=2), images_per_second=3))
    assert isinstance(opened, ClipFile)
    clip = opened.choose(8, "uniform")
    assert [int(frame[0, 0, 0]) for frame in clip.frames()] == [4, 5, 6]
    assert clip.frame_seconds == pytest.approx((1, 4 / 3, 5 / 3))
    whole = open_footage(folder, Footage("clip", images_per_second=3)).choose(99, "uniform")
    assert whole.num_frames == 9
    assert whole.duration_seconds == 3


def test_a_part_ends_with_its_video_and_does_not_begin_behind_it(video: Path) -> None:
    whole = open_footage(video, Footage(video.name)).choose(999, "uniform")
    last = whole.frame_seconds[-1]
    part = open_footage(video, Footage(video.name, Segment(start=last, end=999))).choose(999, "uniform")
    assert part.frame_seconds == (last,)
    for start, end in ((900, 999), (2, 1), (1, 1)):
        with pytest.raises(VideoError, match=r"The segment starts at"):
            open_footage(video, Footage(video.name, Segment(start=start, end=end)))


def test_an_encoded_video_has_no_parts(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"was encoded as a whole, .* a part of it \(0 s to 1 s\)"):
        open_footage(tmp_path / "a.bimba", Footage("a.mp4", Segment(start=0, end=1)))


def test_parts_that_a_video_does_not_have_are_told_before_a_run(video: Path, tmp_path: Path) -> None:
    shutil.copyfile(video, tmp_path / "a.mp4")
    [question] = about("a.mp4")
    parts = {"in": Segment(start=0, end=1), "behind": Segment(start=900, end=901)}
    questions = [question.model_copy(update={"id": name, "segment": part}) for name, part in parts.items()]
    checked = check_videos([question, *questions], tmp_path, TEMPCOMPASS)
    assert checked.found == {"a.mp4": tmp_path / "a.mp4"}
    assert list(checked.unreadable) == ["a.mp4, 900 s to 901 s"]
    assert "the video ends at" in checked.unreadable["a.mp4, 900 s to 901 s"]
