"""A command with groups is, for typer and for Python, the command with every option in its signature."""

import inspect
from dataclasses import dataclass, field
from typing import Annotated, Any, get_type_hints

import pytest
import typer
from typer.testing import CliRunner

from bimba.cli.grouping import grouped

Speed = Annotated[float, typer.Option(metavar="RATE", help="How fast.", rich_help_panel="Moving")]
Name = Annotated[str, typer.Argument(help="Who drives.")]
Seats = Annotated[int, typer.Option(min=1)]
Loud = Annotated[bool, typer.Option("--loud", help="Tell everybody.")]


@dataclass(frozen=True)
class Moving:
    """How something moves."""

    speed: Speed = 1.0
    far: "int | None" = None


@dataclass(frozen=True)
class Turning(Moving):
    """And turns."""

    angle: float = 90.0


@dataclass(frozen=True)
class Telling:
    """What is told."""

    loud: Loud = False


calls: list[dict[str, Any]] = []


@pytest.fixture(autouse=True)
def _no_calls() -> None:
    calls.clear()


@grouped
def drive(
    name: Name,
    lights: bool = True,
    *,
    moving: Turning,
    seats: Seats = 4,
    telling: Telling,
) -> None:
    """Drive somewhere."""
    calls.append({"name": name, "lights": lights, "moving": moving, "seats": seats, "telling": telling})


def drive_by_hand(
    name: Name,
    lights: bool = True,
    *,
    speed: Speed = 1.0,
    far: int | None = None,
    angle: float = 90.0,
    seats: Seats = 4,
    loud: Loud = False,
) -> None:
    """Drive somewhere."""


def app_of(command: Any) -> typer.Typer:
    app = typer.Typer()
    app.command("drive")(command)
    return app


def help_of(command: Any) -> str:
    shown = CliRunner().invoke(app_of(command), ["--help"], env={"COLUMNS": "100", "TERM": "dumb", "NO_COLOR": "1"})
    assert shown.exit_code == 0, shown.output
    return shown.output


def test_the_signature_is_the_one_that_would_be_written_by_hand() -> None:
    spelled, by_hand = inspect.signature(drive), inspect.signature(drive_by_hand)
    assert spelled == by_hand
    assert list(spelled.parameters) == list(by_hand.parameters)  # which == does not compare
    assert get_type_hints(drive, include_extras=True) == get_type_hints(drive_by_hand, include_extras=True)


def test_the_name_and_the_docstring_stay() -> None:
    assert (drive.__name__, drive.__doc__, drive.__module__) == ("drive", "Drive somewhere.", __name__)


def test_the_help_is_the_one_of_a_command_that_is_written_by_hand() -> None:
    shown = help_of(drive)
    assert shown == help_of(drive_by_hand)
    assert "How fast." in shown


def test_words_of_the_command_line_fill_the_groups() -> None:
    words = ["Ann", "--speed", "2.5", "--angle", "30", "--loud", "--seats", "2", "--no-lights"]
    ran = CliRunner().invoke(app_of(drive), words)
    assert ran.exit_code == 0, ran.output
    assert calls == [
        {"name": "Ann", "lights": False, "moving": Turning(2.5, None, 30.0), "seats": 2, "telling": Telling(True)}
    ]


def test_what_is_not_said_has_the_default_of_its_field() -> None:
    ran = CliRunner().invoke(app_of(drive), ["Ann"])
    assert ran.exit_code == 0, ran.output
    assert calls == [{"name": "Ann", "lights": True, "moving": Turning(), "seats": 4, "telling": Telling()}]


def test_a_type_is_checked_and_an_option_that_is_no_field_is_refused() -> None:
    assert CliRunner().invoke(app_of(drive), ["Ann", "--far", "away"]).exit_code == 2
    assert CliRunner().invoke(app_of(drive), ["Ann", "--moving", "1"]).exit_code == 2
    assert calls == []


def test_python_calls_it_with_options_not_with_groups() -> None:
    drive("Ann", False, far=3)
    assert calls == [{"name": "Ann", "lights": False, "moving": Turning(far=3), "seats": 4, "telling": Telling()}]
    with pytest.raises(TypeError, match="moving"):
        drive("Ann", moving=Turning())
    with pytest.raises(TypeError, match="name"):
        drive(speed=1.0)


def test_a_field_without_a_default_is_an_option_that_has_to_be_given() -> None:
    @dataclass(frozen=True)
    class Where:
        place: Annotated[str, typer.Option()]

    @grouped
    def go(*, where: Where) -> None:
        calls.append({"where": where})

    assert CliRunner().invoke(app_of(go), []).exit_code == 2
    assert CliRunner().invoke(app_of(go), ["--place", "home"]).exit_code == 0
    assert calls == [{"where": Where("home")}]


def test_a_group_may_have_the_name_of_one_of_its_options() -> None:
    @grouped
    def go(*, speed: Moving) -> None:
        calls.append({"speed": speed})

    go(speed=3.0)
    assert calls == [{"speed": Moving(3.0)}]


def test_two_options_of_one_name_are_refused_with_that_name() -> None:
    def twice(*, moving: Moving, turning: Turning) -> None:
        """Two groups share fields."""

    def beside(*, far: int = 1, moving: Moving) -> None:
        """A field is a parameter, too."""

    def before(*, moving: Moving, far: int = 1) -> None:
        """A parameter is a field, too."""

    with pytest.raises(ValueError, match=r"twice has two options called speed: of moving and of turning"):
        grouped(twice)
    with pytest.raises(ValueError, match=r"beside has two options called far: of far and of moving"):
        grouped(beside)
    with pytest.raises(ValueError, match=r"before has two options called far: of moving and of far"):
        grouped(before)


def test_a_default_that_would_be_lost_is_refused() -> None:
    @dataclass(frozen=True)
    class Listed:
        names: list[str] = field(default_factory=list)

    def with_default(*, moving: Moving = Moving(2.0)) -> None:
        """The group has a default."""

    def with_factory(*, listed: Listed) -> None:
        """A field has a factory."""

    with pytest.raises(ValueError, match="moving"):
        grouped(with_default)
    with pytest.raises(ValueError, match="names"):
        grouped(with_factory)


def test_a_command_without_groups_stays_what_it_is() -> None:
    run = grouped(drive_by_hand)
    assert inspect.signature(run) == inspect.signature(drive_by_hand)
