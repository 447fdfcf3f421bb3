"""A trained model and what is known of its run in; the folder that `bimba.load` opens out, whole or not at all.

Beside the model it holds `recipe.yaml`, `provenance.json`, `counts.json` (what was seen, and skipped samples by name)
and a model card `README.md` with `loss.svg`.
"""

import copy
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bimba.checkpoints.adapter import describe_base
from bimba.checkpoints.adapter_writing import LoraSettings, fill_adapter
from bimba.checkpoints.base import Base
from bimba.checkpoints.folder import OnTensors, new_folder, write_json
from bimba.checkpoints.lora import split_lora
from bimba.checkpoints.merged_writing import fill_merged
from bimba.checkpoints.opened import tensor_shapes
from bimba.checkpoints.tensors import InMemory
from bimba.errors import InputError
from bimba.models.kinds import VideoModel, VideoProcessor
from bimba.provenance import code_and_machine
from bimba.training.loop.counting import Counts
from bimba.training.model.start_vamba import vamba_dtype
from bimba.training.recipe.settings import Checkpoint, Recipe, Scratch
from bimba.training.result.card import CURVE_NAME, Story, model_card
from bimba.training.result.loss_curve import loss_curve


@dataclass(frozen=True)
class RunFacts:
    """What is known of a run besides its model.

    Args:
        recipe: of the run.
        recipe_text: the same as YAML, as it is kept.
        counts: what was seen.
        sources: samples of each source, by the source's name.
        history: logged steps, each with `step` and `loss`, as `read_log` gives them.
        base: the model that training started from, see `describe_base`; None if it was none of ours or a released one.
        dtype: that of the model that training started from; of the weights of a merged result.
    """

    recipe: Recipe
    recipe_text: str
    counts: Counts
    sources: Mapping[str, int]
    history: Sequence[Mapping[str, float]]
    base: Base | None
    dtype: torch.dtype


def describe_start(recipe: Recipe) -> tuple[Base | None, torch.dtype]:
    """What a result remembers of the model that training starts from: the base of an adapter, and the dtype.

    Raises:
        CheckpointError: files are missing, unsafe or do not fit.
    """
    if isinstance(recipe.model, Checkpoint) and recipe.train.kind == "vamba":
        return None, vamba_dtype(recipe.model.path)
    if isinstance(recipe.model, Checkpoint):
        base = describe_base(recipe.model.path, recipe.model.base)
        return base, base.dtype
    is_fresh = isinstance(recipe.model, Scratch)
    return None, torch.float32 if is_fresh or recipe.compute.precision == "float32" else torch.bfloat16


def write_result(
    place: Path,
    model: VideoModel,
    processor: VideoProcessor,
    facts: RunFacts,
    *,
    state: Mapping[str, Tensor] | None = None,
    on_tensors: OnTensors | None = None,
) -> None:
    """Write the result of a run: the whole model with its LoRA layers merged, or an adapter, as the recipe says.

    The model is not changed, and no more than a shard of it is in memory once more.

    Args:
        place: a new folder.
        model: with the LoRA layers that training put into it, without any wrapper.
        processor: of the model.
        facts: everything else that is told.
        state: the whole weights, where the model holds only a share of them (FSDP); its `state_dict()` if None.
        on_tensors: told of the progress of a merged result.

    Raises:
        CheckpointError: weights do not fit each other, or `place` exists or cannot be written; nothing is left then.
        InputError: an adapter is asked for, but there is no base to put it onto.
    """
    recipe = facts.recipe
    config = copy.deepcopy(model.config)
    shared: dict[str, Any] = {
        "lora": _lora(recipe),
        "config": config,
        "processor": processor,
        "generation_config": model.generation_config,
    }
    state = model.state_dict() if state is None else state
    with new_folder(place) as folder:
        if recipe.save.result == "merged":
            fill_merged(folder, state, dtype=facts.dtype, on_tensors=on_tensors, **shared)
        else:
            base = _base_of(facts)
            _, tied = tensor_shapes(config)
            fill_adapter(folder, state, whole=whole_parts(recipe, state, base, tied), base=base, **shared)
        _tell(folder, facts)


def whole_parts(recipe: Recipe, state: Mapping[str, Tensor], base: Base, tied: Collection[str]) -> tuple[str, ...]:
    """Parts that an adapter holds whole: trained in full, fresh, or other than the base's.

    Args:
        recipe: of the run.
        state: of the model, LoRA layers included.
        base: that the adapter goes onto.
        tied: tensors that follow from others; a base need not name them.
    """
    tensors, _ = split_lora({name: InMemory(tensor) for name, tensor in state.items()})
    fresh = isinstance(recipe.model, Checkpoint) and recipe.model.compressor is not None
    whole = []
    for part in recipe.train.parts:
        own = {
            name: tensor.shape for name, tensor in tensors.items() if name.startswith(f"{part}.") and name not in tied
        }
        other = any(name not in base.samples or base.samples[name].shape != shape for name, shape in own.items())
        if own and (recipe.train.part(part).mode == "full" or (part == "compressor" and fresh) or other):
            whole.append(part)
    return tuple(whole)


def _lora(recipe: Recipe) -> LoraSettings:
    lora = recipe.train.lora
    return LoraSettings(rank=lora.rank, alpha=lora.alpha, dropout=lora.dropout)


def _base_of(facts: RunFacts) -> Base:
    if facts.base is None:
        raise InputError(
            "save.result is adapter, but the run did not start from a model that it could be put onto.",
            fix="set save.result=merged.",
        )
    return facts.base


def _tell(folder: Path, facts: RunFacts) -> None:
    """Write everything that people read; the card takes the place of the adapter's own."""
    losses = [(int(line["step"]), float(line["loss"])) for line in facts.history if "loss" in line]
    made_with = code_and_machine()
    story = Story(facts.recipe, facts.recipe_text, facts.counts, facts.sources, losses, made_with)
    (folder / "recipe.yaml").write_text(facts.recipe_text, encoding="utf-8")
    (folder / CURVE_NAME).write_text(loss_curve(losses), encoding="utf-8")
    (folder / "README.md").write_text(model_card(story), encoding="utf-8")
    write_json(folder / "provenance.json", made_with)
    write_json(folder / "counts.json", asdict(facts.counts))
