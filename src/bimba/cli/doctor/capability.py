"""What was found on a machine and the sizes of a model in; each way of running it, whether it can, and why out."""

from dataclasses import dataclass
from typing import Literal

from bimba.cli.doctor.diagnosis import Machine
from bimba.cli.doctor.hardware import Gpu
from bimba.cli.doctor.sizes import Sizes
from bimba.cli.units import in_bytes, in_count, in_seconds

GPU_EXTRA = "pip install 'bimba[gpu]'"


@dataclass(frozen=True)
class Way:
    """A way of running a model on this machine.

    Attributes:
        options: of `bimba ask`, beside `--model`.
        verdict: "slow" means minutes before the first word.
        fix: what would help; None if nothing is to be done.
        weight_bytes: of the model; None if a broken part keeps it from being counted.
        num_frames: of those that were tried, that fit beside the weights by the estimate; None where the memory is
            unknown.
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


def find_ways(machine: Machine, sizes: Sizes | None) -> tuple[Way, ...]:
    """Each way of running a model here, and the tiny one of `bimba demo`.

    Args:
        machine: what was found.
        sizes: of the model; None if a broken part keeps it from being counted.
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
    # Where bfloat16 would be emulated, float16 is quicker.
    dtype = _dtype_option(sizes, "bfloat16") if all(gpu.has_bfloat16 for gpu in gpus) else "--dtype float16"
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
    options = _joined(options, _dtype_option(sizes, "bfloat16"))  # of what is not quantized
    return _fitted(name, options, sizes, kind, gpus, spreads=True)


def _fitted(name: str, options: str, sizes: Sizes, kind: str, gpus: list[Gpu], *, spreads: bool) -> Way:
    """How many frames fit on the emptiest GPU, or on all of them together."""
    weight_bytes = sizes.weight_bytes(kind)
    best = max(gpus, key=_free)
    device = f"--device {best.device}" if len(gpus) > 1 else ""
    num_frames, place, free = sizes.num_frames_in(_free(best), kind), best.name, _free(best)
    if len(gpus) > 1 and spreads:
        # The layers are shared out, with what each keeps of the video; the rest of a stage lies on one GPU.
        smallest = min(_free(gpu) for gpu in gpus)
        together = sizes.num_frames_in(smallest + weight_bytes * (1 - 1 / len(gpus)), kind, len(gpus))
        if together > num_frames:
            num_frames, place, device = together, f"{len(gpus)} GPUs together", ""
            free = sum(_free(gpu) for gpu in gpus)
    options = _joined(options, device)
    if num_frames == 0:
        why = f"{_needs(sizes, kind)}; {place} has {in_bytes(free)} free"
        return Way(name, options, "no", why, _smaller(kind), weight_bytes, 0)
    why = f"{_frames_fit(num_frames, sizes)} in the {in_bytes(free)} free on {place}"
    return Way(name, options, "yes", why, _fewer(num_frames, sizes), weight_bytes, num_frames)


def _on_cpu(machine: Machine, sizes: Sizes, kind: str) -> Way:
    options = _joined("--device cpu" if _working_gpus(machine) else "", _dtype_option(sizes, kind))
    name, weight_bytes, memory = f"{kind}, CPU", sizes.weight_bytes(kind), machine.memory
    free = memory.total_bytes if memory.free_bytes is None else memory.free_bytes
    num_frames = None if free is None else sizes.num_frames_in(free, kind)
    if free is not None and num_frames == 0:
        why = f"{_needs(sizes, kind)}; {in_bytes(free)} of RAM are free"
        return Way(name, options, "no", why, None, weight_bytes, 0)
    rate = None if machine.torch is None else machine.torch.flops_per_second[kind]
    seconds = None if rate is None else sizes.operations(num_frames or sizes.num_frames) / rate
    why = f"needs {in_bytes(weight_bytes)} and more, and this system does not tell its memory"
    if free is not None and num_frames is not None:
        word = "free" if memory.free_bytes is not None else "in all"
        why = f"{_frames_fit(num_frames, sizes)} in {in_bytes(free)} of RAM {word}"
    if seconds is not None:
        why += f"; the first word comes after some {_roughly(seconds)}"
    return Way(name, options, "slow", why, _fewer(num_frames, sizes), weight_bytes, num_frames, seconds)


def _working_gpus(machine: Machine) -> list[Gpu]:
    return [gpu for gpu in machine.gpus if gpu.problem is None and gpu.free_bytes is not None]


def _free(gpu: Gpu) -> int:
    return gpu.free_bytes or 0


def _why_no_gpu(machine: Machine) -> str:
    if machine.gpus:
        return f"the GPU does not work: {machine.gpus[0].problem}"
    reason = None if machine.torch is None else machine.torch.gpu_problem
    return f"no GPU; {reason}"


def _joined(*options: str) -> str:
    return " ".join(word for word in options if word)


def _dtype_option(sizes: Sizes, dtype: str) -> str:
    """What makes the weights of that dtype; nothing where they are stored so."""
    return "" if sizes.dtype == dtype else f"--dtype {dtype}"


def _needs(sizes: Sizes, kind: str) -> str:
    """Weights and the least for a video."""
    least = sizes.least_frames
    frames = "a frame" if least == 1 else f"{least} frames"
    room = in_bytes(sizes.room_for(least, kind))
    return f"{in_bytes(sizes.weight_bytes(kind))} of weights and about {room} for {frames}"


def _frames_fit(num_frames: int, sizes: Sizes) -> str:
    count, most = in_count(num_frames), in_count(sizes.num_frames)
    return f"all {most} frames fit" if num_frames == sizes.num_frames else f"about {count} of {most} frames fit"


def _roughly(seconds: float) -> str:
    """Without the seconds of a length in minutes: an estimate has none."""
    return f"{round(seconds / 60)} min" if 90 <= seconds < 3570 else in_seconds(seconds)


def _fewer(num_frames: int | None, sizes: Sizes) -> str | None:
    return None if num_frames in (None, sizes.num_frames) else f"--frames {num_frames}"


def _smaller(kind: str) -> str | None:
    return {"bfloat16": "--quantization 8bit or 4bit", "8bit": "--quantization 4bit"}.get(kind)
