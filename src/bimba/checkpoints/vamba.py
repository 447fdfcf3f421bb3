"""A Vamba folder, ours or released, in; config, model and processor out. Weights have the same names in both."""

from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError

from bimba.checkpoints.tensors import open_folder
from bimba.errors import CheckpointError, InputError
from bimba.models.vamba.configuration import VambaConfig
from bimba.models.vamba.modeling import VambaForConditionalGeneration
from bimba.models.vamba.processing import VambaProcessor
from bimba.models.vamba.released_config import is_plain_qwen2_vl, is_released

NOT_QUANTIZED = ("vision_mixer", "lm_head", "visual")
"""The mixers sum over tens of thousands of steps, the tower is a sixteenth of the weights: they stay as they are."""


_MISFITS = (ValueError, TypeError, KeyError, AttributeError, ZeroDivisionError, RuntimeError, StrictDataclassError)
"""What transformers and torch raise on settings that are damaged, or not of this kind of model."""


def is_vamba(settings: dict[str, Any]) -> bool:
    """Whether a config.json is that of a Vamba, ours or a released one."""
    return settings.get("model_type") == VambaConfig.model_type or is_released(settings)


def refuse_plain_qwen2_vl(folder: Path, settings: dict[str, Any]) -> None:
    """Say what is missing in a Qwen2-VL where a Vamba is expected.

    Raises:
        CheckpointError: it is one.
    """
    if is_plain_qwen2_vl(settings):
        raise CheckpointError(
            f"{folder} is a plain Qwen2-VL: it has no vision_mamba_mixer_config, no cross-attention and no mixers.",
            fix=f"train a Vamba from it: bimba train vamba/1-align model.path={folder}; or compare with it as it is "
            "(bimba eval run).",
        )


def read_vamba_config(folder: Path) -> VambaConfig:
    """The settings of a Vamba.

    Raises:
        CheckpointError: they do not hold together.
    """
    try:
        config: VambaConfig = VambaConfig.from_pretrained(folder)
        with torch.device("meta"):
            VambaForConditionalGeneration(config)
    except _MISFITS as error:
        raise CheckpointError(
            f"{folder} has settings that do not fit ({type(error).__name__}: {error}).", fix="check its config.json."
        ) from error
    return config


def read_vamba_processor(folder: Path, config: VambaConfig) -> VambaProcessor:
    """The processor of a Vamba; code that a folder may bring along is never run.

    Raises:
        CheckpointError: its files are damaged or do not belong together.
    """
    try:
        processor: VambaProcessor = VambaProcessor.from_pretrained(folder, trust_remote_code=False)
    except (OSError, *_MISFITS) as error:
        raise CheckpointError(
            f"the tokenizer or the image processor of {folder} cannot be read ({type(error).__name__}: {error}).",
            fix="fetch or copy tokenizer.json, tokenizer_config.json and preprocessor_config.json again.",
        ) from error
    vision = config.vision_config
    pairs = {
        "patch_size": vision.patch_size,
        "temporal_patch_size": vision.temporal_patch_size,
        "merge_size": vision.spatial_merge_size,
    }
    for name, wanted in pairs.items():
        if getattr(processor, name) != wanted:
            raise CheckpointError(
                f"the processor of {folder} has {name} {getattr(processor, name)}, its vision tower {wanted}.",
                fix="copy processor_config.json or preprocessor_config.json again from where the model was made.",
            )
    return processor


def refuse_overrides(overrides: dict[str, Any] | None) -> None:
    """Say that no setting of a Vamba could be another without changing its weights.

    Raises:
        InputError: one is to be another.
    """
    if overrides and overrides != {"temporal_pooling": 1}:  # which is what it does
        raise InputError(
            f"{', '.join(overrides)} cannot be set: a Vamba drops no token, so that nothing is pooled.",
            fix="leave it out (--temporal-pooling, config_overrides).",
        )


def load_vamba(
    folder: Path, overrides: dict[str, Any] | None, keywords: dict[str, Any]
) -> tuple[VambaForConditionalGeneration, VambaProcessor, dict[str, Any]]:
    """Load a Vamba.

    Args:
        folder: ours or a released one.
        overrides: of settings; there is none that could be another.
        keywords: of `from_pretrained`.

    Returns:
        model, processor, and what transformers tells of the loading.

    Raises:
        CheckpointError: files are damaged or do not fit.
        InputError: a setting is to be another.
    """
    refuse_overrides(overrides)
    open_folder(folder)  # damaged files are named before transformers stumbles over them
    config = read_vamba_config(folder)
    try:
        loaded: Any = VambaForConditionalGeneration.from_pretrained(
            folder, config=config, output_loading_info=True, **keywords
        )
    except RuntimeError as error:  # transformers' word for misshapen tensors
        raise CheckpointError(
            f"the weights of {folder} do not fit its config.json: {error}", fix="fetch or convert it again."
        ) from error
    model, report = loaded
    return model, read_vamba_processor(folder, config), report
