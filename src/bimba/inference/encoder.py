"""Chosen frames in, what the language model reads of them out, each frame decoded and looked at once and forgotten.

A thread decodes and resizes ahead of the model; what waits is bytes, and a few frames of them.

Shapes: V tokens of the video, D width, C words of a question.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from typing import Any, TypeVar

import torch

from bimba.compressors.mixer import ScanDirection
from bimba.inference.ahead import Ahead
from bimba.inference.clip import Clip
from bimba.inference.free_memory import FreeMemory
from bimba.inference.stopwatch import Stopwatch
from bimba.models.bimba.encoding import FRAMES_PER_STEP
from bimba.models.bimba.modeling import BimbaForConditionalGeneration
from bimba.models.kinds import VideoFeatures, VideoModel, VideoProcessor
from bimba.models.vamba.mixer import Mamba2Mixer

Progress = Callable[[str, int, int], None]
"""Called with a stage ("frames", "vision", "compress"), how much of it is done and how much there is: frames of the
first two; what the compressor does at the end is one thing. A thread that reads tells of "frames", the caller's of the
rest."""

Waiting = Callable[[], AbstractContextManager[None]]
"""Makes a block in which frames are waited for, and the device is free for others. What it raises ends the encoding."""

PIECES_AHEAD = 2
"""Of `FRAMES_PER_STEP` frames each that are decoded and wait for the model, at most."""

T = TypeVar("T")


def encode_clip(
    model: VideoModel,
    processor: VideoProcessor,
    clip: Clip,
    watch: Stopwatch,
    *,
    question_ids: Sequence[int] = (),
    progress: Progress | None = None,
    frames_per_step: int = FRAMES_PER_STEP,
    waiting: Waiting = nullcontext,
) -> VideoFeatures:
    """Encode a video as the language model reads it.

    Args:
        model: that answers.
        processor: its processor.
        clip: the chosen frames.
        watch: takes the seconds of "decode", "pixels", "kernels" (on CPUs: what a scan needs is loaded, which takes a
            process's first one most of a second) and of the model's stages ("vision", "project" and "compress", or
            "vision" and "mix"). The first two are spent in a thread of their own, beside the others.
        question_ids: words of the question, for a model that reads them first.
        progress: told how far it is.
        frames_per_step: that the vision tower looks at together, or a few more where several are one; it bounds the
            memory, and changes nothing else.
        waiting: entered before each piece of frames, and left when it is there.

    Returns:
        tokens [V, D] of BIMBA, keys and values of Vamba.

    Raises:
        VideoError: a frame cannot be decoded.
    """
    told: Progress = progress or _untold
    size = -(-frames_per_step // processor.temporal_patch_size) * processor.temporal_patch_size
    pieces = _resized(processor, clip, watch, told, size)
    question = None
    if isinstance(model, BimbaForConditionalGeneration) and model.config.reads_question:
        ids = torch.tensor(list(question_ids), dtype=torch.int64, device=model.input_device)
        with torch.no_grad():
            question = model.get_input_embeddings()(ids)
    with Ahead(pieces, PIECES_AHEAD) as ahead:
        _load_kernels(model, watch)  # while the first frames are read
        pixels = _pixels(model, processor, _awaited(ahead, waiting), clip.num_frames, told)
        encoded = model.encode_stream(pixels, clip.num_frames, question, stage=watch.stage)
    told("compress", 1, 1)
    return encoded


def read_pixels(
    processor: VideoProcessor, clip: Clip, watch: Stopwatch, *, progress: Progress | None = None
) -> dict[str, Any]:
    """All pixels of a video as the model's forward takes them, on the CPU.

    Args:
        processor: the model's.
        clip: the chosen frames.
        watch: takes the seconds of "decode" and "pixels".
        progress: told how many frames are read.

    Raises:
        VideoError: a frame cannot be decoded.
    """
    told: Progress = progress or _untold
    frames = watch.each("decode", _counted(clip.frames(), lambda done: told("frames", done, clip.num_frames)))
    decoded_before = watch.seconds.get("decode", 0.0)
    with watch.stage("pixels"):
        pixels: dict[str, Any] = processor.video_inputs(frames)
    # Pixels are made while frames are decoded; what was spent waiting for frames belongs to decoding.
    watch.add("pixels", decoded_before - watch.seconds["decode"])
    return pixels


def _load_kernels(model: VideoModel, watch: Stopwatch) -> None:
    """Have what a process's first scan on a CPU waits for imported and loaded from disk; later it is there.

    Kernels of GPUs are compiled for the sizes of a call, and wait for it.
    """
    scan = next((module for module in model.modules() if isinstance(module, ScanDirection | Mamba2Mixer)), None)
    if scan is None or model.input_device.type != "cpu":
        return
    if next(scan.parameters()).device.type in ("cpu", "meta"):  # meta: they lie on disk until they are used
        with watch.stage("kernels"):
            scan.load_kernels(model.input_device)


def _resized(
    processor: VideoProcessor, clip: Clip, watch: Stopwatch, told: Progress, size: int
) -> Iterator[tuple[Any, int]]:
    """Frames as bytes, some at a time, and how many; runs in the reading thread."""
    frames = watch.each("decode", _counted(clip.frames(), lambda done: told("frames", done, clip.num_frames)))
    while True:
        begun, decoded_before = time.perf_counter(), watch.seconds.get("decode", 0.0)
        some = list(islice(frames, size))
        resized = processor.resize_frames(some) if some else None
        # Frames are decoded while they are taken; that time belongs to decoding.
        decoded = watch.seconds.get("decode", 0.0) - decoded_before
        watch.add("pixels", time.perf_counter() - begun - decoded)
        if resized is None:
            return
        yield resized, len(some)


def _pixels(
    model: VideoModel, processor: VideoProcessor, pieces: Iterable[tuple[Any, int]], num_frames: int, told: Progress
) -> Iterator[Any]:
    """Pixels on the tower's device; told of the frames that the tower has seen when the next are asked for."""
    done, memory = 0, FreeMemory()
    for piece, num_in_it in pieces:
        yield processor.normalise(piece.to(model.input_device))
        done += num_in_it
        memory.after_piece()
        told("vision", done, num_frames)
    told("compress", 0, 1)


def _awaited(pieces: Iterable[T], waiting: Waiting) -> Iterator[T]:
    """Hand values through, each waited for in a block of its own."""
    iterator, end = iter(pieces), object()
    while True:
        with waiting():
            piece: Any = next(iterator, end)
        if piece is end:
            return
        yield piece


def _counted(values: Iterator[T], told: Callable[[int], None]) -> Iterator[T]:
    """Hand values through, and tell how many have come."""
    for done, value in enumerate(values, start=1):
        yield value
        told(done)


def _untold(*told: Any) -> None:
    """Nobody wants to know."""
