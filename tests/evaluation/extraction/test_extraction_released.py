"""The rule of the public code, compared with what the public code gave."""

import json
from pathlib import Path

from bimba.evaluation.extraction import released_first_word
from bimba.evaluation.extraction.released import is_right_as_released


def test_first_word_and_what_counts_are_those_of_the_public_code(golden: Path) -> None:
    cases = json.loads((golden / "eval/fuzzy_matching.json").read_text(encoding="utf-8"))
    assert len(cases) == 33
    for case in cases:
        said = case["prediction"]
        assert released_first_word(said) == case["fuzzy_matching"], said
        right = {letter: is_right_as_released(said, letter) for letter in case["correct_if_answer"]}
        assert right == case["correct_if_answer"], said
