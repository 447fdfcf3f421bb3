"""A model's name in; its config, its processor and the size of its weights out, without reading any of them."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from bimba.checkpoints.loading import overridden
from bimba.checkpoints.opened import read_tokenizer
from bimba.checkpoints.released_config import read_released_config
from bimba.checkpoints.source import find_source
from bimba.checkpoints.tensors import read_json
from bimba.checkpoints.vamba import read_vamba_config, read_vamba_processor, refuse_overrides
from bimba.errors import CheckpointError, InputError
from bimba.models.bimba.configuration import BimbaConfig
from bimba.models.bimba.processing import BimbaProcessor
from bimba.models.kinds import VideoConfig, VideoProcessor, model_of
from bimba.models.vamba.configuration import VambaConfig

RELEASED_DTYPE = torch.bfloat16


@dataclass(frozen=True)
class ModelOutline:
    """A model without its weights.

    Args:
        config: its settings.
        processor: tokenizer and pixels; None where only the sizes are known.
        dtype: of its weights as stored.
    """

    config: VideoConfig
    processor: VideoProcessor | None
    dtype: torch.dtype

    @property
    def num_parameters(self) -> int:
        """Counted on a model without memory."""
        with torch.device("meta"):
            return int(model_of(self.config).num_parameters())

    def pooled(self, temporal_pooling: int) -> "ModelOutline":
        """The same with so many frames pooled into one."""
        if temporal_pooling == self.config.temporal_pooling:
            return self
        if isinstance(self.config, VambaConfig):
            raise InputError("a Vamba drops no token, so that nothing is pooled.", fix="leave --temporal-pooling out.")
        config = overridden(self.config, {"temporal_pooling": temporal_pooling})
        if self.processor is None:
            return replace(self, config=config)
        return replace(self, config=config, processor=BimbaProcessor.from_config(config, self.processor.tokenizer))


def read_outline(
    model: str | Path | None, base: str | Path | None = None, overrides: dict[str, Any] | None = None
) -> ModelOutline:
    """Read the small files of a model; of a hub id only these are fetched, a few megabytes.

    Args:
        model: folder or hub id as `bimba.load` takes them; None for the sizes of the released model.
        base: of an adapter, if not the one it names.
        overrides: settings other than the checkpoint's.

    Raises:
        CheckpointError: files are missing or damaged.
        InputError: a setting is unknown.
    """
    if model is None:
        return ModelOutline(overridden(BimbaConfig(), overrides), None, RELEASED_DTYPE)
    source = find_source(model, base, weights=False)
    settings = read_json(source.folder / "config.json")
    if source.kind == "vamba":
        refuse_overrides(overrides)
        config_of_vamba = read_vamba_config(source.folder)
        processor_of_vamba = read_vamba_processor(source.folder, config_of_vamba)
        return ModelOutline(config_of_vamba, processor_of_vamba, _stored_dtype(settings, str(model)))
    try:
        if source.kind != "released":
            config = BimbaConfig.from_pretrained(source.folder)
        else:
            config = read_released_config(source.folder, source.adapter)
        config = overridden(config, overrides)
        processor = BimbaProcessor.from_config(config, read_tokenizer(source.folder, config))
    except ValueError as error:
        raise CheckpointError(f"{model} has settings that do not fit: {error}", fix="check its config.json.") from error
    return ModelOutline(config, processor, _stored_dtype(settings, str(model)))


def _stored_dtype(settings: dict[str, Any], model: str) -> torch.dtype:
    name = settings.get("dtype", settings.get("torch_dtype", "float32"))  # transformers' own default
    dtype = getattr(torch, str(name), None)
    if not isinstance(dtype, torch.dtype):
        raise CheckpointError(
            f"{model} names the dtype {name!r}.", fix="write float32, bfloat16 or float16 in config.json."
        )
    return dtype
