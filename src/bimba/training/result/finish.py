"""A trainer that is done in, the run's result folder out.

Where every process holds a share of the model, the first one gathers it.
"""

from typing import Any

from torch import Tensor

from bimba.errors import CheckpointError
from bimba.models.kinds import VideoModel, VideoProcessor
from bimba.training.data.store import SampleStore
from bimba.training.loop.environment import is_first
from bimba.training.loop.run_folder import RESULT_NAME
from bimba.training.loop.saving import cannot_write
from bimba.training.loop.trainer import BimbaTrainer, plain_name
from bimba.training.loop.watching import LOG_NAME, Watcher, read_log
from bimba.training.recipe.reading import recipe_as_yaml
from bimba.training.result.folder import RunFacts, describe_start, write_result


def finish(
    trainer: BimbaTrainer,
    model: VideoModel,
    processor: VideoProcessor,
    store: SampleStore,
    watcher: Watcher,
) -> None:
    """Write the result of a run, on the first process.

    Raises:
        TrainingError: it could not be written; the last checkpoint is there, and the same command tries again.
    """
    recipe = trainer.task.recipe
    state = _gathered(trainer)
    if not is_first():
        return
    base, dtype = describe_start(recipe)
    facts = RunFacts(
        recipe=recipe,
        recipe_text=recipe_as_yaml(recipe),
        counts=trainer.task.counter.counts,
        sources=store.sizes(),
        history=read_log(recipe.output / LOG_NAME),
        base=base,
        dtype=dtype,
    )

    def report(done: int, total: int) -> None:
        watcher.stage("write", done, total)

    place = recipe.output / RESULT_NAME
    try:
        trainer.task.counter.save(recipe.output)
        write_result(place, model, processor, facts, state=state, on_tensors=report)
    except OSError as error:
        raise cannot_write(place, error) from error
    except CheckpointError as error:
        if isinstance(error.__cause__, OSError):
            raise cannot_write(place, error.__cause__) from error
        raise


def _gathered(trainer: BimbaTrainer) -> dict[str, Tensor] | None:
    """All weights, where no process holds them all; every process calls it."""
    if not trainer.has_trained or not (trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled):
        return None
    wrapped: Any = trainer.model_wrapped
    state: dict[str, Tensor] = trainer.accelerator.get_state_dict(wrapped)
    return {plain_name(name): tensor for name, tensor in state.items()}
