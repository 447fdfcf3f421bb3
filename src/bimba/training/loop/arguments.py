"""A recipe in, the arguments of transformers' Trainer out."""

import importlib.util
from dataclasses import dataclass, fields
from typing import Any

import torch
from transformers import Trainer, TrainingArguments, get_scheduler

from bimba.errors import InputError
from bimba.training.model.parts import MUON
from bimba.training.recipe.settings import Recipe

_FIELDS = {field.name for field in fields(TrainingArguments)}
# transformers 5.2x renamed it, and warns of the old name.
_CHECKPOINTING = next(name for name in ("activation_checkpointing", "gradient_checkpointing") if name in _FIELDS)


_LONGEST_WAIT_SECONDS = 6 * 3600
"""That processes wait for one that makes videos, measures samples or fills a cache; transformers' half hour is not
enough for a large data set."""


@dataclass(frozen=True)
class Batches:
    """How the samples of an optimizer step come together.

    Args:
        accumulation: batches that each process adds up.
        global_size: samples over all processes.
    """

    accumulation: int
    global_size: int


def training_arguments(recipe: Recipe) -> TrainingArguments:
    """Arguments of transformers' Trainer; making them joins the processes that were launched together.

    Raises:
        InputError: a setting is unknown to transformers, cannot be had on this machine, or needs a missing package.
    """
    for name in recipe.log.to:
        if importlib.util.find_spec(name) is None:
            fix = 'pip install "bimba[train]"' if name == "tensorboard" else f"pip install {name}"
            raise InputError(f"log.to names {name}, which is not installed.", fix=fix)
    schedule, compute, data = recipe.schedule, recipe.compute, recipe.data
    checkpointing: dict[str, Any] = {_CHECKPOINTING: compute.gradient_checkpointing}
    try:
        arguments = TrainingArguments(
            output_dir=str(recipe.output),
            per_device_train_batch_size=schedule.batch_size,
            gradient_accumulation_steps=1,  # known when the processes have met
            num_train_epochs=schedule.epochs,
            max_steps=schedule.max_steps or -1,
            learning_rate=schedule.learning_rate,
            lr_scheduler_type=schedule.scheduler,
            warmup_steps=schedule.warmup,  # a share, since it is below 1
            weight_decay=schedule.weight_decay,
            optim="adamw_torch" if schedule.optimizer == MUON else schedule.optimizer,  # the trainer makes Muon
            adam_beta1=schedule.betas[0],
            adam_beta2=schedule.betas[1],
            adam_epsilon=schedule.epsilon,
            max_grad_norm=schedule.max_grad_norm,
            seed=schedule.seed,
            data_seed=schedule.seed,
            bf16=compute.precision == "bf16",
            use_cpu=compute.device == "cpu" or not torch.accelerator.is_available(),
            **checkpointing,
            torch_compile=bool(compute.compile),
            torch_compile_backend=compute.compile if isinstance(compute.compile, str) else None,
            save_strategy="steps",
            save_steps=recipe.save.every,
            logging_strategy="steps",
            logging_steps=recipe.log.every,
            logging_first_step=True,
            logging_nan_inf_filter=False,
            report_to=list(recipe.log.to) or "none",
            disable_tqdm=True,
            remove_unused_columns=False,
            dataloader_num_workers=data.workers,
            dataloader_prefetch_factor=data.prefetch if data.workers else None,
            # Without answers most of the language model has no gradient.
            ddp_find_unused_parameters=recipe.objective.answers == 0,
            average_tokens_across_devices=True,
            ddp_timeout=_LONGEST_WAIT_SECONDS,
        )
        _try_out(arguments)
    except (ValueError, TypeError, ImportError, RuntimeError) as error:
        raise InputError(
            f"these settings cannot be had here: {error}", fix="check schedule, compute, save and log of the recipe."
        ) from error
    if arguments.n_gpu > 1:
        raise InputError(
            f"this machine has {arguments.n_gpu} GPUs, and one process was started, which uses one.",
            fix=f"torchrun --nproc-per-node {arguments.n_gpu} -m bimba train RECIPE, or set CUDA_VISIBLE_DEVICES=0.",
        )
    return arguments


def _try_out(arguments: TrainingArguments) -> None:
    """Make the optimizer and the scheduler once, of one number: some names need more than their name, or a package."""
    kind, keywords = Trainer.get_optimizer_cls_and_kwargs(arguments)
    optimizer = kind([torch.nn.Parameter(torch.zeros(1))], **keywords)
    more = arguments.lr_scheduler_kwargs or {}
    get_scheduler(arguments.lr_scheduler_type, optimizer, 1, 10, scheduler_specific_kwargs=more)  # type: ignore[arg-type] # a dictionary by now


def batches(recipe: Recipe, num_processes: int) -> Batches:
    """Accumulation and global batch for a number of processes.

    Raises:
        InputError: the global batch cannot be dealt evenly.
    """
    schedule = recipe.schedule
    together = schedule.batch_size * num_processes
    if schedule.global_batch_size is None:
        return Batches(schedule.accumulation, together * schedule.accumulation)
    if schedule.global_batch_size % together:
        raise InputError(
            f"schedule.global_batch_size is {schedule.global_batch_size}, which {num_processes} processes with "
            f"batch_size {schedule.batch_size} cannot make up.",
            fix=f"take a multiple of {together}, or other numbers of processes or samples each.",
        )
    return Batches(schedule.global_batch_size // together, schedule.global_batch_size)
