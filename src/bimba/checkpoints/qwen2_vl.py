"""A plain Qwen2-VL in, the Vamba that begins as it out: its weights, read when asked for, and fresh ones beside them.

As in the released first stage (Vamba, arXiv 2503.11579, section 3.2) cross-attention begins as a copy of
self-attention, the mixers begin from random weights, and alpha is one half. The fresh weights of a layer depend on the
seed and the layer alone, so that a Vamba in a folder and one that is put into memory are the same.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock
from types import EllipsisType
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from transformers import GenerationConfig

from bimba.checkpoints.adapter import main_dtype
from bimba.checkpoints.conversion import Conversion
from bimba.checkpoints.folder import OnTensors, new_folder, write_tensors
from bimba.checkpoints.opened import read_generation_config, refuse_misfits, tensor_shapes
from bimba.checkpoints.small_files import as_stored, write_small_files
from bimba.checkpoints.source import foreign_folder
from bimba.checkpoints.tensors import Copied, InMemory, LazyTensor, open_folder, read_json
from bimba.checkpoints.vamba import read_vamba_processor
from bimba.errors import CheckpointError
from bimba.models.vamba.configuration import VambaConfig
from bimba.models.vamba.mixer import Mamba2Block
from bimba.models.vamba.modeling import VambaForConditionalGeneration, VambaPreTrainedModel
from bimba.models.vamba.processing import VambaProcessor
from bimba.models.vamba.released_config import is_plain_qwen2_vl, settings_of_qwen2_vl

_ALPHA = 0.5
_AT_ONCE = 2
"""Layers whose fresh weights are kept until the next ones are made."""
_OF_LAYER = re.compile(r"model\.layers\.(\d+)\.(cross_attn|vision_mixer|alpha)(?:\.(.+))?")
_NEWER_NAMES = (("model.visual.", "visual."), ("model.language_model.", "model."))
"""How transformers 5 names what the hub names otherwise."""


@dataclass(frozen=True)
class OpenedVamba:
    """A Vamba whose weights are not read yet.

    Args:
        config: ours.
        tensors: every tensor of the model, read or made when asked for; tied ones once.
        processor: tokenizer and pixels.
        generation_config: that of the Qwen2-VL.
    """

    config: VambaConfig
    tensors: dict[str, LazyTensor]
    processor: VambaProcessor
    generation_config: GenerationConfig


def find_qwen2_vl(model: str | Path, *, weights: bool = True) -> Path | None:
    """The folder of a plain Qwen2-VL.

    Args:
        model: folder or hub id of any model.
        weights: whether weights must be there; without, only the small files of a hub id are fetched.

    Returns:
        None if it is another model, or none at all (`find_source` says what is wrong with it).

    Raises:
        CheckpointError: nothing is there.
    """
    folder = foreign_folder(model, weights=False)
    if folder is None or not is_plain_qwen2_vl(read_json(folder / "config.json")):
        return None
    return foreign_folder(model, weights=weights)


def read_qwen2_vl_config(folder: Path, mixer: dict[str, Any] | None = None) -> VambaConfig:
    """The settings of a Vamba that begins as a Qwen2-VL.

    Args:
        folder: of the Qwen2-VL.
        mixer: settings of the mixers (see `VambaConfig.mixer`); the released ones if not given.

    Raises:
        CheckpointError: they do not hold together.
    """
    try:
        return VambaConfig(**settings_of_qwen2_vl(read_json(folder / "config.json"), mixer))
    except (ValueError, TypeError, KeyError) as error:
        raise CheckpointError(
            f"{folder} cannot become a Vamba: {error}", fix="check its config.json, and the settings of the mixers."
        ) from error


def open_qwen2_vl(folder: Path, *, mixer: dict[str, Any] | None = None, seed: int = 0) -> OpenedVamba:
    """The Vamba that begins as a Qwen2-VL; nothing but small files is read yet.

    Args:
        folder: of the Qwen2-VL, as on the hub or as transformers 5 names its tensors.
        mixer: settings of the mixers; the released ones if not given.
        seed: of the mixers.

    Raises:
        CheckpointError: files are missing or damaged, or do not fit the config.
    """
    config = read_qwen2_vl_config(folder, mixer)
    found = {_hub_name(name): tensor for name, tensor in open_folder(folder).items()}
    config.dtype = main_dtype(found)
    shapes, tied = tensor_shapes(config)
    fresh = _Fresh(config, seed)
    tensors: dict[str, LazyTensor] = {}
    problems = [f"unknown   {name} {list(tensor.shape)}" for name, tensor in found.items() if name not in shapes]
    for name, shape in shapes.items():
        match = _OF_LAYER.fullmatch(name)
        source = name if match is None or match[2] != "cross_attn" else name.replace(".cross_attn.", ".self_attn.")
        if match is not None and match[2] != "cross_attn":
            tensors[name] = fresh.tensor(name, shape)
        elif source not in found and name not in tied:
            problems.append(f"missing   {source} {list(shape)}")
        elif source in found and found[source].shape != shape:
            problems.append(f"misshapen {source} {list(found[source].shape)}, the model has {list(shape)}")
        elif name not in tied:
            tensors[name] = found[source] if source == name else Copied(found[source])
    refuse_misfits(f"{folder} do not fit its config.json", problems, "fetch the Qwen2-VL again.")
    return OpenedVamba(config, tensors, read_vamba_processor(folder, config), read_generation_config(folder, config))


def load_qwen2_vl(
    folder: Path, *, mixer: dict[str, Any] | None = None, seed: int = 0, **keywords: Any
) -> tuple[VambaForConditionalGeneration, VambaProcessor]:
    """Put the Vamba that begins as a Qwen2-VL into memory.

    Args:
        folder: of the Qwen2-VL.
        mixer: settings of the mixers; the released ones if not given.
        seed: of the mixers.
        keywords: as `from_pretrained` takes them: `dtype`, `attn_implementation`.

    Raises:
        CheckpointError: as `open_qwen2_vl`.
    """
    opened = open_qwen2_vl(folder, mixer=mixer, seed=seed)
    model = VambaForConditionalGeneration.from_pretrained(
        None, config=opened.config, state_dict=dict(opened.tensors), **keywords
    )
    model.generation_config = opened.generation_config
    return model, opened.processor


def convert_to_vamba(
    model: str | Path,
    out: str | Path,
    *,
    mixer: dict[str, Any] | None = None,
    seed: int = 0,
    on_tensors: OnTensors | None = None,
) -> Conversion:
    """Write the Vamba that begins as a Qwen2-VL as a folder of ours; no more than a shard of it is in memory.

    Args:
        model: folder or hub id of the Qwen2-VL.
        out: a new folder.
        mixer: settings of the mixers; the released ones if not given.
        seed: of the mixers.
        on_tensors: told of the progress.

    Raises:
        CheckpointError: it is no plain Qwen2-VL, files are missing or do not fit, or `out` exists or cannot be written;
            nothing is left then.
    """
    folder = find_qwen2_vl(model)
    if folder is None:
        raise CheckpointError(
            f"{model} is no plain Qwen2-VL, so that it cannot become a Vamba.",
            fix="name the folder or hub id of one, such as Qwen/Qwen2-VL-7B-Instruct, or leave --to out.",
        )
    opened = open_qwen2_vl(folder, mixer=mixer, seed=seed)
    dtype = cast("torch.dtype", opened.config.dtype)
    with new_folder(Path(out)) as target:
        write_small_files(target, opened.config, opened.processor, opened.generation_config)
        write_tensors(target, as_stored(opened.tensors, dtype), on_tensors=on_tensors)
    note = "It is not trained yet: its mixers are random, and its cross-attention is a copy of self-attention."
    return Conversion(Path(out), "ours", len(opened.tensors), note)


def _hub_name(name: str) -> str:
    for newer, older in _NEWER_NAMES:
        if name.startswith(newer):
            return older + name.removeprefix(newer)
    return name


class _Fresh:
    """Weights that a Qwen2-VL does not have, made a layer at a time and forgotten with the next."""

    def __init__(self, config: VambaConfig, seed: int) -> None:
        self._config, self._seed = config, seed
        with torch.device("meta"):
            self._initialiser: VambaPreTrainedModel = VambaForConditionalGeneration(config)
        self._made = lru_cache(maxsize=_AT_ONCE)(self._make)
        self._lock = Lock()  # transformers reads tensors in several threads, and they share one random generator

    def tensor(self, name: str, shape: tuple[int, ...]) -> LazyTensor:
        """A fresh tensor by its name."""
        match = _OF_LAYER.fullmatch(name)
        if match is None:
            raise ValueError(f"{name} belongs to no layer.")
        if match[2] == "alpha":
            return InMemory(torch.full(shape, _ALPHA))
        return _FreshTensor(self, int(match[1]), match[3], shape)

    def read(self, layer: int, name: str) -> Tensor:
        """A tensor of a layer's mixer."""
        with self._lock:
            return self._made(layer)[name]

    def _make(self, layer: int) -> dict[str, Tensor]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(np.random.default_rng((self._seed, layer)).integers(2**63)))
            block = Mamba2Block(self._config.text_config.hidden_size, **self._config.mixer)
            block.apply(self._initialiser._init_weights)  # noqa: SLF001 - how transformers says it
        return dict(block.state_dict())


@dataclass(frozen=True)
class _FreshTensor:
    """A tensor of a fresh mixer, made when it is read."""

    fresh: _Fresh
    layer: int
    name: str
    shape: tuple[int, ...]

    @property
    def dtype(self) -> torch.dtype:
        """That of fresh weights; decay rates stay in it."""
        return torch.float32

    def __getitem__(self, index: EllipsisType) -> Tensor:
        return self.fresh.read(self.layer, self.name)

    def row(self, index: int) -> Tensor:
        """Row `index`."""
        return self.fresh.read(self.layer, self.name)[index]
