"""Which model answers when none is named, and what is said about it."""

import pytest

from bimba.checkpoints.shipped import RELEASED
from bimba.cli.naming import model_or_default, remark_on_answer


def test_a_named_model_is_taken_without_a_remark(capsys: pytest.CaptureFixture[str]) -> None:
    assert model_or_default("mine", quiet=False) == "mine"
    assert capsys.readouterr().err == ""


def test_the_small_model_answers_if_none_is_named_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert model_or_default(None, quiet=False) == "bimba-nano"
    assert "shapes, digits, letters, captions and pictures" in capsys.readouterr().err
    assert model_or_default(None, quiet=True) == "bimba-nano"
    assert capsys.readouterr().err == ""


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
