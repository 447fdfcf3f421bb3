"""`benchmarks/nano/bars.py` and `comparing.py`: a bar holds from its share on, and a run is repeated within .03."""

from typing import Any

import pytest
from benchmarks.nano.bars import BARS, judge, pooled
from benchmarks.nano.comparing import differences, is_close, reproduction
from benchmarks.nano.measuring import Measured, Way

from bimba.errors import InputError
from bimba.evaluation.shares import Share, wilson_interval


def share(right: int, count: int = 100) -> Share:
    return Share(right, count, right / count, *wilson_interval(right, count))


def way(right: int = 80, of: int = 100, kinds: dict[str, Share] | None = None) -> Way:
    return Way(all=share(right, of), mean_over_kinds=0.5, by_kind=kinds or {}, by_place={}, by_held_out={})


def measured(way: Way, choice: Way | None = None, **changes: Any) -> Measured:
    values: dict[str, Any] = {
        "frames": 64,
        "videos": 10,
        "size": ((128, 72),),
        "seed": 1,
        "split": "test",
        "num_questions": 100,
        "benchmark_version": 1,
        "model_sha256": "f" * 64,
        "haystack_sha256": None,
        "refused": None,
        "machine": None,
    }
    return Measured(open=way, choice=choice, **(values | changes))


def verdict(words: str, **found: Measured) -> str:
    """Of the bar whose words begin so."""
    (one,) = [
        one for one in judge({name.lstrip("_"): value for name, value in found.items()}) if one.bar.words == words
    ]
    return one.verdict


SINGLE = [(bar.words, bar.kinds[0], round(100 * bar.least)) for bar in BARS if len(bar.kinds) == 1]


@pytest.mark.parametrize(("words", "kind", "least"), SINGLE)
def test_a_kind_holds_from_its_share_on(words: str, kind: str, least: int) -> None:
    assert verdict(words, _64=measured(way(kinds={kind: share(least)}))) == "holds"
    assert verdict(words, _64=measured(way(kinds={kind: share(least - 1)}))) == "does not hold"
    assert verdict(words, _64=measured(way())) == "not measured"


def test_the_table_of_bars_is_the_agreed_one() -> None:
    assert {kinds: least for _, kinds, least in SINGLE} == {
        "retrieval": 95, "colour": 90, "glyph": 90, "position": 80, "count": 75, "order": 60,
    }  # fmt: skip
    others = {bar.words: (bar.least, bar.way, bar.of, bar.than) for bar in BARS if len(bar.kinds) != 1}
    assert others == {
        "what comes first or last": (0.85, "open", "64", "itself"),
        "options, by likelihood": (0.85, "choice", "64", "itself"),
        "all kinds": (0.80, "open", "64", "itself"),
        "all kinds, 256 frames": (0.85, "open", "256", "times"),
        "all kinds, in videos never seen in training": (0.05, "open", "haystack", "less"),
    }


def test_first_and_last_are_counted_together() -> None:
    words = "what comes first or last"
    assert (
        verdict(words, _64=measured(way(kinds={"first": share(9, 10), "last": share(84)}))) == "does not hold"
    )  # 93 of 110
    assert verdict(words, _64=measured(way(kinds={"first": share(10, 10), "last": share(84)}))) == "holds"
    assert pooled([share(1, 3), share(2, 3)]) == Share(3, 6, 0.5, 0.187616, 0.812384)
    assert pooled([]) is None


def test_options_are_judged_by_likelihood() -> None:
    words = "options, by likelihood"
    assert verdict(words, _64=measured(way(0), way(85))) == "holds"
    assert verdict(words, _64=measured(way(100), way(84))) == "does not hold"
    assert verdict(words, _64=measured(way(100), None)) == "not measured"


def test_longer_videos_and_others_are_judged_by_what_64_frames_reach() -> None:
    base = measured(way(800, 1000))
    for words, name, least in (
        ("all kinds, 256 frames", "256", 680),
        ("all kinds, in videos never seen in training", "haystack", 750),
    ):
        for right, expected in ((least, "holds"), (least - 1, "does not hold")):
            assert verdict(words, _64=base, **{f"_{name}": measured(way(right, 1000))}) == expected
        assert verdict(words, **{f"_{name}": measured(way(1000, 1000))}) == "not measured"


def test_a_repeated_run_is_compared_kind_by_kind() -> None:
    ours = measured(way(80, kinds={"dog": share(50), "cat": share(50)}))
    theirs = measured(way(77, kinds={"dog": share(53), "cat": share(46)}), model_sha256="0" * 64)
    again = reproduction({"64": ours}, {"64": theirs})
    found = {name: is_close(difference) for name, (_, _, difference) in differences(ours, again).items()}
    assert found == {"all kinds": True, "cat": False, "dog": True}
    assert again.model_sha256 == "0" * 64


def test_runs_that_cannot_be_compared_are_refused() -> None:
    ours = measured(way())
    with pytest.raises(InputError, match="the run that it is compared with is not measured"):
        reproduction({"64": ours}, {})
    with pytest.raises(InputError, match="other questions"):
        reproduction({"64": ours}, {"64": measured(way(), seed=2)})
