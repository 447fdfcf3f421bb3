"""Training from the cache is training without it, and nothing is decoded or seen twice."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from bimba.errors import InputError, TrainingError, VideoError
from bimba.models.bimba.modeling import BimbaForConditionalGeneration
from bimba.models.bimba.processing import BimbaProcessor
from bimba.models.bimba.tiny import tiny_config
from bimba.training.data.dataset import TrainingDataset
from bimba.training.data.samples import read_samples
from bimba.training.features import filling
from bimba.training.features.caching import open_cache
from bimba.training.features.content_hashes import ContentHashes
from bimba.training.features.feature_cache import FeatureCache
from bimba.training.features.filling import FILLING, LOOKING
from bimba.training.features.tower import tower_digest
from bimba.training.loop.trainer import BimbaTrainer
from bimba.training.model.start import start_bimba
from bimba.training.recipe.settings import Recipe
from bimba.training.run import train
from cache_runs import KINDS, NUM_CLIPS, Told, files_of, filled, losses, recipe_of
from mixed_samples import BROKEN, IMAGE, TEXT, VIDEO
from small_runs import plain


@pytest.fixture
def own_media(media: Path, tmp_path: Path) -> Path:
    """A copy, to be changed."""
    return Path(shutil.copytree(media, tmp_path / "media"))


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of frames that the vision tower sees, once each time."""
    counts: list[int] = []
    original = BimbaForConditionalGeneration.get_vision_features

    def get_vision_features(self: Any, pixels: torch.Tensor, **options: Any) -> torch.Tensor:
        counts.append(len(pixels))
        return original(self, pixels, **options)

    monkeypatch.setattr(BimbaForConditionalGeneration, "get_vision_features", get_vision_features)
    return counts


@pytest.mark.filterwarnings("ignore:Module bimba was previously imported")  # coverage, in a worker that was forked
@pytest.mark.parametrize(
    ("precision", "batch_size", "workers"),
    [("float32", 2, 0), ("float32", 4, 2), ("bf16", 2, 0)],
)
def test_losses_and_weights_are_those_of_training_without_a_cache(
    media: Path, tmp_path: Path, precision: str, batch_size: int, workers: int
) -> None:
    changes: dict[str, Any] = {
        "compute__precision": precision,
        "schedule__batch_size": batch_size,
        "data__workers": workers,
    }
    train(recipe_of(tmp_path / "without", media, **changes))
    train(recipe_of(tmp_path / "with", media, **changes, data__cache=tmp_path / "cache"))
    assert losses(tmp_path / "with") == losses(tmp_path / "without")
    assert len(losses(tmp_path / "with")) == 3 * len(KINDS) // batch_size
    ours, theirs = (load_file(tmp_path / run / "model" / "model.safetensors") for run in ("with", "without"))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_each_clip_is_decoded_and_seen_once(media: Path, tmp_path: Path, decoded: list[str], seen: list[int]) -> None:
    train(recipe_of(tmp_path / "run", media, data__cache=tmp_path / "cache"))
    assert len(decoded) == len(set(decoded)) == NUM_CLIPS
    assert sorted(seen) == [1, 1, 1, 4, 4, 4]  # a blank frame, two images, three videos
    assert len(files_of(tmp_path / "cache")) == NUM_CLIPS
    decoded.clear()
    seen.clear()
    train(recipe_of(tmp_path / "another", media, data__cache=tmp_path / "cache"))
    assert not decoded
    assert not seen


def test_going_on_computes_nothing_again(media: Path, tmp_path: Path, decoded: list[str], seen: list[int]) -> None:
    changes: dict[str, Any] = {"data__cache": tmp_path / "cache", "schedule__epochs": 1, "save__every": 1}
    recipe = recipe_of(tmp_path / "run", media, **changes)
    train(recipe)
    shutil.rmtree(tmp_path / "run" / "model")
    shutil.rmtree(tmp_path / "run" / f"checkpoint-{len(KINDS) // 2}")
    decoded.clear()
    seen.clear()
    train(recipe)
    assert not decoded
    assert not seen


def test_texts_alone_are_trained_with_blank_features(media: Path, tmp_path: Path, seen: list[int]) -> None:
    changes: dict[str, Any] = {"schedule__epochs": 1}
    train(recipe_of(tmp_path / "without", media, [TEXT] * 4, **changes))
    seen.clear()
    train(recipe_of(tmp_path / "with", media, [TEXT] * 4, **changes, data__cache=tmp_path / "cache"))
    assert seen == []
    assert losses(tmp_path / "with") == losses(tmp_path / "without")


def test_a_watcher_is_told(media: Path, tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path / "run", media, data__cache=tmp_path / "cache")
    done, told = filled(recipe)
    assert (done.num_made, done.plan.num_clips, done.failures) == (NUM_CLIPS, NUM_CLIPS, ())
    assert [(done, total) for name, done, total in told.stages if name == LOOKING] == [(n, 8) for n in range(1, 9)]
    assert [(done, total) for name, done, total in told.stages if name == FILLING] == [(n, 5) for n in range(1, 6)]
    assert told.said == [f"features of 5 clips in {tmp_path / 'cache'}: 0 were there, 5 were made"]
    assert done.num_bytes == sum(file.stat().st_size for file in files_of(tmp_path / "cache"))
    assert done.plan.num_bytes == (3 * 4 + 2) * 25 * 48 * 4
    assert 0 < done.num_bytes - done.plan.num_bytes < NUM_CLIPS * 2000
    again, _ = filled(recipe)
    assert (again.num_made, again.num_bytes, again.plan.num_clips) == (0, 0, NUM_CLIPS)


def test_other_frames_files_and_weights_are_made_beside_those_that_are_there(own_media: Path, tmp_path: Path) -> None:
    def made(run: str, **changes: Any) -> int:
        return filled(recipe_of(tmp_path / run, own_media, data__cache=tmp_path / "cache", **changes))[0].num_made

    assert made("first") == NUM_CLIPS
    assert made("fewer-frames", frames__count=2) == NUM_CLIPS - 2  # an image has one frame in any case
    assert made("other-weights", schedule__seed=1) == NUM_CLIPS
    one, other = sorted(own_media.glob("*.mp4"))[:2]
    shutil.copy(own_media / "image-0.png", own_media / "image-1.png")
    one.rename(own_media / "moved.mp4")
    other.rename(one)
    (own_media / "moved.mp4").rename(other)
    assert made("moved") == 0
    other.write_bytes(other.read_bytes() + b"\0")
    assert made("changed") == 1
    assert made("first-again") == 0


def test_an_interrupted_fill_goes_on(media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = recipe_of(tmp_path / "run", media, data__cache=tmp_path / "cache")
    put = FeatureCache.put

    def stopped(self: FeatureCache, *words: Any) -> int:
        if len(files_of(tmp_path / "cache")) == 2:
            raise KeyboardInterrupt
        return put(self, *words)

    with monkeypatch.context() as patch:
        patch.setattr(FeatureCache, "put", stopped)
        with pytest.raises(KeyboardInterrupt):
            train(recipe)
    before = {file: file.stat().st_mtime_ns for file in files_of(tmp_path / "cache")}
    assert len(before) == 2
    done, told = filled(recipe)
    assert done.num_made == NUM_CLIPS - 2
    assert "2 were there, 3 were made" in told.said[0]
    assert all(file.stat().st_mtime_ns == time for file, time in before.items())


def test_a_damaged_file_is_made_again(media: Path, tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path / "run", media, data__cache=tmp_path / "cache")
    filled(recipe)
    file = files_of(tmp_path / "cache")[2]
    whole = load_file(file)["features"].clone()  # not a view of the file
    file.write_bytes(file.read_bytes()[:-1])
    assert filled(recipe)[0].num_made == 1
    assert torch.equal(load_file(file)["features"], whole)


def test_unreadable_samples_are_told_once_and_counted_by_training(own_media: Path, tmp_path: Path) -> None:
    """One file is missing; of another, which two samples show, the tables are whole and the frames are not."""
    spoilt = min(own_media.glob("*.mp4"))
    content = bytearray(spoilt.read_bytes())
    start = content.index(b"mdat")
    size = int.from_bytes(content[start - 4 : start])
    content[start + 4 : start - 4 + size] = bytes(size - 8)
    spoilt.write_bytes(content)
    kinds = [VIDEO, BROKEN, VIDEO, VIDEO, IMAGE, TEXT]
    changes: dict[str, Any] = {"data__max_failed": 1.0, "schedule__epochs": 1}
    without = train(recipe_of(tmp_path / "without", own_media, kinds, **changes))
    told = Told()
    recipe = recipe_of(tmp_path / "with", own_media, kinds, **changes, data__cache=tmp_path / "cache")
    outcome = train(recipe, told)
    reasons = {name.partition("[")[2]: reason for name, reason in outcome.failed.items()}
    assert reasons == {name.partition("[")[2]: reason for name, reason in without.failed.items()}
    assert len(reasons) == 3
    assert losses(tmp_path / "with") == losses(tmp_path / "without")
    (line,) = [line for line in told.said if "cannot be read" in line]
    assert line.startswith("2 samples or files cannot be read and have no features: ")
    assert "missing-1.mp4 does not exist" in line
    assert str(spoilt) in line


def test_too_small_a_disk_is_refused_before_anything_is_computed(
    media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decoded: list[str]
) -> None:
    recipe = recipe_of(tmp_path / "run", media, data__cache=tmp_path / "not" / "there" / "yet")
    monkeypatch.setattr(filling, "_frame_bytes", lambda *_: 10**10)
    monkeypatch.setattr(filling, "free_bytes", lambda _: 5 * 10**10)
    with pytest.raises(TrainingError, match=r"features of 5 clips take 140.0 GB; .*yet has 50.0 GB left"):
        train(recipe)
    assert decoded == []
    assert not files_of(tmp_path / "not" / "there" / "yet")


def test_a_cache_that_cannot_be_written_stops_the_run(media: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(TrainingError, match=r"could not be written"):
        train(recipe_of(tmp_path / "run", media, data__cache=tmp_path / "file"))


def test_a_file_that_is_gone_while_training_makes_its_sample_unreadable(
    media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not decoded after all, since a batch holds pixels or features."""
    recipe = recipe_of(tmp_path / "run", media, data__cache=tmp_path / "cache", data__max_failed=1.0)
    original = BimbaTrainer.resume

    def lose_one(self: BimbaTrainer, checkpoint: Path | None) -> None:
        files_of(tmp_path / "cache")[0].unlink()
        original(self, checkpoint)

    monkeypatch.setattr(BimbaTrainer, "resume", lose_one)
    outcome = train(recipe)
    assert 1 <= len(outcome.failed) <= 2
    assert all("has no features in" in reason for reason in outcome.failed.values())


def test_a_file_whose_content_cannot_be_read_leaves_its_samples_out(
    media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = ContentHashes.of

    def of(self: ContentHashes, path: Path) -> str:
        if path.name == "image-0.png":
            raise VideoError(f"{path} cannot be read: no.", fix="none.")
        return original(self, path)

    monkeypatch.setattr(ContentHashes, "of", of)
    done, _ = filled(recipe_of(tmp_path / "run", media, data__cache=tmp_path / "cache"))
    assert done.num_made == NUM_CLIPS - 1
    assert [failure.name for failure in done.failures] == ["run.json[6] (id image-6)"]


def prepared(recipe: Recipe) -> tuple[BimbaForConditionalGeneration, BimbaProcessor, FeatureCache]:
    model, processor = start_bimba(recipe)
    return model, processor, open_cache(recipe, model, processor)


def test_filling_leaves_the_model_and_the_random_numbers_as_they_were(media: Path, tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path / "run", media, data__cache=tmp_path / "cache")
    model, processor, cache = prepared(recipe)
    dataset = TrainingDataset(read_samples(recipe.data.sources, 0), processor, recipe.frames)
    model.train()
    state = torch.get_rng_state()
    machine = filling.Machine.of(recipe, torch.device("cpu"))
    filling.fill_cache(model, dataset, cache, machine, Told())
    assert torch.equal(torch.get_rng_state(), state)
    assert model.vision_tower.training
    assert not torch.is_inference_mode_enabled()
    assert dataset.cache is None


def test_a_digest_knows_weights_and_settings(media: Path, tmp_path: Path) -> None:
    model, _ = start_bimba(recipe_of(tmp_path / "run", media))
    tower = model.vision_tower
    first = tower_digest(tower)
    again, _ = start_bimba(recipe_of(tmp_path / "run", media))
    again.vision_tower.config.dtype = torch.bfloat16
    again.vision_tower.config.transformers_version = "4.0"
    again.vision_tower.config._name_or_path = "elsewhere"
    assert tower_digest(again.vision_tower) == first
    again.vision_tower.config.layer_norm_eps = 1e-3
    assert tower_digest(again.vision_tower) != first
    parameter = next(tower.parameters())
    with torch.no_grad():
        parameter.view(-1)[7] += 1e-4
    assert tower_digest(tower) != first
    assert tower_digest(tower.to(torch.bfloat16)) != first


def test_spread_weights_are_refused(media: Path, tmp_path: Path) -> None:
    model, _ = start_bimba(recipe_of(tmp_path / "run", media))
    for parameter in model.vision_tower.parameters():
        parameter.data = torch.empty(0)
    with pytest.raises(InputError, match=r"spread over processes"):
        tower_digest(model.vision_tower)


def test_a_clip_model_with_another_normalisation_has_a_cache_too(media: Path, tmp_path: Path) -> None:
    config = tiny_config(320)
    vision = plain(config.vision_config) | {"model_type": "clip_vision_model", "projection_dim": 8}
    vision.pop("vision_use_head")
    start = {
        "start": "scratch",
        "config": {
            "vision_config": vision,
            "text_config": plain(config.text_config),
            "vision_feature_select_strategy": "default",
        },
    }
    changes: dict[str, Any] = {"model": start, "schedule__epochs": 1}
    train(recipe_of(tmp_path / "without", media, **changes))
    train(recipe_of(tmp_path / "with", media, **changes, data__cache=tmp_path / "cache"))
    assert losses(tmp_path / "with") == losses(tmp_path / "without")
