"""`bimba encode` as users meet it: files and libraries, told what was done, and refused what makes no sense."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from bimba.cli import app
from bimba.errors import BimbaError, InputError, VideoError
from bimba.inference import VideoQA
from bimba.inference.encoded import read_encoded
from bimba.inference.encoded.video import read_about
from bimba.needles import make_needles


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two videos of six seconds."""
    folder = tmp_path_factory.mktemp("made")
    return make_needles(folder, videos=2, seconds=6, fps=4, size="64x48", needles=1, needle_seconds=1).folder


@pytest.fixture
def videos(made: Path, tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of two videos, beside which the commands are called."""
    (tmp_path / "videos").mkdir()
    for path in made.glob("*.mp4"):
        shutil.copy(path, tmp_path / "videos")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BIMBA_MODEL", str(model))
    return Path("videos")


def run(*words: Any) -> Result:
    """Call it; what it raises is what `main` would print."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    if isinstance(result.exception, BimbaError):
        raise result.exception
    return result


def test_a_video_becomes_a_file_that_is_asked(videos: Path, tiny: VideoQA) -> None:
    first = run("encode", videos / "video_00000.mp4", "--frames", 5)
    assert first.stdout.startswith("video_00000.bimba: 60 tokens, ")
    assert "is there already" in run("encode", videos / "video_00000.mp4", "--frames", 5).stdout
    answer = json.loads(run("ask", "video_00000.bimba", "What?", "--max-new-tokens", 4, "--json").stdout)
    direct = tiny.ask(videos / "video_00000.mp4", "What?", num_frames=5, max_new_tokens=4)
    assert answer["token_ids"] == direct.token_ids
    assert answer["frame_seconds"] == direct.frame_seconds
    chat = CliRunner().invoke(
        app,
        ["chat", "video_00000.bimba", "--max-new-tokens", "4", "--json"],
        input="What?\n/frames\n/frames sheet.png\n",
    )
    lines = [json.loads(line) for line in chat.stdout.splitlines()]
    assert lines[0]["token_ids"] == direct.token_ids
    assert lines[1]["frame_seconds"] == direct.frame_seconds
    assert Path("sheet.png").is_file()


def test_a_folder_becomes_a_library(videos: Path) -> None:
    (videos / "broken.mp4").write_bytes(b"no video")
    first = run("encode", videos, "--out", "library", "--frames", 4)
    assert first.exit_code == 1
    assert "[1 of 3] FAILED videos/broken.mp4: " in first.stderr
    assert "fix: " in first.stderr
    assert "1 of 3 could not be encoded; the same command tries them again" in first.stderr
    assert "[2 of 3] library/video_00000.mp4.bimba: 48 tokens" in first.stdout
    (videos / "broken.mp4").unlink()
    again = run("encode", videos, "--out", "library", "--frames", 4)
    assert again.exit_code == 0
    assert "2 of 2 were there already, and up to date" in again.stdout
    told = [
        json.loads(line) for line in run("encode", videos, "-o", "library", "--frames", 4, "--json").stdout.splitlines()
    ]
    assert [line["was_there"] for line in told] == [True, True]
    assert all(Path(line["file"]).stat().st_size == line["num_bytes"] for line in told)


def test_failures_are_told_in_json(videos: Path) -> None:
    (videos / "broken.mp4").write_bytes(b"no video")
    result = run("encode", videos, "--out", "library", "--frames", 4, "--json", "--quiet")
    first = json.loads(result.stdout.splitlines()[0])
    assert first["video"] == "videos/broken.mp4"
    assert first["error"]["problem"]
    assert first["error"]["fix"]
    assert result.exit_code == 1


def test_each_video_of_a_library_has_its_own_budget(videos: Path, tiny: VideoQA) -> None:
    make_needles("more", seconds=24, fps=4, size="64x48", needles=1, needle_seconds=1, seed=5)
    shutil.copy("more/video_00000.mp4", "videos/long.mp4")
    run("encode", videos, "--out", "library", "--fps", 1, "--max-video-tokens", 80)
    long, short = read_encoded("library/long.mp4.bimba"), read_encoded("library/video_00001.mp4.bimba")
    assert (short.about.num_frames, len(short.features)) == (6, 72)
    assert (long.about.num_frames, len(long.features)) == (24, 24 // 4 * 12)
    assert tiny.ask(long, "What?", max_new_tokens=2).num_video_tokens == 72
    assert "3 of 3 were there" in run("encode", videos, "-o", "library", "--fps", 1, "--max-video-tokens", 80).stdout
    with pytest.raises(InputError, match="max_video_tokens 80 there, 90 now"):
        run("encode", videos, "--out", "library", "--fps", 1, "--max-video-tokens", 90)
    run("encode", videos, "--out", "library", "--fps", 1, "--max-video-tokens", 90, "--overwrite")
    assert read_about(Path("library/long.mp4.bimba")).settings["max_video_tokens"] == 90


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["videos"], "is a folder of videos"),
        (["videos", "--out", "videos/video_00000.mp4"], "is a file"),
        (["-"], "has no name"),
        (["videos/video_00000.mp4", "-o", "talk.mp4"], r"does not end in \.bimba"),
        (["videos/video_00000.mp4", "--workers", 2], "--workers is 2"),
        (["videos", "-o", "lib", "--engine", "ray", "--workers", 0], "--workers is 0"),
        (["videos/video_00000.mp4", "--frames", 0], "--frames is 0"),
    ],
)
def test_what_makes_no_sense_is_refused(videos: Path, words: list[Any], problem: str) -> None:
    assert videos.is_dir()
    with pytest.raises(InputError, match=problem):
        run("encode", *words)


def test_a_second_video_does_not_replace_the_first(videos: Path) -> None:
    run("encode", videos / "video_00000.mp4", "-o", "x.bimba", "--frames", 4)
    with pytest.raises(InputError, match="another video is in it"):
        run("encode", videos / "video_00001.mp4", "-o", "x.bimba", "--frames", 4)
    assert read_encoded("x.bimba").about.origin is not None
    run("encode", videos / "video_00001.mp4", "-o", "x.bimba", "--frames", 4, "--overwrite")
    with pytest.raises(InputError, match="is encoded already"):
        run("encode", "x.bimba", "-o", "y.bimba")
    with pytest.raises(InputError, match="is encoded already"):
        run("plan", "x.bimba")


def test_rates_of_pictures_are_told_apart(videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert videos.is_dir()
    Path("pictures").mkdir()
    for number in range(3):
        Image.new("RGB", (32, 24), (80 * number, 0, 0)).save(f"pictures/{number}.png")
    monkeypatch.chdir("pictures")
    assert "pictures.bimba: 36 tokens" in run("encode", ".", "--image-fps", 2).stdout
    with pytest.raises(InputError, match=r"image_fps 2\.0 there, 5\.0 now"):
        run("encode", ".", "--image-fps", 5)


def test_what_is_no_video_is_refused_before_the_model_is_read(videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIMBA_MODEL", "nowhere")
    (videos.parent / "notes.mp4").write_text("no video")
    for name in ("notes.mp4", "nothing.mp4"):
        with pytest.raises(VideoError, match=name):
            run("encode", name)


@pytest.mark.parametrize(
    "words",
    [
        ["--start", "1"], ["--end", "2"], ["--image-fps", "1"], ["--frames", "3"], ["--fps", "1"],
        ["--sampling", "fps"], ["--temporal-pooling", "2"], ["--max-video-tokens", "90"],
    ],
)  # fmt: skip
def test_options_that_come_too_late_are_refused(videos: Path, words: list[str]) -> None:
    run("encode", videos / "video_00000.mp4", "--frames", 4)
    with pytest.raises(InputError, match=f"is encoded already, so that {words[0]} can change nothing"):
        run("ask", "video_00000.bimba", "What?", *words)


def test_a_folder_of_pictures_is_one_video(videos: Path) -> None:
    Path("pictures").mkdir()
    for number in range(3):
        Image.new("RGB", (32, 24), (80 * number, 0, 0)).save(f"pictures/{number}.png")
    assert "pictures.bimba: 36 tokens" in run("encode", "pictures").stdout
    assert videos.is_dir()
