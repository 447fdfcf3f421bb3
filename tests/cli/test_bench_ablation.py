"""`bimba bench ablation`: what is printed, what a script reads, what is said when it is stopped or asked wrongly."""

import inspect
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bimba import ablation
from bimba.ablation import CONTENDERS, SHAPES, Outcome, Progress
from bimba.ablation.settings import Settings, parse_factors
from bimba.cli import app
from bimba.cli.bench.ablation import ablation as command
from bimba.errors import BimbaError

WORDS = ("bench", "ablation")
ESTIMATE = {"mean": 0.5, "low": 0.4, "high": 0.6, "values": [0.5]}
ROW = {"tokens": 32, "seeds": [0, 1, 2], "within_window": ESTIMATE, "all_kinds": ESTIMATE}
RESULTS: dict[str, Any] = {
    "contenders": {"selective_scan": ROW, "pooling": ROW},
    "compressions": {"pooling": {"16": ROW, "64": ROW}},
    "conclusions": {"within_window": ["pooling is not separated."], "all_kinds": ["So it is here."]},
}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Nothing is trained; the arguments are noted."""
    found: list[dict[str, Any]] = []

    def run(out: Path, **arguments: Any) -> Outcome:
        found.append({"out": out} | arguments)
        for share in (0.25, 0.5):
            arguments["on_progress"](Progress("pooling-16x-0", 1, 2, "done", share, 0.0))
        return Outcome(out, RESULTS, 2, 1)

    monkeypatch.setattr(ablation, "run_ablation", run)
    return found


def test_tables_and_conclusions_are_printed(asked: list[dict[str, Any]]) -> None:
    done = CliRunner().invoke(
        app, [*WORDS, "--contenders", "pooling, none", "--compressions", "4x"], env={"COLUMNS": "120"}
    )
    assert done.exit_code == 0, done.output
    for words in (
        "0.500 (0.400 to 0.600)",
        "64x",
        "pooling is not separated.",
        "Student's t over seeds",
        "2 runs made",
    ):
        assert words in done.stdout
    assert "run 1 of 2: pooling-16x-0" in done.stderr
    assert "left" in done.stderr
    assert (asked[0]["contenders"], asked[0]["compressions"]) == (("pooling", "none"), (4,))


@pytest.mark.usefixtures("asked")
def test_a_script_reads_json() -> None:
    done = CliRunner().invoke(app, [*WORDS, "--json", "--out", "there"])
    assert json.loads(done.stdout) == {"out": "there", "num_trained": 2, "num_there": 1} | RESULTS
    assert done.stderr == ""
    assert CliRunner().invoke(app, [*WORDS, "--quiet"]).output == ""


def test_defaults_are_those_of_the_settings(asked: list[dict[str, Any]]) -> None:
    CliRunner().invoke(app, [*WORDS, "--quiet"])
    settings = Settings()
    for name in ("start", "seeds", "steps", "videos", "compressions"):
        assert asked[0][name] == getattr(settings, name), name
    assert asked[0]["contenders"] is None
    assert settings.contenders == tuple(CONTENDERS)
    options = inspect.signature(command).parameters
    assert parse_factors(options["compressions"].default) == tuple(SHAPES)


def test_one_that_is_stopped_tells_how_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ablation, "run_ablation", stop)
    done = CliRunner().invoke(app, list(WORDS))
    assert done.exit_code == 130
    assert "the same command goes on from here" in done.stderr


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("--contenders", "poling"), "did you mean pooling"),
        (("--seeds", "0"), "seeds is 0"),
        (("--compressions", "5"), "no compression 5"),
        (("--compressions", "much"), "no list of whole numbers"),
        (("--start", "no-such-model"), "no-such-model"),
    ],
)
def test_what_is_wrong_is_told(words: tuple[str, ...], problem: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, [*WORDS, "--out", str(tmp_path / "out"), *words])
    assert isinstance(done.exception, BimbaError)
    assert problem in str(done.exception)
    assert not (tmp_path / "out").exists()
