import inspect
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bimba.cli.needles import app, make
from bimba.cli.needles.show import show
from bimba.cli.needles.stats import stats
from bimba.errors import InputError
from bimba.needles import KINDS_WITHOUT_TIMES, NeedleSettings, make_needles, read_needles

SMALL = ["--seconds", "2", "--size", "64x48", "--fps", "10", "--needles", "2", "--needle-seconds", "0.5"]


def test_make_writes_videos_and_suggests_what_to_ask(tmp_path: Path) -> None:
    out = tmp_path / "my needles"
    result = CliRunner().invoke(app, ["make", "--seed", "7", "--out", str(out), "--videos", "2", *SMALL])
    assert result.exit_code == 0, result.output
    asked = read_needles(out).videos[0].questions
    question = next(each.question for each in asked if each.kind in KINDS_WITHOUT_TIMES)
    assert f"2 videos written to {out}\n" in result.stdout
    assert f"next: bimba ask '{out / 'video_00000.mp4'}' '{question}'\n" in result.stdout


def test_json_is_one_object_on_stdout(tmp_path: Path) -> None:
    command = ["make", "--out", str(tmp_path), "--videos", "2", "--json", *SMALL]
    CliRunner().invoke(app, [*command[:3], *SMALL])
    result = CliRunner().invoke(app, command)
    summary = json.loads(result.stdout)
    assert summary["videos"] == [str(tmp_path / "video_00000.mp4"), str(tmp_path / "video_00001.mp4")]
    assert (summary["num_written"], summary["num_skipped"], summary["num_needles"]) == (1, 1, 4)
    assert summary["needles"] == str(tmp_path / "needles.json")


def test_finished_videos_are_mentioned_and_quiet_says_nothing(tmp_path: Path) -> None:
    command = ["make", "--out", str(tmp_path), *SMALL]
    assert CliRunner().invoke(app, [*command, "--quiet"]).output == ""
    assert "0 videos written" in CliRunner().invoke(app, command).stdout
    assert "1 were there already" in CliRunner().invoke(app, command).stdout


def test_errors_reach_the_caller(tmp_path: Path) -> None:
    for wrong, message in ((["--size", "big"], "WIDTHxHEIGHT"), (["--codec", "none"], "no encoder 'none'")):
        result = CliRunner().invoke(app, ["make", "--out", str(tmp_path), *SMALL, *wrong])
        assert isinstance(result.exception, InputError)
        assert message in result.exception.problem


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ([], "make"),
        (["make"], "bimba needles make --seed 7 --out needles"),
        (["show"], "bimba needles show needles 2 --out needles.png"),
        (["stats"], "bimba needles stats needles"),
    ],
)
def test_help_shows_the_command_and_an_example(command: list[str], says: str) -> None:
    result = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    assert says in result.stdout


def test_every_option_reaches_the_settings(tmp_path: Path) -> None:
    options = {
        "seed": "3",
        "split": "train",
        "needles": "2-3",
        "needle-seconds": "0.2-0.4",
        "gap-frames": "2",
        "kinds": "shape,picture",
        "inserted": "0.5",
        "repeats": "0.25",
        "copies": "1-2",
        "pair-window": "3",
        "scenes": "2",
        "questions": "5",
        "videos": "1",
        "seconds": "3",
        "size": "64x48",
        "fps": "10",
    }
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    result = CliRunner().invoke(app, ["make", "--out", str(tmp_path), *words])
    assert result.exit_code == 0, result.output
    settings = read_needles(tmp_path).settings
    assert settings == NeedleSettings.of_options({name.replace("-", "_"): value for name, value in options.items()})
    assert (settings.num_needles, settings.needle_seconds, settings.copies) == ((2, 3), (0.2, 0.4), (1, 2))


@pytest.mark.parametrize("command", [show, stats])
def test_other_commands_take_what_make_takes(command: Callable[..., None]) -> None:
    of_make = inspect.signature(make).parameters
    of_command = inspect.signature(command).parameters
    not_drawn = {"out", "codec", "pixel_format", "container", "overwrite", "videos"}
    assert set(of_make) - not_drawn <= set(of_command)
    same = [name for name in of_make if name in of_command and name != "out"]
    assert [(n, of_make[n].default) for n in same] == [(n, of_command[n].default) for n in same]


def test_command_and_function_have_the_same_arguments() -> None:
    of_command = {name.rstrip("_") for name in inspect.signature(make).parameters} - {"json", "quiet"}
    assert of_command == set(inspect.signature(make_needles).parameters) - {"on_progress"}


def test_help_needs_neither_numpy_nor_av() -> None:
    check = (
        "import sys, bimba.cli.needles; sys.exit(any(name in sys.modules for name in ('numpy', 'av', 'PIL', 'torch')))"
    )
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
