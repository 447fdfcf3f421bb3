"""`bimba ask --evidence`: the table, the picture, JSON; what is refused before anything is asked; what is not lost."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from bimba.cli import app
from bimba.cli.evidence_page import evidence_lines
from bimba.cli.evidence_picture import WIDTH, draw_evidence, shown_of
from bimba.errors import InputError, VideoError
from bimba.inference.evidence import Evidence
from bimba.inference.evidence.result import moments_of

NARROW = 40


def ask(*words: object) -> Result:
    return CliRunner().invoke(app, ["ask", *map(str, words)])


def evidence_of(scores: list[float], *, timed: bool = True, size: int = 1) -> Evidence:
    frames = [(number * size, number * size + size - 1) for number in range(len(scores))]
    seconds = [number / 2 for number in range(len(scores) * size)] if timed else []
    return Evidence("gradient", "red star", -0.1, -4.0, moments_of(scores, frames, seconds), 0.5)


def plain_frames(count: int) -> list[np.ndarray[Any, np.dtype[np.uint8]]]:
    """Frame n is grey of lightness 10 n."""
    return [np.full((36, 64, 3), 10 * number, dtype=np.uint8) for number in range(count)]


def test_table_follows_the_answer(model: Path, video: Path) -> None:
    plain = ask(video, "What?", "--model", model, "--frames", 4, "--max-new-tokens", 3, "--quiet")
    done = ask(video, "What?", "--model", model, "--frames", 4, "--max-new-tokens", 3, "--quiet", "--evidence")
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith(plain.stdout)
    told = done.stdout.removeprefix(plain.stdout).splitlines()
    assert told[0] == "evidence: the moments that speak most for this answer, of 4"
    shares = [int(line.split("%")[0].split()[-1]) for line in told[1:]]
    assert shares == sorted(shares, reverse=True)
    assert 1 <= len(shares) <= 4


def test_json_holds_the_evidence(model: Path, video: Path, tmp_path: Path) -> None:
    picture = tmp_path / "evidence.png"
    words = (video, "What?", "--model", model, "--frames", 4, "--max-new-tokens", 3, "--json")
    assert "evidence" not in json.loads(ask(*words).stdout)
    record = json.loads(ask(*words, "--evidence-picture", picture).stdout)
    found = record["evidence"]
    assert [moment["start_seconds"] for moment in found["moments"]] == record["frame_seconds"]
    assert found["answer"] == record["text"]
    assert found["method"] == "gradient"
    assert sum(moment["share"] for moment in found["moments"]) == pytest.approx(1)
    with Image.open(picture) as drawn:
        assert drawn.width == WIDTH


def test_answer_is_not_lost_when_there_is_no_evidence(model: Path, picture: Path) -> None:
    done = ask(picture, "What?", "--model", model, "--max-new-tokens", 3, "--json", "--evidence")
    assert json.loads(done.stdout)["token_ids"]
    assert isinstance(done.exception, InputError)
    assert "one single moment" in done.exception.problem


def test_impossible_pictures_are_refused_before_the_model_is_looked_for(video: Path, tmp_path: Path) -> None:
    for name, words in (("evidence.txt", "name a kind of picture"), ("nowhere/evidence.png", "no folder")):
        done = ask(video, "What?", "--model", "nowhere", "--evidence-picture", tmp_path / name)
        assert isinstance(done.exception, InputError)
        assert words in done.exception.problem
        assert "png" in done.exception.fix or "make it" in done.exception.fix


def test_encoded_video_needs_its_frames_for_the_picture_alone(model: Path, video: Path, tmp_path: Path) -> None:
    moved = tmp_path / "talk.mp4"
    shutil.copy(video, moved)
    encoded = tmp_path / "talk.bimba"
    done = CliRunner().invoke(
        app, ["encode", str(moved), "-o", str(encoded), "--model", str(model), "--frames", "4", "--quiet"]
    )
    assert done.exit_code == 0, done.output
    moved.unlink()
    words = (encoded, "What?", "--model", model, "--max-new-tokens", 3, "--quiet")
    assert "evidence: the moments" in ask(*words, "--evidence").stdout
    done = ask(*words, "--evidence-picture", tmp_path / "evidence.png")
    assert isinstance(done.exception, VideoError)
    assert "not at hand" in done.exception.problem
    assert done.stdout == ""


def test_lines_tell_times_shares_and_bars() -> None:
    assert evidence_lines(evidence_of([0.0, 3.0, 1.0, -2.0])) == [
        "evidence: the moments that speak most for this answer, of 4",
        "  0:00.5   75%  ######################",
        "  0:01.0   25%  ########",
    ]
    assert evidence_lines(evidence_of([3.0, 1.0], size=2))[1].startswith("  0:00.0 to 0:00.5   75%")
    assert evidence_lines(evidence_of([3.0, 1.0], timed=False))[1].startswith("  frame 0   75%")
    assert evidence_lines(evidence_of([3.0, 1.0], timed=False, size=3))[2].startswith("  frames 3 to 5   25%")
    assert evidence_lines(evidence_of([0.0, -1.0])) == [
        "evidence: no moment of the video speaks for this answer more than the others"
    ]


def test_strip_shows_what_is_marked_and_the_strongest_of_every_other_stretch() -> None:
    scores = [0.0] * 24
    scores[4], scores[5], scores[13], scores[22] = 5.0, 4.0, 1.0, 2.0
    moments = evidence_of(scores).moments
    assert shown_of(moments, set()) == [0, 4, 6, 9, 13, 15, 18, 22]
    assert shown_of(moments, {4, 5, 22}) == [0, 4, 5, 6, 9, 13, 15, 18, 22]
    assert shown_of(moments[:3], {1}) == [0, 1, 2]


def test_picture_has_its_highest_bar_at_the_top_moment_and_shows_its_frame() -> None:
    scores = [0.1] * 20
    scores[13] = 5.0
    drawn = draw_evidence(evidence_of(scores), plain_frames(20), "Which shape is red?")
    pixels = np.asarray(drawn)
    accent = (pixels == (255, 196, 46)).all(-1)
    columns = np.flatnonzero(accent[110:235].all(0))  # the rows of the curve, but for its highest and lowest
    assert WIDTH * 13 / 20 - NARROW < columns.min() < columns.max() < WIDTH * 14 / 20 + NARROW
    shown = {tuple(map(int, pixels[330, x])) for x in range(0, WIDTH, 10)}
    assert (130, 130, 130) in shown


def test_picture_without_any_evidence_says_so_and_is_drawn() -> None:
    drawn = draw_evidence(evidence_of([0.0, -1.0]), plain_frames(2), "x" * 500, aspect=0.5)
    assert drawn.width == WIDTH
    assert not (np.asarray(drawn)[110:235] == (255, 196, 46)).all(-1).any()
