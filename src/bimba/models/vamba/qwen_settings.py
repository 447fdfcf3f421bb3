"""The name of a released Vamba or of a Qwen2-VL in; how its frames become patches, as our processor has it, out."""

from typing import Any

from PIL import Image
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from bimba.errors import CheckpointError

_TYPES = ("Qwen2VLImageProcessor", "Qwen2VLImageProcessorFast", "Qwen2VLImageProcessorPil")

# What every Qwen2-VL does, and what the processor here does.
_ALWAYS = {
    "do_resize": True,
    "do_rescale": True,
    "do_normalize": True,
    "resample": Image.Resampling.BICUBIC,
}


def read_qwen_settings(name: str, **where: Any) -> dict[str, Any]:
    """Read preprocessor_config.json, or the part of processor_config.json that has taken its place.

    Args:
        name: a folder, or a hub id.
        where: how transformers finds files: `cache_dir`, `revision`, `token` and the like.

    Returns:
        `min_pixels`, `max_pixels`, `patch_size`, `temporal_patch_size`, `merge_size`, `image_mean` and `image_std`.

    Raises:
        CheckpointError: there is no such file, or it is that of another image processor.
    """
    try:
        stored, _ = Qwen2VLImageProcessorPil.get_image_processor_dict(name, **where)
    except OSError as error:
        raise CheckpointError(
            f"{name} has no image processor that can be read ({error}).",
            fix="copy preprocessor_config.json there from the Qwen2-VL that the model is made of.",
        ) from error
    if stored.get("image_processor_type") not in _TYPES:
        raise CheckpointError(
            f"the image processor of {name} is of type {stored.get('image_processor_type')!r}, not {_TYPES[0]}.",
            fix="take the folder of a Vamba or of a Qwen2-VL.",
        )
    processor = Qwen2VLImageProcessorPil.from_dict(stored)
    _check(name, processor.to_dict())
    return {
        "min_pixels": processor.size["shortest_edge"],
        "max_pixels": processor.size["longest_edge"],
        "patch_size": processor.patch_size,
        "temporal_patch_size": processor.temporal_patch_size,
        "merge_size": processor.merge_size,
        "image_mean": list(processor.image_mean),
        "image_std": list(processor.image_std),
    }


def _check(name: str, settings: dict[str, Any]) -> None:
    """Refuse an image processor that leaves out a step, or takes it otherwise."""
    differing = {key: settings[key] for key, value in _ALWAYS.items() if settings[key] != value}
    if abs(settings["rescale_factor"] * 255 - 1) > 1e-6:
        differing["rescale_factor"] = settings["rescale_factor"]
    if differing:
        raise CheckpointError(
            f"the image processor of {name} has {differing}, which no Qwen2-VL has.",
            fix="copy preprocessor_config.json there from the Qwen2-VL that the model is made of.",
        )
