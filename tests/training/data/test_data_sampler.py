"""The order of training: every sample once, whatever the number of processes, long ones first if they are grouped."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bimba.training.data import BLANK, GlobalOrder

SIZES = st.integers(1, 400)
SEEDS = st.integers(0, 2**32 - 1)
CHECKED = settings(deadline=None, derandomize=True)


def lengths_of(num_samples: int, seed: int) -> list[int]:
    return [(index * 7919 + seed) % 997 for index in range(num_samples)]


def order(num_samples: int, global_batch: int, seed: int = 0, epoch: int = 0, *, grouped: bool = False) -> list[int]:
    lengths = lengths_of(num_samples, seed) if grouped else None
    made = GlobalOrder(num_samples, global_batch, seed, lengths)
    made.set_epoch(epoch)
    found = list(made)
    assert len(found) == len(made)
    return found


@CHECKED
@given(SIZES, st.integers(1, 64), SEEDS, st.integers(0, 5), st.booleans())
def test_an_epoch_has_every_sample_once(num: int, batch: int, seed: int, epoch: int, grouped: bool) -> None:
    found = order(num, batch, seed, epoch, grouped=grouped)
    assert len(found) % batch == 0
    assert len(found) - num == found.count(BLANK) < batch
    assert sorted(index for index in found if index != BLANK) == list(range(num))


@CHECKED
@given(SIZES, st.integers(1, 64), SEEDS, st.booleans())
def test_the_order_is_a_function_of_seed_and_epoch(num: int, batch: int, seed: int, grouped: bool) -> None:
    assert order(num, batch, seed, 1, grouped=grouped) == order(num, batch, seed, 1, grouped=grouped)


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    for grouped in (False, True):
        orders = [order(100, 8, seed, epoch, grouped=grouped) for seed in range(3) for epoch in range(3)]
        assert len({tuple(found) for found in orders}) == 9


def test_iterating_twice_gives_the_same_until_the_epoch_changes() -> None:
    made = GlobalOrder(50, 4, seed=1)
    first = list(made)
    assert list(made) == first
    made.set_epoch(1)
    assert list(made) != first
    made.set_epoch(0)
    assert list(made) == first


def test_the_samples_of_some_steps_are_those_that_the_epoch_begins_with() -> None:
    for grouped in (False, True):
        made = GlobalOrder(50, 4, seed=1, lengths=lengths_of(50, 1) if grouped else None)
        for steps in (3, 12):
            assert made.samples_of(steps) == sorted({*list(made)[: 4 * steps]} - {BLANK})
        assert made.samples_of(13) == made.samples_of(40) == made.samples_of(None) == list(range(50))


def dealt(found: list[int], world: int, batch: int) -> list[list[list[int]]]:
    """Batches of each process, as accelerate deals them: batch k goes to process k modulo their number."""
    batches = [found[start : start + batch] for start in range(0, len(found), batch)]
    return [batches[rank::world] for rank in range(world)]


@CHECKED
@given(SIZES, SEEDS, st.booleans())
def test_an_optimizer_step_sees_the_same_samples_with_any_number_of_processes(
    num: int, seed: int, grouped: bool
) -> None:
    global_batch, batch = 8, 2
    found = order(num, global_batch, seed, grouped=grouped)
    steps = [sorted(found[start : start + global_batch]) for start in range(0, len(found), global_batch)]
    for world in (1, 2, 4):
        accumulation = global_batch // (batch * world)
        shares = dealt(found, world, batch)
        assert {len(share) for share in shares} == {len(steps) * accumulation}
        for step, expected in enumerate(steps):
            mine = [
                index
                for share in shares
                for part in share[step * accumulation : (step + 1) * accumulation]
                for index in part
            ]
            assert sorted(mine) == expected


@CHECKED
@given(st.integers(1, 2000), st.integers(1, 16), SEEDS)
def test_the_longest_samples_come_first(num: int, batch: int, seed: int) -> None:
    lengths = lengths_of(num, seed)
    found = order(num, batch, seed, grouped=True)
    assert max(lengths[index] for index in found[:batch] if index != BLANK) == max(lengths)


def test_samples_of_like_length_are_batched_together() -> None:
    lengths = lengths_of(1000, 0)

    def padding(found: list[int]) -> int:
        batches = [[lengths[index] for index in found[start : start + 8]] for start in range(0, 1000, 8)]
        return sum(max(batch) * 8 - sum(batch) for batch in batches)

    assert padding(order(1000, 8, grouped=True)) < padding(order(1000, 8)) / 5


def test_a_batch_begins_with_its_longest_and_ends_with_blank_places() -> None:
    lengths = lengths_of(13, 0)
    found = order(13, 4, grouped=True)
    for start in range(0, len(found), 4):
        batch = [lengths[index] if index != BLANK else -1 for index in found[start : start + 4]]
        assert batch == sorted(batch, reverse=True)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"num_samples": 0}, "num_samples 0"),
        ({"global_batch": 0}, "global_batch 0"),
        ({"lengths": [1, 2]}, "2 lengths for 10 samples"),
    ],
)
def test_numbers_that_make_no_order_are_refused(arguments: dict[str, object], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        GlobalOrder(**({"num_samples": 10, "global_batch": 4, "seed": 0} | arguments))  # type: ignore[arg-type]
