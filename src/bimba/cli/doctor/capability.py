"""What was found on a machine in; each way of running the released model, whether it can, and why out.

Bytes of weights are counted on a model without memory; the room for frames and the times are estimates.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from bimba.cli.doctor.diagnosis import Machine
from bimba.cli.doctor.hardware import Gpu
from bimba.cli.units import in_bytes, in_seconds

if TYPE_CHECKING:
    from bimba.models.bimba.configuration import BimbaConfig

NUM_FRAMES = 64
"""Frames that the released model was trained with, and that a question takes if nothing is said."""

KEPT_WIDE = ("compressor", "lm_head")
"""Parts whose linear layers quantization leaves alone, as in `bimba.checkpoints.loading`."""

MAX_NEW_TOKENS = 512
GPU_EXTRA = "pip install 'bimba[gpu]'"

# Bytes of a linear weight: one and no more than a scale a row; half of one, and a float32 scale for each 64.
_BYTES_OF = {"8bit": 1.0, "4bit": 0.5 + 4 / 64}
_ITEMSIZE = {"bfloat16": 2, "float32": 4}


@dataclass(frozen=True)
class Way:
    """A way of running a model on this machine.

    Attributes:
        options: of `bimba ask`, beside `--model`.
        verdict: "slow" means minutes before the first word.
        fix: what would help; None if nothing is to be done.
        weight_bytes: of the model; None if a broken part keeps it from being counted.
        num_frames: of 64, that fit beside the weights by the estimate; None where the memory is unknown.
        first_token_seconds: estimated for that many frames on the CPU.
    """

    name: str
    options: str
    verdict: Literal["yes", "slow", "no"]
    why: str
    fix: str | None = None
    weight_bytes: int | None = None
    num_frames: int | None = None
    first_token_seconds: float | None = None


@dataclass(frozen=True)
class Sizes:
    """The released model, counted.

    Attributes:
        num_parameters: of all of it.
        num_quantized: entries of the linear layers that quantization makes small.
        num_by_part: parameters of each part, and of the language model's layers alone.
        config: its settings.
    """

    num_parameters: int
    num_quantized: int
    num_by_part: dict[str, int]
    config: "BimbaConfig"

    def weight_bytes(self, kind: str) -> int:
        """Bytes of the weights in "bfloat16", "float32", "8bit" or "4bit"."""
        if kind in _ITEMSIZE:
            return self.num_parameters * _ITEMSIZE[kind]
        num_wide = self.num_parameters - self.num_quantized
        return round(num_wide * _ITEMSIZE["bfloat16"] + self.num_quantized * _BYTES_OF[kind])

    def room_for(self, num_frames: int, kind: str) -> int:
        """Bytes that a question takes beside the weights (estimate)."""
        from bimba.inference.memory import plan_memory

        tokens = self._num_tokens(num_frames) + MAX_NEW_TOKENS
        return plan_memory(
            self.config,
            num_parameters=0,
            num_frames=num_frames,
            num_tokens=tokens,
            itemsize=_ITEMSIZE.get(kind, _ITEMSIZE["bfloat16"]),
        ).total

    def num_frames_in(self, free_bytes: float, kind: str) -> int:
        """How many frames, up to 64, fit beside the weights (estimate)."""
        room = free_bytes - self.weight_bytes(kind)
        return next((count for count in range(NUM_FRAMES, 0, -1) if self.room_for(count, kind) <= room), 0)

    def operations(self, num_frames: int) -> int:
        """Multiplications and additions up to the first token (estimate: matrix products and attention)."""
        vision, text = self.config.vision_config, self.config.text_config
        num_patches = self.config.patches_per_side**2
        num_tokens = self._num_tokens(num_frames)
        parts = self.num_by_part
        seen = 2 * num_frames * num_patches * (parts["vision_tower"] + parts["projector"] + parts["compressor"])
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


def released_sizes() -> Sizes:
    """Count the released model on a model without memory."""
    import torch

    from bimba.models.bimba.configuration import BimbaConfig
    from bimba.models.bimba.modeling import BimbaForConditionalGeneration

    config = BimbaConfig()
    with torch.device("meta"):
        model = BimbaForConditionalGeneration(config)
    linear = {name: part.weight for name, part in model.named_modules() if isinstance(part, torch.nn.Linear)}
    parts = {name: sum(weight.numel() for weight in part.parameters()) for name, part in model.named_children()}
    layers = {name: weight for name, weight in model.language_model.named_parameters() if ".layers." in name}
    return Sizes(
        num_parameters=model.num_parameters(),
        num_quantized=sum(w.numel() for name, w in linear.items() if not set(name.split(".")) & set(KEPT_WIDE)),
        num_by_part=parts | {"language_layers": sum(weight.numel() for weight in layers.values())},
        config=config,
    )


def find_ways(machine: Machine, sizes: Sizes | None) -> tuple[Way, ...]:
    """Each way of running the released model here, and the tiny one of `bimba demo`.

    Args:
        machine: what was found.
        sizes: of the released model; None if a broken part keeps it from being counted.
    """
    broken = next((part for part in machine.core if part.problem is not None), None)
    names = {
        "bfloat16, GPU": "",
        "8 bit, GPU": "--quantization 8bit",
        "4 bit, GPU": "--quantization 4bit",
        "bfloat16, CPU": "--device cpu",
        "float32, CPU": "--device cpu --dtype float32",
    }
    if broken is not None or sizes is None:
        why = f"{'a part' if broken is None else broken.name} is missing or broken, see above"
        return tuple(Way(name, options, "no", why) for name, options in (names | {"tiny model": ""}).items())
    return (
        _wide_on_gpu(machine, sizes),
        _quantized(machine, sizes, "8bit"),
        _quantized(machine, sizes, "4bit"),
        _on_cpu(machine, sizes, "bfloat16"),
        _on_cpu(machine, sizes, "float32"),
        Way("tiny model", "", "yes", "everything that it needs can be imported: bimba demo"),
    )


def _wide_on_gpu(machine: Machine, sizes: Sizes) -> Way:
    name, weight_bytes = "bfloat16, GPU", sizes.weight_bytes("bfloat16")
    gpus = _working_gpus(machine)
    if not gpus:
        return Way(name, "", "no", _why_no_gpu(machine), weight_bytes=weight_bytes)
    has_accelerate = machine.part("accelerate").problem is None
    free = machine.memory.free_bytes
    if not has_accelerate and free is not None and free < weight_bytes:
        why = f"without accelerate the weights pass through RAM, where {in_bytes(free)} are free"
        return Way(name, "", "no", why, GPU_EXTRA, weight_bytes)
    dtype = "" if all(gpu.has_bfloat16 for gpu in gpus) else "--dtype float16"  # quicker than emulating
    return _fitted(name, dtype, sizes, "bfloat16", gpus, spreads=has_accelerate)


def _quantized(machine: Machine, sizes: Sizes, kind: str) -> Way:
    name, options, weight_bytes = f"{kind[0]} bit, GPU", f"--quantization {kind}", sizes.weight_bytes(kind)
    gpus = [gpu for gpu in _working_gpus(machine) if gpu.device.startswith("cuda")]
    if not gpus:
        why = "bitsandbytes needs an NVIDIA GPU" if _working_gpus(machine) else _why_no_gpu(machine)
        return Way(name, options, "no", why, weight_bytes=weight_bytes)
    lacking = [part for part in (machine.part("accelerate"), machine.part("bitsandbytes")) if part.problem]
    if lacking:
        why = "; ".join(f"{part.name}: {part.problem}" for part in lacking)
        return Way(name, options, "no", why, GPU_EXTRA, weight_bytes)
    return _fitted(name, options, sizes, kind, gpus, spreads=True)


def _fitted(name: str, options: str, sizes: Sizes, kind: str, gpus: list[Gpu], *, spreads: bool) -> Way:
    """How many frames fit on the emptiest GPU, or on all of them together."""
    weight_bytes = sizes.weight_bytes(kind)
    best = max(gpus, key=_free)
    device = f"--device {best.device}" if len(gpus) > 1 else ""
    num_frames, place, free = sizes.num_frames_in(_free(best), kind), best.name, _free(best)
    if len(gpus) > 1 and spreads:
        # The weights are shared out, the frames go through the compressor on one GPU.
        smallest = min(_free(gpu) for gpu in gpus)
        together = sizes.num_frames_in(smallest + weight_bytes * (1 - 1 / len(gpus)), kind)
        if together > num_frames:
            num_frames, place, device = together, f"{len(gpus)} GPUs together", ""
            free = sum(_free(gpu) for gpu in gpus)
    options = " ".join(word for word in (options, device) if word)
    if num_frames == 0:
        why = f"{_needs(sizes, kind)}; {place} has {in_bytes(free)} free"
        return Way(name, options, "no", why, _smaller(kind), weight_bytes, 0)
    why = f"{_frames_fit(num_frames)} in the {in_bytes(free)} free on {place}"
    return Way(name, options, "yes", why, _fewer(num_frames), weight_bytes, num_frames)


def _on_cpu(machine: Machine, sizes: Sizes, kind: str) -> Way:
    chosen = ("--device cpu" if _working_gpus(machine) else "", "--dtype float32" if kind == "float32" else "")
    options = " ".join(word for word in chosen if word)
    name, weight_bytes, memory = f"{kind}, CPU", sizes.weight_bytes(kind), machine.memory
    free = memory.total_bytes if memory.free_bytes is None else memory.free_bytes
    num_frames = None if free is None else sizes.num_frames_in(free, kind)
    if free is not None and num_frames == 0:
        why = f"{_needs(sizes, kind)}; {in_bytes(free)} of RAM are free"
        return Way(name, options, "no", why, None, weight_bytes, 0)
    rate = None if machine.torch is None else machine.torch.flops_per_second[kind]
    seconds = None if rate is None else sizes.operations(num_frames or NUM_FRAMES) / rate
    why = f"needs {in_bytes(weight_bytes)} and more, and this system does not tell its memory"
    if free is not None and num_frames is not None:
        word = "free" if memory.free_bytes is not None else "in all"
        why = f"{_frames_fit(num_frames)} in {in_bytes(free)} of RAM {word}"
    if seconds is not None:
        why += f"; the first word comes after some {_roughly(seconds)}"
    return Way(name, options, "slow", why, _fewer(num_frames), weight_bytes, num_frames, seconds)


def _working_gpus(machine: Machine) -> list[Gpu]:
    return [gpu for gpu in machine.gpus if gpu.problem is None and gpu.free_bytes is not None]


def _free(gpu: Gpu) -> int:
    return gpu.free_bytes or 0


def _why_no_gpu(machine: Machine) -> str:
    if machine.gpus:
        return f"the GPU does not work: {machine.gpus[0].problem}"
    reason = None if machine.torch is None else machine.torch.gpu_problem
    return f"no GPU; {reason}"


def _needs(sizes: Sizes, kind: str) -> str:
    """Weights and the least for a video."""
    return f"{in_bytes(sizes.weight_bytes(kind))} of weights and about {in_bytes(sizes.room_for(1, kind))} for a frame"


def _frames_fit(num_frames: int) -> str:
    return f"all {num_frames} frames fit" if num_frames == NUM_FRAMES else f"about {num_frames} of 64 frames fit"


def _roughly(seconds: float) -> str:
    """Without the seconds of a length in minutes: an estimate has none."""
    return f"{round(seconds / 60)} min" if 90 <= seconds < 3570 else in_seconds(seconds)


def _fewer(num_frames: int | None) -> str | None:
    return None if num_frames in (None, NUM_FRAMES) else f"--frames {num_frames}"


def _smaller(kind: str) -> str | None:
    return {"bfloat16": "--quantization 8bit or 4bit", "8bit": "--quantization 4bit"}.get(kind)
