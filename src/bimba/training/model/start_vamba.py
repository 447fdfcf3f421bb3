"""A recipe that trains a Vamba in; the model that training starts from and its processor, or their outline, out.

Three ways lead to one: a Vamba that is there, a plain Qwen2-VL, which becomes one, and random weights.
"""

from typing import Any, cast

import torch
from transformers import GenerationConfig

from bimba.checkpoints.adapter import main_dtype
from bimba.checkpoints.loading import LoadOptions, load_model, named_dtype
from bimba.checkpoints.outline import read_outline
from bimba.checkpoints.qwen2_vl import find_qwen2_vl, load_qwen2_vl, read_qwen2_vl_config
from bimba.checkpoints.source import find_source
from bimba.checkpoints.tensors import open_folder
from bimba.checkpoints.vamba import read_vamba_processor
from bimba.errors import InputError
from bimba.models.kinds import VideoConfig, VideoModel, VideoProcessor
from bimba.models.vamba.configuration import VambaConfig
from bimba.models.vamba.modeling import VambaForConditionalGeneration
from bimba.models.vamba.processing import VambaProcessor
from bimba.training.recipe.data_settings import Frames
from bimba.training.recipe.settings import Checkpoint, Compute, Pixels, Scratch

_PIXELS = tuple(Pixels.model_fields)
_SIZES = ("patch_size", "temporal_patch_size", "merge_size", "image_mean", "image_std")
_MARKS = {"vision_start_token_id": "<|vision_start|>", "vision_end_token_id": "<|vision_end|>"}


def vamba_from_checkpoint(start: Checkpoint, compute: Compute, seed: int) -> tuple[VideoModel, VideoProcessor]:
    """A Vamba that is there, or the one that begins as a plain Qwen2-VL.

    Raises:
        CheckpointError: files are missing, damaged, or do not fit.
        InputError: fresh mixers are asked for where there are mixers.
    """
    dtype = "bfloat16" if compute.precision == "bf16" else "float32"
    folder = find_qwen2_vl(start.path)
    if folder is None:
        options = LoadOptions(device="cpu", dtype=dtype, attn_implementation=compute.attn_implementation)
        return load_model(start.path, start.base, options)
    keywords: dict[str, Any] = {"dtype": named_dtype(dtype)}
    if compute.attn_implementation is not None:
        keywords["attn_implementation"] = compute.attn_implementation
    return load_qwen2_vl(folder, mixer=start.mixer, seed=seed, **keywords)


def vamba_outline(start: Checkpoint) -> tuple[VideoConfig, VideoProcessor]:
    """Config and processor of the same, from small files.

    Raises:
        CheckpointError, InputError: as there.
    """
    folder = find_qwen2_vl(start.path, weights=False)
    if folder is not None:
        config = read_qwen2_vl_config(folder, start.mixer)
        return config, read_vamba_processor(folder, config)
    outline = read_outline(start.path, start.base)
    if outline.processor is None:
        raise ValueError("an outline of a named model has a processor.")
    if start.mixer is not None and isinstance(outline.config, VambaConfig):
        raise InputError(
            f"model.mixer is set, but {start.path} is a Vamba, which has mixers.",
            fix="leave model.mixer out, or start from a plain Qwen2-VL.",
        )
    return outline.config, outline.processor


def vamba_dtype(path: str) -> torch.dtype:
    """That of most weights of a Vamba, or of the Qwen2-VL that it begins as.

    Args:
        path: folder or hub id.

    Raises:
        CheckpointError: its files are missing or damaged.
    """
    folder = find_qwen2_vl(path) or find_source(path).folder
    return main_dtype(open_folder(folder))


def scratch_vamba_config(start: Scratch, tokenizer: Any) -> tuple[VambaConfig, VambaProcessor]:
    """Config and processor of a Vamba of random weights.

    Args:
        start: its settings.
        tokenizer: its tokenizer; the marks around a video become tokens of it if they are none.

    Raises:
        InputError: the settings do not hold.
    """
    tokenizer.add_special_tokens({"additional_special_tokens": list(_MARKS.values())})
    settings = {name: value for name, value in start.config.items() if name != "model_type"}
    text = dict(settings.get("text_config") or {})
    # A multiple of 64 makes matrix products fast.
    text.setdefault("vocab_size", -(-len(tokenizer) // 64) * 64)
    marks = {name: tokenizer.convert_tokens_to_ids(mark) for name, mark in _MARKS.items()}
    try:
        config = VambaConfig(**(marks | settings | {"text_config": text}))
    except (TypeError, ValueError, KeyError) as error:
        raise InputError(f"model.config does not hold: {error}", fix="see VambaConfig for what there is.") from error
    if config.text_config.vocab_size < len(tokenizer):
        raise InputError(
            f"text_config.vocab_size is {config.text_config.vocab_size}, the tokenizer has {len(tokenizer)} tokens.",
            fix="leave vocab_size out, or make it as large.",
        )
    vision = config.vision_config
    processor = VambaProcessor(
        tokenizer,
        patch_size=vision.patch_size,
        temporal_patch_size=vision.temporal_patch_size,
        merge_size=vision.spatial_merge_size,
    )
    return config, processor


def vamba_from_scratch(
    config: VambaConfig, processor: VambaProcessor, compute: Compute
) -> VambaForConditionalGeneration:
    """A Vamba of random weights."""
    if compute.attn_implementation is not None:
        config._attn_implementation = compute.attn_implementation  # noqa: SLF001 - transformers' own name
    model = VambaForConditionalGeneration(config)
    tokenizer = processor.tokenizer
    model.generation_config = GenerationConfig(
        eos_token_id=[tokenizer.eos_token_id], pad_token_id=tokenizer.pad_token_id, do_sample=False
    )
    return model


def as_trained(processor: VambaProcessor, pixels: Pixels, frames: Frames) -> VambaProcessor:
    """The processor of a trained Vamba: it sees frames as training does, and as many, unless asked otherwise.

    Args:
        processor: of the model that training starts from.
        pixels: sizes that the recipe changes.
        frames: which ones training sees; for random ones the middles of the intervals stand.

    Raises:
        InputError: sizes do not fit each other.
    """
    sizes = {name: getattr(processor, name) for name in (*_PIXELS, *_SIZES)}
    changed = {name: value for name, value in pixels.model_dump().items() if value is not None}
    return VambaProcessor(
        processor.tokenizer,
        **(sizes | changed),
        num_frames=frames.count,
        sampling="middle" if frames.sampling == "random" else frames.sampling,
        chat_template=cast("str | None", processor.chat_template),
    )
