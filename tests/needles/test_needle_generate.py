import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from needle_runs import decoded_frames, folder_contents, small_run
from PIL import Image

from bimba.errors import InputError
from bimba.needles import Progress, read_needles


class StoppedError(Exception):
    """Stands for whatever ends a run in the middle."""


def stop_in_second_video(progress: Progress) -> None:
    if (progress.video, progress.frame) == (1, 10):
        raise StoppedError


def test_same_seed_gives_the_same_files_byte_for_byte(tmp_path: Path) -> None:
    for name in ("one", "two"):
        small_run(tmp_path / name, seed=3, videos=2)
    one = folder_contents(tmp_path / "one")
    assert set(one) == {"needles.json", "video_00000.mp4", "video_00001.mp4"}
    assert one == folder_contents(tmp_path / "two")


def test_another_seed_gives_another_video(tmp_path: Path) -> None:
    one, two = (small_run(tmp_path / str(seed), seed=seed).manifest.videos[0] for seed in (1, 2))
    assert one.needles != two.needles
    assert (tmp_path / "1" / one.file).read_bytes() != (tmp_path / "2" / two.file).read_bytes()


def test_json_has_the_documented_layout(tmp_path: Path) -> None:
    small_run(tmp_path, seed=3, fps=5)
    content = json.loads((tmp_path / "needles.json").read_text(encoding="utf-8"))
    assert list(content) == ["format_version", "bimba_version", "library_versions", "settings", "pictures", "videos"]
    (video,) = content["videos"]
    assert list(video) == [
        *("file", "seed", "num_frames", "fps", "seconds", "width", "height", "haystack", "needles", "questions")
    ]
    assert (video["num_frames"], video["fps"], video["seconds"]) == (15, "5", 3.0)
    moment = ["start_seconds", "end_seconds", "first_frame", "last_frame"]
    shown = ["inserted", "boxes", "held_out"]
    assert list(video["needles"][0]) == ["kind", "description", "attributes", *moment, *shown]
    assert content["settings"]["num_needles"] == [3, 3]
    question = video["questions"][0]
    assert list(question) == ["id", "kind", "variant", "question", "options", "answer", "answer_letter", "evidence"]
    assert list(question["evidence"][0]) == ["needle", *moment, "boxes"]


def test_manifest_is_read_back_from_folder_or_file(tmp_path: Path) -> None:
    run = small_run(tmp_path, fps=29.97)
    assert read_needles(tmp_path) == read_needles(tmp_path / "needles.json") == run.manifest
    assert run.manifest.videos[0].fps == Fraction(30000, 1001)
    assert run.manifest.videos[0].num_frames == 90
    assert len(decoded_frames(tmp_path / run.manifest.videos[0].file)) == 90


def test_second_run_skips_what_is_finished(tmp_path: Path) -> None:
    small_run(tmp_path, videos=2)
    before = folder_contents(tmp_path)
    times = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.mp4")}
    run = small_run(tmp_path, videos=2)
    assert (run.num_written, run.num_skipped) == (0, 2)
    assert folder_contents(tmp_path) == before
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.mp4")} == times


def test_interrupted_run_leaves_whole_videos_only_and_is_continued(tmp_path: Path) -> None:
    with pytest.raises(StoppedError):
        small_run(tmp_path / "stopped", videos=3, on_progress=stop_in_second_video)
    assert set(folder_contents(tmp_path / "stopped")) == {"needles.unfinished.json", "video_00000.mp4"}
    run = small_run(tmp_path / "stopped", videos=3)
    assert (run.num_written, run.num_skipped) == (2, 1)
    small_run(tmp_path / "straight", videos=3)
    assert folder_contents(tmp_path / "stopped") == folder_contents(tmp_path / "straight")


@pytest.mark.parametrize(
    "change",
    [
        {"needles": "2-3"},
        {"needle_seconds": "0.3-0.5"},
        {"split": "train"},
        {"inserted": 0.5},
        {"repeats": 1.0},
        {"copies": 2},
        {"pair_window": 3},
        {"scenes": 2},
        {"gap_frames": 2},
        {"questions": 3},
    ],
    ids=str,
)
def test_a_run_with_another_setting_is_another_run(tmp_path: Path, change: dict[str, Any]) -> None:
    small_run(tmp_path)
    with pytest.raises(InputError, match=r"holds videos of another run: \w+ is .* there and .* here"):
        small_run(tmp_path, **change)


def test_questions_are_as_many_as_are_asked_for(tmp_path: Path) -> None:
    run = small_run(tmp_path, questions=7, videos=2)
    assert [len(video.questions) for video in run.manifest.videos] == [7, 7]


def test_interrupted_run_does_not_take_other_settings(tmp_path: Path) -> None:
    with pytest.raises(StoppedError):
        small_run(tmp_path, videos=3, on_progress=stop_in_second_video)
    with pytest.raises(InputError, match=r"another run: seed is 0 there and 1 here\.\n.*--out.*--overwrite"):
        small_run(tmp_path, videos=3, seed=1)


def test_run_may_grow_but_not_shrink(tmp_path: Path) -> None:
    small_run(tmp_path / "grown", videos=1)
    assert small_run(tmp_path / "grown", videos=3).num_written == 2
    small_run(tmp_path / "straight", videos=3)
    assert folder_contents(tmp_path / "grown") == folder_contents(tmp_path / "straight")
    with pytest.raises(InputError, match=r"holds a run of 3 videos; 2 are asked for\.\n.*at least 3 \(--videos\)"):
        small_run(tmp_path / "grown", videos=2)


def test_a_missing_video_is_made_again(tmp_path: Path) -> None:
    small_run(tmp_path, videos=2)
    before = folder_contents(tmp_path)
    (tmp_path / "video_00001.mp4").unlink()
    assert small_run(tmp_path, videos=2).num_written == 1
    assert folder_contents(tmp_path) == before


def test_overwrite_replaces_the_other_run_and_nothing_else(tmp_path: Path) -> None:
    small_run(tmp_path / "both", seed=1, videos=3)
    (tmp_path / "both" / "mine.txt").write_text("stays")
    (tmp_path / "both" / "video_00007.mp4").write_text("not of that run")
    small_run(tmp_path / "both", seed=2, videos=1, codec="mpeg4", overwrite=True)
    small_run(tmp_path / "straight", seed=2, videos=1, codec="mpeg4")
    after = folder_contents(tmp_path / "both")
    assert after.pop("mine.txt") == b"stays"
    assert after.pop("video_00007.mp4") == b"not of that run"
    assert after == folder_contents(tmp_path / "straight")


def test_overwrite_gets_past_a_json_that_cannot_be_read(tmp_path: Path) -> None:
    for content in (b"{", b"\xff\xfe"):
        (tmp_path / "needles.json").write_bytes(content)
        with pytest.raises(InputError, match=r"(?s)needles\.json is not JSON.*--overwrite"):
            small_run(tmp_path)
    assert small_run(tmp_path, overwrite=True).num_written == 1


def test_video_of_unknown_origin_is_not_taken_for_finished(tmp_path: Path) -> None:
    (tmp_path / "video_00000.mp4").write_text("somebody's")
    with pytest.raises(InputError, match=r"already has video_00000\.mp4, but no needles\.json"):
        small_run(tmp_path)
    assert (tmp_path / "video_00000.mp4").read_text() == "somebody's"


def test_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be made"):
        small_run(tmp_path / "file")


def test_needles_that_do_not_fit_leave_the_folder_untouched(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"9 needles of 0\.5 seconds do not fit into a video of 3 seconds .*: 5 fit"):
        small_run(tmp_path / "out", needles=9)
    assert not (tmp_path / "out").exists()


def test_pictures_are_part_of_what_a_run_is(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("cat", "dog", "red_car"):
        Image.new("RGB", (16, 16), (len(name) * 30, 90, 60)).save(photos / f"{name}.png")
    run = small_run(tmp_path / "out", pictures=photos, kinds="picture")
    assert [picture.name for picture in run.manifest.pictures] == ["cat", "dog", "red car"]
    assert {needle.attributes["name"] for needle in run.manifest.videos[0].needles} == {"cat", "dog", "red car"}
    assert {question.kind for question in run.manifest.videos[0].questions} >= {"count", "order", "list", "first"}

    photos.rename(tmp_path / "moved")
    moved = small_run(tmp_path / "out", pictures=tmp_path / "moved", kinds=["picture"])
    assert moved.num_skipped == 1

    Image.new("RGB", (16, 16)).save(tmp_path / "moved" / "owl.png")
    with pytest.raises(InputError, match="its 3 picture files are not the 4 of today"):
        small_run(tmp_path / "out", pictures=tmp_path / "moved", kinds=["picture"])


def test_pictures_join_the_kinds_when_there_are_some(tmp_path: Path) -> None:
    Image.new("RGB", (16, 16)).save(tmp_path / "cat.png")
    run = small_run(tmp_path / "out", pictures=tmp_path)
    assert run.manifest.settings.kinds == ("shape", "digit", "letter", "caption", "picture")


def test_progress_counts_every_frame(tmp_path: Path) -> None:
    seen: list[Progress] = []
    small_run(tmp_path, videos=2, on_progress=seen.append)
    assert seen == [Progress(video, 2, frame, 30) for video in range(2) for frame in range(1, 31)]
    again: list[Progress] = []
    small_run(tmp_path, videos=2, on_progress=again.append)
    assert again == [Progress(video, 2, 30, 30) for video in range(2)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "has format_version None; this bimba reads 2"),
        ('{"format_version": 1}', "has format_version 1; this bimba reads 2"),
        ('{"format_version": 2}', r"is not a needles\.json: bimba_version: Field required"),
    ],
)
def test_what_is_no_needles_json_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "needles.json").write_text(text)
    with pytest.raises(InputError, match=message):
        read_needles(tmp_path)


def test_missing_needles_json_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"(?s)cannot be read.*bimba needles make --out"):
        read_needles(tmp_path)
