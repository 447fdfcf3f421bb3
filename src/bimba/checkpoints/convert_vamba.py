"""A released Vamba in, a folder of ours out, and back bit for bit: weights have the same names in both.

What differs are the small files. Those of the released folder are kept in `released/`.
"""

import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig

from bimba.checkpoints.conversion import CONFIG_NAME, KEPT, KEPT_BASE, LAYOUT_NAME, Conversion
from bimba.checkpoints.folder import OnTensors, copy_files, new_folder, write_json, write_tensors
from bimba.checkpoints.opened import refuse_misfits
from bimba.checkpoints.tensors import (
    INDEX_NAME,
    SINGLE_NAME,
    LazyTensor,
    open_folder,
    open_safetensors,
    read_json,
    weight_files,
    weight_map,
)
from bimba.checkpoints.vamba import read_vamba_config, read_vamba_processor
from bimba.errors import CheckpointError
from bimba.models.vamba.configuration import VambaConfig
from bimba.models.vamba.modeling import VambaForConditionalGeneration
from bimba.models.vamba.released_config import is_released, released_settings


def convert_vamba(folder: Path, place: Path, on_tensors: OnTensors | None) -> Conversion:
    """Write a released Vamba as a folder of ours.

    Raises:
        CheckpointError: it is ours already, its files do not fit, or the place is taken; nothing is written then.
    """
    if not is_released(read_json(folder / CONFIG_NAME)):
        raise CheckpointError(f"{folder} is in our layout already.", fix="use it as it is, or --reverse.")
    config = read_vamba_config(folder)
    processor = read_vamba_processor(folder, config)
    tensors = open_folder(folder)
    _check(tensors, config, folder)
    config.architectures = [VambaForConditionalGeneration.__name__]
    layout = {key: name for name in weight_files(folder) for key in open_safetensors(folder / name)}
    with new_folder(place) as out:
        config.save_pretrained(out)
        _generation_config(folder, config).save_pretrained(out)
        processor.save_pretrained(out)
        write_tensors(out, tensors, layout=layout, on_tensors=on_tensors)
        kept = out / KEPT
        copy_files(folder, kept / KEPT_BASE, weights=False)
        shutil.copyfile(out / CONFIG_NAME, kept / CONFIG_NAME)
        write_json(kept / LAYOUT_NAME, {"files": layout})
    return Conversion(place, "ours", len(tensors))


def reverse_vamba(folder: Path, place: Path, on_tensors: OnTensors | None) -> Conversion:
    """Write a folder of ours in the released layout.

    With the small files that it was converted with, if its settings are still those; with ones made from its settings
    otherwise.

    Raises:
        CheckpointError: it is a released one, its files do not fit, or the place is taken; nothing is written then.
    """
    if is_released(read_json(folder / CONFIG_NAME)):
        raise CheckpointError(
            f"{folder} is in the released layout already.", fix="reverse takes a folder that bimba convert wrote."
        )
    config, tensors, kept = read_vamba_config(folder), open_folder(folder), folder / KEPT
    _check(tensors, config, folder)
    if kept.is_dir() and read_vamba_config(kept).to_dict() == config.to_dict():
        layout = weight_map(read_json(kept / LAYOUT_NAME).get("files"), kept / LAYOUT_NAME)
        if layout.keys() == tensors.keys():
            with new_folder(place) as out:
                write_tensors(out, tensors, layout=layout, on_tensors=on_tensors)
                copy_files(
                    kept / KEPT_BASE, out, weights=False
                )  # after the tensors: its own index replaces the new one
                if set(layout.values()) == {SINGLE_NAME}:
                    (out / INDEX_NAME).unlink(missing_ok=True)
            return Conversion(place, "released Vamba", len(tensors))
    note = "The folder keeps no released files of these settings, so its small files are made from them."
    processor = read_vamba_processor(folder, config)
    with new_folder(place) as out:
        write_json(out / CONFIG_NAME, released_settings(config))
        _generation_config(folder, config).save_pretrained(out)
        processor.tokenizer.save_pretrained(out)
        write_json(out / "preprocessor_config.json", processor.qwen_settings())
        write_tensors(out, tensors, on_tensors=on_tensors)
        read_vamba_config(out)  # what is written can be read
    return Conversion(place, "released Vamba", len(tensors), note)


def _check(tensors: dict[str, LazyTensor], config: VambaConfig, folder: Path) -> None:
    """Refuse a folder whose tensors are not the model's."""
    with torch.device("meta"):
        model = VambaForConditionalGeneration(config)
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    tied = set(model.all_tied_weights_keys)
    problems = [f"unknown   {name} {list(tensors[name].shape)}" for name in sorted(tensors.keys() - shapes.keys())]
    problems += [f"missing   {name}" for name in sorted(shapes.keys() - tensors.keys() - tied)]
    problems += [
        f"misshapen {name} {list(tensors[name].shape)}, the model has {list(shape)}"
        for name, shape in shapes.items()
        if name in tensors and tuple(tensors[name].shape) != shape
    ]
    refuse_misfits(f"{folder} do not fit its config.json", problems, "fetch the model again.")


def _generation_config(folder: Path, config: VambaConfig) -> Any:
    if (folder / "generation_config.json").is_file():
        return GenerationConfig.from_pretrained(folder)
    return GenerationConfig.from_model_config(config.text_config)
