"""Hand-made predictions in, scores computed by hand out."""

import json
import random
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import pytest

from bimba.evaluation.extraction.released import is_right_as_released
from bimba.evaluation.metrics import METRICS, Metric, Outcome, compare, incomplete_items, score, scores_by

ACCURACY, ALL_TRIES, MEAN = METRICS["accuracy"], METRICS["all_tries"], METRICS["mean_of_tasks"]


def outcomes(rights: str, *, video: str = "v{}", tags: dict[str, str] | None = None, name: str = "q") -> list[Outcome]:
    """A question for each letter: "1" is right, "0" is wrong."""
    return [
        Outcome(f"{name}{number}", video.format(number), each == "1", tags=tags or {})
        for number, each in enumerate(rights)
    ]


def tries(item: str, rights: str, kind: str) -> list[Outcome]:
    return [
        Outcome(f"{item}.{number}", f"{item}.mp4", each == "1", item=item, tags={"type": kind})
        for number, each in enumerate(rights)
    ]


def test_accuracy_is_right_over_all() -> None:
    found = score(outcomes("11101"), ACCURACY)
    assert (found.value, found.right, found.count, found.num_videos) == (0.8, 4, 5, 5)


def test_three_of_four_tries_are_wrong_and_types_count_equally() -> None:
    run = tries("a", "1111", "ret") + tries("b", "1101", "ret") + tries("c", "1111", "ord")
    found = score(run, ALL_TRIES)
    assert found.value == 0.75  # (1/2 + 1/1) / 2
    assert (found.right, found.count) == (2, 3)
    assert score(run, ACCURACY).value == round(11 / 12, 6)
    assert {kind: each.value for kind, each in scores_by(run, "type", ALL_TRIES).items()} == {"ord": 1.0, "ret": 0.5}


def test_an_item_with_a_missing_try_is_left_out_and_named() -> None:
    run = tries("a", "1111", "ret") + tries("b", "111", "ret")
    assert score(run, ALL_TRIES).count == 1
    assert incomplete_items(run, 4) == ["b"]


def test_unequal_tasks_count_equally_in_the_mean_of_tasks() -> None:
    run = outcomes("1" * 8 + "0" * 2, tags={"task": "plot"}) + outcomes("01", tags={"task": "count"}, name="c")
    assert score(run, MEAN).value == 0.65  # (0.8 + 0.5) / 2
    assert score(run, ACCURACY).value == 0.75  # 9 of 12


def test_a_question_of_two_types_counts_once_in_all_and_in_each_of_its_groups() -> None:
    run = [
        Outcome("a", "v1", True, tags={"type": ("reasoning", "summarization")}),
        Outcome("b", "v1", False, tags={"type": ("reasoning",)}),
        Outcome("c", "v2", True, tags={"type": "summarization"}),
        Outcome("d", "v2", False),
    ]
    assert score(run, ACCURACY).value == 0.5
    found = scores_by(run, "type", ACCURACY)
    assert {kind: (each.right, each.count) for kind, each in found.items()} == {
        "reasoning": (1, 2), "summarization": (2, 2)
    }  # fmt: skip
    with pytest.raises(ValueError, match="question 'a' has 2 values of 'task'"):
        score([Outcome("a", "v1", True, tags={"task": ("x", "y")})], MEAN)


def test_equal_runs_do_not_differ() -> None:
    run = outcomes("1100110")
    found = compare(run, run, ACCURACY)
    assert (found.difference, found.low, found.high, found.p_value) == (0, 0, 0, 1)
    assert (found.both, found.neither, found.only_first, found.only_second) == (4, 3, 0, 0)


def test_videos_that_all_differ_alike_tell_no_interval() -> None:
    one_video = [Outcome(f"q{number}", "the only one", False) for number in range(9)]
    better = [Outcome(each.id, each.video, True) for each in one_video]
    found = compare(one_video, better, ACCURACY)
    assert found.difference == 1
    assert (found.low, found.high) == (-1, 1)
    assert found.p_value > 0.4


@pytest.mark.parametrize(("tries", "over"), [(1, None), (4, "type"), (1, "task")])
def test_guessing_gives_what_many_guesses_give(tries: int, over: str | None) -> None:
    metric = Metric("m", "", tries=tries, over=over)
    generator = random.Random(5)
    kinds = [("x", 2), ("x", 4), ("y", 3)]
    guesses = [
        (Outcome(f"{item}.{number}", f"v{item}", False, f"i{item}", {"type": kind, "task": kind}), 1 / count)
        for item, (kind, count) in enumerate(kinds)
        for number in range(4)
    ]
    scores = []
    for _ in range(4000):
        guessed = [replace(outcome, right=generator.random() < share) for outcome, share in guesses]
        units = metric.units(guessed)
        groups = sorted({unit.group for unit in units})
        scores.append(fmean(fmean(unit.right for unit in units if unit.group == group) for group in groups))
    chance = metric.chance(guesses)
    assert chance == pytest.approx(fmean(scores), abs=0.01)
    assert metric.chance([]) is None


def test_comparison_counts_pairs_of_shared_questions_only() -> None:
    found = compare(outcomes("110010"), outcomes("0111"), ACCURACY)
    assert (found.count, found.first, found.second, found.difference) == (4, 0.5, 0.75, 0.25)
    assert (found.both, found.only_first, found.only_second, found.neither) == (1, 1, 2, 0)


def test_a_clear_difference_is_significant_and_a_tie_is_not() -> None:
    generator = random.Random(1)
    first = "".join(generator.choice("0001") for _ in range(200))
    second = "".join(generator.choice("0111") for _ in range(200))
    clear = compare(outcomes(first), outcomes(second), ACCURACY)
    assert clear.p_value < 0.001
    assert clear.low > 0
    third = "".join("1" if each == "0" and generator.random() < 0.05 else each for each in first[:100]) + first[100:]
    tie = compare(outcomes(third), outcomes(third[::-1]), ACCURACY)
    assert tie.p_value > 0.05
    assert tie.low <= 0 <= tie.high


def test_a_few_videos_in_which_all_goes_together_are_less_sure_than_many() -> None:
    rights = "10" * 60
    many = score(outcomes(rights), ACCURACY)
    few = score([Outcome(f"q{n}", f"v{n % 6}", n % 6 < 3) for n in range(120)], ACCURACY)
    assert many.value == few.value == 0.5
    assert few.high - few.low > 2 * (many.high - many.low)


def test_interval_covers_the_truth_nineteen_times_in_twenty() -> None:
    generator = random.Random(7)
    covered = 0
    for _ in range(200):
        run = []
        for video in range(60):
            easy = generator.random()  # the mean is 0.5
            run += [Outcome(f"{video}.{n}", f"v{video}", generator.random() < easy) for n in range(3)]
        found = score(run, ACCURACY)
        covered += found.low <= 0.5 <= found.high
    assert 180 <= covered <= 199


@pytest.mark.parametrize("right", [True, False])
def test_a_run_without_any_spread_still_has_an_interval(right: bool) -> None:
    found = score([Outcome(f"{n}", f"v{n // 5}", right) for n in range(50)], ACCURACY)
    assert found.value == float(right)
    assert 0.2 < found.high - found.low < 0.4  # ten videos


def test_scores_are_the_same_each_time() -> None:
    run = outcomes("1101100010" * 5)
    assert score(run, ACCURACY) == score(list(reversed(run)), ACCURACY)


def test_what_does_not_fit_the_metric_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing to count"):
        score([], ACCURACY)
    with pytest.raises(ValueError, match="has no 'task'"):
        score(outcomes("1"), MEAN)
    with pytest.raises(ValueError, match="has 5 tries"):
        score(tries("a", "11111", "ret"), ALL_TRIES)
    with pytest.raises(ValueError, match="share nothing"):
        compare(outcomes("1"), outcomes("1", name="x"), ACCURACY)


def test_released_accuracy_is_that_of_the_public_code(golden: Path) -> None:
    told = json.loads((golden / "eval/accuracy.json").read_text(encoding="utf-8"))
    run = [
        Outcome(
            str(sample["id"]),
            sample["video"],
            is_right_as_released(sample["prediction"], sample["answer"]),
            tags={"type": sample["question_type"]} if "question_type" in sample else {},
        )
        for sample in told["samples"]
        if sample.get("answer") is not None
    ]
    everything = told["results"].pop("all")
    found = score(run, ACCURACY)
    assert (found.right, found.count, found.value) == (
        everything["correct"],
        everything["total"],
        everything["accuracy"],
    )
    by_type = scores_by(run, "type", ACCURACY)
    assert {kind: (each.right, each.count, each.value) for kind, each in by_type.items()} == {
        kind: (each["correct"], each["total"], each["accuracy"]) for kind, each in told["results"].items()
    }
