"""A recipe in, the cache that its run takes features from out; and the command that fills it without training."""

from pathlib import Path

from bimba.errors import InputError
from bimba.models.bimba.modeling import BimbaForConditionalGeneration
from bimba.models.bimba.processing import BimbaProcessor
from bimba.models.bimba.towers import tower_width
from bimba.training.data.dataset import TrainingDataset
from bimba.training.data.opening import open_bimba_dataset
from bimba.training.data.samples import prepare_sources, read_samples
from bimba.training.features.feature_cache import FeatureCache, MadeBy
from bimba.training.features.filling import Filled, Machine, Plan, fill_cache, look_up
from bimba.training.features.tower import tower_digest
from bimba.training.loop.arguments import training_arguments
from bimba.training.loop.environment import check_environment, ended_properly, first_decides, gathered, is_first
from bimba.training.loop.watching import Silent, Watcher
from bimba.training.model.start import start_bimba
from bimba.training.recipe.settings import Recipe


def open_cache(recipe: Recipe, model: BimbaForConditionalGeneration, processor: BimbaProcessor) -> FeatureCache:
    """The cache of a recipe, for the model that it starts from.

    Raises:
        InputError: the recipe names none, or no process holds the whole tower.
    """
    return FeatureCache(cache_folder(recipe), made_by(model, processor, recipe))


def cache_folder(recipe: Recipe) -> Path:
    """Where a recipe keeps features.

    Raises:
        InputError: it names no folder.
    """
    if recipe.data.cache is None:
        raise InputError("the recipe names no folder for features.", fix="name one: data.cache=DIR")
    return recipe.data.cache


def made_by(model: BimbaForConditionalGeneration, processor: BimbaProcessor, recipe: Recipe) -> MadeBy:
    """What decides the features of a run, the same in all its processes."""
    config = model.config
    return MadeBy(
        tower=gathered([tower_digest(model.vision_tower)])[0],
        layer=int(config.vision_feature_layer),
        strategy=str(config.vision_feature_select_strategy),
        precision=recipe.compute.precision,
        image_size=processor.image_size,
        image_mean=tuple(processor.image_mean),
        image_std=tuple(processor.image_std),
        feature_shape=(config.patches_per_side**2, tower_width(config.vision_config)),
    )


def cache_features(recipe: Recipe, watcher: Watcher | None = None) -> Filled:
    """Fill the cache of a recipe without training; launched together, several processes share the work.

    Args:
        recipe: see `bimba.training.recipe.reading.read_recipe`.
        watcher: told what goes on.

    Raises:
        InputError: the recipe names no cache, or settings do not fit.
        CheckpointError: the model cannot be read.
        TrainingError: the features do not fit on the disk, or cannot be written.
    """
    watcher = watcher or Silent()
    with ended_properly():
        model, dataset, cache, machine = _prepared(recipe, watcher)
        return fill_cache(model, dataset, cache, machine, watcher)


def plan_features(recipe: Recipe, watcher: Watcher | None = None) -> Plan:
    """What `cache_features` would make, and how large it would be; nothing but hashes of files is written.

    Raises:
        InputError, CheckpointError: as there.
    """
    watcher = watcher or Silent()
    with ended_properly():
        model, dataset, cache, machine = _prepared(recipe, watcher)
        return look_up(model, dataset, cache, machine, watcher)


def _prepared(
    recipe: Recipe, watcher: Watcher
) -> tuple[BimbaForConditionalGeneration, TrainingDataset, FeatureCache, Machine]:
    """Model, samples and cache as a run has them."""
    cache_folder(recipe)  # nothing is read for a recipe without one
    check_environment(on_cpu=recipe.compute.device == "cpu")
    device = training_arguments(recipe).device
    data = recipe.data
    first_decides(lambda: prepare_sources(data.sources, watcher.stage))
    store = read_samples(data.sources, recipe.schedule.seed, on_progress=watcher.stage if is_first() else None)
    model, processor = start_bimba(recipe)  # recipes of others name no cache
    dataset = open_bimba_dataset(recipe, store, model.config, processor)
    return model, dataset, open_cache(recipe, model, dataset.processor), Machine.of(recipe, device)
