"""Golden tensors in, keyword arguments of Vamba's forward out."""

from torch import Tensor

VISION = ("pixel_values_videos", "video_grid_thw", "pixel_values", "image_grid_thw")


def model_inputs(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """What the model's forward takes of golden inputs."""
    return {name: tensors[name] for name in ("input_ids", "attention_mask", *VISION) if name in tensors}
