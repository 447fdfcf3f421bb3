"""A recipe and its model in; how many questions and answer tokens its first videos had out.

Logs count videos and tokens, not questions. To plan every video of a run again takes an hour, so that the first ones of
its order, which is random, stand for all.
"""

from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from bimba.models.bimba.configuration import BimbaConfig
from bimba.models.bimba.processing import BimbaProcessor
from bimba.training.data.example import Failure
from bimba.training.data.example_dataset import BLANK, ExampleDataset
from bimba.training.data.opening import open_dataset
from bimba.training.data.sampler import GlobalOrder
from bimba.training.data.samples import read_samples
from bimba.training.recipe.settings import Recipe

NUM_COUNTED = 300
"""Videos whose questions are counted."""


@dataclass(frozen=True)
class Counted:
    """Of some videos of a run.

    Attributes:
        videos: how many.
        frames: that are seen of them.
        video_tokens: that these are for the language model.
        questions: whose answers are learned.
        answer_tokens: tokens that are learned.
        different: videos of the whole run, each counted once however often it was asked about.
    """

    videos: int
    frames: int
    video_tokens: int
    questions: int
    answer_tokens: int
    different: int


def count_questions(recipe: Recipe, model: Path, num_samples: int) -> Counted:
    """Plan the first videos of a run's order once more; no frame is drawn.

    Args:
        recipe: of the run.
        model: that it ended with.
        num_samples: that were trained on.

    Raises:
        InputError: the recipe's data cannot be had.
        ValueError: its samples are no needle videos.
    """
    store = read_samples(recipe.data.sources, recipe.schedule.seed)
    config = BimbaConfig.from_pretrained(model)
    dataset = open_dataset(recipe, store, config, BimbaProcessor.from_pretrained(model))
    learns_answers = bool(recipe.objective.answers)
    counted = NUM_COUNTED if learns_answers else 1  # frames and their tokens are the same for all
    videos = frames = video_tokens = questions = answer_tokens = 0
    for index in islice(GlobalOrder(len(store), recipe.schedule.batch_size, recipe.schedule.seed), counted):
        found = dataset.describe(index)
        if isinstance(found, Failure):
            continue
        if found.needles is None:
            raise ValueError(f"sample {index} is no needle video")
        videos += 1
        frames += len(found.needles[1])
        video_tokens += sum(found.num_video_tokens)
        questions += learns_answers * len(found.branches)
        answer_tokens += learns_answers * found.num_learned
    different = _different(recipe, dataset, num_samples)
    return Counted(videos, frames, video_tokens, questions, answer_tokens, different)


def _different(recipe: Recipe, dataset: ExampleDataset, num_samples: int) -> int:
    """How many videos the samples of a run were about."""
    lengths = None
    if recipe.data.group_by_length:
        measured = [dataset.measure(index) for index in range(len(dataset))]
        lengths = [0 if isinstance(length, Failure) else length for length in measured]
    order = GlobalOrder(len(dataset), recipe.schedule.batch_size, recipe.schedule.seed, lengths)
    places = (dataset.store[index].place for index in islice(order, num_samples) if index != BLANK)
    return len({(id(place.stream), place.index) for place in places if place is not None})
