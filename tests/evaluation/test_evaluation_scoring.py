"""What counts as the right answer: only what makes no difference is taken off."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bimba.evaluation.scoring import is_right, normalise


@pytest.mark.parametrize(
    ("said", "normalised"),
    [
        ("red star", "red star"),
        ("Red Star", "red star"),
        ("  red \n star\t", "red star"),
        ("red star.", "red star"),
        ("red star .", "red star"),
        ("red star..", "red star."),
        ("a red star", "red star"),
        ("An arrow", "arrow"),
        ("The red star.", "red star"),
        ("the", "the"),
        ("A", "a"),
        ("another star", "another star"),
        ("the a", "a"),
        ('"red star"', "red star"),
        ("'red star'.", "red star"),
        ("\u201cred star.\u201d", "red star"),
        ('the "red star"', "red star"),
        ('"the red star"', "red star"),
        ("don't", "don't"),
        ("cats'", "cats'"),
        ('"', '"'),
        ("", ""),
        (".", ""),
        ("1.5 seconds", "1.5 seconds"),
        ("It is red", "it is red"),
        ("\uff37\uff21\uff32", "war"),
    ],
)
def test_only_what_makes_no_difference_is_taken_off(said: str, normalised: str) -> None:
    assert normalise(said) == normalised


def test_an_answer_with_other_words_is_wrong() -> None:
    assert is_right("The Red Star.", "red star")
    assert not is_right("red", "red star")
    assert not is_right("it is a red star", "red star")
    assert not is_right("", "red star")


@given(st.text(alphabet="aA theAN.\"' \n1", max_size=20))
def test_an_answer_is_right_whatever_its_case_and_white_space(text: str) -> None:
    assert is_right(f"  {text.upper()} \n", text)
