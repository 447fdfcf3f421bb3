"""`benchmarks/nano`: logs and results of a run in, figures, page and pictures out."""

import json
import re
from itertools import pairwise
from pathlib import Path

import pytest
from benchmarks.marked_page import marks, parts_of
from benchmarks.nano import counting
from benchmarks.nano.card import model_card
from benchmarks.nano.curves import HEIGHT, WIDTH, draw_curves
from benchmarks.nano.figures import NanoFigures, read_figures, write_figures
from benchmarks.nano.measuring import HAYSTACK, LENGTHS
from benchmarks.nano.page import COMMAND, PAGE, generated, write_page
from benchmarks.nano.pictures import CURVES, KINDS, PLACES, draw_pictures
from benchmarks.nano.stages import MOST_POINTS, STAGES, Point, Stage, State, read_stage
from evaluation_runs import line
from nano_runs import KINDS as ASKED
from nano_runs import lines_of, make_run, make_stage, measure_all, measure_as
from PIL import Image

from bimba.errors import InputError
from bimba.evaluation.needles.lines import Line
from bimba.training.recipe.reading import read_recipe


@pytest.fixture(autouse=True)
def _few_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "NUM_COUNTED", 2)


def cells_of(text: str, first: str) -> list[str]:
    """Cells of the one row of a table that begins with a word."""
    (row,) = [row for row in text.splitlines() if row.startswith(f"| {first} |")]
    return row.strip("| ").split(" | ")


def test_the_page_in_the_repository_is_made_of_the_stored_figures() -> None:
    """Nobody wrote into it by hand: `python -m benchmarks.nano --report` writes figures and page together."""
    assert parts_of(PAGE, COMMAND)[1] == generated(read_figures())


def test_a_run_that_is_not_there_writes_no_page(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no stage of a training"):
        NanoFigures.of(tmp_path)


def test_a_run_that_has_only_begun_has_a_page_that_says_so(tmp_path: Path) -> None:
    make_stage(tmp_path, "1-vision", None, steps=50)
    text = generated(NanoFigures.of(tmp_path))
    assert "**Not measured yet.**" in text
    assert "; ".join(f"stage {name} is missing" for name in STAGES[1:]) in text


def test_a_repetition_is_remembered_of_the_same_weights(tmp_path: Path, model: Path) -> None:
    make_run(tmp_path, model)
    measure_all(tmp_path)
    compared, alone = NanoFigures.of(tmp_path, tmp_path), NanoFigures.of(tmp_path)
    assert alone.reproduction is None
    assert alone.and_known_before(compared) == compared
    for change in ({"model_sha256": "0" * 64}, {"num_questions": 1}):
        others = {name: one.model_copy(update=change) for name, one in compared.measured.items()}
        assert alone.and_known_before(compared.model_copy(update={"measured": others})).reproduction is None


def test_missing_and_unfinished_stages_are_named(tmp_path: Path, model: Path) -> None:
    make_stage(tmp_path, "1-vision", model)
    make_stage(tmp_path, "2-words", None, steps=50)
    num_steps = read_recipe("nano/2-words").schedule.max_steps
    figures = NanoFigures.of(tmp_path)
    assert figures.unfinished == [
        f"stage 2-words is unfinished: step 50 of {num_steps:,}",
        "stage 3-names is missing",
        "stage 4-answers is missing",
    ]
    assert figures.weights is None
    text = generated(figures)
    assert (
        f"2-words is unfinished: step 50 of {num_steps:,}; stage 3-names is missing; stage 4-answers is missing."
        in text
    )
    assert cells_of(text, "how far") == ["how far", "finished", "unfinished", "missing", "missing"]
    assert "verdict" not in text


def test_a_whole_run_is_told_in_full(tmp_path: Path, model: Path) -> None:
    make_run(tmp_path, model)
    measure_all(tmp_path)
    measure_as(tmp_path, HAYSTACK, lines_of(64, dict.fromkeys(ASKED, 0.5)), haystack=tmp_path)
    text = generated(NanoFigures.of(tmp_path))
    assert "Not measured" not in text
    assert "Not complete" not in text
    assert cells_of(text, "colours")[1:3] == ["90.0 %", "90.0 %"]
    assert cells_of(text, "colours")[4:] == ["20", "holds"]
    assert cells_of(text, "what appears (retrieval)")[-1] == "does not hold"
    assert cells_of(text, "all kinds, in videos never seen in training")[-1] == "does not hold"
    assert "Of 11: holds: 9; does not hold: 2. A line holds" in text
    assert cells_of(text, "hours") == ["hours", "0.06", "0.06", "0.06", "0.06"]  # 800 samples, 4 a second
    assert cells_of(text, "peak memory")[1] == "1.1 GB"
    assert cells_of(text, "samples")[1:] == ["800"] * 4
    assert 0 < int(cells_of(text, "different videos")[4]) < 800  # several rounds
    assert cells_of(text, "seed; of the videos")[2] == "0; 200, 201, 202, 203, 204"
    assert "It was not trained a second time." in text


def test_a_page_tells_neither_paths_nor_kernels(tmp_path: Path, model: Path) -> None:
    make_run(tmp_path, model)
    measure_all(tmp_path)
    file = tmp_path / "nano.json"
    write_figures(NanoFigures.of(tmp_path), file)
    stored = file.read_text(encoding="utf-8") + generated(read_figures(file))
    assert str(tmp_path) not in stored
    assert "somebodys-kernel" not in stored
    assert "Linux x86_64" in stored


def test_figures_come_back_as_they_were_stored(tmp_path: Path, model: Path) -> None:
    make_run(tmp_path, model)
    measure_all(tmp_path)
    figures = NanoFigures.of(tmp_path, tmp_path)
    write_figures(figures, tmp_path / "results" / "nano.json")
    again = read_figures(tmp_path / "results" / "nano.json")
    assert again == figures
    assert generated(again) == generated(figures)
    assert "| all kinds | 90.0 % | 90.0 % | +0.000 | 160 | yes |" in generated(again)
    assert "which is that of this run" in generated(again)
    assert again.reproduction is not None
    other = again.model_copy(update={"reproduction": again.reproduction.model_copy(update={"model_sha256": "0" * 64})})
    assert "which is that of this run" not in generated(other)
    with pytest.raises(InputError, match="--report"):
        read_figures(tmp_path / "absent.json")
    (tmp_path / "cut.json").write_text('{"stages": [')
    with pytest.raises(InputError, match=r"cut\.json cannot be read"):
        read_figures(tmp_path / "cut.json")


def test_settings_that_are_not_the_recipes_are_told(tmp_path: Path, model: Path) -> None:
    make_stage(tmp_path, "1-vision", model, schedule__seed="7", data__workers="0")
    stage = read_stage(tmp_path / "1-vision", "1-vision")
    assert stage.changed == ("schedule.seed is 0 there and 7 here",)
    assert "- 1-vision: schedule.seed is 0 there and 7 here" in generated(NanoFigures.of(tmp_path))


def test_questions_are_estimated_from_the_first_videos(tmp_path: Path, model: Path) -> None:
    make_run(tmp_path, model)
    vision, _, answers, _ = NanoFigures.of(tmp_path).stages
    assert vision.seen is not None
    assert answers.seen is not None
    assert (vision.seen.questions, vision.seen.answer_tokens) == (0, 0)  # answers are no part of its objective
    assert vision.curve[0].answers is None
    assert answers.seen.counted_videos == 2
    assert (
        8 <= answers.seen.questions / answers.seen.samples <= 14
    )  # twelve of the video, and 0.8 that it does not answer
    assert answers.seen.answer_tokens > answers.seen.questions


def test_long_logs_are_averaged(tmp_path: Path) -> None:
    stage = read_stage(make_stage(tmp_path, "1-vision", None, steps=25 * 201), "1-vision")
    assert stage.state is State.UNFINISHED
    assert len(stage.curve) <= MOST_POINTS
    assert stage.curve[-1].step == 25 * 201
    assert all(one.step < other.step for one, other in pairwise(stage.curve))


def test_results_of_other_weights_do_not_count(tmp_path: Path, model: Path) -> None:
    make_run(tmp_path, model)
    measure_all(tmp_path)
    config = tmp_path / STAGES[-1] / "model" / "generation_config.json"
    config.write_text(config.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    assert NanoFigures.of(tmp_path).measured == {}


def test_pictures_are_drawn_of_what_there_is(tmp_path: Path, model: Path) -> None:
    runs, folder = make_run(tmp_path / "runs", model), tmp_path / "pictures"
    assert [path.name for path in draw_pictures(NanoFigures.of(runs), folder)] == [CURVES]
    measure_all(runs)
    assert [path.name for path in draw_pictures(NanoFigures.of(runs), folder)] == [CURVES, PLACES, KINDS]
    with Image.open(folder / PLACES) as image:
        assert image.width > 900
    svg = (folder / CURVES).read_text(encoding="utf-8")
    assert svg.count("<polyline") == 4  # words in two stages, answers in the other two
    assert [path.name for path in draw_pictures(NanoFigures(stages=()), folder)] == []
    assert list(folder.iterdir()) == []
    assert "nothing was logged" in draw_curves([])


def test_pictures_where_none_was_in_training_are_told_apart(tmp_path: Path, model: Path) -> None:
    make_run(tmp_path, model)

    def pictures(kind: str, *, held_out: bool) -> list[Line]:
        return [line(id=f"{kind}-{held_out}", kind=kind, held_out=held_out)]

    asked = pictures("retrieval", held_out=True) + pictures("retrieval", held_out=False)
    measure_as(tmp_path, LENGTHS[1], asked)
    figures = NanoFigures.of(tmp_path)
    text = generated(figures)
    assert "100.0 % (20.7 to 100.0) of 1 right; elsewhere" in text
    assert "100.0 % (20.7 to 100.0) of 1 right; elsewhere" in model_card(figures, 96).split("## Limits")[1]
    assert "**Not complete yet.** `make nano` goes on from here: accuracy at 32 frames is not measured;" in text


def test_only_the_part_between_the_marks_is_written(tmp_path: Path) -> None:
    page = tmp_path / "nano.md"
    begin, end = marks(COMMAND)
    page.write_text(f"# By hand\n\n{begin}\nold\n{end}\n\nAlso by hand.\n", encoding="utf-8")
    figures = NanoFigures(stages=())
    write_page(figures, page)
    assert parts_of(page, COMMAND) == ("# By hand\n\n", generated(figures), "\n\nAlso by hand.\n")
    page.write_text("no marks", encoding="utf-8")
    with pytest.raises(InputError, match="no marks"):
        write_page(figures, page)


@pytest.mark.parametrize("name", ["1-vision", "2-words"])
def test_an_entry_that_was_divided_by_too_many_steps_is_read_rightly(name: str, tmp_path: Path) -> None:
    runs = {kind: make_stage(tmp_path / kind, name, None, steps=200) for kind in ("whole", "interrupted")}
    log = runs["interrupted"] / "log.jsonl"
    entries = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    entries[3] |= {part: entries[3][part] / 100 for part in ("words_loss", "answers_loss")}
    log.write_text("".join(json.dumps(entry) + "\n" for entry in entries), encoding="utf-8")
    whole, interrupted = (read_stage(runs[kind], name).curve for kind in ("whole", "interrupted"))
    assert interrupted == whole
    assert whole[3].words == 0.08


@pytest.mark.parametrize("loss", [0.0, 1e-9, 1.0, 2.0, 3.0, 1e6])
def test_a_curve_of_any_losses_stays_in_its_panel(loss: float) -> None:
    curve = tuple(
        Point(step=step, words=max(loss, 0.5) / step if step == 3 else loss, answers=None) for step in (1, 2, 3)
    )
    svg = draw_curves([Stage(name="1-vision", state=State.FINISHED, curve=curve)])
    (points,) = re.findall(r'points="([^"]+)"', svg)
    for pair in points.split():
        x, y = (float(number) for number in pair.split(","))
        assert 0 <= x <= WIDTH
        assert 0 <= y <= HEIGHT
