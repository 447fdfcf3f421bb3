"""A recipe, its samples, and a model's config and processor in; the data set of that kind of model out."""

from typing import cast

from bimba.inference.request import context_length
from bimba.models.bimba.processing import BimbaProcessor
from bimba.models.kinds import VideoConfig, VideoProcessor
from bimba.models.vamba.processing import VambaProcessor
from bimba.training.data.dataset import TrainingDataset
from bimba.training.data.example_dataset import ExampleDataset
from bimba.training.data.store import SampleStore
from bimba.training.data.vamba_dataset import VambaDataset
from bimba.training.recipe.settings import Recipe


def open_dataset(recipe: Recipe, store: SampleStore, config: VideoConfig, processor: VideoProcessor) -> ExampleDataset:
    """The data set of a recipe: samples longer than `data.max_tokens`, or than the model reads, are failures."""
    if isinstance(processor, VambaProcessor):
        longest = _longest(recipe, config)
        return VambaDataset(store, processor, recipe.frames, recipe.data.labels, longest, seed=recipe.schedule.seed)
    return open_bimba_dataset(recipe, store, config, processor)


def open_bimba_dataset(
    recipe: Recipe, store: SampleStore, config: VideoConfig, processor: VideoProcessor
) -> TrainingDataset:
    """The same for a recipe of a BIMBA."""
    known = cast("BimbaProcessor", processor)
    longest = _longest(recipe, config)
    return TrainingDataset(store, known, recipe.frames, recipe.data.labels, longest, words=recipe.objective.words)


def _longest(recipe: Recipe, config: VideoConfig) -> int | None:
    return recipe.data.max_tokens or context_length(config)
