"""A model's name in, the model on its device and its processor out."""

import difflib
import importlib.util
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError

from bimba.checkpoints.adapter import open_adapter
from bimba.checkpoints.opened import MOST_LISTED, OpenedModel, read_processor
from bimba.checkpoints.released import open_released
from bimba.checkpoints.source import Source, find_source
from bimba.checkpoints.tensors import open_folder
from bimba.checkpoints.vamba import NOT_QUANTIZED, load_vamba
from bimba.errors import CheckpointError, InputError
from bimba.models.bimba.configuration import BimbaConfig
from bimba.models.bimba.modeling import BimbaForConditionalGeneration
from bimba.models.bimba.processing import BimbaProcessor
from bimba.models.kinds import VideoModel, VideoProcessor

logger = logging.getLogger(__name__)

OVERRIDABLE = ("temporal_pooling", "spatial_pooling", "pool_mode", "newline_position", "prompt_style")
"""Settings that may differ from the checkpoint's without changing its weights."""


_NOT_QUANTIZED = ("compressor", "lm_head")
"""The compressor is one hundredth of the weights and sums over tens of thousands of steps: it stays as it is."""


@dataclass(frozen=True)
class LoadOptions:
    """How a model is put into memory; the arguments of `bimba.load`."""

    device: str | torch.device = "auto"
    dtype: str | torch.dtype = "auto"
    attn_implementation: str | None = None
    quantization: Any = None
    config_overrides: dict[str, Any] | None = None


def load_model(model: str | Path, base: str | Path | None, options: LoadOptions) -> tuple[Any, Any]:
    """Load a model of ours, a released base, an adapter (ours or released) on its base, or a Vamba.

    Returns:
        the model and its processor, of one of the kinds of `bimba.models.kinds`; only the folder knows of which.

    Raises:
        CheckpointError: files are missing, unsafe or do not fit.
        InputError: an option is unknown or cannot be had here.
    """
    source = find_source(model, base)
    keywords: dict[str, Any] = {"dtype": named_dtype(options.dtype)}
    if options.attn_implementation is not None:
        keywords["attn_implementation"] = options.attn_implementation
    if options.quantization is not None:
        kept = NOT_QUANTIZED if source.kind == "vamba" else _NOT_QUANTIZED
        keywords["quantization_config"] = _quantization_config(options.quantization, kept)
    placed = _placement(options.device, quantized=options.quantization is not None)
    keywords.update(placed.keywords)
    loaded: VideoModel
    processor: VideoProcessor
    try:
        if source.kind == "vamba":
            loaded, processor, report = load_vamba(source.folder, options.config_overrides, keywords)
            _refuse_misfits(report, source.folder)
        elif source.kind == "ours":
            loaded, processor = _load_ours(source, options, keywords)
        else:
            opened = open_adapter(source) if source.kind == "our adapter" else open_released(source)
            loaded, processor = _load_opened(opened, options, keywords)
    except (ImportError, ValueError, StrictDataclassError) as error:
        raise InputError(
            f"{model} cannot be loaded with these options: {error}",
            fix="check its config.json, and dtype, attn_implementation, quantization and config_overrides.",
        ) from error
    if placed.move_to is not None:
        loaded.to(placed.move_to)  # type: ignore[arg-type] # the wrapper in transformers hides the signature
    return loaded, processor


def _load_opened(
    opened: OpenedModel, options: LoadOptions, keywords: dict[str, Any]
) -> tuple[BimbaForConditionalGeneration, BimbaProcessor]:
    config = overridden(opened.config, options.config_overrides)
    if keywords["dtype"] == "auto":
        keywords["dtype"] = config.dtype
    model = BimbaForConditionalGeneration.from_pretrained(
        None, config=config, state_dict=dict(opened.tensors), **keywords
    )
    model.generation_config = opened.generation_config
    pixels = {"image_mean": opened.processor.image_mean, "image_std": opened.processor.image_std}
    return model, BimbaProcessor.from_config(config, opened.processor.tokenizer, **pixels)


def _load_ours(
    source: Source, options: LoadOptions, keywords: dict[str, Any]
) -> tuple[BimbaForConditionalGeneration, BimbaProcessor]:
    open_folder(source.folder)  # damaged files are named before transformers stumbles over them
    config = overridden(BimbaConfig.from_pretrained(source.folder), options.config_overrides)
    try:
        loaded: Any = BimbaForConditionalGeneration.from_pretrained(
            source.folder, config=config, output_loading_info=True, **keywords
        )
        model, report = loaded
    except RuntimeError as error:  # transformers' word for misshapen tensors
        raise CheckpointError(
            f"the weights of {source.folder} do not fit its config.json: {error}", fix="fetch or convert it again."
        ) from error
    _refuse_misfits(report, source.folder)
    return model, read_processor(source.folder, config)


def _refuse_misfits(report: dict[str, Any], folder: Path) -> None:
    """Refuse what transformers only warns of."""
    problems = [f"missing {name}" for name in sorted(report["missing_keys"])]
    problems += [f"unknown {name}" for name in sorted(report["unexpected_keys"])]
    problems += [f"misshapen {entry}" for entry in report["mismatched_keys"]]
    if problems:
        raise CheckpointError(
            f"{len(problems)} tensors of {folder} do not fit its config.json:\n    "
            + "\n    ".join(problems[:MOST_LISTED]),
            fix="fetch or convert the model again.",
        )


def overridden(config: BimbaConfig, overrides: dict[str, Any] | None) -> BimbaConfig:
    """The config with some settings replaced, checked again.

    Raises:
        InputError: a setting is none of `OVERRIDABLE`.
    """
    if not overrides:
        return config
    for name in overrides:
        if name not in OVERRIDABLE:
            near = difflib.get_close_matches(name, OVERRIDABLE, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(OVERRIDABLE)}."
            raise InputError(f"config_overrides has no setting {name!r}.", fix=hint)
    settings = config.to_dict() | overrides
    return BimbaConfig.from_dict(settings)


def named_dtype(dtype: str | torch.dtype) -> str | torch.dtype:
    """The dtype that a name stands for; "auto", as stored, stays.

    Raises:
        InputError: there is none of that name.
    """
    if isinstance(dtype, torch.dtype) or dtype == "auto":
        return dtype
    dtype = dtype.removeprefix("torch.")
    known = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if dtype not in known:
        raise InputError(f"dtype {dtype!r} is unknown.", fix=f"use auto, {', '.join(known)} or a torch dtype.")
    return known[dtype]


def _quantization_config(quantization: Any, kept: Sequence[str]) -> Any:
    """Transformers' config for "4bit" and "8bit"; a config object goes through as it is."""
    if not isinstance(quantization, str):
        return quantization
    if quantization not in ("4bit", "8bit"):
        raise InputError(
            f"quantization {quantization!r} is unknown.", fix="use 4bit, 8bit or a quantization config of transformers."
        )
    if importlib.util.find_spec("bitsandbytes") is None:
        raise InputError(
            f"quantization {quantization} needs a CUDA GPU and bitsandbytes.",
            fix='on a machine with such a GPU: pip install "bimba[gpu]"',
        )
    from transformers import BitsAndBytesConfig

    if quantization == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=list(kept))
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=torch.bfloat16,
        llm_int8_skip_modules=list(kept),
    )


@dataclass(frozen=True)
class _Placement:
    """Keywords for from_pretrained, or where to move the model afterwards (what works without accelerate)."""

    keywords: dict[str, Any]
    move_to: torch.device | None


def _placement(device: str | torch.device, *, quantized: bool) -> _Placement:
    has_accelerate = importlib.util.find_spec("accelerate") is not None
    if quantized and not has_accelerate:
        raise InputError("quantization needs accelerate.", fix='pip install "bimba[gpu]"')
    if device == "auto" and torch.cuda.device_count() > 1 and has_accelerate:
        return _Placement({"device_map": "auto"}, None)
    target = named_device(device)
    if target.type != "cpu" and has_accelerate:
        return _Placement({"device_map": {"": target}}, None)
    return _Placement({}, None if target.type == "cpu" else target)


def named_device(device: str | torch.device) -> torch.device:
    """The device that a name stands for; "auto" for the best one.

    Raises:
        InputError: there is none of that name on this machine.
    """
    if device == "auto":
        return best_device()
    try:
        target = torch.device(device)
        if target.type == "meta":
            raise InputError("device 'meta' holds no weights.", fix="use auto, cpu, cuda, cuda:N or mps.")
        torch.empty(0, device=target)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0][:200]
        raise InputError(
            f"device {str(device)!r} cannot be used: {reason}", fix="use auto, cpu, cuda, cuda:N or mps."
        ) from error
    return target


def best_device() -> torch.device:
    """The device that a model goes to if nothing is said: CUDA, Apple's GPU, or the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")
