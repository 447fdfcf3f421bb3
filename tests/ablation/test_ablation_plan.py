"""Which runs there are, and that their recipes differ in nothing but the compressor."""

from pathlib import Path
from typing import Any

import pytest
from ablation_runs import recipes

from bimba.ablation.contenders import BASELINE, COMPRESSION, CONTENDERS, SHAPES
from bimba.ablation.measuring import FRAMES, PAIR, WINDOW, measurements
from bimba.ablation.plan import Run, plan_runs, recipe_of
from bimba.ablation.running import sizes_of
from bimba.ablation.settings import Settings, checked, parse_factors
from bimba.errors import InputError
from bimba.shipped_recipes import shipped_ablation
from bimba.training.data.sampler import GlobalOrder
from bimba.training.data.streams import open_stream
from bimba.training.recipe.settings import Checkpoint, Recipe
from needle_model import make_needle_model

OF_ITS_OWN = {"pooling": {"mode": "frozen"}, "none": {"mode": "frozen"}}
"""How a compressor without weights is trained."""


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_needle_model(tmp_path_factory.mktemp("start") / "model")


def model_of(recipe: Recipe) -> Checkpoint:
    assert isinstance(recipe.model, Checkpoint)
    return recipe.model


def test_every_contender_has_a_recipe_and_every_recipe_a_contender() -> None:
    assert sorted(shipped_ablation()) == sorted(["base", *CONTENDERS])
    assert next(iter(CONTENDERS)) == BASELINE


@pytest.mark.parametrize("name", CONTENDERS)
def test_a_contender_differs_from_the_scan_in_its_compressor_alone(name: str) -> None:
    found = recipes((BASELINE, name))
    scan, other = found[BASELINE], found[name]
    changed: dict[str, Any] = {"output": scan.output, "model": scan.model, "train": scan.train}
    assert other.model_copy(update=changed) == scan
    model = {"compressor": model_of(scan).compressor}
    if name == "none":
        model["settings"] = model_of(scan).settings
    assert model_of(other).model_copy(update=model) == scan.model
    frozen = other.train.part("compressor").model_dump(exclude_unset=True)
    assert frozen == OF_ITS_OWN.get(name, {"mode": "full"})
    assert other.train.model_copy(update={"compressor": scan.train.part("compressor")}) == scan.train
    assert other.train.vision_tower.mode == "frozen"


def test_no_two_contenders_compress_alike() -> None:
    settings = [str(model_of(recipe).compressor) for recipe in recipes(tuple(CONTENDERS)).values()]
    assert len(set(settings)) == len(CONTENDERS)


def test_all_but_none_leave_the_same_number_of_tokens(start: Path) -> None:
    sizes = {name: sizes_of(recipe) for name, recipe in recipes(tuple(CONTENDERS), str(start)).items()}
    assert {tokens for name, (tokens, _) in sizes.items() if name != "none"} == {32}
    assert sizes["none"][0] == 32 * COMPRESSION
    assert {name for name, (_, weights) in sizes.items() if not weights} == {"pooling", "none"}


@pytest.mark.parametrize("factor", SHAPES)
@pytest.mark.parametrize("name", [BASELINE, "pooling"])
def test_a_compression_leaves_so_many_times_fewer_tokens(name: str, factor: int, start: Path) -> None:
    recipe = recipe_of(Run(name, factor, 1), Settings(start=str(start)), Path("out"))
    assert sizes_of(recipe)[0] * factor == FRAMES * 4 * 4
    assert recipe.schedule.seed == 1


def test_the_pairs_window_lies_within_one_pooled_window_at_every_compression() -> None:
    assert all(frames % WINDOW == 0 for frames, _ in SHAPES.values())
    scan = recipes((BASELINE,))[BASELINE]
    [_, pairs] = scan.data.sources
    assert pairs.stream is not None
    assert pairs.stream.options["pair_window"] == WINDOW == model_of(scan).settings["temporal_pooling"]
    assert scan.frames.count == FRAMES == pairs.stream.options["seconds"]
    assert measurements("m", 4)["within_window"].pair_window == WINDOW


def test_half_of_the_videos_ask_for_the_order_of_a_pair_that_shares_a_window() -> None:
    plain, pairs = (source.stream for source in recipes((BASELINE,))[BASELINE].data.sources)
    assert plain is not None
    assert pairs is not None
    assert plain.videos == pairs.videos
    stream = open_stream(pairs)
    mentioned_first = 0
    for index in range(60):
        [pair] = [question for question in stream[index].record.questions if question.kind == PAIR]
        one, other = pair.evidence
        assert one.first_frame // WINDOW == other.first_frame // WINDOW
        assert [needle.last_frame - needle.first_frame for needle in pair.evidence] == [0, 0]
        [wrong] = [option for option in pair.options if option != pair.answer]
        mentioned_first += pair.question.index(pair.answer) < pair.question.index(wrong)
    assert 20 <= mentioned_first <= 40, "the wording does not tell"


def test_all_contenders_see_the_same_videos_in_the_same_order_and_another_seed_others() -> None:
    every = recipes(tuple(CONTENDERS)).values()
    assert len({str(recipe.data) for recipe in every}) == 1
    assert len({(recipe.schedule.seed, recipe.schedule.batch_size) for recipe in every}) == 1
    orders = [list(GlobalOrder(40000, 8, seed))[:3200] for seed in (0, 0, 1)]
    assert orders[0] == orders[1]
    assert len({*orders[0]} & {*orders[2]}) < 400


def test_runs_of_a_seed_come_before_those_of_the_next() -> None:
    runs = plan_runs(checked(seeds=2, contenders=["pooling"], compressions=[4, 16]))
    assert [run.name for run in runs] == [
        "selective_scan-16x-0", "pooling-16x-0", "selective_scan-16x-1", "pooling-16x-1",
        "selective_scan-4x-0", "pooling-4x-0", "selective_scan-4x-1", "pooling-4x-1",
    ]  # fmt: skip
    assert len(plan_runs(Settings())) == 3 * (9 + 4 * 2)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"seeds": 0}, "seeds is 0"),
        ({"steps": 0}, "steps is 0"),
        ({"videos": -1}, "videos is -1"),
        ({"start": ""}, "no name"),
        ({"contenders": []}, "no contender is named"),
        ({"contenders": ["poolin"]}, "did you mean pooling"),
        ({"contenders": ["xyzzy"]}, "They are selective_scan, one_direction"),
        ({"compressions": [5]}, "there is no compression 5"),
    ],
)
def test_what_cannot_be_is_refused(arguments: dict[str, Any], problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        checked(**arguments)


def test_factors_are_numbers_with_or_without_a_cross() -> None:
    assert parse_factors("4, 16x,") == (4, 16)
    assert parse_factors("") == ()
    with pytest.raises(InputError, match="no list of whole numbers"):
        parse_factors("few")
