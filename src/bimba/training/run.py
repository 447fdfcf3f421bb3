"""A recipe in, a trained model in its folder out: every step of a run in order."""

import logging
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, cast

from bimba.checkpoints.loading import LoadOptions, load_model
from bimba.errors import InputError
from bimba.models.bimba.modeling import BimbaForConditionalGeneration
from bimba.models.bimba.processing import BimbaProcessor
from bimba.models.kinds import VideoModel, VideoProcessor
from bimba.models.vamba.modeling import VambaForConditionalGeneration
from bimba.models.vamba.processing import VambaProcessor
from bimba.provenance import code_and_machine
from bimba.training.data.collator import Collator
from bimba.training.data.dataset import TrainingDataset
from bimba.training.data.example_dataset import ExampleDataset
from bimba.training.data.lengths import measure_lengths
from bimba.training.data.opening import open_dataset
from bimba.training.data.sampler import GlobalOrder
from bimba.training.data.samples import prepare_sources, read_samples
from bimba.training.data.store import SampleStore
from bimba.training.data.streams import words_shown
from bimba.training.data.vamba_collator import VambaCollator
from bimba.training.features.caching import open_cache
from bimba.training.features.filling import Machine, fill_cache
from bimba.training.features.kept_tokens import KeptTokens, keep_tokens
from bimba.training.loop.arguments import batches, training_arguments
from bimba.training.loop.counting import Counter, read_counts
from bimba.training.loop.environment import (
    check_environment,
    check_sharding,
    ended_properly,
    first_decides,
    is_first,
    wait_for_all,
)
from bimba.training.loop.run_folder import RESULT_NAME, check_data, check_shared, claim
from bimba.training.loop.saving import step_of
from bimba.training.loop.trainer import BimbaTrainer, Task
from bimba.training.loop.watching import LOG_NAME, LogFile, Silent, Watcher, read_log
from bimba.training.model.distillation import Teacher
from bimba.training.model.parts import Trained, prepare_parts
from bimba.training.model.start import start_model
from bimba.training.model.vamba_teacher import VambaTeacher
from bimba.training.model.words import NOTHING, WordLoss
from bimba.training.recipe.settings import Recipe
from bimba.training.result.finish import finish

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """What a run came to.

    Args:
        folder: of the trained model.
        steps: optimizer steps, those before an interruption included.
        losses: of the first and the last logged step.
        failed: unreadable samples and why.
        was_finished: there was nothing to do.
    """

    folder: Path
    steps: int
    losses: tuple[float, float]
    failed: dict[str, str]
    was_finished: bool = False


def train(recipe: Recipe, watcher: Watcher | None = None) -> Outcome:
    """Train as a recipe says; a run that was interrupted goes on where its last checkpoint is.

    Launched by `torchrun` or `accelerate launch`, all processes call it.

    Args:
        recipe: see `bimba.training.recipe.reading.read_recipe`.
        watcher: told what goes on.

    Raises:
        InputError: settings do not fit each other, the model, the machine, or the run in the output folder.
        CheckpointError: the model that training starts from cannot be read.
        TrainingError: a loss is no number, too many samples are unreadable, or something could not be written.
    """
    watcher = watcher or Silent()
    check_environment(on_cpu=recipe.compute.device == "cpu")
    with ended_properly(), ExitStack() as held:
        arguments = training_arguments(recipe)
        dealt = batches(recipe, arguments.world_size)
        arguments.gradient_accumulation_steps = dealt.accumulation
        found = first_decides(lambda: claim(recipe, held))
        check_shared(recipe)
        if found.is_finished:
            return replace(_outcome(recipe), was_finished=True)
        if found.checkpoint is not None and is_first():
            watcher.say(f"goes on after step {step_of(found.checkpoint)}")
        store = _read_data(recipe, dealt.global_size, watcher)
        model, processor = start_model(recipe)
        trained = prepare_parts(model, recipe.train)
        if is_first():
            watcher.say(_in_words(trained))
        dataset = open_dataset(recipe, store, model.config, processor)
        lengths = _lengths(recipe, dataset, watcher) if recipe.data.group_by_length else None
        order = GlobalOrder(len(store), dealt.global_size, recipe.schedule.seed, lengths)
        feature_shape = _use_cache(recipe, model, dataset, order, arguments.device, watcher)
        kept_tokens = _keep_tokens(recipe, model, dataset, arguments.world_size)
        teacher = _teacher(recipe, processor, arguments.device)
        reads_question = model.config.reads_question or (teacher is not None and teacher.reads_question)
        task = Task(
            recipe=recipe,
            trained=trained,
            dataset=dataset,
            collator=_collator(recipe, processor, with_questions=reads_question, feature_shape=feature_shape),
            order=order,
            counter=Counter(len(store), recipe.data.max_failed),
            provenance=code_and_machine(),
            teacher=teacher,
            word_loss=_word_loss(recipe, model, processor, store),
            patch_settings=processor.patch_settings if isinstance(processor, VambaProcessor) else None,
            kept_tokens=kept_tokens,
        )
        trainer = BimbaTrainer(model, arguments, task, [LogFile(recipe.output, watcher)])
        check_sharding(trainer.accelerator, recipe.schedule.batch_size, recipe.train.kind)
        trainer.resume(found.checkpoint)
        finish(trainer, model, processor, store, watcher)
        wait_for_all()
        return _outcome(recipe)


def _outcome(recipe: Recipe) -> Outcome:
    lines = read_log(recipe.output / LOG_NAME)
    losses = (lines[0]["loss"], lines[-1]["loss"]) if lines else (float("nan"), float("nan"))
    steps = int(lines[-1]["step"]) if lines else 0
    return Outcome(recipe.output / RESULT_NAME, steps, losses, read_counts(recipe.output).failed)


def _read_data(recipe: Recipe, global_batch: int, watcher: Watcher) -> SampleStore:
    """All samples; needle videos are made by the first process.

    Raises:
        InputError: they, or the samples of a step, are others than those that this run began with.
    """
    sources, seed = recipe.data.sources, recipe.schedule.seed
    first_decides(lambda: prepare_sources(sources, watcher.stage))
    store = read_samples(sources, seed, on_progress=watcher.stage if is_first() else None)
    first_decides(lambda: check_data(recipe, store, global_batch))
    return store


def _use_cache(
    recipe: Recipe, model: VideoModel, dataset: ExampleDataset, order: GlobalOrder, device: Any, watcher: Watcher
) -> tuple[int, int] | None:
    """Let a data set take features from the recipe's cache; their shape, None without one.

    The features of all samples that the run will see are made before.
    """
    if recipe.data.cache is None:
        return None
    model, dataset = cast("BimbaForConditionalGeneration", model), cast("TrainingDataset", dataset)
    cache = open_cache(recipe, model, dataset.processor)
    samples = order.samples_of(recipe.schedule.max_steps)
    dataset.cache = fill_cache(model, dataset, cache, Machine.of(recipe, device), watcher, samples).cache
    return cache.made_by.feature_shape


def _keep_tokens(recipe: Recipe, model: VideoModel, dataset: ExampleDataset, num_processes: int) -> KeptTokens | None:
    """Tokens of needle videos that the run keeps."""
    if not isinstance(model, BimbaForConditionalGeneration) or not isinstance(dataset, TrainingDataset):
        return None  # recipes of others do not ask for it
    return keep_tokens(recipe, model, dataset, num_processes)


def _collator(
    recipe: Recipe, processor: VideoProcessor, *, with_questions: bool, feature_shape: tuple[int, int] | None
) -> Collator | VambaCollator:
    if isinstance(processor, VambaProcessor):
        return VambaCollator(processor, recipe.data.packing)
    return Collator(processor, with_questions=with_questions, feature_shape=feature_shape)


def _lengths(recipe: Recipe, dataset: ExampleDataset, watcher: Watcher) -> list[int]:
    """Tokens of each sample, measured by the first process."""

    def measure() -> list[int]:
        def report(done: int, total: int) -> None:
            watcher.stage("lengths", done, total)

        cache = recipe.output / "lengths.json"
        lengths, failures = measure_lengths(dataset, workers=recipe.data.workers, cache_file=cache, on_progress=report)
        for failure in failures:
            logger.warning("%s cannot be read: %s", failure.name, failure.reason)
        return lengths

    return first_decides(measure)


def _teacher(recipe: Recipe, student: VideoProcessor, device: Any) -> Teacher | VambaTeacher | None:
    """The model to learn from.

    Raises:
        InputError: it is of another kind, or reads other words or pixels.
        CheckpointError: it cannot be read.
    """
    settings = recipe.distillation
    if settings is None:
        return None
    dtype = "bfloat16" if recipe.compute.precision == "bf16" else "float32"
    model, processor = load_model(settings.teacher, settings.base, LoadOptions(device=device, dtype=dtype))
    if isinstance(model, VambaForConditionalGeneration) and isinstance(student, VambaProcessor):
        return VambaTeacher(model, cast("VambaProcessor", processor), student, settings)
    if isinstance(model, BimbaForConditionalGeneration) and isinstance(student, BimbaProcessor):
        return Teacher(model, cast("BimbaProcessor", processor), student, settings)
    raise InputError(
        f"the teacher {settings.teacher} is a {model.config.model_type}, the student a {recipe.train.kind}.",
        fix="take a teacher of the same kind.",
    )


def _word_loss(recipe: Recipe, model: VideoModel, processor: VideoProcessor, store: SampleStore) -> WordLoss | None:
    """The loss of the video's tokens.

    Raises:
        InputError: the tokenizer has no token for the word of bare places.
    """
    settings = recipe.objective.words
    if settings is None or not isinstance(model, BimbaForConditionalGeneration):
        return None
    ids = processor.question_ids(NOTHING)
    if len(ids) != 1:
        raise InputError(
            f"objective.words needs a tokenizer with a token for {NOTHING!r}.", fix="set model.tokenizer to needles."
        )
    streams = [file.stream for file in store.files if file.stream is not None]
    shown = (words_shown(stream, processor.question_ids, thirds=settings.thirds) for stream in streams)
    return WordLoss(model, settings, ids[0], chain.from_iterable(shown))


def _in_words(trained: Trained) -> str:
    parts = ", ".join(f"{part} {count:,}" for part, count in trained.by_part.items())
    return f"trains {trained.num_parameters:,} of {trained.num_all:,} weights: {parts}"
