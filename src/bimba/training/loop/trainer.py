"""Model, data and settings in, a trained model out: transformers' Trainer with what it cannot know of this model.

What is added: the order of the samples, groups of parameters, counts of what was seen, refusing losses that are no
numbers, a teacher, and checkpoints of the trained weights alone that are whole or not there.
"""

import inspect
import json
import math
import shutil
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import Dataset, Sampler
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainerState, TrainingArguments

from bimba.errors import CheckpointError, TrainingError
from bimba.files import write_whole
from bimba.models.kinds import VideoModel
from bimba.models.vamba.pixels import PatchSettings, normalise
from bimba.training.data.collator import Collator
from bimba.training.data.sampler import GlobalOrder
from bimba.training.data.streams import MOST_WORDS
from bimba.training.data.vamba_collator import VambaCollator
from bimba.training.features.kept_tokens import KeptTokens
from bimba.training.loop.counting import Counter
from bimba.training.loop.environment import gathered, is_first, wait_for_all
from bimba.training.loop.optimizer import muon_with_adamw
from bimba.training.loop.run_folder import RECIPE_NAME
from bimba.training.loop.saving import (
    cannot_write,
    checkpoint_name,
    remove_old,
    seal,
    step_of,
    unfinished,
)
from bimba.training.model.distillation import Teacher
from bimba.training.model.parts import MUON, Trained, parameter_groups, part_of
from bimba.training.model.vamba_teacher import VambaTeacher
from bimba.training.model.words import WordLoss
from bimba.training.recipe.reading import recipe_as_yaml
from bimba.training.recipe.settings import Recipe

TRAINED_NAME = "trained.safetensors"
MOST_NAMED = 20
_WRITE_FAILED = ("PytorchStreamWriter", "inline_container", "iostream")
"""How torch.save says that it could not write: by a RuntimeError, which may be much else."""
_WRAPPERS = ("module.", "_orig_mod.", "_fsdp_wrapped_module.")


@dataclass(frozen=True)
class Task:
    """What a trainer works on, besides the model.

    Args:
        recipe: of the run.
        trained: names of the parameters that are trained.
        dataset: samples.
        collator: makes batches of them.
        order: of the samples in an epoch.
        counter: counts what goes by.
        provenance: versions, commit and hardware.
        teacher: to learn from, too.
        word_loss: of the video's tokens.
        patch_settings: how a Vamba's patches, which come as bytes, become numbers.
        kept_tokens: of needle videos, which come without frames then.
    """

    recipe: Recipe
    trained: Trained
    dataset: Dataset[Any]
    collator: Collator | VambaCollator
    order: GlobalOrder
    counter: Counter
    provenance: dict[str, Any]
    teacher: Teacher | VambaTeacher | None = None
    word_loss: WordLoss | None = None
    patch_settings: PatchSettings | None = None
    kept_tokens: KeptTokens | None = None


class BimbaTrainer(Trainer):
    """transformers' Trainer for a BIMBA or a Vamba.

    Args:
        model: with its parts prepared.
        arguments: of transformers' Trainer.
        task: everything else.
        callbacks: told of what goes on.
    """

    def __init__(
        self,
        model: VideoModel,
        arguments: TrainingArguments,
        task: Task,
        callbacks: list[TrainerCallback],
    ) -> None:
        self.task = task
        self._names: list[str] = []
        self._broken: list[float] = []
        self._parts: dict[str, float] = defaultdict(float)
        self._logged_step = 0
        self.has_trained = False
        super().__init__(
            model=model,
            args=arguments,
            data_collator=task.collator,
            train_dataset=task.dataset,
            callbacks=[_Course(task.order), *callbacks],
        )
        self.remove_callback(PrinterCallback)  # the watcher shows what there is to see

    def _get_train_sampler(self, train_dataset: Dataset[Any] | None = None) -> Sampler[int]:
        del train_dataset
        return self.task.order

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """One group of parameters for each part of the model, with and without weight decay."""
        if self.optimizer is None:
            owner: Any = self.model if model is None else model
            recipe = self.task.recipe
            groups = parameter_groups(owner.named_parameters(), recipe.train, recipe.schedule)
            if recipe.schedule.optimizer == MUON:
                self.optimizer = muon_with_adamw(groups, recipe.schedule)
            else:
                kind, keywords = self.get_optimizer_cls_and_kwargs(self.args, owner)
                self.optimizer = kind(groups, **keywords)
        return self.optimizer

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Any]:
        """The batches of one optimizer step; the time until they are there is counted as waiting."""
        begin = time.perf_counter()
        batches, num_items = super().get_batch_samples(epoch_iterator, num_batches, device)
        infos = [batch.pop("info") for batch in batches]
        self._names = [name for info in infos for name in info.names]
        self.task.counter.take(infos, time.perf_counter() - begin)
        # A step of nothing but unreadable samples has no loss; it must not divide by nothing.
        return batches, torch.as_tensor(num_items).clamp(min=1)

    def _prepare_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """A batch where the model is; patches become numbers there, since bytes wait and travel in a quarter."""
        prepared: dict[str, Any] = super()._prepare_inputs(inputs)
        if self.task.kept_tokens is not None and "kept_videos" in prepared:
            prepared["video_features"] = self.task.kept_tokens.of(prepared.pop("kept_videos"))
        if self.task.patch_settings is not None:
            pixels = prepared["pixel_values_videos"]
            prepared["pixel_values_videos"] = normalise([pixels], self.task.patch_settings)
        return prepared

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """The loss of the learned places, and the distance from the teacher if there is one."""
        given = {**inputs, "use_cache": False}  # keys and values are of no use here
        words = given.pop("words", None)
        if self._leaves_answers_alone():
            outputs: Any = None
            loss = self._no_answers(given)
        else:
            loss, outputs = super().compute_loss(model, given, True, num_items_in_batch)
        if self.task.word_loss is not None:
            loss = self._with_words(self.task.word_loss, loss, words, inputs["num_video_frames"])
        teacher = self.task.teacher
        if teacher is not None:
            distance = teacher.distance(inputs, outputs["logits"]) / num_items_in_batch
            # Processes average their gradients, while losses are divided by the items of all of them.
            distance = distance * self.accelerator.num_processes
            loss = (1 - teacher.settings.weight) * loss + teacher.settings.weight * distance
        if not torch.isfinite(loss):
            self._broken.append(loss.item())
            if self.args.world_size == 1:
                self._stop_at("loss", loss.item())
        return (loss, outputs) if return_outputs else loss

    def _leaves_answers_alone(self) -> bool:
        """Whether nothing depends on the language model; wrappers of several processes call the whole model anyway."""
        return (
            not self.task.recipe.objective.answers
            and self.task.teacher is None
            and self.task.word_loss is not None
            and self.args.world_size == 1
        )

    def _no_answers(self, inputs: Mapping[str, Any]) -> Tensor:
        """Call what comes before the language model, for the loss of the video's words; the loss of answers is 0."""
        owner = self.accelerator.unwrap_model(self.model)
        wanted = inspect.signature(owner.embed).parameters
        owner.embed(**{name: value for name, value in inputs.items() if name in wanted})
        return torch.zeros((), device=owner.device)

    def _with_words(self, word_loss: WordLoss, loss: Tensor, words: Any, num_frames: Tensor) -> Tensor:
        """The weighted sum of the answers' loss and that of the video's words."""
        owner = self.accelerator.unwrap_model(self.model)
        known = words or [torch.zeros(0, MOST_WORDS, dtype=torch.long)] * len(num_frames)
        found = word_loss.take(owner.get_input_embeddings().weight, known, num_frames.tolist())
        found = found / self.args.gradient_accumulation_steps
        self._parts["answers_loss"] += float(loss.detach())
        self._parts["words_loss"] += float(found.detach())
        weight = self.task.recipe.objective.answers
        answers = weight * loss if weight else 0.0  # no backward pass through the language model for nothing
        return answers + word_loss.settings.weight * found

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> Any:
        """The norm, if it is a number; here all processes come together after the losses of a step."""
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)  # type: ignore[no-untyped-call] # untyped there
        if self.args.world_size > 1 and (broken := gathered(self._broken)):
            self._stop_at("loss", broken[0])
        if norm is not None and not math.isfinite(float(norm)):
            self._stop_at("gradient", float(norm))
        return norm

    def _stop_at(self, what: str, value: float) -> None:
        """Stop before weights are spoilt, and say where."""
        names = gathered(self._names)
        shown = ", ".join(names[:MOST_NAMED]) + (f" and {len(names) - MOST_NAMED} more" if names[MOST_NAMED:] else "")
        raise TrainingError(
            f"the {what} is {value} at step {self.state.global_step + 1}, whose samples are {shown}.",
            fix="look at these samples (bimba data show), lower the learning rate or max_grad_norm, or use "
            "compute.precision=float32; the same command goes on from the last checkpoint.",
        )

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add speeds and counts to what is logged while training."""
        if "loss" in logs:
            logs.update(self.task.counter.since_last())
            logs.update(self._losses_apart())
        super().log(logs, start_time)

    def _losses_apart(self) -> dict[str, float]:
        """The losses that are added up, each by itself: means over the steps since the last entry."""
        steps = max(self.state.global_step - self._logged_step, 1)
        self._logged_step = self.state.global_step
        apart = {name: total / steps for name, total in self._parts.items()}
        self._parts.clear()
        return apart

    def _get_output_dir(self, trial: Any) -> str:
        del trial
        return str(unfinished(Path(str(self.args.output_dir))))

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Save under another name, seal, rename; what went wrong leaves earlier checkpoints alone."""
        run, step = Path(str(self.args.output_dir)), self.state.global_step
        partial = unfinished(run)
        if is_first():
            shutil.rmtree(partial, ignore_errors=True)
        wait_for_all()
        try:
            partial.mkdir(parents=True, exist_ok=True)
            super()._save_checkpoint(model, trial)
            if is_first():
                self._tell(partial / checkpoint_name(step))
            wait_for_all()
            if is_first():
                seal(run, step)
                partial.rmdir()
                remove_old(run, self.task.recipe.save.keep)
        except (OSError, SafetensorError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and not any(word in str(error) for word in _WRITE_FAILED):
                raise
            shutil.rmtree(partial, ignore_errors=True)
            raise cannot_write(run / checkpoint_name(step), error) from error
        wait_for_all()

    def _tell(self, folder: Path) -> None:
        """What a checkpoint says besides its weights: counts, recipe, versions and commit."""
        self.task.counter.save(folder)
        write_whole(folder / RECIPE_NAME, recipe_as_yaml(self.task.recipe))
        write_whole(folder / "provenance.json", json.dumps(self.task.provenance, indent=2) + "\n")

    def _save(self, output_dir: str | None = None, state_dict: Mapping[str, Tensor] | None = None) -> None:
        """Write the trained weights; the others are those that training started from."""
        if not self.args.should_save:
            return
        folder = Path(str(self.args.output_dir if output_dir is None else output_dir))
        folder.mkdir(parents=True, exist_ok=True)
        state = self.accelerator.unwrap_model(self.model).state_dict() if state_dict is None else state_dict
        named = {plain_name(name): tensor for name, tensor in state.items()}
        missing = [name for name in self.task.trained.names if name not in named]
        if missing:
            raise ValueError(f"{len(missing)} trained weights have other names here, e.g. {missing[0]}.")
        kept = {name: named[name].detach().cpu().contiguous() for name in self.task.trained.names}
        save_file(kept, folder / TRAINED_NAME, {"format": "pt"})

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        """Load the trained weights; sharded models have loaders of their own."""
        if self.is_fsdp_enabled:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            return
        load_trained(self.accelerator.unwrap_model(self.model), self.task.trained, Path(resume_from_checkpoint))

    def resume(self, checkpoint: Path | None) -> None:
        """Train from the beginning, or go on from a checkpoint; `has_trained` tells whether there was anything left."""
        if checkpoint is not None:
            self.task.counter.load(checkpoint)
            state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
            self._logged_step = state.global_step
            if state.global_step >= state.max_steps:
                # transformers would train one step more.
                load_trained(self.accelerator.unwrap_model(self.model), self.task.trained, checkpoint)
                return
        self.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        self.has_trained = True


class _Course(TrainerCallback):
    """Tells the order of samples which epoch begins, whatever stands between it and the trainer; logs the end.

    After each step a Vamba's balances of self- and cross-attention are brought back between 0 and 1: beyond, they would
    have no gradient, and where the model is sharded its own forward pass only mends a copy.
    """

    def __init__(self, order: GlobalOrder) -> None:
        self.order = order

    def on_epoch_begin(self, args: TrainingArguments, state: Any, control: Any, **others: Any) -> None:  # noqa: ARG002
        self.order.set_epoch(int(state.epoch or 0))

    def on_step_end(self, args: TrainingArguments, state: Any, control: Any, **others: Any) -> None:  # noqa: ARG002
        with torch.no_grad():
            for name, parameter in others["model"].named_parameters():
                if parameter.requires_grad and part_of(name) == "alpha":
                    parameter.clamp_(0, 1)
        if state.global_step >= state.max_steps:  # the last step is logged, however seldom others are
            control.should_log = True


def plain_name(name: str) -> str:
    """A parameter's name without what wrappers put into it."""
    for wrapper in _WRAPPERS:
        name = name.replace(wrapper, "") if wrapper != "module." else name.removeprefix(wrapper)
    return name


def load_trained(model: nn.Module, trained: Trained, checkpoint: Path) -> None:
    """Set the trained weights of a model from a checkpoint.

    Raises:
        CheckpointError: the checkpoint holds other weights.
    """
    try:
        values = load_file(checkpoint / TRAINED_NAME)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{checkpoint} cannot be read: {error}", fix="remove it; the one before it is taken."
        ) from error
    own = dict(model.named_parameters())
    problems = sorted(set(trained.names) ^ values.keys())
    problems += [name for name in values.keys() & own.keys() if values[name].shape != own[name].shape]
    if problems:
        raise CheckpointError(
            f"checkpoint {step_of(checkpoint)} holds other weights than this recipe trains, e.g. {problems[0]}.",
            fix="go on with the recipe that it was made with, or name another output.",
        )
    with torch.no_grad():
        for name, value in values.items():
            own[name].copy_(value)
