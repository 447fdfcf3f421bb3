"""`bimba eval`: what is printed, what a script reads, and what goes wrong."""

import inspect
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bimba.cli import app
from bimba.cli.eval.needles import needles as command
from bimba.errors import BimbaError
from bimba.evaluation.needles import NeedleEvaluation, evaluate_needles
from bimba.evaluation.needles.settings import parse_frames
from bimba.needles.settings import count_range, parse_kinds, parse_size

WORDS = ("eval", "run", "needles", "--frames", "16,24", "--videos", "2", "--needles", "2-3", "--device", "cpu")


def bimba(*words: object) -> str:
    """What a command prints."""
    done = CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "100", "BIMBA_MODEL": ""})
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout


def test_tables_are_printed_and_printed_again(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "results"
    said = bimba(*WORDS, "--model", model, "--out", out, "--limit", 20)
    assert "20 questions asked" in said
    for words in ("mean of kinds", "all questions", "frames by tenth of the video", "needles in the video", "refused"):
        assert words in said
    shown = bimba("eval", "show", out)
    assert said.startswith(shown)
    again = bimba(*WORDS, "--model", model, "--out", out, "--limit", 20)
    assert "0 questions asked, 20 were answered before" in again


def test_a_script_reads_json(model: Path, tmp_path: Path) -> None:
    said = json.loads(bimba(*WORDS, "--model", model, "--out", tmp_path / "results", "--limit", 5, "--json"))
    assert (said["num_asked"], said["num_there"], said["num_questions"]) == (5, 0, 5)
    shown = json.loads(bimba("eval", "show", tmp_path / "results", "--json"))
    assert {name: said[name] for name in shown} == shown
    assert bimba(*WORDS, "--model", model, "--out", tmp_path / "results", "--limit", 5, "--quiet") == ""


def test_no_options_are_printed_where_there_were_none(model: Path, tmp_path: Path) -> None:
    evaluate_needles(
        NeedleEvaluation.checked({"model": str(model), "frames": (16,), "needles": 2, "kinds": ("pair",)}),
        tmp_path,
        device="cpu",
        limit=3,
    )
    assert "unknown" in bimba("eval", "show", tmp_path)


def test_defaults_are_those_of_the_settings() -> None:
    options = {name: parameter.default for name, parameter in inspect.signature(command).parameters.items()}
    settings = NeedleEvaluation(model="m")
    assert parse_frames(options["frames"]) == settings.frames
    assert tuple(map(parse_size, options["size"].split(","))) == settings.sizes
    assert parse_kinds(options["needle_kinds"]) == settings.needle_kinds
    assert count_range(options["needles_"]) == settings.needles
    for name in ("videos", "seed", "questions", "unknown", "haystack", "pictures", "temporal_pooling", "dtype"):
        assert options[name] == getattr(settings, name), name


def test_a_run_that_is_stopped_tells_how_to_go_on(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("bimba.evaluation.needles.evaluate_needles", stop)
    done = CliRunner().invoke(app, [*WORDS, "--model", str(model), "--out", str(tmp_path)])
    assert done.exit_code == 130
    assert "goes on from here" in done.stderr


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ((*WORDS, "--out", "results", "--model", "nothing-here"), "nothing-here"),
        ((*WORDS, "--out", "results", "--model", "m", "--size", "big"), "size 'big'"),
        ((*WORDS, "--out", "results", "--model", "m", "--needle-kinds", "shapes"), "needle kind 'shapes'"),
        (("eval", "show", "nowhere"), "holds no evaluation"),
    ],
)
def test_what_is_wrong_is_told(
    words: tuple[str, ...], problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BimbaError, match=problem):
        bimba(*words)
