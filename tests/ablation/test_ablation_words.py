"""What is said follows from the numbers, and is never more."""

from typing import Any

import pytest
from ablation_runs import result

from bimba.ablation.tables import tables
from bimba.ablation.words import against_chance, conclusions


def counted(scan: list[float], pooling: list[float]) -> dict[str, Any]:
    """Tables of two contenders, one value a seed."""
    runs = [result("selective_scan", seed, value) for seed, value in enumerate(scan)]
    return tables([*runs, *(result("pooling", seed, value) for seed, value in enumerate(pooling))])


def sentence(scan: list[float], pooling: list[float]) -> str:
    [found] = conclusions(counted(scan, pooling))["within_window"]
    return found


def test_far_apart_is_beyond_the_intervals() -> None:
    found = sentence([0.8, 0.82, 0.81], [0.5, 0.52, 0.49])
    assert found.startswith("pooling lies below the selective scan beyond the intervals")
    assert sentence([0.5, 0.52, 0.49], [0.8, 0.82, 0.81]).startswith("pooling lies above")


def test_apart_by_seed_alone_is_said_so() -> None:
    found = sentence([0.5, 0.7, 0.9], [0.41, 0.6, 0.79])
    assert "where runs of one seed are compared" in found
    assert "touch" in found
    assert "beyond" not in found


@pytest.mark.parametrize("pooling", [[0.51, 0.6, 0.69], [0.4, 0.7, 0.52]])
def test_what_overlaps_is_not_separated(pooling: list[float]) -> None:
    found = sentence([0.5, 0.6, 0.7], pooling)
    assert "is not separated" in found
    assert "below" not in found
    assert "above" not in found


@pytest.mark.parametrize("count", [1, 2])
def test_few_seeds_claim_nothing_whatever_they_say(count: int) -> None:
    found = sentence([0.9, 0.91][:count], [0.1, 0.11][:count])
    assert "nothing is claimed" in found
    assert "below" not in found


def test_seeds_that_are_not_shared_are_not_compared() -> None:
    rows = [result("selective_scan", 0, 0.9), result("pooling", 1, 0.1)]
    assert "not compared" in conclusions(tables(rows))["within_window"][0]


def test_without_the_scan_nothing_is_compared() -> None:
    assert conclusions(tables([result("pooling", 0, 0.5)]))["all_kinds"] == [
        "There is no finished run of the selective scan to compare with."
    ]


def test_seeds_that_all_differ_alike_claim_nothing() -> None:
    found = sentence([0.5, 0.5, 0.5], [0.375, 0.375, 0.375])
    assert "all 3 seeds say the same, so that nothing is claimed" in found
    assert "below" not in found


def test_a_contender_whose_seeds_are_equal_is_no_further_apart_than_its_differences() -> None:
    found = sentence([0.8, 0.82, 0.81], [0.5, 0.5, 0.5])
    assert "one of the two has no interval" in found
    assert "touch" not in found
    assert "all 3 seeds say the same" in against_chance(counted([0.8, 0.82, 0.81], [0.5, 0.5, 0.5]))[1]


def test_chance_is_left_only_beyond_the_questions_too() -> None:
    # Seeds lie within .01 of .457; 320 questions alone leave .40 to .51 open.
    assert against_chance(counted([0.8, 0.82, 0.81], [0.457, 0.458, 0.456]))[1].startswith(
        "pooling is not told from 0.5"
    )


def test_chance_is_left_or_not() -> None:
    above, level = against_chance(counted([0.8, 0.82, 0.81], [0.5, 0.52, 0.49]))
    assert above.startswith("selective scan is above 0.5 beyond its interval")
    assert level.startswith("pooling is not told from 0.5")
    assert "below 0.5" in against_chance(counted([0.2, 0.21, 0.2], [0.5]))[0]
    assert "nothing is said about chance" in against_chance(counted([0.2, 0.21, 0.2], [0.5]))[1]
