"""Which model answers when none is named, and what is said about it."""

from pathlib import Path

import pytest

from bimba.checkpoints import shipped
from bimba.cli.naming import RELEASED, model_or_default, remark_on_answer
from bimba.errors import InputError


@pytest.fixture
def with_nano(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation that has bimba-nano, as far as a name needs it."""
    (tmp_path / "bimba-nano").mkdir()
    (tmp_path / "bimba-nano" / "config.json").write_text("{}")
    monkeypatch.setattr(shipped, "_PLACE", tmp_path)


def test_a_named_model_is_taken_without_a_remark(capsys: pytest.CaptureFixture[str]) -> None:
    assert model_or_default("mine", quiet=False) == "mine"
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("with_nano")
def test_the_small_model_answers_if_none_is_named_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert model_or_default(None, quiet=False) == "bimba-nano"
    assert "shapes, digits, letters, captions and pictures" in capsys.readouterr().err
    assert model_or_default(None, quiet=True) == "bimba-nano"
    assert capsys.readouterr().err == ""


def test_an_installation_without_it_asks_for_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipped, "_PLACE", tmp_path)
    with pytest.raises(InputError, match="no model is named") as caught:
        model_or_default(None)
    assert RELEASED in str(caught.value.fix)


@pytest.mark.usefixtures("with_nano")
@pytest.mark.parametrize(
    ("model", "answer", "quiet", "is_told"),
    [
        ("bimba-nano", "I cannot tell", False, True),
        ("bimba-nano", " I cannot tell.", False, True),
        ("bimba-nano", "I cannot tell", True, False),
        ("bimba-nano", "red star", False, False),
        ("mine", "I cannot tell", False, False),
    ],
)
def test_who_cannot_tell_names_who_can(
    model: str, answer: str, quiet: bool, is_told: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    remark_on_answer(model, answer, quiet=quiet)
    told = capsys.readouterr()
    assert told.out == ""
    assert (RELEASED in told.err) is is_told
