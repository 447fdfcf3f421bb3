import json
from fractions import Fraction
from pathlib import Path

import pytest
from needle_runs import planned_stream, small_run
from typer.testing import CliRunner, Result

from bimba.cli.needles import app
from bimba.cli.needles.counting import NUM_BINS, count
from bimba.errors import InputError
from bimba.needles import Needle, Question, VideoRecord

SMALL = ["--seconds", "3", "--size", "64x48", "--fps", "10", "--needles", "3", "--needle-seconds", "0.5"]


def run(*words: str) -> Result:
    return CliRunner().invoke(app, ["stats", *words], env={"COLUMNS": "200"})


def needle(first_frame: int, last_frame: int, **changes: object) -> Needle:
    values = {
        "kind": "digit",
        "description": "digit 7",
        "attributes": {"digit": "7", "colour": "red"},
        "start_seconds": first_frame / 2,
        "end_seconds": (last_frame + 1) / 2,
        "first_frame": first_frame,
        "last_frame": last_frame,
        "inserted": False,
        "boxes": ((0, 0, 8, 8),),
        "held_out": False,
    }
    return Needle.model_validate(values | changes)


def question(kind: str, answer: str, options: tuple[str, ...], variant: str = "overlaid") -> Question:
    return Question(
        id="",
        kind=kind,
        variant=variant,
        question="?",
        options=options,
        answer=answer,
        answer_letter="ABCD"[options.index(answer)],
        evidence=(),
    )


@pytest.fixture
def video() -> VideoRecord:
    asked = [
        question("count", "2", ("1", "2", "3", "4")),
        question("count", "2", ("2", "3", "4", "5"), "inserted"),
        question("count", "1", ("2", "1", "3", "4")),
        question("existence", "no", ("yes", "no"), ""),
        question("position", "end", ("end", "middle", "beginning")),
    ]
    shown = [
        needle(0, 0),
        needle(1, 2, inserted=True),
        needle(18, 19, boxes=((0, 0, 8, 8), (9, 9, 17, 17)), held_out=True),
    ]
    return VideoRecord(
        file="",
        seed=0,
        num_frames=20,
        fps=Fraction(2),
        seconds=10.0,
        width=32,
        height=32,
        haystack="x",
        needles=tuple(shown),
        questions=tuple(asked),
    )


def test_numbers_are_counted_by_hand(video: VideoRecord) -> None:
    found = count([video, video]).to_dict()
    assert (found["num_videos"], found["num_needles"], found["num_questions"]) == (2, 6, 10)
    assert (found["seconds"], found["needles"], found["copies"]) == (20.0, {"digit": 6}, {"1": 4, "2": 2})
    assert (found["inserted_share"], found["held_out_share"]) == (1 / 3, 1 / 3)
    assert found["place_in_time"] == [2, 2, 0, 0, 0, 0, 0, 0, 0, 2]
    assert found["questions"]["count"] == {
        "count": 6,
        "variants": {"overlaid": 4, "inserted": 2},
        "num_answers": 2,
        "most_common_answer": "2",
        "most_common_share": 2 / 3,
        "any_option_share": 0.25,
    }
    assert found["questions"]["existence"]["variants"] == {"other": 2}
    assert found["questions"]["existence"]["any_option_share"] == 0.5
    assert found["questions"]["position"]["any_option_share"] == pytest.approx(1 / 3)


def test_the_last_moment_is_in_the_last_part(video: VideoRecord) -> None:
    for num_frames in (1, 7, 20):
        shown = video.model_copy(
            update={"num_frames": num_frames, "needles": (needle(num_frames - 1, num_frames - 1),)}
        )
        bins = count([shown]).place_in_time
        assert sum(bins) == 1
        assert len(bins) == NUM_BINS


def test_nothing_at_all_is_counted_too() -> None:
    found = count([]).to_dict()
    assert (found["num_needles"], found["held_out_share"], found["questions"]) == (0, 0.0, {})


def test_a_folder_is_counted_as_text_and_as_json(tmp_path: Path) -> None:
    made = small_run(tmp_path, videos=2, seed=7)
    text = run(str(tmp_path)).stdout
    assert "videos    2, 6.0 s in all" in text
    assert all(kind in text for kind in ("retrieval", "order", "held out", "90 to 100%"))
    found = json.loads(run(str(tmp_path / "needles.json"), "--json").stdout)
    assert found == json.loads(json.dumps(count(made.manifest.videos).to_dict()))
    assert sum(found["place_in_time"]) == found["num_needles"] == 6


def test_videos_that_are_not_stored_are_counted_alike(tmp_path: Path) -> None:
    small_run(tmp_path, videos=3, seed=7, copies="1-2", questions=6)
    options = ["--seed", "7", "--videos", "3", *SMALL, "--copies", "1-2", "--questions", "6"]
    assert run(*options, "--json").stdout == run(str(tmp_path), "--json").stdout
    assert "copies" in run(*options).stdout


def test_options_of_videos_are_refused_beside_a_folder(tmp_path: Path) -> None:
    small_run(tmp_path)
    result = run(str(tmp_path), "--videos", "3")
    assert isinstance(result.exception, InputError)
    assert "--videos says what videos look like" in result.exception.problem


def test_guessing_gives_little() -> None:
    found = count(video.record for video in planned_stream(num_needles="2-6", repeats=0.5)).to_dict()["questions"]
    assert {kind: row["most_common_share"] for kind, row in found.items() if row["most_common_share"] > 0.6} == {}
    assert all(row["any_option_share"] <= 0.5 for row in found.values())
