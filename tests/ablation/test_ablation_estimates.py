"""Means over seeds and their intervals, beside published and hand computed numbers."""

import pytest

from bimba.ablation.estimates import Estimate, paired, t_quantile, t_share


@pytest.mark.parametrize(
    ("degrees", "quantile"),
    # Two-sided 5 %, as every printed table has them.
    [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (5, 2.571), (9, 2.262), (10, 2.228), (29, 2.045), (30, 2.042)],
)
def test_quantiles_are_those_of_printed_tables(degrees: int, quantile: float) -> None:
    assert t_quantile(degrees) == pytest.approx(quantile, abs=5e-4)
    assert t_share(t_quantile(degrees), degrees) == pytest.approx(0.95)


def test_a_mean_of_three_has_the_interval_that_a_hand_computes() -> None:
    # Mean .7, standard deviation .1, standard error .1 / sqrt(3) = .057735, times 4.302653.
    found = Estimate.of([0.6, 0.7, 0.8])
    assert found.mean == 0.7
    assert found.low == pytest.approx(0.7 - 0.248414, abs=2e-6)
    assert found.high == pytest.approx(0.7 + 0.248414, abs=2e-6)


def test_an_interval_ends_where_shares_end() -> None:
    found = Estimate.of([0.9, 1.0, 0.95])
    assert found.high == 1.0


def test_seeds_that_are_equal_have_no_interval_of_no_width() -> None:
    found = Estimate.of([0.5, 0.5, 0.5])
    assert found == Estimate(0.5, None, None, (0.5, 0.5, 0.5))
    assert not found.excludes(0.6)


@pytest.mark.parametrize("count", [1, 2])
def test_fewer_than_three_seeds_have_no_interval(count: int) -> None:
    found = Estimate.of([0.4, 0.6][:count])
    assert (found.low, found.high) == (None, None)
    assert not found.excludes(100.0)
    assert not found.is_apart_from(Estimate.of([0.89, 0.9, 0.91]))


def test_nothing_has_no_mean() -> None:
    with pytest.raises(ValueError, match="no values"):
        Estimate.of([])


def test_differences_are_of_runs_with_the_same_seed() -> None:
    # Seeds scatter by .2, the differences by .01.
    ours, theirs = {0: 0.5, 1: 0.7, 2: 0.9, 3: 0.1}, {0: 0.41, 1: 0.6, 2: 0.79, 7: 0.9}
    found = paired(ours, theirs)
    assert found is not None
    assert found.values == (-0.09, -0.1, -0.11)
    half = 4.302653 * 0.01 / 3**0.5
    assert found.low == pytest.approx(-0.1 - half, abs=2e-6)
    assert found.high == pytest.approx(-0.1 + half, abs=2e-6)
    assert found.excludes(0.0)
    assert paired({0: 0.5}, {1: 0.5}) is None
