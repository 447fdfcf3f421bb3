"""Questions and a folder in, which videos are there and can be read out."""

import shutil
from pathlib import Path

from bimba.evaluation.benchmarks import Question, check_videos, find_video


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
    checked = check_videos(questions, tmp_path, on_video=lambda done, all_: told.append((done, all_)))
    assert checked.found == {"sub folder/größe.mp4": tmp_path / "sub folder/größe.mp4"}
    assert checked.missing == ("none.mp4",)
    assert list(checked.unreadable) == ["torn.mp4"]
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert set(check_videos(questions, tmp_path, read=False).found) == {"sub folder/größe.mp4", "torn.mp4"}


def test_a_video_is_found_without_its_folder_or_with_another_suffix(tmp_path: Path) -> None:
    for name in ("a.mkv", "b.mp4", "b.webm"):
        (tmp_path / name).touch()
    assert find_video(tmp_path, "1101/a.mp4") == tmp_path / "a.mkv"
    assert find_video(tmp_path, "b.webm") == tmp_path / "b.webm"
    assert find_video(tmp_path, "c.mp4") is None


def test_a_name_that_no_system_can_hold_is_missing(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    assert find_video(tmp_path, "a" * 300) is None
    assert find_video(tmp_path, f"{'a' * 300}/a.mp4") == tmp_path / "a.mp4"
    assert check_videos(about(f"{'ä' * 200}.mp4"), tmp_path).missing == (f"{'ä' * 200}.mp4",)
