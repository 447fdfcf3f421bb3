"""Shares and their intervals."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bimba.evaluation.shares import Share, wilson_interval


@pytest.mark.parametrize(
    ("right", "count", "low", "high"),
    [
        # From the formula with z = 1.96, as published tables have it: R. G. Newcombe, Statistics in Medicine 17 (1998),
        # table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_interval_is_the_published_one(right: int, count: int, low: float, high: float) -> None:
    assert wilson_interval(right, count) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 300).flatmap(lambda count: st.tuples(st.integers(0, count), st.just(count))))
def test_interval_holds_the_share_and_mirrors(numbers: tuple[int, int]) -> None:
    right, count = numbers
    low, high = wilson_interval(right, count)
    assert 0 <= low <= right / count <= high <= 1
    mirrored = wilson_interval(count - right, count)
    assert (1 - high, 1 - low) == pytest.approx(mirrored, abs=1e-12)


@pytest.mark.parametrize(("right", "count"), [(0, 0), (3, 2), (-1, 2)])
def test_no_questions_have_no_share(right: int, count: int) -> None:
    with pytest.raises(ValueError, match="no share"):
        wilson_interval(right, count)


def test_share_counts_what_is_right() -> None:
    share = Share.of([True, False, True, True])
    assert (share.right, share.count, share.accuracy) == (3, 4, 0.75)
    assert share.to_dict().keys() == {"right", "count", "accuracy", "low", "high"}
