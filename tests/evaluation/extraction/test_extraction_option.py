"""What a model said in, the letter it means out."""

import json
import re
import string
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bimba.evaluation import extract_option
from bimba.evaluation.extraction import LETTERS

AWKWARD = json.loads((Path(__file__).parents[2] / "data/evaluation/awkward_answers.json").read_text(encoding="utf-8"))
CASES = [(answer, tuple(group["options"]), meant) for group in AWKWARD for answer, meant in group["answers"]]

texts = st.lists(
    st.text(string.ascii_lowercase + " ", min_size=5, max_size=30).map(str.strip).filter(lambda text: len(text) > 4),
    min_size=2,
    max_size=10,
    unique_by=str.casefold,
)
written_texts = st.lists(
    st.text(string.ascii_letters + string.digits + " .,:;()!?'-+#$", min_size=1, max_size=30)
    .map(str.strip)
    .filter(bool),
    min_size=2,
    max_size=10,
    unique_by=str.casefold,
)
FORMS = ["{}. {}", "{}) {}", "({}) {}", "{}: {}", "**{}.** {}", "{} - {}"]


def test_there_are_three_hundred_awkward_answers_each_once() -> None:
    assert len(set(CASES)) == len(CASES) >= 300
    assert {meant for _, _, meant in CASES} >= {*"ABCDEFGHIJ", None}


@pytest.mark.parametrize(("answer", "options", "meant"), CASES)
def test_awkward_answer_means_what_a_reader_says(answer: str, options: tuple[str, ...], meant: str | None) -> None:
    assert extract_option(answer, options) == meant


@settings(deadline=None)
@given(st.text(), texts)
def test_any_text_gives_one_of_the_letters_or_nothing(answer: str, options: list[str]) -> None:
    assert extract_option(answer, options) in {None, *LETTERS[: len(options)]}


@settings(deadline=None)
@given(
    texts,
    st.data(),
    st.sampled_from(["{}", "({})", "{}.", "{})", "**{}**", " {}\n", "The answer is {}.", "Answer: {}"]),
)
def test_a_letter_is_understood_however_it_is_written(options: list[str], data: st.DataObject, written: str) -> None:
    letter = data.draw(st.sampled_from(LETTERS[: len(options)]))
    assert extract_option(written.format(letter), options) == letter


@settings(deadline=None)
@given(texts, st.data())
def test_a_letter_in_front_of_a_text_counts(options: list[str], data: st.DataObject) -> None:
    number = data.draw(st.integers(0, len(options) - 1))
    assert extract_option(f"{LETTERS[number]}. {options[number]}", options) == LETTERS[number]


@settings(deadline=None)
@given(texts, st.data())
def test_the_text_of_an_option_is_that_option(options: list[str], data: st.DataObject) -> None:
    number = data.draw(st.integers(0, len(options) - 1))
    assert extract_option(options[number].capitalize(), options) in {LETTERS[number], None}
    if not any(
        " ".join(options[number].split()) in " ".join(other.split()) for other in options if other != options[number]
    ):
        assert extract_option(options[number], options) == LETTERS[number]


@settings(deadline=None)
@given(texts, st.data())
def test_two_letters_are_no_answer(options: list[str], data: st.DataObject) -> None:
    first, second = data.draw(st.lists(st.sampled_from(LETTERS[: len(options)]), min_size=2, max_size=2, unique=True))
    assert extract_option(f"{first} or {second}", options) is None
    assert extract_option(f"The answer is {first} and {second}.", options) is None


@settings(deadline=None)
@given(written_texts, st.data(), st.sampled_from(["({}) {}", "{}. {}", "{}) {}", "{}: {}"]))
def test_one_letter_in_front_of_its_text_is_that_letter_whatever_the_text(
    options: list[str], data: st.DataObject, form: str
) -> None:
    number = data.draw(st.integers(0, len(options) - 1))
    said = form.format(LETTERS[number], options[number])
    assume(not any(option.casefold() in said.casefold() for option in options if option != options[number]))
    assert extract_option(said, options) == LETTERS[number]


@settings(deadline=None)
@given(texts, st.data(), st.sampled_from(FORMS), st.sampled_from(["\n", " ", ", ", "; "]))
def test_options_that_are_repeated_are_no_answer(options: list[str], data: st.DataObject, form: str, gap: str) -> None:
    listed = [form.format(letter, text) for letter, text in zip(LETTERS, options, strict=False)]
    whole = gap.join(listed)
    end = data.draw(st.integers(len(gap.join(listed[:2])), len(whole)))
    assert extract_option(whole[:end], options) is None
    assert extract_option(f"Options:\n{whole[:end]}", options) is None


@settings(deadline=None)
@given(texts, st.data(), st.sampled_from(["{}", "In the video, {}", "The answer is {}", "I think {}"]))
def test_a_person_called_by_a_letter_is_not_that_option(options: list[str], data: st.DataObject, said: str) -> None:
    person = data.draw(st.sampled_from("BCDEFGHJ"))
    about = [f"{person} is {text}" for text in options]
    number = data.draw(st.integers(0, len(about) - 1))
    words = about[number].split()
    cut = " ".join(words[: data.draw(st.integers(2, len(words)))])
    assume(not any(" ".join(text.split()) in cut for text in about if text != about[number]))
    assert extract_option(said.format(cut), about) in {LETTERS[number], None}


@settings(deadline=None)
@given(texts, st.data(), st.sampled_from(["would be", "is", "is definitely", "seems to be", "was clearly"]))
def test_a_letter_that_is_denied_is_no_answer(options: list[str], data: st.DataObject, verb: str) -> None:
    letter = data.draw(st.sampled_from(LETTERS[: len(options)]))
    for said in (f"{letter} {verb} wrong", f"The wrong answer {verb} {letter}."):
        assume(not any(re.search(rf"\b{re.escape(text.strip())}\b", said, re.IGNORECASE) for text in options))
        assert extract_option(said, options) is None


@pytest.mark.parametrize("letters", ["A ", "(A)", "A or ", "A\n", "Option A, not B. "])
def test_an_answer_that_never_ends_is_read(letters: str) -> None:
    assert extract_option(letters * 2000, ["a red car", "a blue dog"]) in {"A", None}


@pytest.mark.parametrize("count", [0, 11])
def test_options_without_letters_are_refused(count: int) -> None:
    with pytest.raises(ValueError, match=f"there are {count} options"):
        extract_option("A", ["text"] * count)


def test_nothing_heavy_is_imported() -> None:
    code = "import sys; from bimba.evaluation import extract_option; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
