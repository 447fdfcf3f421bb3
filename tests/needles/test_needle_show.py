import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from needle_runs import folder_contents, planned_stream, small_run, small_settings
from PIL import Image
from typer.testing import CliRunner, Result

from bimba.cli.needles import app
from bimba.cli.needles.sheet import _ACCENT, WIDTH, draw_sheet, shots_of
from bimba.errors import InputError
from bimba.needles import NeedleRun, NeedleStream

SMALL = ["--seconds", "3", "--size", "64x48", "--fps", "10", "--needles", "3", "--needle-seconds", "0.5"]
WIDE = {"COLUMNS": "250"}


def run(*words: str) -> Result:
    return CliRunner().invoke(app, ["show", *words], env=WIDE)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> NeedleRun:
    return small_run(tmp_path_factory.mktemp("needles"), videos=2, seed=7)


@pytest.mark.parametrize("number", [0, 1])
def test_a_stored_video_is_drawn_and_its_needles_and_questions_are_printed(
    made: NeedleRun, tmp_path: Path, number: int
) -> None:
    out = tmp_path / "sheet.png"
    result = run(str(made.folder), str(number), "--out", str(out))
    assert result.exit_code == 0, result.output
    video = made.manifest.videos[number]
    for text in (*(n.description for n in video.needles), *(q.question for q in video.questions), video.file):
        assert text in result.stdout
    assert f"frames in {out}" in result.stdout
    assert set(folder_contents(tmp_path)) == {"sheet.png"}, "nothing half-made is left"
    with Image.open(out) as image:
        assert image.size[0] > 6 * WIDTH


def test_the_first_video_is_shown_and_the_file_may_be_named(
    made: NeedleRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(str(made.folder / "needles.json")).exit_code == 0
    assert (tmp_path / "needles.png").exists()
    assert "video_00000.mp4" in run(str(made.folder)).stdout
    assert "video_00001.mp4" in run(str(made.folder), "--index", "1").stdout


def test_a_video_that_is_not_stored_is_that_which_would_be(made: NeedleRun, tmp_path: Path) -> None:
    out = str(tmp_path / "sheet.png")
    stored = json.loads(run(str(made.folder), "1", "--json", "--out", out).stdout)
    drawn = json.loads(run("--seed", "7", "--index", "1", *SMALL, "--json", "--out", out).stdout)
    assert drawn["picture"] == out
    assert drawn["video"]["needles"] == stored["video"]["needles"]
    assert [q["question"] for q in drawn["video"]["questions"]] == [q["question"] for q in stored["video"]["questions"]]


def test_tables_say_how_needles_are_shown(tmp_path: Path) -> None:
    out = ["--out", str(tmp_path / "a.png")]
    assert "has the frame to itself" in run(*SMALL, "--inserted", "1", *out).stdout
    assert "3 copies" in run(*SMALL, "--copies", "3", "--size", "320x64", *out).stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["FOLDER", "2"], r"video 2 is asked for, but .* has 2\."),
        (["FOLDER", "1", "--index", "1"], r"two videos are asked for, 1 and --index 1"),
        (["FOLDER", "--seed", "7"], r"--seed says what videos look like, but those of .* are made already"),
        (["FOLDER", "--needle-seconds", "2"], r"--needle-seconds says"),
        (["nowhere"], r"nowhere cannot be read"),
        (["--needles", "100", "--seconds", "3"], r"do not fit"),
        (["FOLDER", "--out", "needles"], r"does not name a kind of picture"),
    ],
)
def test_what_cannot_be_shown_is_refused(made: NeedleRun, words: list[str], message: str) -> None:
    result = run(*(str(made.folder) if word == "FOLDER" else word for word in words))
    assert isinstance(result.exception, InputError), result.output
    with pytest.raises(InputError, match=message):
        raise result.exception


@given(st.integers(0, 199))
def test_every_needle_is_drawn_once_and_what_is_between_is_bare(index: int) -> None:
    video = planned_stream(num_needles="1-9", needle_seconds="0.5-4", seed=1)[index].record
    shots = shots_of(video)
    assert [shot.needle for shot in shots if shot.needle is not None] == list(video.needles)
    assert [shot.frame_index for shot in shots] == sorted({shot.frame_index for shot in shots})
    for shot in shots:
        visible = [n for n in video.needles if n.first_frame <= shot.frame_index <= n.last_frame]
        assert visible == ([] if shot.needle is None else [shot.needle])
    neighbours = zip(video.needles, video.needles[1:], strict=False)
    gaps = sum(later.first_frame - earlier.last_frame > 1 for earlier, later in neighbours)
    ends = (video.needles[0].first_frame > 0) + (video.needles[-1].last_frame < video.num_frames - 1)
    assert sum(shot.needle is None for shot in shots) == gaps + ends


def test_places_are_outlined_and_only_those() -> None:
    streamed = NeedleStream(small_settings(copies="2", width=128, height=32, num_needles=1, kinds=("digit",)))[0]
    shots = shots_of(streamed.record)
    black = [np.zeros((32, 128, 3), np.uint8)] * len(shots)
    sheet = np.asarray(draw_sheet(streamed.record, shots, black, "title"))
    (needle,) = streamed.record.needles
    place = [shot.needle for shot in shots].index(needle)
    left, top = 10 + place * (WIDTH + 10), 34
    outlined = (sheet == _ACCENT).all(axis=2)
    cell = outlined[top : top + 60, left : left + WIDTH]
    for box in needle.boxes:
        x, y = [round(box[i] * WIDTH / 128) for i in (0, 2)], [round(box[i] * WIDTH / 128) for i in (1, 3)]
        middle = (y[0] + y[1]) // 2
        near = [cell[middle, max(0, x[0] - 3) : x[0] + 3].any(), cell[middle, x[1] - 3 : x[1] + 3].any()]
        assert near == [True, True]
    bare = (place + 1) % len(shots) if place == 0 else 0
    assert not outlined[top : top + 60, 10 + bare * (WIDTH + 10) : 10 + bare * (WIDTH + 10) + WIDTH].any()


def test_long_names_are_cut_and_stay_in_their_place() -> None:
    streamed = NeedleStream(small_settings(num_needles=1))[0]
    needle = streamed.record.needles[0].model_copy(update={"description": "w" * 300})
    video = streamed.record.model_copy(update={"needles": (needle,)})
    shots = shots_of(video)
    sheet = np.asarray(draw_sheet(video, shots, [np.zeros((48, 64, 3), np.uint8)] * len(shots), "t" * 900))
    gutters = [sheet[:, 10 + (WIDTH + 10) * n + WIDTH + 1 : 10 + (WIDTH + 10) * (n + 1)] for n in range(len(shots) - 1)]
    assert all((gutter[40:] == (24, 24, 27)).all() for gutter in gutters)


@pytest.mark.parametrize("size", [(3000, 32), (32, 3000)], ids=str)
def test_frames_of_any_shape_are_drawn(size: tuple[int, int]) -> None:
    streamed = NeedleStream(small_settings(width=size[0], height=size[1], kinds=("shape",), inserted=0.5))[0]
    shots = shots_of(streamed.record)
    sheet = draw_sheet(streamed.record, shots, streamed.frames([shot.frame_index for shot in shots]), "title")
    assert sheet.width > WIDTH
