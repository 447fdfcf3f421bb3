"""A model without its weights in; the bytes of its weights, the room for frames and the work until an answer out.

Weights are counted on a model without memory; the room for frames and the work are estimates.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

from bimba.checkpoints.shipped import RELEASED, RELEASED_VAMBA

if TYPE_CHECKING:
    from collections.abc import Collection

    from torch import nn

    from bimba.checkpoints.outline import ModelOutline
    from bimba.inference.memory import MemoryPlan
    from bimba.models.bimba.configuration import BimbaConfig
    from bimba.models.vamba.configuration import VambaConfig
    from bimba.models.vamba.pixels import PatchSettings

BIMBA_FRAMES = 64
"""Frames that the released BIMBA was trained with, and that a question takes if nothing is said."""

VAMBA_FRAMES = 1024
"""Frames that Vamba's paper reads on one GPU, and that `--frames auto` takes at most."""

FRAME_SIZE = (720, 1280)
"""Height and width of the frames that a Vamba, whose tokens depend on them, is thought to look at."""

KEPT_WIDE = ("compressor", "lm_head")
"""Parts of BIMBA whose linear layers quantization leaves alone, as in `bimba.checkpoints.loading`."""

MAX_NEW_TOKENS = 512
_QUESTION_TOKENS = 64

# Bytes of a linear weight: one and no more than a scale a row; half of one, and a float32 scale for each 64.
_BYTES_OF = {"8bit": 1.0, "4bit": 0.5 + 4 / 64}
_ITEMSIZE = {"bfloat16": 2, "float32": 4}


@dataclass(frozen=True)
class Sizes(ABC):
    """A model, counted.

    Attributes:
        name: of the model.
        dtype: of its weights as stored.
        num_parameters: of all of it.
        num_quantized: entries of the linear layers that quantization makes small.
        num_by_part: parameters of parts.
        num_frames: that are looked at if they fit.
        least_frames: that a video must have.
    """

    name: str
    dtype: str
    num_parameters: int
    num_quantized: int
    num_by_part: dict[str, int]
    num_frames: int
    least_frames: int

    def weight_bytes(self, kind: str) -> int:
        """Bytes of the weights in "bfloat16", "float32", "8bit" or "4bit"."""
        if kind in _ITEMSIZE:
            return self.num_parameters * _ITEMSIZE[kind]
        num_wide = self.num_parameters - self.num_quantized
        return round(num_wide * _ITEMSIZE["bfloat16"] + self.num_quantized * _BYTES_OF[kind])

    def room_for(self, num_frames: int, kind: str, num_places: int = 1) -> int:
        """Bytes that a question takes beside the weights (estimate).

        Args:
            num_frames: that are looked at.
            kind: as in `weight_bytes`.
            num_places: GPUs that share out the layers, and what each keeps of a video.
        """
        plan = self.memory(num_frames, _ITEMSIZE.get(kind, _ITEMSIZE["bfloat16"]))
        return plan.total - plan.kept + ceil(plan.kept / num_places)

    def num_frames_in(self, free_bytes: float, kind: str, num_places: int = 1) -> int:
        """How many frames, up to `num_frames`, fit beside the weights (estimate); 0 for none."""
        room = free_bytes - self.weight_bytes(kind)
        counts = range(self.num_frames, self.least_frames - 1, -1)
        return next((count for count in counts if self.room_for(count, kind, num_places) <= room), 0)

    @property
    @abstractmethod
    def looked_at(self) -> str:
        """What `num_frames` frames are, in words."""

    @abstractmethod
    def memory(self, num_frames: int, itemsize: int) -> "MemoryPlan":
        """Bytes of a question beside the weights (estimate)."""

    @abstractmethod
    def operations(self, num_frames: int) -> int:
        """Multiplications and additions up to the first token (estimate: matrix products and attention)."""


@dataclass(frozen=True)
class BimbaSizes(Sizes):
    """A BIMBA, counted.

    Attributes:
        config: its settings.
    """

    config: "BimbaConfig"

    @property
    def looked_at(self) -> str:
        """What `num_frames` frames are, in words."""
        return f"{self.num_frames} frames"

    def memory(self, num_frames: int, itemsize: int) -> "MemoryPlan":
        """Bytes of a question beside the weights (estimate)."""
        from bimba.inference.memory import plan_memory

        tokens = self._num_tokens(num_frames) + MAX_NEW_TOKENS
        return plan_memory(self.config, num_parameters=0, num_frames=num_frames, num_tokens=tokens, itemsize=itemsize)

    def operations(self, num_frames: int) -> int:
        """Multiplications and additions up to the first token (estimate: matrix products and attention)."""
        from bimba.models.bimba.towers import is_convolutional

        vision, text = self.config.vision_config, self.config.text_config
        num_patches = self.config.patches_per_side**2
        num_tokens = self._num_tokens(num_frames)
        parts = self.num_by_part
        seen = 2 * num_frames * num_patches * (parts["vision_tower"] + parts["projector"] + parts["compressor"])
        looked = 0
        if not is_convolutional(vision):
            looked = 4 * num_frames * num_patches**2 * vision.hidden_size * vision.num_hidden_layers
        read = 2 * num_tokens * parts["language_layers"]
        attended = 2 * num_tokens**2 * text.hidden_size * text.num_hidden_layers  # causal: half of all pairs
        return int(seen + looked + read + attended)

    def _num_tokens(self, num_frames: int) -> int:
        from bimba.models.bimba.separators import num_video_tokens
        from bimba.ops.pool import pooled_shape

        side = self.config.patches_per_side
        grid = pooled_shape(num_frames, side, side, self.config.pool, self.config.pool_mode)
        return num_video_tokens(grid, self.config.newline_position)


@dataclass(frozen=True)
class VambaSizes(Sizes):
    """A Vamba, counted.

    Attributes:
        config: its settings.
        patches: how frames become patches.
    """

    config: "VambaConfig"
    patches: "PatchSettings"

    @property
    def looked_at(self) -> str:
        """What `num_frames` frames are, in words."""
        return f"{self.num_frames:,} frames of {FRAME_SIZE[1]:,} x {FRAME_SIZE[0]}"

    def memory(self, num_frames: int, itemsize: int) -> "MemoryPlan":
        """Bytes of a question beside the weights (estimate)."""
        from bimba.inference.vamba_memory import plan_vamba_memory

        return plan_vamba_memory(
            self.config,
            num_parameters=0,
            num_frames=num_frames,
            frame_size=FRAME_SIZE,
            num_video_tokens=self._num_patches(num_frames) // self.patches.merge_size**2,
            num_tokens=_QUESTION_TOKENS + MAX_NEW_TOKENS,
            itemsize=itemsize,
        )

    def operations(self, num_frames: int) -> int:
        """Multiplications and additions up to the first token (estimate: matrix products and attention)."""
        vision, text, parts = self.config.vision_config, self.config.text_config, self.num_by_part
        num_patches, in_pair = self._num_patches(num_frames), self._num_patches(1)
        num_tokens = num_patches // self.patches.merge_size**2
        seen = 2 * (num_patches * parts["blocks"] + num_tokens * parts["merger"])
        looked = 4 * num_patches * in_pair * vision.embed_dim * vision.depth
        kept = 2 * num_tokens * parts["keys_values"]
        # The state is written and read by each token; the last layer mixes nothing.
        state = 2 * self.config.mixer["expand"] * text.hidden_size * self.config.mixer["d_state"]
        mixed = 2 * num_tokens * (parts["mixers"] / text.num_hidden_layers + state) * (text.num_hidden_layers - 1)
        read = 2 * _QUESTION_TOKENS * parts["text_layers"]
        across = 4 * _QUESTION_TOKENS * num_tokens * text.hidden_size * text.num_hidden_layers
        return int(seen + looked + kept + mixed + read + across)

    def _num_patches(self, num_frames: int) -> int:
        pairs, rows, columns = self.patches.grid(num_frames, *FRAME_SIZE)
        return pairs * rows * columns


def released_sizes() -> Sizes:
    """Count the released BIMBA."""
    from bimba.checkpoints.outline import read_outline

    return sizes_of(RELEASED, read_outline(None))


def named_sizes(model: str, base: str | None) -> Sizes:
    """Count a model; of a hub id its small files are fetched, unless it is a released one, whose sizes are known.

    Args:
        model: folder or hub id.
        base: of an adapter, if not the one it names.

    Raises:
        CheckpointError: files are missing or damaged.
    """
    import torch

    from bimba.checkpoints.outline import ModelOutline, read_outline
    from bimba.models.vamba.configuration import VambaConfig

    if base is None and not Path(model).exists():
        if model == RELEASED:
            return released_sizes()
        if model == RELEASED_VAMBA:
            return sizes_of(model, ModelOutline(VambaConfig(), None, torch.bfloat16))
    return sizes_of(model, read_outline(model, base))


def sizes_of(name: str, outline: "ModelOutline") -> Sizes:
    """Count a model on one without memory.

    Args:
        name: of the model.
        outline: its settings.
    """
    import torch

    from bimba.models.vamba.configuration import VambaConfig

    config, dtype = outline.config, str(outline.dtype).removeprefix("torch.")
    with torch.device("meta"):
        if isinstance(config, VambaConfig):
            return _of_vamba(name, dtype, config, outline)
        return _of_bimba(name, dtype, config)


def _of_bimba(name: str, dtype: str, config: "BimbaConfig") -> BimbaSizes:
    from bimba.models.bimba.modeling import BimbaForConditionalGeneration

    model = BimbaForConditionalGeneration(config)
    parts = {part_name: _count(part) for part_name, part in model.named_children()}
    words = {id(part.weight) for part in (model.get_input_embeddings(), model.get_output_embeddings()) if part}
    layers = (weight for weight in model.language_model.parameters() if id(weight) not in words)
    return BimbaSizes(
        name=name,
        dtype=dtype,
        num_parameters=model.num_parameters(),
        num_quantized=_num_quantized(model, KEPT_WIDE),
        num_by_part=parts | {"language_layers": sum(weight.numel() for weight in layers)},
        num_frames=max(BIMBA_FRAMES, config.temporal_pooling),
        least_frames=config.temporal_pooling,
        config=config,
    )


def _of_vamba(name: str, dtype: str, config: "VambaConfig", outline: "ModelOutline") -> VambaSizes:
    from bimba.checkpoints.vamba import NOT_QUANTIZED
    from bimba.models.vamba.modeling import VambaForConditionalGeneration
    from bimba.models.vamba.processing import VambaProcessor

    model = VambaForConditionalGeneration(config)
    layers = model.model.layers
    mixers = sum(_count(layer.vision_mixer) for layer in layers)
    keys_values = sum(_count(layer.cross_attn.k_proj) + _count(layer.cross_attn.v_proj) for layer in layers)
    parts = {
        "blocks": _count(model.visual) - _count(model.visual.merger),
        "merger": _count(model.visual.merger),
        "mixers": mixers,
        "keys_values": keys_values,
        "text_layers": _count(layers) - mixers - keys_values,
    }
    processor = outline.processor
    return VambaSizes(
        name=name,
        dtype=dtype,
        num_parameters=model.num_parameters(),
        num_quantized=_num_quantized(model, NOT_QUANTIZED),
        num_by_part=parts,
        num_frames=VAMBA_FRAMES,
        least_frames=1,
        config=config,
        patches=processor.patch_settings if isinstance(processor, VambaProcessor) else released_patches(),
    )


def released_patches() -> "PatchSettings":
    """How the frames of the released Vamba become patches."""
    from bimba.models.vamba.pixels import PatchSettings
    from bimba.models.vamba.processing import IMAGE_MEAN, IMAGE_STD

    return PatchSettings(
        longest_edge=640,
        shortest_edge=256,
        min_pixels=56 * 56,
        max_pixels=28 * 28 * 16384,
        patch_size=14,
        temporal_patch_size=2,
        merge_size=2,
        image_mean=list(IMAGE_MEAN),
        image_std=list(IMAGE_STD),
    )


def _count(part: "nn.Module") -> int:
    return sum(weight.numel() for weight in part.parameters())


def _num_quantized(model: "nn.Module", kept_wide: "Collection[str]") -> int:
    """Entries of the linear layers that lie in none of the parts that are left alone."""
    from torch import nn

    linear = {name: part.weight for name, part in model.named_modules() if isinstance(part, nn.Linear)}
    return sum(weight.numel() for name, weight in linear.items() if not set(name.split(".")) & set(kept_wide))
