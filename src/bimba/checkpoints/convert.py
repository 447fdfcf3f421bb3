"""A released model or an adapter in, one folder that from_pretrained opens out; the released layout back, bit for bit.

What merging the adapter loses (its own files, and the base tensors that it changed) is kept in a sub-folder
`released/` of the converted model: about 8 % more bytes for the released one.
"""

import shutil
from pathlib import Path

import torch

from bimba.checkpoints.adapter import main_dtype, open_adapter
from bimba.checkpoints.conversion import CONFIG_NAME, KEPT, KEPT_BASE, LAYOUT_NAME, Conversion
from bimba.checkpoints.convert_vamba import convert_vamba, reverse_vamba
from bimba.checkpoints.folder import OnTensors, copy_files, digest, new_folder, write_json, write_tensors
from bimba.checkpoints.opened import OpenedModel, read_generation_config, read_tokenizer
from bimba.checkpoints.released import open_released
from bimba.checkpoints.released_config import (
    VISION_CONFIG_NAME,
    check_expressible,
    differences,
    vision_sizes,
    write_released_config,
)
from bimba.checkpoints.released_names import to_released
from bimba.checkpoints.small_files import as_stored, write_small_files
from bimba.checkpoints.source import find_source
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
from bimba.errors import CheckpointError
from bimba.models.bimba.configuration import BimbaConfig

_ADAPTER = "adapter"
_REPLACED_NAME = "replaced.safetensors"


def convert(
    model: str | Path, out: str | Path, *, base: str | Path | None = None, on_tensors: OnTensors | None = None
) -> Conversion:
    """Write a released model (an adapter on its base, a base alone, a Vamba), or our adapter, as one folder of ours.

    Args:
        model: folder or hub id of the adapter (released or ours), of a released base, or of a released Vamba.
        out: a new folder.
        base: folder or hub id of the adapter's base; if not given, the one that it names.
        on_tensors: told of the progress.

    Raises:
        CheckpointError: files are missing, unsafe or do not fit, or `out` exists; nothing is written then.
    """
    source = find_source(model, base)
    if source.kind == "ours":
        raise CheckpointError(f"{source.folder} is in our layout already.", fix="use it as it is, or --reverse.")
    if source.kind == "vamba":
        return convert_vamba(source.folder, Path(out), on_tensors)
    if source.kind == "our adapter":
        return _merge_adapter(open_adapter(source), Path(out), on_tensors)
    released = open_released(source)
    with new_folder(Path(out)) as folder:
        write_small_files(folder, released.config, released.processor, released.generation_config)
        digests = write_tensors(folder, released.tensors, on_tensors=on_tensors)
        kept = folder / KEPT
        copy_files(source.folder, kept / KEPT_BASE, weights=False)
        shutil.copyfile(folder / "config.json", kept / CONFIG_NAME)
        write_json(kept / LAYOUT_NAME, {"files": _layout(source.folder), "digests": digests})
        if released.replaced:
            write_tensors(kept, released.replaced, layout=dict.fromkeys(released.replaced, _REPLACED_NAME))
        if source.adapter is not None:
            copy_files(source.adapter, kept / _ADAPTER, weights=True)
    return Conversion(Path(out), "ours", len(released.tensors))


def _merge_adapter(opened: OpenedModel, place: Path, on_tensors: OnTensors | None) -> Conversion:
    """Our adapter and its base as one folder, in the base's dtype."""
    dtype = opened.config.dtype
    if not isinstance(dtype, torch.dtype):
        dtype = main_dtype(opened.tensors)
    tensors = as_stored(opened.tensors, dtype)
    with new_folder(place) as folder:
        write_small_files(folder, opened.config, opened.processor, opened.generation_config)
        write_tensors(folder, tensors, on_tensors=on_tensors)
    return Conversion(place, "ours", len(tensors))


def _layout(base: Path) -> dict[str, str]:
    """File of each tensor of a base."""
    return {key: name for name in weight_files(base) for key in open_safetensors(base / name)}


def reverse(model: str | Path, out: str | Path, *, on_tensors: OnTensors | None = None) -> Conversion:
    """Write a folder of ours in the released layout.

    A folder that was converted and not changed since gives back what it was made of, bit for bit: the base, or
    `base/` and `adapter/`. Any other (trained here, or changed) is written as one folder with the adapter merged.

    Args:
        model: a folder of ours.
        out: a new folder.
        on_tensors: told of the progress.

    Raises:
        CheckpointError: the folder is not ours, holds what the released layout cannot express, or `out` exists.
    """
    source = find_source(model)
    folder = source.folder
    if source.kind == "vamba":
        return reverse_vamba(folder, Path(out), on_tensors)
    if source.kind == "our adapter":
        raise CheckpointError(
            f"{model} is an adapter.", fix="merge it first (bimba convert ADAPTER OUT), then reverse the folder OUT."
        )
    if source.kind == "released":
        raise CheckpointError(
            f"{model} is in the released layout already.", fix="reverse takes a folder that bimba convert wrote."
        )
    own = open_folder(folder)
    kept = folder / KEPT
    if not kept.is_dir():
        note = "The folder keeps no released files, so its weights are written as one merged folder."
        return _write_merged(folder, own, Path(out), on_tensors, note)
    changed = _changes(folder, own)
    if changed:
        note = (
            f"{len(changed)} things differ from the released model that this folder was converted from (e.g. "
            f"{changed[0]}), so it is written as one merged folder."
        )
        return _write_merged(folder, own, Path(out), on_tensors, note)
    tensors = to_released(own)
    if (kept / _REPLACED_NAME).is_file():
        tensors.update(open_safetensors(kept / _REPLACED_NAME))
    if not (kept / _ADAPTER).is_dir():
        with new_folder(Path(out)) as target:
            return _write_base(kept, tensors, target, Path(out), on_tensors)
    with new_folder(Path(out)) as target:
        written = _write_base(kept, tensors, target / KEPT_BASE, Path(out), on_tensors)
        copy_files(kept / _ADAPTER, target / _ADAPTER, weights=True)
    return Conversion(Path(out), "released pair", written.num_tensors)


def _changes(folder: Path, own: dict[str, LazyTensor]) -> list[str]:
    """Settings and tensors that are no longer what the conversion wrote."""
    kept = folder / KEPT
    before = BimbaConfig.from_dict(read_json(kept / CONFIG_NAME))
    changes = differences(BimbaConfig.from_pretrained(folder), before)
    digests = read_json(kept / LAYOUT_NAME).get("digests", {})
    changes += sorted(digests.keys() ^ own.keys())
    changes += [name for name, tensor in own.items() if name in digests and digest(tensor[...]) != digests[name]]
    return changes


def _write_base(
    kept: Path, tensors: dict[str, LazyTensor], target: Path, place: Path, on_tensors: OnTensors | None
) -> Conversion:
    """The base as it was: its small files, its tensors in its own shards."""
    layout = weight_map(read_json(kept / LAYOUT_NAME).get("files"), kept / LAYOUT_NAME)
    missing = sorted(set(layout) - set(tensors))
    if missing:
        raise CheckpointError(
            f"{len(missing)} tensors of the base are gone, e.g. {missing[0]}.", fix="convert the released model again."
        )
    target.mkdir(exist_ok=True)
    write_tensors(target, {key: tensors[key] for key in layout}, layout=layout, on_tensors=on_tensors)
    copy_files(kept / KEPT_BASE, target, weights=False)  # after the tensors: its own index replaces the new one
    if set(layout.values()) == {SINGLE_NAME}:
        (target / INDEX_NAME).unlink(missing_ok=True)
    return Conversion(place, "released base", len(layout))


def _write_merged(
    folder: Path, own: dict[str, LazyTensor], place: Path, on_tensors: OnTensors | None, note: str
) -> Conversion:
    """One folder under public names, with a config.json made from ours."""
    config = BimbaConfig.from_pretrained(folder)
    settings = write_released_config(config)
    sizes = vision_sizes(config)
    tensors = to_released(own)
    with new_folder(place) as target:
        write_json(target / "config.json", settings)
        if sizes is not None:
            write_json(target / VISION_CONFIG_NAME, sizes)
        check_expressible(config, target)
        read_generation_config(folder, config).save_pretrained(target)
        read_tokenizer(folder, config).save_pretrained(target)
        write_tensors(target, tensors, on_tensors=on_tensors)
    return Conversion(place, "released, merged", len(tensors), note)
