"""Needle videos in the feature cache: the run is the same, and a video is drawn once for all rounds and runs."""

from pathlib import Path
from typing import Any, cast

import pytest
from PIL import Image
from safetensors.torch import load_file

from bimba.errors import VideoError
from bimba.needles import StreamedVideo
from bimba.training.data.dataset import TrainingDataset
from bimba.training.data.samples import read_samples
from bimba.training.features.feature_cache import FeatureCache, MadeBy
from bimba.training.loop.watching import LOG_NAME, read_log
from bimba.training.recipe.data_settings import Source, Stream
from bimba.training.recipe.settings import Recipe
from bimba.training.run import train
from cache_runs import files_of, filled
from stream_runs import STREAM, recipe_of, seeds_drawn

OPTIONS: dict[str, Any] = cast("dict[str, Any]", STREAM["options"])
FROZEN_TOWER = {
    "vision_tower": {"mode": "frozen"},
    "projector": {"mode": "full"},
    "compressor": {"mode": "full"},
    "language_model": {"mode": "full"},
}


def recipe_in(folder: Path, cache: Path | None, **changes: Any) -> Recipe:
    """Six videos in two rounds, with words of what they show; two epochs of four steps."""
    given = {"schedule__batch_size": 3, "schedule__max_steps": 8, "objective__words": {"at": "queries"}} | changes
    recipe = recipe_of(folder, train=FROZEN_TOWER, **given)
    data = recipe.data.model_dump() | {"cache": cache, "sources": [{"stream": STREAM | {"rounds": 2}}]}
    return Recipe.model_validate(recipe.model_dump() | {"data": data})


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Seeds of the videos that are drawn, once each time."""
    return seeds_drawn(monkeypatch)


def test_a_run_is_the_same_and_draws_each_video_once(tmp_path: Path, drawn: list[int]) -> None:
    results = []
    for name, cache in (("without", None), ("with", tmp_path / "cache"), ("again", tmp_path / "cache")):
        drawn.clear()
        folder = train(recipe_in(tmp_path / name, cache)).folder
        log = [(line["loss"], line["words_loss"]) for line in read_log(folder.parent / LOG_NAME)]
        results.append((load_file(folder / "model.safetensors"), log, len(drawn), len(set(drawn))))
    (weights, log, *every), *others = results
    assert every == [24, 6]
    for number, (found, found_log, *times) in enumerate(others):
        assert times == ([0, 0] if number else [6, 6])
        assert found_log == log
        assert all(found[name].equal(weights[name]) for name in weights)


def test_a_run_draws_what_it_will_see_and_no_more(tmp_path: Path, drawn: list[int]) -> None:
    train(recipe_in(tmp_path / "run", tmp_path / "cache", schedule__max_steps=1))
    assert len(drawn) == len(set(drawn)) == len(files_of(tmp_path / "cache")) <= 3
    done, _ = filled(recipe_in(tmp_path / "all", tmp_path / "cache", schedule__max_steps=1))
    assert done.num_made == 6 - len(set(drawn[: -done.num_made]))


def test_a_video_that_cannot_be_drawn_is_told_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = TrainingDataset.stream_pixels
    store = read_samples(recipe_in(tmp_path, None).data.sources, 0)
    place = store[2].place
    assert place is not None
    broken = place.video().plan.seed

    def sometimes(dataset: TrainingDataset, video: StreamedVideo) -> Any:
        if video.plan.seed == broken:
            raise VideoError("the photo is gone.", fix="bring it back.")
        return draw(dataset, video)

    monkeypatch.setattr(TrainingDataset, "stream_pixels", sometimes)
    done, _ = filled(recipe_in(tmp_path / "run", tmp_path / "cache"))
    (failure,) = done.failures
    assert failure.name in ("needles-0[2]", "needles-0[8]")  # of two rounds about the video
    assert failure.reason == "the photo is gone."
    with pytest.raises(Exception, match="the photo is gone"):
        done.cache.get(place, (0, 1, 2, 3))


def keys_of(cache: FeatureCache, **options: Any) -> str:
    """Key of the second video of a stream."""
    videos = options.pop("videos", 6)
    stream = Stream(videos=videos, rounds=2, options=OPTIONS | options)
    place = read_samples([Source(stream=stream)], 0)[1].place
    assert place is not None
    return cache.key(place, (0, 1))


def test_whatever_decides_the_pixels_gives_another_key(tmp_path: Path) -> None:
    made_by = MadeBy("tower", -1, "full", "float32", 32, (0.5,), (0.5,), (4, 8))
    cache = FeatureCache(tmp_path / "cache", made_by)
    known = keys_of(cache)
    assert keys_of(cache, videos=9) == keys_of(cache, questions=2) == known
    others: list[dict[str, Any]] = [
        {"seed": 5},
        {"seconds": 5},
        {"size": "64x48"},
        {"needles": 1},
        {"split": "test"},
        {"kinds": ["digit"]},
    ]
    assert len({known, *(keys_of(cache, **change) for change in others)}) == 1 + len(others)
    store = read_samples([Source(stream=Stream.model_validate(STREAM | {"rounds": 2}))], 0)
    first, again, second = store[0].place, store[6].place, store[1].place
    assert first is not None
    assert again is not None
    assert second is not None
    assert cache.key(first, (0, 1)) == cache.key(again, (0, 1)) != cache.key(first, (0, 2))
    assert cache.key(second, (0, 1)) != cache.key(first, (0, 1))


def test_other_pictures_in_the_folder_give_another_key(tmp_path: Path) -> None:
    picture_folder = tmp_path / "pictures"
    picture_folder.mkdir()
    for name, colour in (("cat", "red"), ("dog", "blue")):
        Image.new("RGB", (40, 40), colour).save(picture_folder / f"{name}.png")
    made_by = MadeBy("tower", -1, "full", "float32", 32, (0.5,), (0.5,), (4, 8))
    cache = FeatureCache(tmp_path / "cache", made_by)
    before = keys_of(cache, kinds=["picture"], pictures=picture_folder)
    assert keys_of(cache, kinds=["picture"], pictures=picture_folder) == before
    one, other = sorted(picture_folder.iterdir())[:2]
    one.write_bytes(other.read_bytes())
    assert keys_of(cache, kinds=["picture"], pictures=picture_folder) != before
