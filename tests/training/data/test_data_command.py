"""`bimba data`: what is wrong with a recipe's samples, and one of them as the model sees it."""

import json
from pathlib import Path

import pytest
from PIL import Image
from sample_files import entry, turns, write
from typer.testing import CliRunner, Result

from bimba.cli import app
from bimba.errors import InputError

RUN = CliRunner()
LONG = "Is it [so]? " * 20


@pytest.fixture
def recipe(model: Path, video: Path, picture: Path, tmp_path: Path) -> Path:
    """A recipe with a good sample of each kind."""
    entries = [
        entry(video=str(video)),
        entry("Which?", "Red.", image=picture.name),
        {"conversations": turns(LONG, "Yes.")},
    ]
    write(tmp_path / "train.json", entries)
    path = tmp_path / "recipe.yaml"
    settings = {
        "output": str(tmp_path / "run"),
        "model": {"path": str(model)},
        "data": {"sources": [{"json_path": str(tmp_path / "train.json")}], "workers": 0},
        "frames": {"count": 4},
    }
    path.write_text(json.dumps(settings))  # JSON is YAML
    return path


def bimba(*words: object) -> Result:
    return RUN.invoke(app, ["data", *map(str, words)])


def test_a_check_counts_what_is_there(recipe: Path) -> None:
    done = bimba("check", recipe)
    assert done.exit_code == 0, done.output
    assert "3 samples: 1 image, 1 text, 1 video" in done.stdout
    assert "0 of 3 samples cannot be read" in done.stdout
    rows = {line.split("│")[1].strip(): line for line in done.stdout.splitlines() if line.startswith("│")}
    assert set(rows) == {"tokens", "learned", "frames"}
    assert [cell.strip() for cell in rows["frames"].split("│")[2:6]] == ["1", "2.5", "4", "5"]


def test_a_check_names_every_bad_sample_and_leaves_with_one(recipe: Path) -> None:
    write(recipe.parent / "train.json", [entry("Why?"), entry(video="absent.mp4"), {"id": 7}])
    done = bimba("check", recipe)
    assert done.exit_code == 1
    lines = done.stdout.splitlines()
    assert f"train.json[1] (id one): {recipe.parent / 'absent.mp4'} does not exist." in lines
    assert any(line.startswith("train.json[2] (id 7): the entry has no conversations") for line in lines)
    assert "2 of 3 samples cannot be read" in lines
    quiet = bimba("check", recipe, "--quiet")
    assert quiet.exit_code == 1
    assert len(quiet.stdout.splitlines()) == 2


def test_a_check_in_json(recipe: Path) -> None:
    done = bimba("check", recipe, "frames.count=2", "--json")
    assert done.exit_code == 0
    record = json.loads(done.stdout)
    assert record["num_by_kind"] == {"video": 1, "image": 1, "text": 1}
    assert record["frames"] == {"least": 1, "median": 1.5, "most": 2, "total": 3}
    assert record["failures"] == []


def test_a_check_makes_needle_videos_first(recipe: Path, tmp_path: Path) -> None:
    folder = tmp_path / "needles"
    options = "{seconds: 2.0, size: 64x48, fps: 8, needles: 1, needle_seconds: 0.5}"
    source = f"data.sources=[{{needles: {{folder: {folder}, options: {options}}}}}]"
    done = bimba("check", recipe, source, "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["num_by_kind"]["video"] > 1
    assert (folder / "needles.json").exists()


def test_a_sample_is_shown_as_the_model_sees_it(recipe: Path, video: Path) -> None:
    done = bimba("show", recipe, "data.labels=assistant_only")
    assert done.exit_code == 0, done.output
    head, _, text = done.stdout.partition("\n\n")
    assert head.splitlines()[:4] == [
        "name    train.json[0] (id one)",
        "kind    video",
        f"media   {video}",
        "frames  4: 0:00.0, 0:01.3, 0:02.6, 0:03.9",
    ]
    assert "of them of frames; 6 are learned" in head
    assert "<|im_start|>user\n<image> x 48\nThe video lasts" in text
    assert "<|im_start|>assistant\n[That.<|im_end|>]\n" in text


def test_long_lines_and_brackets_of_a_text_stay_as_they_are(recipe: Path) -> None:
    done = bimba("show", recipe, "data.labels=assistant_only", "--index", 2)
    assert f"<|im_start|>user\n{LONG}<|im_end|>\n" in done.stdout
    assert "media" not in done.stdout


def test_a_sample_in_json(recipe: Path, picture: Path) -> None:
    done = bimba("show", recipe, "--index", 1, "--json")
    record = json.loads(done.stdout)
    assert (record["name"], record["kind"]) == ("train.json[1] (id one)", "image")
    (medium,) = record["media"]
    assert medium["path"] == str(picture)
    assert medium["frame_indices"] == [0]
    assert sum(piece["num_video_tokens"] for piece in record["pieces"]) == medium["num_video_tokens"]
    learned = "".join(piece["text"] for piece in record["pieces"] if piece["learned"])
    assert learned.endswith("<|im_start|>assistant\nRed.<|im_end|>\n")


def test_the_chosen_frames_can_be_drawn(recipe: Path, tmp_path: Path) -> None:
    assert bimba("show", recipe, "--sheet", tmp_path / "frames.png").exit_code == 0
    with Image.open(tmp_path / "frames.png") as sheet:
        assert sheet.width > 4 * 200
    assert bimba("show", recipe, "--index", 1, "--sheet", tmp_path / "one.png").exit_code == 0
    done = bimba("show", recipe, "--index", 2, "--sheet", tmp_path / "none.png")
    assert isinstance(done.exception, InputError)
    assert "has no frames" in str(done.exception)


def test_a_bad_sample_is_shown_with_its_reason(recipe: Path) -> None:
    write(recipe.parent / "train.json", [entry(video="absent.mp4")])
    done = bimba("show", recipe)
    assert done.exit_code == 1
    assert done.stdout.startswith("train.json[0] (id one): ")
    record = json.loads(bimba("show", recipe, "--json").stdout)
    assert set(record) == {"name", "reason"}


def test_a_sample_that_is_not_there_is_an_error(recipe: Path) -> None:
    done = bimba("show", recipe, "--index", 3)
    assert isinstance(done.exception, InputError)
    assert "there are 3 samples" in str(done.exception)


def test_of_samples_that_cannot_be_read_no_table_is_drawn(tmp_path: Path) -> None:
    asked = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "X."}]
    (tmp_path / "d.json").write_text(json.dumps([{"id": "a", "video": "gone.mp4", "conversations": asked}]))
    done = CliRunner().invoke(app, ["data", "check", "cpu", f"data.sources=[{{json_path: {tmp_path / 'd.json'}}}]"])
    assert "gone.mp4 does not exist" in done.stdout
    assert "least" not in done.stdout
    assert done.stdout.endswith("1 of 1 samples cannot be read\n")
