"""Tables against a naive count of the same lines."""

import random
from typing import Any

import pytest
from evaluation_runs import line

from bimba.evaluation.needles import Line
from bimba.evaluation.needles.tables import tables, tenth_of

KINDS = ("colour", "count", "unknown")


def random_lines() -> list[Line]:
    """Lines of which a table can hold every case."""
    rng = random.Random(0)
    lines = []
    for number in range(300):
        kind = rng.choice(KINDS)
        unknown = kind == "unknown"
        num_evidence = 0 if unknown else rng.randint(1, 2)
        options = () if unknown else ("blue", "red", "green")[: rng.randint(2, 3)]
        lines.append(
            line(
                said=rng.choice(("red", "Blue.", "I cannot tell")),
                scores=tuple(rng.random() for _ in options),
                id=str(number),
                kind=kind,
                answer="I cannot tell" if unknown else "red",
                options=options,
                frames=rng.choice((64, 128)),
                num_needles=rng.randint(2, 12),
                num_evidence=num_evidence,
                place=rng.random() if num_evidence else None,
                variant=rng.choice(("overlaid", "inserted", "")) if num_evidence else "",
                held_out=rng.choice((True, False, None)) if num_evidence else None,
            )
        )
    return lines


@pytest.fixture(scope="module")
def lines() -> list[Line]:
    return random_lines()


def outcome(entry: Line, way: str) -> bool | None:
    return entry.right if way == "open" else entry.right_by_likelihood


def recount(lines: list[Line], way: str, **wanted: Any) -> tuple[int, int]:
    """How many are right of how many, counted one by one."""
    right = count = 0
    for entry in lines:
        values = entry.model_dump() | {"tenth": None if entry.place is None else int(entry.place * 10)}
        if outcome(entry, way) is not None and all(values[name] == value for name, value in wanted.items()):
            count += 1
            right += bool(outcome(entry, way))
    return right, count


def counts(share: dict[str, Any]) -> tuple[int, int]:
    assert share["accuracy"] == pytest.approx(share["right"] / share["count"], abs=1e-6)
    assert share["low"] <= share["accuracy"] <= share["high"]
    return share["right"], share["count"]


@pytest.mark.parametrize("way", ["open", "choice"])
def test_every_table_is_what_a_naive_count_gives(lines: list[Line], way: str) -> None:
    found = tables(lines)[way]
    assert counts(found["all"]["micro"]) == recount(lines, way)
    kinds = KINDS if way == "open" else KINDS[:2]
    assert set(found["by_kind"]) == set(kinds)
    for kind in kinds:
        assert counts(found["by_kind"][kind]) == recount(lines, way, kind=kind)
        for frames in (64, 128):
            share = found["by_kind_and_frames"][kind][str(frames)]
            assert counts(share) == recount(lines, way, kind=kind, frames=frames)
    for frames in (64, 128):
        assert counts(found["by_frames"][str(frames)]) == recount(lines, way, frames=frames)
        places = found["by_frames_and_place"][str(frames)]
        for tenth in range(10):
            expected = recount(lines, way, frames=frames, tenth=tenth, num_evidence=1)
            assert counts(places[str(tenth)]) == expected
    for variant, name in (("overlaid", "overlaid"), ("inserted", "inserted")):
        assert counts(found["by_variant"][name]) == recount(lines, way, variant=variant)
    with_evidence = [entry for entry in lines if entry.num_evidence]
    assert counts(found["by_variant"]["mixed"]) == recount(with_evidence, way, variant="")
    for held_out, name in ((True, "held out"), (False, "not held out")):
        assert counts(found["by_held_out"][name]) == recount(lines, way, held_out=held_out)
    for num_needles in range(2, 13):
        assert counts(found["by_num_needles"][str(num_needles)]) == recount(lines, way, num_needles=num_needles)


def test_mean_over_kinds_counts_rare_kinds_as_much_as_frequent_ones() -> None:
    lines = [line("red", kind="colour")] * 9 + [line("blue", kind="shape")]
    found = tables(lines)["open"]["all"]
    assert found["mean_over_kinds"] == 0.5
    assert found["micro"]["accuracy"] == 0.9


def test_numbers_are_in_order_of_number(lines: list[Line]) -> None:
    assert list(tables(lines)["open"]["by_num_needles"]) == [str(number) for number in range(2, 13)]


def test_refusals_are_counted_where_there_was_an_answer(lines: list[Line]) -> None:
    refusals = tables(lines)["refusals"]
    answerable = [entry for entry in lines if entry.kind != "unknown"]
    assert refusals["count"] == len(answerable)
    assert refusals["refused"] == sum(entry.said == "I cannot tell" for entry in answerable)


def test_guessing_gives_what_the_options_allow() -> None:
    two = line(options=("blue", "red"))
    three = line(kind="count", options=("1", "red", "3"), scores=(1.0, 2.0, 3.0))
    chance = tables([two, two, three])["choice"]["chance"]
    assert chance["by_kind"] == {"colour": 0.5, "count": pytest.approx(1 / 3, abs=1e-6)}
    assert chance["all"]["micro"] == pytest.approx((0.5 + 0.5 + 1 / 3) / 3, abs=1e-6)


def test_questions_without_options_have_no_choice() -> None:
    found = tables([line("I cannot tell", (), kind="unknown", options=(), answer="I cannot tell", num_evidence=0)])
    assert found["choice"] is None
    assert found["refusals"] is None
    assert found["open"]["all"]["micro"]["right"] == 1


@pytest.mark.parametrize(("place", "tenth"), [(0.0, 0), (0.099, 0), (0.1, 1), (0.95, 9), (1.0, 9)])
def test_places_are_counted_in_tenths(place: float, tenth: int) -> None:
    assert tenth_of(place) == tenth


def test_the_likeliest_option_is_chosen() -> None:
    assert (line(scores=(-2.0, -1.0)).chosen, line(scores=(-2.0, -1.0)).right_by_likelihood) == ("red", True)
    assert (line(scores=(-1.0, -2.0)).chosen, line(scores=(-1.0, -2.0)).right_by_likelihood) == ("blue", False)


def test_a_refusal_is_right_where_the_video_does_not_tell() -> None:
    refused = line("I cannot tell.")
    assert (refused.right, refused.refused) == (False, True)
    unknown = line("i cannot tell", (), kind="unknown", answer="I cannot tell", options=())
    assert (unknown.right, unknown.refused, unknown.chosen) == (True, True, None)
